"""Ask the fleet: submit jobs, wait for their answers, and stop if the client goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from forebay.producers.gateway.access import Caller
from forebay.producers.gateway.errors import GONE
from forebay.producers.results import Result, answer_of, late
from forebay.routing.errors import ForebayError, ResultTimeout
from forebay.routing.jobs import Answer, Embed, Generate, Job

RESULT_S = 30.0  # how long reading the answer of an ended job may take
CHARS_PER_TOKEN = 4  # about, in English; the estimate that a limit counts until there is an answer
USUAL_TOKENS_OUT = 256  # of an answer whose length the caller does not limit


def estimate(job: Job) -> int:
    """Return about how many tokens a job will take, before it is answered."""
    request = job.request
    if isinstance(request, Embed):
        return estimate_in(job)
    out = request.max_tokens if isinstance(request, Generate) else USUAL_TOKENS_OUT
    return estimate_in(job) + out


def estimate_in(job: Job) -> int:
    """Return about how many tokens a job sends to its model."""
    request = job.request
    if isinstance(request, Embed):
        return sum(len(text) for text in request.texts) // CHARS_PER_TOKEN + 1
    if isinstance(request, Generate):
        return sum(len(message.content) for message in request.messages) // CHARS_PER_TOKEN
    return len(request.model_dump_json()) // CHARS_PER_TOKEN


async def submit(caller: Caller, job: Job) -> str:
    """Submit a job that nobody waits for; return its id, or that of the first under its key.

    Raises:
        RateLimited: The key has used up its minute.
        ForebayError: The job was refused.
    """
    async with charged(caller, estimate(job)):
        return await caller.gateway.client(caller.tenant).submit(job)


@asynccontextmanager
async def charged(caller: Caller, tokens: int) -> AsyncIterator[None]:
    """Take a request and its tokens from the limits of the key; a refused job takes no tokens.

    Raises:
        RateLimited: The key has used up its minute.
    """
    await caller.spend(tokens)
    try:
        yield
    except ForebayError:
        caller.give_back(tokens)
        raise


async def ask(
    request: Request, caller: Caller, jobs: Sequence[Job], *, own: bool = False
) -> list[Answer]:
    """Submit jobs and return their answers, in the order of the jobs.

    If the client goes away, the jobs are cancelled, except jobs under an idempotency key: the
    client can ask for those again.

    Args:
        request: of the client.
        caller: who asks.
        jobs: what is asked.
        own: the answers are to be kept under ids of their own, so each needs a job, also if its
            answer is in the cache.

    Raises:
        RateLimited: The key has used up its minute.
        ForebayError: A job was refused, or ended without an answer.
        ResultTimeout: An answer did not come in time; the job goes on.
    """
    estimated = sum(map(estimate, jobs))
    await caller.spend(estimated)
    if not own and (cached := await _cached(caller, jobs)):
        caller.give_back(estimated)
        return cached
    used = 0
    try:
        ids, futures = await _submitted(caller, jobs)
        results = await _results(request, caller, jobs, ids, futures)
        used = sum(result.tokens_in + result.tokens_out for result in results)
    except ResultTimeout:
        used = estimated  # the jobs go on
        raise
    finally:
        caller.give_back(estimated - used)
    return [answer_of(result) for result in results]


async def _cached(caller: Caller, jobs: Sequence[Job]) -> list[Answer] | None:
    """Return the answers to all jobs from the cache, or `None` if one is not there."""
    found = []
    for job in jobs:
        answer = await caller.gateway.cached.find(job) if job.cache else None
        if answer is None:
            return None
        found.append(answer)
    return found


async def _submitted(
    caller: Caller, jobs: Sequence[Job]
) -> tuple[list[str], list[asyncio.Future[Result[Any]]]]:
    """Submit all jobs, or leave none: return their ids and the futures of their results."""
    ids: list[str] = []
    futures: list[asyncio.Future[Result[Any]]] = []
    try:
        for job in jobs:
            job_id, future = await caller.gateway.begin(job)
            ids.append(job_id)
            futures.append(future)
    except ForebayError:
        for future in futures:
            future.cancel()
        await _leave(caller, jobs[: len(ids)], ids)
        raise
    return ids, futures


async def _results(
    request: Request,
    caller: Caller,
    jobs: Sequence[Job],
    ids: Sequence[str],
    futures: Sequence[asyncio.Future[Result[Any]]],
) -> list[Result[Any]]:
    """Wait for all results, as long as the client waits too."""
    gone: asyncio.Future[None] = asyncio.ensure_future(disconnected(request))
    together: asyncio.Future[Any] = futures[0] if len(futures) == 1 else asyncio.gather(*futures)
    try:
        within = caller.gateway.settings.gateway_wait_s
        either: list[asyncio.Future[Any]] = [together, gone]
        await asyncio.wait(either, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        if together.done():
            return [together.result()] if len(futures) == 1 else together.result()
        if gone.done():
            await _leave(caller, jobs, ids)
            raise HTTPException(GONE, "the client went away")
        raise late(ids[0])
    finally:
        gone.cancel()
        together.cancel()
        with contextlib.suppress(asyncio.CancelledError, ForebayError):
            await together


async def _leave(caller: Caller, jobs: Sequence[Job], ids: Sequence[str]) -> None:
    """Cancel jobs that nobody can ask for again: those without an idempotency key."""
    client = caller.gateway.client(caller.tenant)
    for job, job_id in zip(jobs, ids, strict=True):
        if job.idempotency_key is None:
            with contextlib.suppress(ForebayError):
                await client.cancel(job_id)


async def disconnected(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
