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
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple, Protocol

import redis
from pydantic import TypeAdapter

from forebay.routing.errors import InvalidJob, Misconfigured
from forebay.routing.jobs import Job
from forebay.routing.receipts import TokenLogprob
from forebay.routing.store.encryption import Seal

KEPT_MS = 120_000  # after its last piece; the answer itself is kept as long as the job
MAX_PIECES = 20_000  # of one stream; more than the tokens of any answer
MAX_PIECES_PER_WRITE = 500
_CLOSE_S = 2.0

Tokens = tuple[TokenLogprob, ...]
_TOKENS: TypeAdapter[Tokens] = TypeAdapter(Tokens)


class Piece(NamedTuple):
    """Some text of an answer.

    Attributes:
        attempt: names the generation that the text belongs to.
        text: follows what came before it in the same attempt.
        tokens: those of the text, if the job asks for their probabilities; they too follow the
            tokens before them, and the last ones may still be without their text.
    """

    attempt: str
    text: str
    tokens: Tokens = ()


def stream_key(job_id: str) -> str:
    """Return the key of a job's stream."""
    return f"fb:stream:{job_id.partition('.')[0]}:{job_id}"


def read_piece(fields: Mapping[bytes, bytes], seal: Seal) -> Piece | None:
    """Return the piece of an entry, or `None` if no worker wrote the entry or we lack its key.

    One thread of a gateway reads the texts of all tenants: what one forged must not end it.
    """
    try:
        text, tokens = seal.open(fields[b"text"]).decode(), fields.get(b"tokens")
        scored = _TOKENS.validate_json(seal.open(tokens)) if tokens else ()
        return Piece(fields[b"attempt"].decode(), text, scored)
    except (KeyError, ValueError, InvalidJob, Misconfigured):  # the last: sealed with another key
        return None


class TakePiece(Protocol):
    """Takes the text of one generation for a job, and its tokens if they are wanted."""

    def __call__(self, text: str, tokens: Sequence[TokenLogprob] = (), /) -> None:
        """Take the next piece."""


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

    def open(self, job_id: str) -> TakePiece:
        """Return what takes the text of a new generation for a job, piece by piece."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="text-writer")
                self._thread.start()
        attempt, put = secrets.token_hex(4), self._pieces.put
        return lambda text, tokens=(): put((job_id, Piece(attempt, text, tuple(tokens))))

    def open_for(self, job: Job) -> TakePiece | None:
        """Return what takes the text of an answer as it comes, if the job asks for it."""
        return self.open(job.id) if job.stream and job.kind == "generate" else None

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

    def _write(self, pieces: Iterable[tuple[str, Piece]]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id, piece in pieces:
                key = stream_key(job_id)
                pipe.xadd(key, self._fields(piece), maxlen=MAX_PIECES)
                pipe.pexpire(key, KEPT_MS)
            pipe.execute(raise_on_error=False)

    def _fields(self, piece: Piece) -> dict[Any, Any]:
        """Return the entry of a piece: its text and its tokens are sealed."""
        fields = {
            "attempt": piece.attempt,
            "text": self._seal.close(piece.text.encode("utf-8", "replace")),
        }
        if piece.tokens:
            fields["tokens"] = self._seal.close(_TOKENS.dump_json(piece.tokens))
        return fields


def _joined(waiting: list[tuple[str, Piece]]) -> list[tuple[str, Piece]]:
    """Return one piece for each job and attempt, with their pieces joined."""
    together: dict[tuple[str, str], list[Piece]] = {}
    for job_id, piece in waiting:
        together.setdefault((job_id, piece.attempt), []).append(piece)
    return [
        (
            job_id,
            Piece(
                attempt,
                "".join(piece.text for piece in pieces),
                tuple(chain.from_iterable(piece.tokens for piece in pieces)),
            ),
        )
        for (job_id, attempt), pieces in together.items()
    ]
