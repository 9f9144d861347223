"""`sentinel://…`: one Redis with replicas, watched by Sentinels that say who is the primary now."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import redis
from redis.sentinel import Sentinel

from forebay.routing.errors import Misconfigured
from forebay.routing.settings import Settings

SCHEME = "sentinel"
PORT = 26_379
SPELLING = "must read sentinel://[user:password@]host[:port],host[:port]/service[?db=0]"

_HOST = re.compile(r"(?P<host>[^\s:\[\]]+|\[[0-9a-fA-F:.]+\])(:(?P<port>\d{1,5}))?")

#: A Sentinel that does not answer soon is passed over for the next one.
TIMEOUTS: dict[str, Any] = {"socket_timeout": 1, "socket_connect_timeout": 1}


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Where the Sentinels are, and what the service is called.

    Attributes:
        hosts: of the Sentinels, with their ports.
        service: the name under which they watch the primary.
        db: number of the database.
        username: at Redis, not at the Sentinels.
        password: likewise.
        sentinel_password: at the Sentinels.
    """

    hosts: tuple[tuple[str, int], ...]
    service: str
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Sentinels | None:
        """Those of the settings; none where the URL names a Redis itself.

        Raises:
            Misconfigured: The URL cannot be read; the message repeats nothing of it.
        """
        if not settings.redis_url.startswith(f"{SCHEME}:"):
            return None
        secret = settings.sentinel_password
        try:
            return _parse(settings.redis_url, secret.get_secret_value() if secret else None)
        except ValueError:
            raise Misconfigured(SPELLING, field="FOREBAY_REDIS_URL") from None

    @property
    def login(self) -> dict[str, Any]:
        """What the Sentinels themselves want to know, and how long they may take."""
        return TIMEOUTS | ({"password": self.sentinel_password} if self.sentinel_password else {})

    def client(self, **options: Any) -> redis.Redis:
        """A client that asks for the primary with each new connection."""
        options |= {"db": self.db, "username": self.username, "password": self.password}
        watched = Sentinel(  # type: ignore[no-untyped-call]
            list(self.hosts), sentinel_kwargs=self.login, **options
        )
        primary: redis.Redis = watched.master_for(self.service)  # type: ignore[no-untyped-call]
        return primary

    def broker(self) -> tuple[str, dict[str, Any]]:
        """The same in kombu's spelling: its URL and its transport options."""
        user, secret = (quote(word or "", safe="") for word in (self.username, self.password))
        login = f"{user}:{secret}@" if user or secret else ""
        places = (
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts
        )
        urls = [f"{SCHEME}://{login}{place}/{self.db}" for place in places]
        return ";".join(urls), {"master_name": self.service, "sentinel_kwargs": self.login}


def _parse(url: str, sentinel_password: str | None) -> Sentinels:
    parts = urlsplit(url)
    login, _, places = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    service = unquote(parts.path.removeprefix("/"))
    if not service or "/" in service or parts.fragment or options.keys() - {"db"}:
        raise ValueError
    return Sentinels(
        hosts=tuple(_place(place) for place in places.split(",")),
        service=service,
        db=_number(options.get("db", "0")),
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_password=sentinel_password,
    )


def _place(text: str) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    port = int(found["port"] or PORT) if found else 0
    if found is None or not 0 < port < 1 << 16:
        raise ValueError
    return found["host"].strip("[]"), port


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError
    return int(text)
