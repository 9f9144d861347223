"""The client for asyncio: the same methods, awaited."""

from __future__ import annotations

import asyncio
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
)
from contextlib import aclosing
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, Self, TypeVar, Unpack, overload
from weakref import WeakKeyDictionary

import redis.asyncio

from forebay.producers.arguments import checked_async_redis
from forebay.producers.bulk.async_methods import AsyncBulkMethods
from forebay.producers.client import Client
from forebay.producers.handles import JobHandle
from forebay.producers.options import Item, Options
from forebay.producers.results import Completed, Result
from forebay.producers.single_jobs import ContentT, KnownT
from forebay.routing.errors import ForebayError
from forebay.routing.fleets.opening import connections_on_loop
from forebay.routing.fleets.tenant_fleets import Connect
from forebay.routing.jobs import Answer, Answerable, Job
from forebay.routing.receipts import AnyContent
from forebay.routing.settings import Settings, read_settings
from forebay.routing.store.event_loop import awaitable, blocking_items, each, run_blocking

P = ParamSpec("P")
T = TypeVar("T")


class _Home(NamedTuple):
    """What an `AsyncClient` has on one event loop: a client that waits there, its connections."""

    client: Client
    connections: AsyncGenerator[Connect]
    pid: int


class _LoopClient(Client):
    """A client whose connections belong to an event loop."""

    def __init__(self, connect: Connect, **options: Any) -> None:
        self._on_loop = connect
        super().__init__(**options)

    def _connect(self, settings: Settings) -> redis.Redis:
        return self._on_loop(settings)


