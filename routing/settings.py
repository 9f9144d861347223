"""Settings of the ground floor, read once at the entry from `FOREBAY_*` and passed down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from forebay.routing.base import worded
from forebay.routing.errors import Misconfigured

T = TypeVar("T", bound=BaseSettings)
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Where Redis is and how the ledger behaves.

    Attributes:
        redis_url: `redis://`, `rediss://` or `unix://`; the one Redis of the fleet. Or
            `sentinel://host:port,host:port/service?db=0`: the primary that Sentinels name.
        sentinel_password: of the Sentinels, where they ask for one.
        policy_file: `policy.toml`; without it the defaults of `routing.policy.decisions` hold.
        lease_s: a worker that is silent for so long loses its jobs to others.
        sweep_s: how often a sweeper looks.
        max_attempts: stays of a job in one hop before it is dead.
        retention_s: how long a finished job, its answer included, can be read.
        ageing_s: a bulk job that has waited so long gets one claim in `bulk_share`.
        bulk_share: see `ageing_s`; 8 means one claim in eight.
        cache_s: how long an answer in the cache is good.
        cache_key: secret of the cache's keys; without it one is made and kept in Redis.
        content_keys: Fernet keys that encrypt contents in Redis, separated by commas; the first one
            closes, all open.
        max_waiting: jobs waiting in one queue above which a submit is refused.
        memory_limit: share of Redis' `maxmemory` above which a submit is refused, so that the jobs
            that are there can still end. Measured by the sweepers.
    """

    model_config = SettingsConfigDict(
        env_prefix="FOREBAY_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

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


def read_settings() -> Settings:
    """The settings of this process.

    Raises:
        Misconfigured: Names the variable that is wrong.
    """
    return read(Settings)


def read(cls: type[T]) -> T:
    """Settings of one concern from the environment, with one clear error for a wrong one."""
    try:
        return cls()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        prefix = cls.model_config.get("env_prefix", "")
        name = prefix + "_".join(str(part) for part in first["loc"])
        raise Misconfigured(worded(first), field=name.upper()) from None
