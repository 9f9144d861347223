"""Finds the process of a supervised engine, whose id the engine does not reveal."""

from __future__ import annotations

import contextlib
import uuid

import psutil

from forebay.workers.engines.engine import Prompt, Turn

_MODULE = "forebay.workers.engines.host.child"


def engine_pid() -> int | None:
    """Return the id of the newest engine process that this process has started, if one runs."""
    started = {}
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if _MODULE in child.cmdline():  # a zombie has no command line
                started[child.pid] = child.create_time()
    return max(started, key=started.__getitem__, default=None)


def takes_work(engine, within_s: float = 10.0) -> bool:
    """Return whether the engine answers a short prompt, rather than refuse it."""
    turns = (Turn(role="user", content="hello"),)
    prompt = Prompt(id=uuid.uuid4().hex, messages=turns, max_tokens=1)
    return engine.submit(prompt).exception(within_s) is None
