"""Ask the fleet: submit jobs, wait for their answers, and stop if the client goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import Request

from forebay.producers.gateway.access import Caller
from forebay.producers.gateway.errors import GONE
from forebay.producers.results import Result, answer_of, late
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Answer, Decide, Embed, Generate, Job

CHARS_PER_TOKEN = 4  # about, in English; the estimate that a limit counts until there is an answer
USUAL_TOKENS_OUT = 256  # of an answer whose length the caller does not limit


def estimate(job: Job) -> int:
    """Return about how many tokens a job will take, before it is answered."""
    request = job.request
    if isinstance(request, Embed):
        return sum(len(text) for text in request.texts) // CHARS_PER_TOKEN + 1
    if isinstance(request, Generate):
        chars = sum(len(message.content) for message in request.messages)
        return chars // CHARS_PER_TOKEN + request.max_tokens
    text = request.state_text if isinstance(request, Decide) else request.text
    return len(text) // CHARS_PER_TOKEN + USUAL_TOKENS_OUT


async def submit(caller: Caller, job: Job) -> str:
    """Submit a job that nobody waits for; return its id, or that of the first under its key.

    Raises:
        RateLimited: The key has used up its minute.
        ForebayError: The job was refused.
    """
    await caller.spend(estimate(job))
    return await caller.gateway.client(caller.tenant).submit(job)


async def ask(request: Request, caller: Caller, jobs: Sequence[Job]) -> list[Answer]:
    """Submit jobs and return their answers, in the order of the jobs.

    If the client goes away, the jobs are cancelled, except jobs under an idempotency key: the
    client can ask for those again.

    Raises:
        RateLimited: The key has used up its minute.
        ForebayError: A job was refused, or ended without an answer.
        ResultTimeout: An answer did not come in time; the job goes on.
    """
    estimated = sum(map(estimate, jobs))
    await caller.spend(estimated)
    client = caller.gateway.client(caller.tenant)
    used = 0
    try:
        watched = [await client.submit_with_future(job) for job in jobs]
        ids = [handle for handle, _ in watched]
        results = await _results(request, caller, jobs, ids, [future for _, future in watched])
        used = sum(result.tokens_in + result.tokens_out for result in results)
    finally:
        await caller.give_back(estimated - used)
    return [answer_of(result) for result in results]


async def _results(
    request: Request,
    caller: Caller,
    jobs: Sequence[Job],
    ids: Sequence[str],
    futures: Sequence[asyncio.Future[Result[Any]]],
) -> list[Result[Any]]:
    """Wait for all results, as long as the client waits too."""
    gone: asyncio.Future[None] = asyncio.ensure_future(disconnected(request))
    together: asyncio.Future[list[Result[Any]]] = asyncio.gather(*futures)
    try:
        within = caller.gateway.settings.gateway_wait_s
        either: list[asyncio.Future[Any]] = [together, gone]
        await asyncio.wait(either, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        if together.done():
            return together.result()
        if gone.done():
            await leave(caller, jobs, ids)
        raise late(ids[0])
    finally:
        gone.cancel()
        together.cancel()
        with contextlib.suppress(asyncio.CancelledError, ForebayError):
            await together


async def leave(caller: Caller, jobs: Sequence[Job], ids: Sequence[str]) -> NoReturn:
    """Cancel the jobs of a client that went away, and end its request."""
    client = caller.gateway.client(caller.tenant)
    for job, job_id in zip(jobs, ids, strict=True):
        if job.idempotency_key is None:
            with contextlib.suppress(ForebayError):
                await client.cancel(job_id)
    raise HTTPException(GONE, "the client went away")


async def disconnected(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
