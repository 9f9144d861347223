"""Measure how soon the first token of a stream comes: through the gateway, and from the engine.

Run `python tests/benchmarks/first_token.py`. The echo engine makes a token every 20 ms. One run
measures, one after the other: the engine in this process; a stream through a gateway and a whole
fleet; the same while another stream is open; and several streams side by side.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from statistics import quantiles
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from forebay.workers.engines.batching.echo import EchoEngine  # noqa: E402 - found by the line above
from forebay.workers.engines.engine import Prompt, Turn  # noqa: E402
from forebay.workers.engines.settings import EngineSettings  # noqa: E402
from local.fleet import Fleet  # noqa: E402

TOKEN_S = 0.02
SIDE_BY_SIDE = 4
TEXT = "one two three four"
OTHER = "[[echo: delay=1]] " + "word " * 60  # of the stream that is open meanwhile


def main() -> None:
    """Print p50 and p90 of the time to the first token, and the time that the gateway adds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", type=int, default=40, help="of each measurement")
    streams = parser.parse_args().streams
    print(f"{'ms to the first token':32}{'p50':>8}{'p90':>8}{'added':>8}{'ratio':>8}")
    base = _print("engine", _engine_times(streams), None)
    with ExitStack() as stack:
        fleet = stack.enter_context(Fleet(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        port = _gateway(fleet)
        _print("gateway", [_first(port, TEXT) for _ in range(streams)], base)
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            together = list(pool.map(lambda _: _first(port, TEXT), range(streams)))
        _print(f"gateway, {SIDE_BY_SIDE} streams side by side", together, base)
        threading.Thread(target=_first, args=(port, OTHER), daemon=True).start()
        time.sleep(2)
        _print("gateway, beside an open stream", [_first(port, TEXT) for _ in range(streams)], base)


def _print(name: str, times: list[float], base: float | None) -> float:
    """Print a row; return its median in milliseconds."""
    tenths = quantiles((1_000 * seconds for seconds in times), n=10)
    median, p90 = tenths[4], tenths[8]
    beside = "" if base is None else f"{median - base:>8.1f}{median / base:>8.2f}"
    print(f"{name:32}{median:>8.1f}{p90:>8.1f}{beside}")
    return median


def _engine_times(streams: int) -> list[float]:
    engine, numbers = EchoEngine(EngineSettings(echo_delay_s=TOKEN_S)), count()

    def first() -> float:
        heard = threading.Event()
        turns = (Turn(role="user", content=TEXT),)
        prompt = Prompt(id=f"p{next(numbers)}", messages=turns, max_tokens=9, stream=True)
        begun = time.perf_counter()
        future = engine.submit(prompt, _setting(heard))
        heard.wait()
        took = time.perf_counter() - begun
        future.result()
        return took

    try:
        return [first() for _ in range(streams)]
    finally:
        engine.close()


def _setting(heard: threading.Event) -> Callable[..., None]:
    def take(text: str, _tokens: Any = ()) -> None:
        if text:
            heard.set()

    return take


def _gateway(fleet: Fleet) -> int:
    """Start a fleet; return the port of its gateway."""
    fleet.start_redis()
    for part in ("router", "local", "sweeper"):
        fleet.start(part, FOREBAY_ENGINE="echo", FOREBAY_ECHO_DELAY_S=str(TOKEN_S))
    fleet.start("gateway", FOREBAY_GATEWAY_TENANT="bench")
    fleet.wait_ready()
    port = int(fleet.gateway_url.rpartition(":")[2])
    for _ in range(5):
        _first(port, TEXT)
    return port


def _first(port: int, text: str) -> float:
    """Ask for a stream; return the seconds to its first text. Reads the stream to its end."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    chat = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": text}]}
    begun, first = time.perf_counter(), 0.0
    connection.request("POST", "/v1/chat/completions", json.dumps(chat))
    for line in connection.getresponse():
        if not first and b'"content":"one' in line:
            first = time.perf_counter() - begun
    connection.close()
    return first


if __name__ == "__main__":
    main()
