"""`sentinel://` URLs: a Redis with replicas, and Sentinels that know which of them is primary."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from forebay.routing.errors import Misconfigured
from forebay.routing.settings import Settings

SCHEME = "sentinel"
DEFAULT_PORT = 26_379
MAX_PORT = 65_535
SYNTAX = "must read sentinel://[user:password@]host[:port],host[:port]/service[?db=0]"

_HOST = re.compile(r"(?P<host>[^\s:\[\]]+|\[[0-9a-fA-F:.]+\])(:(?P<port>\d{1,5}))?")

#: If a Sentinel does not answer within a second, the next one is asked.
_TIMEOUTS: dict[str, Any] = {"socket_timeout": 1, "socket_connect_timeout": 1}


@dataclass(frozen=True, slots=True)
class Sentinels:
    """The addresses of the Sentinels, and what they call the service.

    Attributes:
        hosts: names or addresses of the Sentinels, with their ports.
        service: the name under which the Sentinels watch the primary.
        db: number of the database.
        username, password: login at Redis, not at the Sentinels.
        sentinel_password: login at the Sentinels.
    """

    hosts: tuple[tuple[str, int], ...]
    service: str
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Sentinels | None:
        """Return the Sentinels of the settings, or `None` if the URL names a Redis itself.

        Raises:
            Misconfigured: The URL cannot be read; the message holds no part of it.
        """
        if not settings.redis_url.startswith(f"{SCHEME}:"):
            return None
        secret = settings.sentinel_password
        try:
            return _parse(settings.redis_url, secret.get_secret_value() if secret else None)
        except ValueError:
            raise Misconfigured(SYNTAX, field="FOREBAY_REDIS_URL") from None

    @property
    def sentinel_options(self) -> dict[str, Any]:
        """Options of the connections to the Sentinels: time-outs and password."""
        return _TIMEOUTS | ({"password": self.sentinel_password} if self.sentinel_password else {})

    def client(self, library: ModuleType, **options: Any) -> Any:
        """Return a client that asks for the primary whenever it opens a connection.

        Args:
            library: `redis`, or `redis.asyncio` for a client of asyncio.
            options: of the connections to the primary.
        """
        options |= {"db": self.db, "username": self.username, "password": self.password}
        sentinel = library.Sentinel(
            list(self.hosts), sentinel_kwargs=self.sentinel_options, **options
        )
        return sentinel.master_for(self.service)

    def broker(self) -> tuple[str, dict[str, Any]]:
        """Return the same for kombu: its URL and its transport options."""
        user, secret = (quote(word or "", safe="") for word in (self.username, self.password))
        login = f"{user}:{secret}@" if user or secret else ""
        addresses = (
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts
        )
        urls = [f"{SCHEME}://{login}{address}/{self.db}" for address in addresses]
        options = {"master_name": self.service, "sentinel_kwargs": self.sentinel_options}
        return ";".join(urls), options


def _parse(url: str, sentinel_password: str | None) -> Sentinels:
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    service = unquote(parts.path.removeprefix("/"))
    if not service or "/" in service or parts.fragment or options.keys() - {"db"}:
        raise ValueError
    return Sentinels(
        hosts=tuple(_host_and_port(host) for host in hosts.split(",")),
        service=service,
        db=_number(options.get("db", "0")),
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_password=sentinel_password,
    )


def _host_and_port(text: str) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    port = int(match["port"] or DEFAULT_PORT) if match else 0
    if match is None or not 0 < port <= MAX_PORT:
        raise ValueError
    return match["host"].strip("[]"), port


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError
    return int(text)
