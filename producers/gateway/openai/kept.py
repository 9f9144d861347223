"""Keeps what a caller asked with its job: sealed, and as long as the job."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from forebay.producers.gateway.access import Caller
from forebay.routing.errors import ForebayError, Misconfigured
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.logs import Event, event
from forebay.routing.store.connection import reaching_redis

MAX_SEALED_BYTES = 96 * 1024 * 1024  # of a note, as `prelude.lua` bounds all contents

log = logging.getLogger(__name__)


async def keep(by: Caller, job_id: str, asked: bytes) -> bool:
    """Keep what was asked with a job; return `False` if that failed."""
    try:
        await by.gateway.on_thread(lambda: _write(by.gateway.place_of(job_id), job_id, asked))
    except ForebayError as error:
        words = "what a caller asked is not kept (%s)"
        log.warning(words, error.code, extra=event(Event.REDIS_AWAY, job=job_id))
        return False
    return True


async def kept(by: Caller, job_id: str) -> bytes | None:
    """Return what was asked; `None` if it is not kept, or cannot be opened."""
    return await by.gateway.on_thread(lambda: read_kept(by.gateway.place_of(job_id), [job_id])[0])


def read_kept(ledger: Ledger, job_ids: Sequence[str]) -> list[bytes | None]:
    """Return what was asked with each of these jobs, in one round trip."""
    with reaching_redis(), ledger.redis.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            # Cut off if it is longer than any: then it is damaged.
            pipe.getrange(f"fb:asked:{job_id}", 0, MAX_SEALED_BYTES)
        return [_opened(ledger, sealed) for sealed in pipe.execute(raise_on_error=False)]


def change_kept(ledger: Ledger, job_id: str, asked: bytes) -> bool:
    """Replace what was kept with a job; return `False` if nothing was."""
    sealed = ledger.seal.close(asked)
    return bool(Transitions(ledger.redis).run("change_asked", job_id, sealed))


def _write(ledger: Ledger, job_id: str, asked: bytes) -> None:
    Transitions(ledger.redis).run("keep_asked", job_id, ledger.seal.close(asked))


def _opened(ledger: Ledger, sealed: Any) -> bytes | None:
    if not sealed or not isinstance(sealed, bytes):  # not there, or under rights of before
        return None
    try:
        return ledger.seal.open(sealed)
    except (ValueError, Misconfigured):  # damaged, or without its key
        return None
