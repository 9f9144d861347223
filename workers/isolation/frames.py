"""Frames on the pipes between a worker and its isolated processes: a length and a pickle."""

from __future__ import annotations

import os
import pickle
import select
import struct
import time
from typing import Any

HEADER = struct.Struct(">Q")
_CHUNK_BYTES = 1 << 18


class Late(Exception):
    """The time is up."""


def frame(value: Any) -> bytes:
    """Return a value as one frame."""
    payload = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return HEADER.pack(len(payload)) + payload


def write(descriptor: int, data: bytes, deadline: float) -> None:
    """Write all data to a non-blocking descriptor.

    Raises:
        Late: The deadline, by the monotonic clock, has passed.
        OSError: The other process is gone.
    """
    view = memoryview(data)
    while view:
        _await(descriptor, select.POLLOUT, deadline)
        view = view[os.write(descriptor, view[:_CHUNK_BYTES]) :]


def is_ready(descriptor: int, within_s: float) -> bool:
    """Wait up to `within_s` seconds for something to read, or for the end of the other process."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, within_s) * 1_000))


def read(descriptor: int, deadline: float) -> Any:
    """Return the value in the next frame from a non-blocking descriptor.

    Raises:
        Late: The deadline, by the monotonic clock, has passed.
        EOFError: The other process is gone.
    """
    (size,) = HEADER.unpack(_read(descriptor, HEADER.size, deadline))
    return pickle.loads(_read(descriptor, size, deadline))  # noqa: S301 - from our own process


def _read(descriptor: int, size: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        _await(descriptor, select.POLLIN, deadline)
        chunk = os.read(descriptor, min(_CHUNK_BYTES, size - len(data)))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def _await(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    while not poll.poll(max(0.0, deadline - time.monotonic()) * 1_000):
        if time.monotonic() >= deadline:
            raise Late
