"""A real Redis with the documented users."""

from __future__ import annotations

import pytest
import redis as redis_py

import redis_acl as acl
from local.fleet import Fleet


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    """Start a Redis with users; return a client for each, and the URL of each under `urls`."""
    folder = tmp_path_factory.mktemp("users")
    passwords = acl.write(folder / "users", ["acme", "globex"])
    with Fleet(folder / "fleet") as fleet:
        fleet.start_redis(aclfile=str(folder / "users" / "users.acl"), maxmemory="256mb")
        place = fleet.url.removeprefix("redis://")
        yield Users({name: f"redis://{name}:{word}@{place}" for name, word in passwords.items()})


class Users:
    """Clients by the name of their user."""

    def __init__(self, urls: dict[str, str]) -> None:
        self.urls = urls
        self._clients: dict[str, redis_py.Redis] = {}

    def __getitem__(self, name: str) -> redis_py.Redis:
        if name not in self._clients:
            self._clients[name] = redis_py.Redis.from_url(self.urls[name])
        return self._clients[name]

    def empty(self) -> None:
        """Remove all keys."""
        operator = self["operator"]
        operator.delete("fb:none", *operator.scan_iter("*"))
