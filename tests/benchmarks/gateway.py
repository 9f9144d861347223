"""Measure the gateway: requests a second, p50 and p99, at 1 to 64 connections, beside others.

Run `python tests/benchmarks/gateway.py --seconds 4`. One run measures, on one machine and with one
load generator: a bare ASGI application that echoes (the floor that uvicorn sets); the gateway with
a job on the ledger for each chat, answered by the echo engine; the same with answers from the
cache; streams; and LiteLLM's proxy with a mock model, if `make peers` has installed it or
`--litellm PYTHON` names a Python that has `litellm[proxy]`. The columns of the ratio compare each
with the floor and with LiteLLM. The column of processor time is that of all processes behind the
server for one request: the whole fleet, if there is a job. It hardly depends on what else the
machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import uvloop

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from environments import python_of  # noqa: E402 - beside this program
from figures import add_figures  # noqa: E402 - likewise

from local.fleet import Fleet, free_port  # noqa: E402 - found by the line above
from local.process import Process  # noqa: E402

CONNECTIONS = (1, 4, 16, 64)
MESSAGES = [{"role": "user", "content": "[[echo: say=ok]] Hello."}]
BARE = f"{Path(__file__).parent}"
LITELLM = """
model_list:
  - model_name: auto
    litellm_params: {model: openai/mock, api_key: none, mock_response: ok}
"""
#: No price list from the network, and no key: the gateway takes none here either.
LITELLM_ENV = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}


class Target(NamedTuple):
    """A server to measure: its port, the processes behind it, and the body of each request."""

    name: str
    port: int
    behind: Sequence[int]
    body: dict[str, object]

    def cpu_s(self) -> float:
        """Return the seconds of processor time that its processes have taken so far."""
        parents = [psutil.Process(pid) for pid in self.behind]
        trees = ((parent, *parent.children(recursive=True)) for parent in parents)
        times = [process.cpu_times() for tree in trees for process in tree]
        return sum(time.user + time.system for time in times)


class Measured(NamedTuple):
    """What one target did at one number of connections."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


def main() -> None:
    """Print a table for each number of connections."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--processes", default="1", help="of the gateway and of the floor")
    parser.add_argument("--litellm", metavar="PYTHON", default=python_of("litellm"))
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    parser.add_argument("--json", type=Path, help="a file to add the figures to")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        fleet = stack.enter_context(Fleet(Path(folder)))
        targets = _targets(fleet, options, stack)
        print(f"{options.seconds:g} s each, {options.processes} process(es)", end=", ")
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        tables = {each: _table(targets, each, options.seconds) for each in options.connections}
    add_figures(options.json, "gateway", tables)


def _targets(fleet: Fleet, options: argparse.Namespace, stack: ExitStack) -> list[Target]:
    chat: dict[str, object] = {"model": "auto", "messages": MESSAGES}
    fleet.start_redis()
    for part in ("router", "local", "sweeper"):
        fleet.start(part, FOREBAY_ENGINE="echo", FOREBAY_SLOTS="32")
    fleet.start("gateway", FOREBAY_GATEWAY_TENANT="bench", PROCESSES=options.processes)
    fleet.wait_ready()
    port = int(fleet.gateway_url.rpartition(":")[2])
    behind = [proc.pid for proc in fleet.procs]
    bare = stack.enter_context(_serving(fleet, _bare_command(options.processes)))
    targets = [
        Target("bare ASGI", *bare, chat),
        Target("gateway, ledger", port, behind, chat),
        Target("gateway, cached", port, behind, {**chat, "forebay": {"cache": True}}),
        Target("gateway, stream", port, behind, {**chat, "stream": True}),
    ]
    if options.litellm:
        config = fleet.folder / "litellm.yaml"
        config.write_text(LITELLM)
        litellm = stack.enter_context(_serving(fleet, _litellm_command(options.litellm, config)))
        targets.append(Target("LiteLLM", *litellm, chat))
    return targets


@contextmanager
def _serving(
    fleet: Fleet, command: Callable[[int], list[str]]
) -> Iterator[tuple[int, Sequence[int]]]:
    """Start a server on a free port, wait until it listens, and yield the port and its process."""
    port = free_port()
    env = {**os.environ, **LITELLM_ENV}
    log = fleet.logs / f"server-{port}.log"
    server = Process(f"server-{port}", command(port), env=env, log=log, ready=lambda _: _open(port))
    try:
        server.wait_ready(120)
        yield port, [server.pid]
    finally:
        server.kill_group()


def _bare_command(processes: str) -> Callable[[int], list[str]]:
    words = ["-m", "uvicorn", "bare_asgi:app", "--app-dir", BARE, "--no-access-log"]
    words += ["--workers", processes, "--log-level", "warning"]
    return lambda port: [sys.executable, *words, "--port", str(port)]


def _litellm_command(python: str, config: Path) -> Callable[[int], list[str]]:
    program = str(Path(python).parent / "litellm")
    return lambda port: [program, "--config", str(config), "--port", str(port)]


def _open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _table(targets: list[Target], connections: int, seconds: float) -> dict[str, dict[str, float]]:
    """Print and return what each target did."""
    rows = {target.name: _measure(target, connections, seconds) for target in targets}
    floor, other = rows["bare ASGI"], rows.get("LiteLLM")
    print(f"\n{connections} connection(s)")
    heads = f"{'':16} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'CPU ms':>8}"
    print(f"{heads} {'of floor':>9} {'of LiteLLM':>11}")
    for name, row in rows.items():
        ratio = f"{row.rate / other.rate:11.1f}" if other else f"{'-':>11}"
        print(
            f"{name:16} {row.rate:8.0f} {row.p50_ms:8.2f} {row.p99_ms:8.2f} {row.cpu_ms:8.2f} "
            f"{row.rate / floor.rate:9.3f} {ratio}"
        )
    return {name: row._asdict() for name, row in rows.items()}


def _measure(target: Target, connections: int, seconds: float) -> Measured:
    return uvloop.run(_load(target, connections, seconds))


async def _load(target: Target, connections: int, seconds: float) -> Measured:
    """Send requests over so many connections, each as soon as the last was answered."""
    body = json.dumps(target.body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{target.port}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    took: list[float] = []
    await _one(target.port, head.encode() + body, time.monotonic() + 0.5, [])  # warms up
    begun, cpu_s = time.monotonic(), target.cpu_s()
    loads = (
        _one(target.port, head.encode() + body, begun + seconds, took) for _ in range(connections)
    )
    await asyncio.gather(*loads)
    elapsed, cpu_s = time.monotonic() - begun, target.cpu_s() - cpu_s
    cuts = statistics.quantiles(took, n=100)
    return Measured(len(took) / elapsed, 1000 * cuts[49], 1000 * cuts[98], 1000 * cpu_s / len(took))


async def _one(port: int, request: bytes, end: float, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (sent := time.monotonic()) < end:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"port {port}: {head.decode()}")
        await _body(reader, head.lower())
        took.append(time.monotonic() - sent)
    writer.close()


async def _body(reader: asyncio.StreamReader, head: bytes) -> None:
    """Read a body, of a known length or in chunks."""
    if b"content-length: " in head:
        await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n", 1)[0]))
        return
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
    await reader.readline()


if __name__ == "__main__":
    main()
