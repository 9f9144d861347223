"""Measure where the time of one request over one connection goes, from process to process.

Run `python tests/benchmarks/gateway_parts.py`. Redis is the clock that all processes share: MONITOR
tells when each of their commands arrives there, and the client's own clock tells when the request
was sent and its answer was read. Each row is a part between two such moments, with its median and
its 99th percentile. What happens in one part is in the table of `PARTS`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import redis

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from forebay.routing.store.scripts import digest  # noqa: E402 - found by the line above
from local.fleet import Fleet  # noqa: E402

WARM_UP = 50
PAUSE_S = 0.003  # between two requests, so that what follows an answer is not counted to the next
BODY = json.dumps(
    {"model": "auto", "messages": [{"role": "user", "content": "[[echo: say=ok]] Hi."}]}
)
#: The command that ends each part, and what happens in the part.
PARTS = (
    ("create", "the gateway reads the request, checks key and limits, and submits the job"),
    ("claim", "Redis wakes the worker's consumer, and Celery hands the doorbell to a thread"),
    ("settle", "prompt, engine in its own process, checks, doubt and decision"),
    ("GET", "Redis wakes the gateway, which fetches the answer"),
    ("", "the gateway makes the response, and the client reads it"),
)


class Command(NamedTuple):
    """A command that reached Redis, and when."""

    at: float
    name: str


class Watch:
    """Notes the commands that reach Redis."""

    def __init__(self, url: str) -> None:
        self.commands: list[Command] = []
        self._scripts = {digest(name): name for name in ("create", "claim", "settle")}
        self._redis = redis.Redis.from_url(url)
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch as long as this block runs."""
        self._thread.start()
        time.sleep(0.3)
        yield
        self._ended = True
        self._redis.ping()
        self._thread.join(5)

    def _run(self) -> None:
        with self._redis.monitor() as monitor:
            for entry in monitor.listen():
                words = entry["command"].split(" ", 2)
                name = self._scripts.get(words[1] if len(words) > 1 else "", words[0].upper())
                if entry["client_type"] != "lua":
                    self.commands.append(Command(float(entry["time"]), name))
                if self._ended:
                    return


def parts(sent: float, read: float, commands: list[Command]) -> list[float] | None:
    """Return the seconds of each part; `None` if the request went another way."""
    moments, here = [sent], sent
    for name, _ in PARTS[:-1]:
        here = next((one.at for one in commands if one.name == name and one.at >= here), 0.0)
        if not here or here > read:
            return None
        moments.append(here)
    return [after - before for before, after in zip(moments, [*moments[1:], read], strict=True)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        fleet.start_redis()
        for part in ("router", "local", "sweeper"):
            fleet.start(part, FOREBAY_ENGINE="echo", FOREBAY_SLOTS="32")
        fleet.start("gateway", FOREBAY_GATEWAY_TENANT="bench", PROCESSES="1")
        fleet.wait_ready()
        _print(_measured(fleet, options.requests))


def _measured(fleet: Fleet, requests: int) -> list[list[float]]:
    client = http.client.HTTPConnection("127.0.0.1", int(fleet.gateway_url.rpartition(":")[2]))
    for _ in range(WARM_UP):
        _ask(client)
    watch, spans = Watch(fleet.url), []
    with watch.running():
        for _ in range(requests):
            spans.append(_ask(client))
            time.sleep(PAUSE_S)
    found = (
        parts(sent, read, [one for one in watch.commands if sent <= one.at <= read])
        for sent, read in spans
    )
    return [each for each in found if each]


def _ask(client: http.client.HTTPConnection) -> tuple[float, float]:
    sent = time.time()
    client.request("POST", "/v1/chat/completions", BODY, {"content-type": "application/json"})
    response = client.getresponse()
    response.read()
    if response.status != http.client.OK:
        raise SystemExit(f"the gateway answers {response.status}")
    return sent, time.time()


def _print(measured: list[list[float]]) -> None:
    print(f"{len(measured)} requests over one connection\n\n{'p50 ms':>7} {'p99 ms':>7}")
    for (_, what), times in zip(PARTS, zip(*measured, strict=True), strict=True):
        _row(times, what)
    _row([sum(times) for times in measured], "together")


def _row(times: list[float] | tuple[float, ...], what: str) -> None:
    cuts = statistics.quantiles(times, n=100)
    print(f"{1000 * cuts[49]:7.2f} {1000 * cuts[98]:7.2f}  {what}")


if __name__ == "__main__":
    main()