def _awaited(
    method: Callable[Concatenate[Client, P], T],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """Return a method of `Client` as a method that is awaited."""

    @wraps(method)
    async def call(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await run_blocking(method, await client._here(), *args, **kwargs)  # noqa: SLF001 - its own

    return call


class AsyncClient(AsyncBulkMethods):
    """The same as `Client`, for asyncio. All waiting is done by the event loop; no threads.

    It has every method of `Client` with the same arguments and errors. Every method is awaited but
    `job`, which only makes a value, and `map` and `as_completed`, which are iterated with
    `async for`. It may be used on several event loops; a future belongs to its loop.

    Args:
        tenant, settings, patience: See `Client`.
        redis: a client of `redis.asyncio` to use instead of a new one; it is not closed.
    """

    def __init__(
        self,
        *,
        tenant: str = "default",
        settings: Settings | None = None,
        redis: redis.asyncio.Redis | None = None,
        patience: float = 0.0,
    ) -> None:
        self.tenant = tenant
        self._redis = None if redis is None else checked_async_redis(redis)
        self._patience = patience
        self._settings = read_settings() if settings is None else settings
        # Checks the arguments, and makes jobs; it never connects.
        self._template = Client(tenant=tenant, settings=self._settings, patience=patience)
        self._homes: WeakKeyDictionary[asyncio.AbstractEventLoop, _Home] = WeakKeyDictionary()

    submit = _awaited(Client.submit)
    run = _awaited(Client.run)

    @overload
    async def result(
        self,
        job_id: JobHandle[KnownT],
        timeout: float | None = None,
        *,
        cancel_on_exit: bool = False,
    ) -> Answer[KnownT]: ...
    @overload
    async def result(
        self, job_id: str, timeout: float | None = None, *, cancel_on_exit: bool = False
    ) -> Answer: ...
    async def result(
        self, job_id: str, timeout: float | None = None, *, cancel_on_exit: bool = False
    ) -> Answer[Any]:
        """See `Client.result`."""
        client = await self._here()
        return await run_blocking(
            lambda: client.result(job_id, timeout, cancel_on_exit=cancel_on_exit)
        )

    async def submit_all(
        self,
        requests: (
            Iterable[Answerable[ContentT] | Mapping[str, Any]]
            | AsyncIterable[Answerable[ContentT] | Mapping[str, Any]]
        ),
        **options: Unpack[Options],
    ) -> AsyncIterator[JobHandle[ContentT] | ForebayError]:
        """See `Client.submit_all`."""
        client = await self._here()
        handles = client.submit_all(blocking_items(requests), **options)
        async with aclosing(each(handles)) as yielded:
            async for handle in yielded:
                yield handle

    @overload
    def map(
        self,
        requests: Iterable[Answerable[KnownT]] | AsyncIterable[Answerable[KnownT]],
        timeout: float | None = None,
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> AsyncIterator[Answer[KnownT] | ForebayError]: ...
    @overload
    def map(
        self,
        requests: Iterable[Item] | AsyncIterable[Item],
        timeout: float | None = None,
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> AsyncIterator[Answer[AnyContent] | ForebayError]: ...
    async def map(
        self,
        requests: Iterable[Item] | AsyncIterable[Item],
        timeout: float | None = None,
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> AsyncIterator[Answer[Any] | ForebayError]:
        """See `Client.map`. An async iterable of requests may wait; others are iterated at once."""
        client = await self._here()
        answers = client.map(
            blocking_items(requests), timeout, cancel_on_exit=cancel_on_exit, **options
        )
        async with aclosing(each(answers)) as yielded:
            async for answer in yielded:
                yield answer

    @overload
    def as_completed(
        self,
        items: (
            Iterable[JobHandle[KnownT] | Answerable[KnownT]]
            | AsyncIterable[JobHandle[KnownT] | Answerable[KnownT]]
        ),
        timeout: float | None = None,
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> AsyncIterator[Completed[KnownT]]: ...
    @overload
    def as_completed(
        self,
        items: Iterable[str | Item] | AsyncIterable[str | Item],
        timeout: float | None = None,
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> AsyncIterator[Completed[AnyContent]]: ...
    async def as_completed(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        timeout: float | None = None,
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> AsyncIterator[Completed[Any]]:
        """See `Client.as_completed`."""
        client = await self._here()
        ended = client.as_completed(
            blocking_items(items), timeout, cancel_on_exit=cancel_on_exit, **options
        )
        async with aclosing(each(ended)) as yielded:
            async for completed in yielded:
                yield completed

    async def submit_future(
        self,
        request: Answerable[ContentT],
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> asyncio.Future[Result[ContentT]]:
        """See `Client.submit_future`; the future is one of asyncio."""
        return (await self.submit_with_future(request, cancel_on_exit=cancel_on_exit, **options))[1]

    async def submit_with_future(
        self,
        request: Answerable[ContentT],
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> tuple[JobHandle[ContentT], asyncio.Future[Result[ContentT]]]:
        """See `Client.submit_with_future`; the future is one of asyncio."""
        client = await self._here()
        job_id, future = await run_blocking(
            lambda: client.submit_with_future(request, cancel_on_exit=cancel_on_exit, **options)
        )
        return job_id, awaitable(future)

    @overload
    async def future(self, job_id: JobHandle[KnownT]) -> asyncio.Future[Result[KnownT]]: ...
    @overload
    async def future(self, job_id: str) -> asyncio.Future[Result]: ...
    async def future(self, job_id: str) -> asyncio.Future[Any]:
        """See `Client.future`; the future is one of asyncio."""
        client = await self._here()
        return awaitable(await run_blocking(client.future, job_id))

    def job(self, request: Answerable[Any], **options: Unpack[Options]) -> Job:
        """See `Client.job`."""
        return self._template.job(request, **options)

    submit_with_futures = _awaited(Client.submit_with_futures)  # the futures of `Client`
    status = _awaited(Client.status)
    explain = _awaited(Client.explain)
    cancel = _awaited(Client.cancel)
    forget = _awaited(Client.forget)
    dead = _awaited(Client.dead)
    dead_job = _awaited(Client.dead_job)
    dead_content = _awaited(Client.dead_content)
    replay = _awaited(Client.replay)
    bury = _awaited(Client.bury)

    async def close(self) -> None:
        """See `Client.close`."""
        home = self._homes.get(loop := asyncio.get_running_loop())
        self._template.close()
        if home is not None and home.pid == os.getpid():
            await run_blocking(home.client.close)  # a task that is cancelled here may call again
            if self._homes.pop(loop, None) is home:
                await home.connections.aclose()

    async def __aenter__(self) -> Self:
        await self._here()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def _blocking_client(self) -> Client:
        self._template.__enter__()
        return Client(tenant=self.tenant, settings=self._settings, patience=self._patience)

    async def _here(self) -> Client:
        """Return the client that waits on the running event loop.

        Raises:
            Unavailable: The client was closed.
        """
        self._template.__enter__()  # open, or an error
        loop = asyncio.get_running_loop()
        if (home := self._homes.get(loop)) is None or home.pid != os.getpid():
            home = self._homes[loop] = await self._new_home()
        return home.client

    async def _new_home(self) -> _Home:
        connections = connections_on_loop(self._redis)
        mapped = {} if self._redis is None else {"fleets": None}  # a lent client is of one fleet
        settings = self._settings.model_copy(update=mapped)
        client = _LoopClient(
            await anext(connections), tenant=self.tenant, settings=settings, patience=self._patience
        )
        return _Home(client, connections, os.getpid())
