"""Keeps what a response was asked, and reads it again."""

from __future__ import annotations

from pydantic import ValidationError

from forebay.producers.gateway.access import Caller
from forebay.producers.gateway.openai import kept as notes
from forebay.producers.gateway.openai.responses.request import ResponsesRequest


async def keep(by: Caller, job_id: str, body: ResponsesRequest) -> None:
    """Keep what a response was asked. If that cannot be kept, the response says less later."""
    asked = body.model_dump_json(by_alias=True, exclude_unset=True).encode()
    await notes.keep(by, job_id, asked)


async def kept(by: Caller, job_id: str) -> ResponsesRequest | None:
    """Return what a response was asked; `None` if it is not kept, or of another release."""
    asked = await notes.kept(by, job_id)
    try:
        return ResponsesRequest.model_validate_json(asked) if asked else None
    except ValidationError:
        return None
