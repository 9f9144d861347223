"""The egress log: what leaves the building is written down before it leaves.

Each entry holds the hash of the entry before it, so a change, a gap or a removed entry shows. Who
keeps the head of a day elsewhere can also tell if the log was written anew as a whole.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import redis

from forebay.routing.books.egress_entry import Entry, Leaving
from forebay.routing.errors import InvalidJob, Unavailable
from forebay.routing.store.connection import decoded, entries_of, reaching_redis
from forebay.routing.store.scripts import run

#: How often an append is tried while other workers append as well. One of them succeeds each time.
MAX_TRIES = 200
TURN_S = 1.0  # how long a thread waits for the others of its process, which would be in its way
_LOG, _HEAD, _DAYS = "fb:egress:log", "fb:egress:head", "fb:egress:days"


class Head(NamedTuple):
    """The end of a log, or of one day of it: number and hash of the last entry."""

    seq: int
    hash: str


class EgressLog:
    """The egress log of one Redis. Safe to share between threads."""

    def __init__(self, client: redis.Redis, max_entries: int = 200_000) -> None:
        """Keep about `max_entries` in Redis; older entries are removed, exported or not."""
        self._redis = client
        self._max_entries = max_entries
        self._turn = threading.Lock()

    def append(self, leaving: Leaving) -> Entry:
        """Write down what is about to leave; return its entry. Without it, nothing may leave.

        Raises:
            Unavailable: The entry could not be written.
        """
        has_turn = self._turn.acquire(timeout=TURN_S)
        try:
            return self._append(leaving)
        finally:
            if has_turn:
                self._turn.release()

    def _append(self, leaving: Leaving) -> Entry:
        _, *end = self._try("0", "", None)
        for _ in range(MAX_TRIES):
            seq, before, at_ms = int(end[0]), end[1].decode(), int(end[2])
            entry = Entry.following(seq, before, at_ms, leaving)
            status, *end = self._try(str(seq), before, entry)
            if (
                status == b"ok" or end[1].decode() == entry.hash
            ):  # the reply to an earlier try is lost
                return entry
        raise Unavailable("the egress log is written by too many workers at once")

    def read(self, since_ms: int | None = None) -> Iterator[Entry]:
        """Yield the entries that Redis keeps, the oldest first.

        Raises:
            InvalidJob: An entry was damaged, so that it cannot be read.
            Unavailable: Redis cannot be reached.
        """
        for _, values in entries_of(self._redis, _LOG, "-" if since_ms is None else str(since_ms)):
            try:
                text, stored = values[b"entry"].decode(), values[b"hash"].decode()
            except (KeyError, UnicodeDecodeError):
                raise InvalidJob("an entry of the egress log cannot be read") from None
            yield Entry.read(text, stored)

    def head(self) -> Head:
        """Return the end of the log; number 0 if nothing was ever written."""
        with reaching_redis():
            head: Any = self._redis.hgetall(_HEAD)
        return Head(int(head.get(b"seq", 0)), head.get(b"hash", b"").decode())

    def heads(self) -> dict[str, Head]:
        """Return the end of each day (UTC) on which something was written, in order."""
        with reaching_redis():
            days: Any = self._redis.hgetall(_DAYS)
        return {day: _head(value) for day, value in sorted(decoded(days).items())}

    def _try(self, seq: str, before: str, entry: Entry | None) -> list[Any]:
        words = (entry.text, entry.hash, entry.day) if entry else ("", "", "")
        with reaching_redis():
            reply: list[Any] = run(self._redis, "append", seq, before, *words, self._max_entries)
        return reply


def content_digest(secret: bytes, texts: Iterator[str]) -> str:
    """Return the digest of a content under a secret, so that nobody can test guesses of it."""
    code = hmac.new(secret, b"egress\0", hashlib.sha256)
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        code.update(len(encoded).to_bytes(8) + encoded)
    return code.hexdigest()


def _head(value: str) -> Head:
    seq, _, last = value.partition(" ")
    return Head(int(seq), last)
