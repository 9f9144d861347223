"""The settings that all processes share, read once at the entry from `FOREBAY_*` variables."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from forebay.routing.base import FieldError, first_error
from forebay.routing.errors import Misconfigured

T = TypeVar("T", bound="EnvironmentSettings")
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class EnvironmentSettings(BaseSettings):
    """Base of all settings classes: immutable, each field read from `FOREBAY_<FIELD>`.

    A path that is empty is not set. No other empty value means that: an empty key would silently
    store contents in the clear.
    """

    model_config = SettingsConfigDict(
        env_prefix="FOREBAY_", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _without_empty_paths(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Leave out the paths that are empty: as a path, an empty text is the current folder."""
        fields = cls.model_fields
        paths = {name for name in fields if Path in get_args(fields[name].annotation)}
        return {name: value for name, value in values.items() if value != "" or name not in paths}


class Settings(EnvironmentSettings):
    """The address of Redis, and the terms of the ledger.

    Attributes:
        redis_url: `redis://`, `rediss://` or `unix://` URL of the fleet's one Redis. Or
            `sentinel://host:port,host:port/service?db=0`, to ask Sentinels for the primary.
        fleets: path of `fleets.toml`, if there are several fleets. Clients, the gateway and
            `forebay` then find the fleet of a tenant there, and not in `redis_url`. Workers do not
            read it.
        sentinel_password: password of the Sentinels, if they require one.
        policy_file: path of `policy.toml`; the default policy applies if it is not set.
        lease_s: a worker that does not renew its lease for this long loses its jobs to others.
        sweep_s: how often the sweeper runs.
        max_attempts: claims of a job in one hop before the job is dead.
        retention_s: how long an ended job can be read, its answer included.
        ageing_s: once bulk jobs have waited this long, they get one claim in `bulk_share`.
        bulk_share: 8 means that aged bulk jobs get one claim in eight.
        cache_s: how long an answer stays in the cache.
        cache_key: secret for the keys of the cache; if not set, one is made and kept in Redis. If
            set, also for the names of idempotency keys: it must be the same for all producers.
        content_keys: Fernet keys, separated by commas, that encrypt contents in Redis. The first
            key encrypts; each of them decrypts.
        max_waiting: a submit is refused while this many jobs wait in its queue.
        memory_limit: a submit is refused once this share of Redis' `maxmemory` is in use, so that
            the jobs already there can end. The sweepers measure it.
        tenant_share: share of that memory that the jobs and answers of one tenant may take while
            other tenants have jobs; otherwise it may take nine tenths, or this share if it is more.
            1 sets no limit.
        books_days: how many days Redis keeps the book of calls to frontier models, and the counts
            of jobs for `forebay report`.
        books_calls: at most about so many calls are kept; older ones are removed, exported or not.
        egress_entries: so many entries of the egress log are kept, about; likewise.
    """

    fleets: Path | None = None
    redis_url: str = Field("redis://127.0.0.1:6379/0", repr=False)  # may hold a password
    sentinel_password: SecretStr | None = None
    policy_file: Path | None = None
    lease_s: Seconds = 10.0
    sweep_s: Seconds = 1.0
    max_attempts: int = Field(4, ge=1, le=100)
    retention_s: Seconds = 86_400.0
    ageing_s: Seconds = 60.0
    bulk_share: int = Field(8, ge=2, le=1_000)
    cache_s: Seconds = 86_400.0
    cache_key: SecretStr | None = None
    content_keys: SecretStr | None = None
    max_waiting: int = Field(2_000_000, ge=1)
    memory_limit: float = Field(0.85, gt=0, le=1)
    tenant_share: float = Field(0.7, gt=0, le=1)
    books_days: int = Field(35, ge=1, le=1_000)
    books_calls: int = Field(200_000, ge=1_000)
    egress_entries: int = Field(200_000, ge=1_000)


def read_settings() -> Settings:
    """Return the settings of this process.

    Raises:
        Misconfigured: Names the variable that is wrong.
    """
    return read(Settings)


def read(cls: type[T]) -> T:
    """Return the settings of one class from the environment.

    Raises:
        Misconfigured: Names the variable that is wrong.
    """
    prefix = cls.model_config.get("env_prefix", "")
    try:
        return cls()
    except SettingsError as error:  # pydantic-settings reads lists and tables as JSON
        named = re.search(r'field "(\w+)"', str(error))
        variable = f"{prefix}{named[1] if named else ''}".upper()
        message = "must be JSON, as deploy/env.example shows"
        raise Misconfigured(message, field=variable) from None
    except ValidationError as error:
        first = first_error(error)
        variable = prefix + "_".join(str(part) for part in first.path)
        raise Misconfigured(_told(first, variable.upper()), field=variable.upper()) from None


def _told(first: FieldError, variable: str) -> str:
    """Return what is wrong with a variable: it is empty, has a unit, or what pydantic says."""
    if os.environ.get(variable) == "":
        return "is empty: give it a value, or unset it"
    units = first.type in {"float_parsing", "int_parsing"}
    if first.type == "too_short":  # pydantic counts the characters of a secret as items
        return first.message.replace("items", "characters")
    return f"{first.message}, without a unit" if units else first.message
