"""The content of a job, for a viewer with a key of the job's own tenant."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from forebay.producers.gateway.gateway import Gateway
from forebay.producers.gateway.native.job_view import view
from forebay.routing.errors import ForebayError

MAX_CHARS = 200_000  # of a request or an answer that are shown


class Shown(NamedTuple):
    """What a job asked and was answered, as JSON; or why either cannot be shown."""

    request: str
    answer: str


async def content_of(gateway: Gateway, tenant: str, job_id: str) -> Shown:
    """Return the content of a job, read as the tenant's own client reads it.

    Raises:
        UnknownJob: The tenant has no such job.
    """
    client = gateway.client(tenant)
    found = await view(client, job_id)
    if found.answer is None:
        answer = "There is no answer." if found.status.receipt else "There is no answer yet."
    else:
        answer = _text(found.answer.content.model_dump(mode="json"))
    return Shown(await _request(client, job_id, found.status.state), answer)


async def _request(client: Any, job_id: str, state: str) -> str:
    if state != "failed":
        return "Requests of failed jobs alone are read again."
    try:
        job = await client.dead_content(job_id)
    except ForebayError as error:
        return str(error)
    return _text(job.request.model_dump(mode="json", by_alias=True))


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"
