"""The client for asyncio: the same methods, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, Unpack

from forebay.producers.client import Client, Options, answer_of, late
from forebay.producers.wakeups import Result
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Answer, Job, JobStatus, Request
from forebay.routing.ledger.dead_letters import Changes, DeadJob
from forebay.routing.settings import Settings


class AsyncClient:
    """The same for asyncio: every wait is awaited, on the same thread and stream."""

    def __init__(
        self,
        *,
        tenant: str = "default",
        settings: Settings | None = None,
        patience: float = 0.0,
    ) -> None:
        self._client = Client(tenant=tenant, settings=settings, patience=patience)
        self.job = self._client.job

    async def submit(self, request: Request | Job, **options: Unpack[Options]) -> str:
        """See `Client.submit`."""
        return await asyncio.to_thread(self._client.submit, request, **options)

    async def result(self, job_id: str, timeout: float | None = None) -> Answer:
        """See `Client.result`."""
        future = await asyncio.to_thread(self._client.future, job_id)
        return answer_of(await _wait(job_id, future, timeout))

    async def run(
        self,
        request: Request | Job,
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Answer:
        """See `Client.run`."""
        begun = await asyncio.to_thread(self._client.begun, request, **options)
        return answer_of(await _wait(*begun, timeout))

    async def map(
        self,
        requests: Iterable[Request | Job],
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> AsyncIterator[Answer | ForebayError]:
        """See `Client.map`."""
        answers = self._client.map(requests, timeout, **options)
        while (answer := await asyncio.to_thread(next, answers, None)) is not None:
            yield answer

    async def status(self, job_id: str) -> JobStatus:
        """See `Client.status`."""
        return await asyncio.to_thread(self._client.status, job_id)

    async def explain(self, job_id: str) -> dict[str, Any]:
        """See `Client.explain`."""
        return await asyncio.to_thread(self._client.explain, job_id)

    async def cancel(self, job_id: str) -> bool:
        """See `Client.cancel`."""
        return await asyncio.to_thread(self._client.cancel, job_id)

    async def forget(self, job_id: str) -> bool:
        """See `Client.forget`."""
        return await asyncio.to_thread(self._client.forget, job_id)

    async def dead(self, limit: int = 100) -> list[DeadJob]:
        """See `Client.dead`."""
        return await asyncio.to_thread(self._client.dead, limit)

    async def replay(self, job_id: str, **changes: Unpack[Changes]) -> str:
        """See `Client.replay`."""
        return await asyncio.to_thread(self._client.replay, job_id, **changes)

    async def bury(self, job_id: str) -> bool:
        """See `Client.bury`."""
        return await asyncio.to_thread(self._client.bury, job_id)

    async def close(self) -> None:
        """See `Client.close`."""
        await asyncio.to_thread(self._client.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()


async def _wait(job_id: str, future: Future[Result], timeout: float | None) -> Result:
    try:
        async with asyncio.timeout(timeout):
            return await asyncio.wrap_future(future)
    except TimeoutError:
        raise late(job_id) from None
