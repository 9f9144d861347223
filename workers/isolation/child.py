"""A process that makes calls for its parent: `python -m forebay.workers.isolation.child MODULE`.

It reads calls from standard input and writes what they return to standard output, both pickled. The
parent kills it if a call takes too long. If the parent cannot, because it died or hangs, the kernel
does (`RLIMIT_CPU`). Nothing is ever written to standard error: a traceback may quote content.
"""

from __future__ import annotations

import importlib
import math
import os
import pickle
import resource
import select
import sys
import time
from typing import Any, BinaryIO

from forebay.routing.errors import ForebayError
from forebay.routing.logs import place
from forebay.workers.isolation import pool
from forebay.workers.isolation.frames import HEADER, frame
from forebay.workers.isolation.limits import CPU_S, MEMORY_BYTES, NICENESS, OverBudget

_PARENT_CHECK_S = 5.0
_EXIT_ORPHAN = 0
_EXIT_NO_MEMORY = 71


def main() -> None:
    """Make calls until the parent is gone."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    _silence()
    parent = os.getppid()
    importlib.import_module(sys.argv[1])  # what the first call needs
    pool.call_directly()
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _write(sink, frame(("ready", None)))
    while _has_call(source, parent):
        header = source.read(HEADER.size)
        if len(header) < HEADER.size:
            return
        (size,) = HEADER.unpack(header)
        _write(sink, _reply(source.read(size)))


def _silence() -> None:
    """Let no library write to the parent's pipe, or content to standard error."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def _has_call(source: BinaryIO, parent: int) -> bool:
    """Wait for a call, or the end of the pipe; return False if the parent died."""
    while not select.select([source], [], [], _PARENT_CHECK_S)[0]:
        if os.getppid() != parent:  # another process may still hold the other end of the pipe
            return False
    return True


def _reply(payload: bytes) -> bytes:
    """Make the call in the payload; return the frame of its reply."""
    try:
        function, args, kwargs = pickle.loads(payload)  # noqa: S301 - written by the parent
        _limit_cpu()
        return frame(("returned", function(*args, **kwargs)))
    except ForebayError as error:
        return frame(("raised", error))
    except (MemoryError, RecursionError) as error:
        memory = isinstance(error, MemoryError)
        reason = "takes too much memory to check" if memory else "cannot be checked"
        return frame(("raised", OverBudget(reason)))
    except Exception as error:  # noqa: BLE001 - its message may quote content
        return frame(("broke", f"{type(error).__name__} at {place(error)}"))


def _limit_cpu() -> None:
    """Have the kernel kill this process if it computes for longer than a call may."""
    limit = math.ceil(time.process_time()) + CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _write(sink: BinaryIO, data: Any) -> None:
    try:
        sink.write(data)
        sink.flush()
    except OSError:  # the parent reads no more
        os._exit(_EXIT_ORPHAN)


if __name__ == "__main__":
    try:
        main()
    except MemoryError:
        os._exit(_EXIT_NO_MEMORY)
