"""The stream of an answer's text while it is generated: a worker writes it, a gateway reads it.

Each job that asks for it has one Redis stream, sealed like every content. It is a preview: the
answer is what the ledger holds. So a piece may be lost if Redis is full or away, and a job that is
tried again begins anew, which its entries tell by their attempt.
"""

from __future__ import annotations

import contextlib
import queue
import secrets
import threading
from collections.abc import Callable, Mapping
from itertools import islice
from typing import NamedTuple

import redis

from forebay.routing.store.encryption import Seal

KEPT_MS = 120_000  # after its last piece; the answer itself is kept as long as the job
MAX_PIECES = 20_000  # of one stream; more than the tokens of any answer
MAX_PIECES_PER_WRITE = 500
_CLOSE_S = 2.0


class Piece(NamedTuple):
    """Some text of an answer.

    Attributes:
        attempt: names the generation that the text belongs to.
        text: follows what came before it in the same attempt.
    """

    attempt: str
    text: str


def stream_key(job_id: str) -> str:
    """Return the key of a job's stream."""
    return f"fb:stream:{job_id.partition('.')[0]}:{job_id}"


def read_piece(fields: Mapping[bytes, bytes], seal: Seal) -> Piece | None:
    """Return the piece of an entry, or `None` if no worker wrote the entry."""
    try:
        return Piece(fields[b"attempt"].decode(), seal.open(fields[b"text"]).decode())
    except (KeyError, ValueError):
        return None


class TextWriter:
    """Writes the pieces of all jobs of a worker, from one thread that starts with the first.

    An engine never waits for Redis: pieces queue up, and what has queued up is written together.
    """

    def __init__(self, client: redis.Redis, seal: Seal) -> None:
        self._redis = client
        self._seal = seal
        self._pieces: queue.SimpleQueue[tuple[str, Piece] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def open(self, job_id: str) -> Callable[[str], None]:
        """Return what takes the text of a new generation for a job, piece by piece."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="text-writer")
                self._thread.start()
        attempt, put = secrets.token_hex(4), self._pieces.put
        return lambda text: put((job_id, Piece(attempt, text)))

    def close(self) -> None:
        """Write what has queued up, and end the thread."""
        self._pieces.put(None)
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while (first := self._pieces.get()) is not None:
            waiting = [first, *islice(iter(self._waiting, None), MAX_PIECES_PER_WRITE)]
            with contextlib.suppress(redis.RedisError):  # the answer itself comes in any case
                self._write(_joined(waiting))

    def _waiting(self) -> tuple[str, Piece] | None:
        """Return a piece that has queued up, if there is one."""
        with contextlib.suppress(queue.Empty):
            piece = self._pieces.get_nowait()
            if piece is None:
                self._pieces.put(None)  # for the loop, which ends with it
            return piece
        return None

    def _write(self, texts: Mapping[tuple[str, str], str]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for (job_id, attempt), text in texts.items():
                key, sealed = stream_key(job_id), self._seal.close(text.encode())
                pipe.xadd(key, {"attempt": attempt, "text": sealed}, maxlen=MAX_PIECES)
                pipe.pexpire(key, KEPT_MS)
            pipe.execute(raise_on_error=False)


def _joined(waiting: list[tuple[str, Piece]]) -> dict[tuple[str, str], str]:
    """Return the text of each job and attempt, with its pieces joined."""
    texts: dict[tuple[str, str], list[str]] = {}
    for job_id, piece in waiting:
        texts.setdefault((job_id, piece.attempt), []).append(piece.text)
    return {key: "".join(pieces) for key, pieces in texts.items()}
