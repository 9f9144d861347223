"""Frames of `application/vnd.amazon.eventstream`, in which ConverseStream answers."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any


def frame(event: str, payload: dict[str, Any], kind: str = "event") -> bytes:
    """Return one message of the stream; its `kind` is `event` or `exception`."""
    headers = {
        f":{kind}-type": event,
        ":content-type": "application/json",
        ":message-type": kind,
    }
    packed = b"".join(
        struct.pack(f"!B{len(name)}sBH{len(value)}s", len(name), name.encode(), 7, len(value),
                    value.encode())
        for name, value in headers.items()
    )  # fmt: skip
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", len(packed) + len(body) + 16, len(packed))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + packed + body
    return message + struct.pack("!I", zlib.crc32(message))
