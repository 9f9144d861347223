"""Measure where the time of one request over one connection goes, from process to process.

Run `python tests/benchmarks/gateway_parts.py`. Each process of the fleet notes when it reaches the
moments of `PARTS` (`moments/sitecustomize.py`), by the monotonic clock, which all processes of a
machine share; the client notes when the request was sent and when its answer was read. Each row is
the part of a request before such a moment, with its median and its 99th percentile.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from local.fleet import Fleet  # noqa: E402 - found by the line above

WARM_UP = 50
PAUSE_S = 0.003  # between two requests, so that what follows an answer is not counted to the next
BODY = json.dumps(
    {"model": "auto", "messages": [{"role": "user", "content": "[[echo: say=ok]] Hi."}]}
)
#: The moment that ends each part, and what happens in the part.
PARTS = (
    ("request", "the client's bytes reach the gateway's application"),
    ("submit", "the gateway reads the request, checks key and limits, makes the job"),
    ("created", "the script `create`, there and back"),
)
WORK = (
    ("claim", "a thread of the worker is woken by the job"),
    ("claimed", "the script `claim`"),
    ("ask", "the worker opens the job and makes its prompt"),
    ("asked engine", "the prompt reaches the engine's process"),
    ("answer engine", "the engine answers"),
    ("engine answered", "the answer reaches the worker"),
    ("settle", "checks, doubt, decision, receipt"),
    ("woken", "the script `settle`, which wakes the gateway"),
    ("fetched", "the gateway reads the answer"),
    ("result", "the request's task is woken"),
    ("response", "the gateway makes and sends the response"),
    ("", "the client reads it"),
)


class Moment(NamedTuple):
    """A name that a process noted, and when, in nanoseconds."""

    at: int
    name: str


def parts(sent: int, read: int, moments: Sequence[Moment]) -> list[float] | None:
    """Return the milliseconds of each part; `None` if the request went another way."""
    ends, here = [sent], sent
    for name, _ in PARTS:
        here = next((one.at for one in moments if one.name == name and one.at >= here), 0)
        ends.append(here)
    here = ends[-2]  # the worker may have the job before its creator has word of it
    for name, _ in WORK[:-1]:
        here = next((one.at for one in moments if one.name == name and one.at >= here), 0)
        ends.append(here)
    if not all(ends):
        return None
    return [(after - before) / 1e6 for before, after in zip(ends, [*ends[1:], read], strict=True)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        noted = Path(folder) / "moments"
        env = {"PYTHONPATH": str(Path(__file__).parent / "moments"), "FOREBAY_MOMENTS": str(noted)}
        with Fleet(Path(folder), env) as fleet:
            fleet.start_redis()
            for part in ("router", "local", "sweeper"):
                fleet.start(part, FOREBAY_ENGINE="echo", FOREBAY_SLOTS="32")
            fleet.start("gateway", FOREBAY_GATEWAY_TENANT="bench", PROCESSES="1")
            fleet.wait_ready()
            _print(_measured(fleet, noted, options.requests))


def _measured(fleet: Fleet, noted: Path, requests: int) -> list[list[float]]:
    client = http.client.HTTPConnection("127.0.0.1", int(fleet.gateway_url.rpartition(":")[2]))
    for _ in range(WARM_UP):
        _ask(client)
    spans = []
    for _ in range(requests):
        spans.append(_ask(client))
        time.sleep(PAUSE_S)
    lines = (line.partition(" ") for line in noted.read_text().splitlines())
    moments = sorted(Moment(int(at), name) for at, _, name in lines)
    found = (
        parts(sent, read, [one for one in moments if sent <= one.at <= read])
        for sent, read in spans
    )
    return [each for each in found if each]


def _ask(client: http.client.HTTPConnection) -> tuple[int, int]:
    sent = time.monotonic_ns()
    client.request("POST", "/v1/chat/completions", BODY, {"content-type": "application/json"})
    response = client.getresponse()
    response.read()
    if response.status != http.client.OK:
        raise SystemExit(f"the gateway answers {response.status}")
    return sent, time.monotonic_ns()


def _print(measured: list[list[float]]) -> None:
    print(f"{len(measured)} requests over one connection\n\n{'p50 ms':>7} {'p99 ms':>7}")
    for (_, what), times in zip([*PARTS, *WORK], zip(*measured, strict=True), strict=True):
        _row(times, what)
    _row([sum(times) for times in measured], "together")


def _row(times: Sequence[float], what: str) -> None:
    cuts = statistics.quantiles(times, n=100)
    print(f"{cuts[49]:7.2f} {cuts[98]:7.2f}  {what}")


if __name__ == "__main__":
    main()
