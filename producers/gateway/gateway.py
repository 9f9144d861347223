"""What one process of the gateway holds: a client for each tenant, keys, limits and the policy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from forebay.producers.async_client import AsyncClient
from forebay.producers.gateway.api_keys import KeyStore
from forebay.producers.gateway.settings import GatewaySettings
from forebay.producers.gateway.text_reader import TextReader
from forebay.routing.errors import ForebayError, Unavailable
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.rates import Rates
from forebay.routing.policy.policy_file import PolicyFile
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect, reaching_redis
from forebay.routing.store.encryption import Seal

P = ParamSpec("P")
T = TypeVar("T")

READY_S = 3.0  # for Redis to answer before the gateway says that it is not ready
MAX_THREADS = 8  # calls of Redis for keys and limits under way at once; jobs need none
MAX_TENANTS = 1_000  # whose clients are kept open; the least recently used is closed


class Gateway:
    """The resources of one process.

    Attributes:
        settings: of the gateway.
        policy: the policy file, for the names of models and the budgets.
        keys: the API keys.
        rates: the limits of API keys.
        budget: what the tenants have spent.
        texts: the texts of the jobs that stream through this process.
    """

    def __init__(self, settings: GatewaySettings, fleet: Settings) -> None:
        self.settings = settings
        self._fleet = fleet
        self._redis, self._probe = connect(fleet), connect(fleet, "look")
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="gateway")
        self._clients: dict[str, AsyncClient] = {}
        self._later: set[asyncio.Task[None]] = set()
        self.policy = PolicyFile(fleet.policy_file)
        self.keys = KeyStore(self._redis)
        self.rates = Rates(self._redis)
        self.budget = Budget(self._redis)
        self.texts = TextReader(self._redis, Seal.of(fleet))

    def client(self, tenant: str) -> AsyncClient:
        """Return the client of a tenant, which all requests of the tenant share."""
        client = self._clients.pop(tenant, None) or self._opened(tenant)
        self._clients[tenant] = client  # the last is the most recently used
        return client

    def _opened(self, tenant: str) -> AsyncClient:
        if len(self._clients) >= MAX_TENANTS:
            self.later(self._clients.pop(next(iter(self._clients))).close())
        return AsyncClient(tenant=tenant, settings=self._fleet)

    def later(self, work: Coroutine[Any, Any, object]) -> None:
        """Do this work soon, whatever becomes of the request that it belongs to."""
        task = asyncio.get_running_loop().create_task(_quietly(work))
        self._later.add(task)  # the event loop itself keeps only weak references to tasks
        task.add_done_callback(self._later.discard)

    async def on_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call what blocks on Redis, on a thread."""
        call = partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def ping(self) -> None:
        """Raise `Unavailable` unless Redis answers within `READY_S`."""

        def ping() -> None:
            with reaching_redis():
                self._probe.ping()

        try:
            async with asyncio.timeout(READY_S):
                await self.on_thread(ping)
        except TimeoutError:  # also while all threads wait for Redis
            raise Unavailable(f"Redis has not answered for {READY_S:g} s") from None

    async def close(self) -> None:
        """Close the clients and the connections."""
        await asyncio.gather(*self._later)
        for client in self._clients.values():
            await client.close()
        self._clients.clear()
        self.texts.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._redis.close()
        self._probe.close()


async def _quietly(work: Coroutine[Any, Any, object]) -> None:
    with contextlib.suppress(ForebayError):
        await work
