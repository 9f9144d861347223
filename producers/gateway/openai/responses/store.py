"""Keeps what a response was asked with its job: sealed, and as long as the job."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import ValidationError

from forebay.producers.gateway.access import Caller
from forebay.producers.gateway.openai.responses.request import ResponsesRequest
from forebay.routing.errors import ForebayError, Misconfigured
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.logs import Event, event
from forebay.routing.store.connection import reaching_redis

MAX_SEALED_BYTES = 96 * 1024 * 1024  # of a note, as `prelude.lua` bounds all contents

log = logging.getLogger(__name__)


async def keep(by: Caller, job_id: str, body: ResponsesRequest) -> None:
    """Keep what a response was asked. If that cannot be kept, the response says less later."""
    asked = body.model_dump_json(by_alias=True, exclude_unset=True).encode()
    try:
        await by.gateway.on_thread(lambda: _write(by.gateway.place_of(job_id), job_id, asked))
    except ForebayError as error:
        words = "what a response was asked is not kept (%s)"
        log.warning(words, error.code, extra=event(Event.REDIS_AWAY, job=job_id))


async def kept(by: Caller, job_id: str) -> ResponsesRequest | None:
    """Return what a response was asked; `None` if it is not kept, or of another release."""
    asked = await by.gateway.on_thread(lambda: _read(by.gateway.place_of(job_id), job_id))
    try:
        return ResponsesRequest.model_validate_json(asked) if asked else None
    except ValidationError:
        return None


def _write(ledger: Ledger, job_id: str, asked: bytes) -> None:
    Transitions(ledger.redis).run("keep_asked", job_id, ledger.seal.close(asked))


def _read(ledger: Ledger, job_id: str) -> bytes | None:
    try:
        with reaching_redis():
            # Cut off if it is longer than any: then it is damaged.
            sealed: Any = ledger.redis.getrange(f"fb:asked:{job_id}", 0, MAX_SEALED_BYTES)
        return ledger.seal.open(sealed) if sealed else None
    except (ValueError, Misconfigured):  # damaged, without its key, or under rights of before
        return None
