"""Notes in each process of a fleet when certain functions are called and return.

`gateway_parts.py` starts the fleet with this folder in `PYTHONPATH`, so every Python process runs
this file first. It waits until the modules of `MOMENTS` are imported, and wraps their methods. Each
moment is a line of the file `$FOREBAY_MOMENTS`: nanoseconds of the monotonic clock, which all
processes of a machine share, and a name.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

LOOK_EVERY_S, LOOK_FOR_S = 0.05, 60.0
#: The module and the class of a method, the method, and the names of its call and its return.
MOMENTS = (
    ("producers.gateway.server.envelope:Envelope", "__call__", "request", "response"),
    ("producers.submission:Submitter", "begin_all", "submit", ""),
    ("routing.ledger.ledger:Ledger", "put_on", "", "created"),
    ("routing.broker.transport:_DropsGarbage", "_brpop_read", "", "doorbell"),
    ("workers.runtime.actor:Actor", "_answer", "thread", ""),
    ("routing.ledger.ledger:Ledger", "claim_many", "claim", "claimed"),
    ("workers.engines.host.process:EngineProcess", "request_all", "ask", "asked"),
    ("workers.engines.host.child:Child", "_carry_out", "asked engine", ""),
    ("workers.engines.host.child:Child", "_tell_end", "answer engine", ""),
    ("workers.engines.host.process:EngineProcess", "_resolve_all", "engine answered", ""),
    ("routing.ledger.ledger:Ledger", "settle_many", "settle", "settled"),
    ("producers.wakeups:Wakeups", "fulfil", "woken", ""),
    ("routing.ledger.reader:LedgerReader", "results", "", "fetched"),
    ("producers.gateway.asking.asking:_results", "", "", "result"),
)


def _begin(path: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(name: str) -> None:
        if name:
            os.write(file, f"{time.monotonic_ns()} {name}\n".encode())

    threading.Thread(target=_wrap_all, args=(note,), daemon=True, name="moments").start()


def _wrap_all(note: Callable[[str], None]) -> None:
    left, end = list(MOMENTS), time.monotonic() + LOOK_FOR_S
    while left and time.monotonic() < end:
        left = [moment for moment in left if not _wrapped(note, *moment)]
        time.sleep(LOOK_EVERY_S)


def _wrapped(note: Callable[[str], None], place: str, name: str, call: str, end: str) -> bool:
    """Wrap a method, or a function of a module, and return whether it was there."""
    path, _, owner = place.partition(":")
    main = sys.modules["__main__"]
    is_main = getattr(getattr(main, "__spec__", None), "name", "") == f"forebay.{path}"
    module = main if is_main else sys.modules.get(f"forebay.{path}")
    holder = getattr(module, owner, None) if name else module
    function: Any = getattr(holder, name or owner, None)
    if function is None:
        return False
    wrap = _noted_async if inspect.iscoroutinefunction(function) else _noted
    setattr(holder, name or owner, wrap(function, lambda: note(call), lambda: note(end)))
    return True


def _noted(function: Any, before: Callable[[], None], after: Callable[[], None]) -> Any:
    @functools.wraps(function)
    def noted(*args: Any, **options: Any) -> Any:
        before()
        try:
            return function(*args, **options)
        finally:
            after()

    return noted


def _noted_async(function: Any, before: Callable[[], None], after: Callable[[], None]) -> Any:
    @functools.wraps(function)
    async def noted(*args: Any, **options: Any) -> Any:
        before()
        try:
            return await function(*args, **options)
        finally:
            after()

    return noted


if path := os.environ.get("FOREBAY_MOMENTS"):
    _begin(path)
