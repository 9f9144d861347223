"""Measure the processor time that the gateway itself takes for a request, without uvicorn.

Run `python tests/benchmarks/gateway_cpu.py`. The application runs in this process, and the fleet
that answers by the echo engine in others, so `process_time` is the gateway's alone and depends less
on what else the machine does. Side by side: with the shortcuts to endpoints (`server/shortcuts.py`)
and by FastAPI's search for a route; without keys and with a key that has limits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import redis
import uvloop

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from forebay.producers.gateway.api_keys import KeyStore  # noqa: E402 - found by the line above
from forebay.producers.gateway.server.app import create_app  # noqa: E402
from forebay.producers.gateway.server.shortcuts import Shortcuts  # noqa: E402
from forebay.producers.gateway.settings import GatewaySettings  # noqa: E402
from forebay.routing.settings import Settings  # noqa: E402
from local.fleet import Fleet  # noqa: E402

AT_ONCE = 16
PATH = "/v1/chat/completions"
CHAT = {"model": "auto", "messages": [{"role": "user", "content": "[[echo: say=ok]] Hello."}]}
BODIES = {"a job": CHAT, "the cache": {**CHAT, "forebay": {"cache": True}}}


def main() -> None:
    """Print microseconds of processor time a request, and the ratio to FastAPI's own search."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=400, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many counts")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fleet = stack.enter_context(Fleet(folder / "fleet"))
        fleet.start_redis()
        for part in ("router", "local", "sweeper"):
            fleet.start(part, FOREBAY_ENGINE="echo", FOREBAY_SLOTS="32")
        fleet.wait_ready()
        uvloop.run(_measure(fleet, folder, options))


async def _measure(fleet: Fleet, folder: Path, options: argparse.Namespace) -> None:
    with redis.Redis.from_url(fleet.url) as client:
        limits = {"requests_per_minute": 1_000_000, "tokens_per_minute": 1_000_000_000}
        key = KeyStore(client).create("bench", scopes=("submit",), **limits)[1]
    print(f"{'':22}{'FastAPI':>10}{'shortcuts':>11}   ratio")
    async with AsyncExitStack() as stack:
        for tenant, who in (("bench", "no keys"), (None, "limited key")):
            settings = GatewaySettings(gateway_tenant=tenant, gateway_files=folder / "files")
            apps = [create_app(settings, Settings(redis_url=fleet.url)) for _ in range(2)]
            apps[0].user_middleware = [
                layer for layer in apps[0].user_middleware if layer.cls is not Shortcuts
            ]
            for app in apps:
                await stack.enter_async_context(app.router.lifespan_context(app))
            for what, body in BODIES.items():
                plain, short = [], []
                for _ in range(options.rounds):
                    for app, taken in zip(apps, (plain, short), strict=True):
                        taken.append(await _cpu_us(app, body, key, options.requests))
                best = min(plain), min(short)
                line = f"{who}, {what:10}".ljust(22)
                print(f"{line}{best[0]:>7.0f} us{best[1]:>8.0f} us{best[1] / best[0]:>8.2f}")


async def _cpu_us(app: Any, body: dict[str, Any], key: str, requests: int) -> float:
    """Return the microseconds of processor time of a request; the first ones do not count."""
    raw = json.dumps(body).encode()

    async def ask(count: int) -> None:
        for _ in range(count):
            await _request(app, raw, key)

    await asyncio.gather(*(ask(2) for _ in range(AT_ONCE)))
    each = max(1, requests // AT_ONCE)
    begun = time.process_time()
    await asyncio.gather(*(ask(each) for _ in range(AT_ONCE)))
    return (time.process_time() - begun) / (each * AT_ONCE) * 1e6


async def _request(app: Any, raw: bytes, key: str) -> None:
    sent: list[dict[str, Any]] = []
    given = False

    async def receive() -> dict[str, Any]:
        nonlocal given
        if given:
            await asyncio.get_running_loop().create_future()  # the client waits
        given = True
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await _call(app, receive, send, len(raw), key)
    if sent[0]["status"] != 200:
        raise SystemExit(f"the gateway answered {sent[0]['status']}")


def _call(
    app: Any, receive: Callable[[], Any], send: Callable[[Any], Any], size: int, key: str
) -> Awaitable[None]:
    headers = [
        (b"host", b"127.0.0.1:8080"), (b"authorization", f"Bearer {key}".encode()),
        (b"content-type", b"application/json"), (b"content-length", str(size).encode()),
    ]  # fmt: skip
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "path": PATH, "raw_path": PATH.encode(), "query_string": b"", "root_path": "",
        "scheme": "http", "headers": headers, "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
    }  # fmt: skip
    called: Awaitable[None] = app(scope, receive, send)
    return called


if __name__ == "__main__":
    main()
