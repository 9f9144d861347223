"""The map of fleets: their addresses, and the fleet of each tenant (`fleets.toml`)."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from forebay.routing.base import Tenant
from forebay.routing.errors import Misconfigured
from forebay.routing.policy import toml
from forebay.routing.policy.tables import Table
from forebay.routing.settings import Settings

VARIABLE = "FOREBAY_FLEETS"
SCHEMES = ("redis://", "rediss://", "unix://", "sentinel://")
MAX_PLACES = 2  # fleets of one tenant: two while it is moved

FleetName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
_REFERENCE = re.compile(r"\$\{(\w+)\}")


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("fleets", "{why}", {"why": message})


def _filled_in(text: Any) -> Any:
    """Return a text with each `${NAME}` replaced by the variable of the environment."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise _wrong(f"names ${{{match[1]}}}, which is not set in the environment: set it")
        return os.environ[match[1]]

    return _REFERENCE.sub(value, text) if isinstance(text, str) else text


def _address(text: Any) -> Any:
    text = _filled_in(text)
    if isinstance(text, str) and not text.startswith(SCHEMES):
        raise _wrong(f"must begin with one of {', '.join(SCHEMES)}")
    return text


def _as_places(value: Any) -> Any:
    """Return the fleets of a tenant: its fleet, or a list of the new fleet and the old one."""
    places = [value] if isinstance(value, str) else value
    if not isinstance(places, list) or not 1 <= len(places) <= MAX_PLACES:
        raise _wrong('must be a fleet, or ["NEW", "OLD"] while the tenant is moved')
    if len(set(map(str, places))) < len(places):
        raise _wrong("names a fleet twice, name it once")
    return tuple(places)


Places = Annotated[tuple[FleetName, ...], BeforeValidator(_as_places)]


class FleetEntry(Table):
    """One fleet.

    Attributes:
        redis_url: its Redis, as in FOREBAY_REDIS_URL; `${NAME}` stands for a variable.
        sentinel_password: password of its Sentinels, if they require one; likewise.
    """

    redis_url: Annotated[str, BeforeValidator(_address)] = Field(repr=False)
    sentinel_password: Annotated[SecretStr | None, BeforeValidator(_filled_in)] = None


class FleetMap(Table):
    """Which fleets there are, and where each tenant is.

    Attributes:
        default: the fleet of tenants that are not named.
        fleets: the fleets by name.
        tenants: the fleets of a tenant. While it is moved these are the new fleet, which takes its
            new jobs, and the old one, where the jobs from before end.
    """

    default: FleetName
    fleets: dict[FleetName, FleetEntry] = Field(min_length=1)
    tenants: dict[Tenant, Places] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_known_fleets(self) -> Self:
        named: dict[str, tuple[str, ...]] = {"default": (self.default,)}
        named |= {f"[tenants] {name}": places for name, places in self.tenants.items()}
        for key, places in named.items():
            for fleet in places:
                if fleet not in self.fleets:
                    raise _wrong(f"{key} names {fleet}, which is no table [fleets.{fleet}]: add it")
        urls = [entry.redis_url for entry in self.fleets.values()]
        if len(set(urls)) < len(urls):
            raise _wrong("[fleets] has two fleets with one redis_url: each needs its own Redis")
        return self

    @property
    def version(self) -> str:
        """A digest of what it says about tenants. Addresses differ from machine to machine."""
        said = [self.default, sorted(self.fleets), sorted(self.tenants.items())]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]

    def places(self, tenant: str) -> tuple[str, ...]:
        """Return the fleets of a tenant: the fleet of its new jobs, and maybe an older one."""
        return self.tenants.get(tenant, (self.default,))

    def settings(self, fleet: str, base: Settings) -> Settings:
        """Return the settings of one fleet: its address, and `base` for everything else.

        Raises:
            Misconfigured: There is no such fleet.
        """
        entry = self.fleets.get(fleet)
        if entry is None:
            known = ", ".join(sorted(self.fleets))
            raise Misconfigured(f"must be one of {known}, not {fleet}", field="fleet")
        address = {"redis_url": entry.redis_url, "sentinel_password": entry.sentinel_password}
        return base.model_copy(update={**address, "fleets": None})


def read_map(path: Path) -> FleetMap:
    """Read a map.

    Raises:
        Misconfigured: Names the file, the line and the key that is wrong, and how to mend it.
    """
    try:
        return toml.read(path, FleetMap, variable=VARIABLE)
    except Misconfigured as error:
        line = _line_of(error.field or "", error.message, path)
        if line is None:
            raise
        raise Misconfigured(f"{error.message}, line {line}", field=error.field) from None


def _line_of(field: str, message: str, path: Path) -> int | None:
    """Return the line of the key that an error is about, if the file has it."""
    named = re.match(r"(?:\[(?P<table>[^\]]+)\] )?(?P<key>[\w-]+)", field or message)
    if named is None or field == VARIABLE:
        return None
    for number, table, key in _keys(path.read_text("utf-8")):
        if key == named["key"] and table == (named["table"] or ""):
            return number
    return None


def _keys(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line, table and name of each key of a TOML file."""
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\]]+)\]", line):
            table = header[1].strip()
        elif key := re.match(r"\s*\"?([\w-]+)\"?\s*=", line):
            yield number, table, key[1]
