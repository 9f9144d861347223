"""The client for asyncio: the same methods, awaited."""

from __future__ import annotations

import asyncio
import os
from asyncio import Future
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, Unpack, cast, overload

import redis

from forebay.producers.arguments import checked_timeout
from forebay.producers.client import Client, KnownT
from forebay.producers.handles import JobHandle
from forebay.producers.mapping import ContentT, answer_or_error
from forebay.producers.options import Options
from forebay.producers.results import Result, about, answer_of, late
from forebay.routing.errors import ForebayError, ResultTimeout
from forebay.routing.jobs import Answer, Answerable, Job, JobStatus
from forebay.routing.ledger.dead_letters import Changes, DeadJob
from forebay.routing.receipts import AnyContent
from forebay.routing.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

MAX_THREADS = 8  # calls of Redis under way at once; more wait for a thread


class AsyncClient:
    """The same as `Client`, for asyncio. Redis is spoken to on threads, never on the event loop.

    The threads are the client's own, so that the application's executor stays free, and none is
    held while an answer is awaited.

    It has every method of `Client` with the same arguments and errors. Every method is awaited but
    `job`, which only makes a value, and `map`, which is iterated with `async for`.
    """

    def __init__(
        self,
        *,
        tenant: str = "default",
        settings: Settings | None = None,
        redis: redis.Redis | None = None,
        patience: float = 0.0,
    ) -> None:
        self.tenant = tenant
        self._client = Client(tenant=tenant, settings=settings, redis=redis, patience=patience)
        self._threads, self._pid = _new_threads(), os.getpid()

    async def submit(
        self, request: Answerable[ContentT], **options: Unpack[Options]
    ) -> JobHandle[ContentT]:
        """See `Client.submit`."""
        return await self._on_thread(lambda: self._client.submit(request, **options))

    @overload
    async def result(
        self, job_id: JobHandle[KnownT], timeout: float | None = None
    ) -> Answer[KnownT]: ...
    @overload
    async def result(self, job_id: str, timeout: float | None = None) -> Answer: ...
    async def result(self, job_id: str, timeout: float | None = None) -> Answer[Any]:
        """See `Client.result`."""
        timeout = checked_timeout(timeout)
        with about(job_id):
            return answer_of(await _wait(job_id, await self.future(job_id), timeout))

    async def run(
        self,
        request: Answerable[ContentT],
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Answer[ContentT]:
        """See `Client.run`."""
        timeout = checked_timeout(timeout)
        job_id, future = await self.submit_with_future(request, **options)
        with about(job_id):
            return answer_of(await _wait(job_id, future, timeout))

    @overload
    def map(
        self,
        requests: Iterable[Answerable[KnownT]],
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> AsyncIterator[Answer[KnownT] | ForebayError]: ...
    @overload
    def map(
        self,
        requests: Iterable[Answerable[Any]],
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> AsyncIterator[Answer[AnyContent] | ForebayError]: ...
    async def map(
        self,
        requests: Iterable[Answerable[Any]],
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> AsyncIterator[Answer[Any] | ForebayError]:
        """See `Client.map`. The requests are iterated on a thread."""
        timeout = checked_timeout(timeout)
        window = self._client._window(requests, options)  # noqa: SLF001 - of the same package
        try:
            await self._on_thread(window.fill)
            while (submitted := window.first) is not None:
                if isinstance(submitted, ForebayError):
                    answer: Answer[Any] | ForebayError = submitted
                else:
                    job_id, future = submitted
                    result = await _wait(job_id, asyncio.wrap_future(future), timeout)
                    answer = answer_or_error(result)
                window.drop_first()
                yield answer
                if window.has_room:
                    await self._on_thread(window.fill)
        except ResultTimeout as error:
            window.leave(error)
            raise
        finally:
            await self._on_thread(window.cancel)

    async def submit_future(
        self, request: Answerable[ContentT], **options: Unpack[Options]
    ) -> Future[Result[ContentT]]:
        """See `Client.submit_future`; the future is one of asyncio."""
        return (await self.submit_with_future(request, **options))[1]

    async def submit_with_future(
        self, request: Answerable[ContentT], **options: Unpack[Options]
    ) -> tuple[JobHandle[ContentT], Future[Result[ContentT]]]:
        """See `Client.submit_with_future`; the future is one of asyncio."""
        job_id, future = await self._on_thread(
            lambda: self._client.submit_with_future(request, **options)
        )
        return job_id, asyncio.wrap_future(future)

    @overload
    async def future(self, job_id: JobHandle[KnownT]) -> Future[Result[KnownT]]: ...
    @overload
    async def future(self, job_id: str) -> Future[Result]: ...
    async def future(self, job_id: str) -> Future[Any]:
        """See `Client.future`; the future is one of asyncio."""
        return asyncio.wrap_future(await self._on_thread(self._client.future, job_id))

    def job(self, request: Answerable[Any], **options: Unpack[Options]) -> Job:
        """See `Client.job`."""
        return self._client.job(request, **options)

    async def status(self, job_id: str) -> JobStatus:
        """See `Client.status`."""
        return await self._on_thread(self._client.status, job_id)

    async def explain(self, job_id: str) -> dict[str, Any]:
        """See `Client.explain`."""
        return await self._on_thread(self._client.explain, job_id)

    async def cancel(self, job_id: str) -> bool:
        """See `Client.cancel`."""
        return await self._on_thread(self._client.cancel, job_id)

    async def forget(self, job_id: str) -> bool:
        """See `Client.forget`."""
        return await self._on_thread(self._client.forget, job_id)

    async def dead(self, limit: int = 100) -> list[DeadJob]:
        """See `Client.dead`."""
        return await self._on_thread(self._client.dead, limit)

    async def dead_job(self, job_id: str) -> DeadJob:
        """See `Client.dead_job`."""
        return await self._on_thread(self._client.dead_job, job_id)

    async def dead_content(self, job_id: str) -> Job:
        """See `Client.dead_content`."""
        return await self._on_thread(self._client.dead_content, job_id)

    async def replay(self, job_id: str, **changes: Unpack[Changes]) -> str:
        """See `Client.replay`."""
        return await self._on_thread(self._client.replay, job_id, **changes)

    async def bury(self, job_id: str) -> bool:
        """See `Client.bury`."""
        return await self._on_thread(self._client.bury, job_id)

    async def close(self) -> None:
        """See `Client.close`."""
        await self._on_thread(self._client.close)

    async def __aenter__(self) -> Self:
        self._client.__enter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _on_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._pid != os.getpid():  # threads do not survive a fork
            self._threads, self._pid = _new_threads(), os.getpid()
        call = partial(copy_context().run, function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _new_threads() -> ThreadPoolExecutor:
    """Return an executor; its threads start when they are needed, and end with it."""
    return ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="forebay")


async def _wait(job_id: str, future: Future[Any], timeout: float | None) -> Result[Any]:
    """Return the result; a future that nobody waits for any longer is cancelled."""
    try:
        async with asyncio.timeout(timeout):
            return cast("Result[Any]", await future)
    except TimeoutError:
        raise late(job_id) from None
