"""The prompt cache of the mock: the part of a prompt before a cache point is written, then read."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass
from typing import Any

CHARS_PER_TOKEN = 4  # roughly, of English text; the mock has no tokenizer
KEPT_S = 300.0


def tokens(text: str) -> int:
    """Return roughly how many tokens a text has."""
    return -(-len(text) // CHARS_PER_TOKEN)


@dataclass(frozen=True)
class Cached:
    """The tokens of a prompt that were read from the cache, or written to it."""

    read: int = 0
    written: int = 0


NOTHING_CACHED = Cached()


class PromptCache:
    """Remembers the prefixes of prompts for five minutes. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used_at: dict[str, float] = {}

    def look_up(self, model: str, body: dict[str, Any]) -> Cached:
        """Return the cached tokens of a prompt, and remember its prefix.

        A prefix that is shorter than the model's minimum is not cached, and no error.
        """
        prefix = _prefix(body.get("system"))
        size = tokens(prefix)
        if size < (4_096 if "haiku" in model else 1_024):
            return Cached()
        name = hashlib.sha256(json.dumps([model, prefix]).encode()).hexdigest()
        now = time.monotonic()
        with self._lock:
            before = self._used_at.get(name)
            self._used_at[name] = now
        known = before is not None and now - before < KEPT_S
        return Cached(read=size) if known else Cached(written=size)


def _prefix(system: Any) -> str:
    """Return the system prompt up to its last cache point; empty without one."""
    blocks = system if isinstance(system, list) else []
    points = [at for at, block in enumerate(blocks) if "cachePoint" in block]
    before = blocks[: points[-1]] if points else []
    return "\n".join(block["text"] for block in before if "text" in block)
