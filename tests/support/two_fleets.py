"""Two fleets for tests: two Redis, one map, and workers played by the test."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from forebay.producers.client import Client
from forebay.routing.fleets.fleets import Fleets
from forebay.routing.fleets.map_file import MapFile
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from ledger_jobs import BELL
from local.fleet import Fleet

MAP = """default = "west"

[fleets.west]
redis_url = "{west}"

[fleets.east]
redis_url = "{east}"
"""


class TwoFleets:
    """The fleets `west`, which is the default, and `east`."""

    def __init__(self, folder: Path, urls: dict[str, str]) -> None:
        self.path, self.urls = folder / "fleets.toml", urls
        self.path.write_text(MAP.format(**urls))
        self.settings = Settings(fleets=self.path)
        self.redis = {name: redis.Redis.from_url(url) for name, url in urls.items()}
        for client in self.redis.values():
            client.flushall()

    def close(self) -> None:
        for client in self.redis.values():
            client.close()

    def write(self, tenants: str) -> None:
        """Write the map anew, with these lines under `[tenants]`."""
        self.path.write_text(f"{MAP.format(**self.urls)}\n[tenants]\n{tenants}\n")

    def ledger(self, name: str, **options) -> Ledger:
        settings = Settings(redis_url=self.urls[name], **options)
        return Ledger(self.redis[name], settings, BELL)

    def client(self, tenant: str = "acme", **options) -> Client:
        return Client(tenant=tenant, settings=self.settings, **options)

    def fleets(self) -> Fleets:
        return Fleets(MapFile(self.path), self.settings)


@contextmanager
def two_redis(folder: Path):
    """Start two Redis servers; give the URL of each by the name of its fleet."""
    with Fleet(folder / "west") as west, Fleet(folder / "east") as east:
        west.start_redis()
        east.start_redis()
        yield {"west": west.url, "east": east.url}


@pytest.fixture(scope="session")
def urls_of_fleets(tmp_path_factory):
    """Return the URLs of two Redis servers, by the names of their fleets."""
    with two_redis(tmp_path_factory.mktemp("fleets")) as urls:
        yield urls


@pytest.fixture
def two(tmp_path, urls_of_fleets):
    """Return two empty fleets that no tenant is named for."""
    fleets = TwoFleets(tmp_path, urls_of_fleets)
    yield fleets
    fleets.close()
