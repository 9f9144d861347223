"""Pack an answer's content for storage: vectors as binary (float32), all else as JSON.

As JSON a number of a vector takes five times the memory, and a full Redis takes no new jobs.
"""

from __future__ import annotations

import json
import sys
from array import array
from typing import Any

from forebay.routing.jobs import Content
from forebay.routing.receipts import Embedding

_PACKED = b"v"  # JSON begins with `{`
_FLOAT = "f"


def pack(content: Content) -> bytes:
    """Return the content as bytes. A vector's numbers are rounded to 32 bits."""
    if not isinstance(content, Embedding) or len({len(v) for v in content.vectors}) != 1:
        return content.model_dump_json().encode()
    rest = content.model_dump(mode="json", exclude={"vectors"})
    try:
        numbers = array(_FLOAT, (number for vector in content.vectors for number in vector))
    except OverflowError:  # beyond what 32 bits hold
        return content.model_dump_json().encode()
    if sys.byteorder == "big":
        numbers.byteswap()
    head = json.dumps({**rest, "vectors": len(content.vectors)}).encode()
    return b"%b%b\n%b" % (_PACKED, head, numbers.tobytes())


def unpack(stored: bytes) -> Any:
    """Return the fields of a content that was packed.

    Raises:
        ValueError: `pack` did not make these bytes.
    """
    if not stored.startswith(_PACKED):
        return json.loads(stored)
    head, _, data = stored[1:].partition(b"\n")
    fields = json.loads(head)
    count = fields["vectors"]
    numbers = array(_FLOAT)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    if not isinstance(count, int) or count < 1 or len(numbers) % count:
        raise ValueError("damaged vectors")
    length = len(numbers) // count
    vectors = [numbers[start : start + length].tolist() for start in range(0, len(numbers), length)]
    return {**fields, "vectors": vectors}
