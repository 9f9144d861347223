"""What one process of the gateway holds: a client for each tenant, keys, limits and the policy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, ParamSpec, TypeVar

from forebay.producers.async_client import AsyncClient
from forebay.producers.gateway.api_keys import KeyStore
from forebay.producers.gateway.batches.batch import Batch
from forebay.producers.gateway.batches.batch_store import BatchStore
from forebay.producers.gateway.cached_answers import CachedAnswers
from forebay.producers.gateway.files.file_store import FileStore
from forebay.producers.gateway.rates import Rates, Take, Taken
from forebay.producers.gateway.settings import GatewaySettings
from forebay.producers.gateway.text_reader import Entry, Pieces, TextReader
from forebay.producers.gateway.together import Together
from forebay.producers.gateway.webhooks.courier import Courier
from forebay.producers.gateway.webhooks.deliveries import Deliveries
from forebay.producers.gateway.webhooks.events import Events
from forebay.producers.gateway.webhooks.webhook_store import WebhookStore
from forebay.producers.results import Result
from forebay.routing.broker.doorbell import packaged_template
from forebay.routing.errors import ForebayError, Unavailable
from forebay.routing.jobs import Job
from forebay.routing.ledger.ends import tell_end
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.policy.policy_file import PolicyFile
from forebay.routing.settings import Settings
from forebay.routing.store.connection import (
    close_on_loop,
    connect,
    connect_on_loop,
    reaching_redis,
)
from forebay.routing.store.encryption import Seal
from forebay.routing.store.event_loop import awaitable, run_blocking
from forebay.routing.store.lease import Lease
from forebay.routing.store.on_loop.loop_redis import LoopRedis

#: The id of a job that was submitted, and the future of its result.
Begun = tuple[str, asyncio.Future[Result[Any]]]

P = ParamSpec("P")
T = TypeVar("T")

READY_S = 3.0  # for Redis to answer before the gateway says that it is not ready
MAX_THREADS = 8  # calls of Redis for keys and limits under way at once; jobs need none
MAX_JOBS_AT_ONCE = 100  # jobs of one round trip; more would hold up the event loop
MAX_TAKES_AT_ONCE = 100  # of limits of keys, in one round trip
MAX_TENANTS = 1_000  # whose clients are kept open; the least recently used is closed


class Gateway:
    """The resources of one process.

    Attributes:
        settings: of the gateway.
        policy: the policy file, for the names of models and the budgets.
        keys: the API keys.
        budget: what the tenants have spent.
        redis: the Redis of the fleet.
        texts: the texts of the jobs that stream through this process.
        files: the files that callers upload and batches write.
        batches: the records of batches and bulks.
        webhooks: where tenants are told of what has ended.
        courier: tells them.
        ledger: the ledger, for what blocks on it: bulks and their rows.
        cached: the answers that are in the cache already.
        place_of: returns the ledger that holds a job, and may block.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        fleet: Settings,
        *,
        clients: Settings | None = None,
        texts_of: Callable[[str], TextReader] | None = None,
        place_of: Callable[[str], Ledger] | None = None,
    ) -> None:
        """Open the connections to one fleet.

        Args:
            settings: of the gateway.
            fleet: the fleet.
            clients: the settings of the tenants' clients, which follow a map of fleets if they name
                one; by default the fleet's.
            texts_of: returns the reader of the texts of a tenant's jobs; by default this one's.
            place_of: returns the ledger that holds a job, and may block; by default this one's.
        """
        self.settings = settings
        self._clients_settings = clients or fleet
        self._texts_of = texts_of
        self.redis, self._probe = connect(fleet), connect(fleet, "look")
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="gateway")
        self._clients: dict[str, AsyncClient] = {}
        self._later: set[asyncio.Task[None]] = set()
        self.policy = PolicyFile(fleet.policy_file)
        self.keys = KeyStore(self.redis)
        self.budget = Budget(self.redis)
        self.texts = TextReader(self.redis, Seal.of(fleet))
        self.batches = BatchStore(self.redis)
        self.ledger = Ledger(self.redis, fleet, packaged_template)
        self.place_of = place_of or (lambda _: self.ledger)
        self.files = FileStore(
            settings.gateway_files.expanduser(), max_bytes=settings.gateway_max_files,
            keep_s=settings.gateway_keep_files_s,
        )  # fmt: skip
        self._submissions: dict[str, Together[Job, Begun]] = {}
        self._on_loop = connect_on_loop(fleet)
        self._loop_redis = LoopRedis(self._on_loop)
        self._rates = Rates(self._loop_redis)
        self._takes = Together[Take, Taken](self._take_all, MAX_TAKES_AT_ONCE)
        self.cached = CachedAnswers(self._loop_redis, fleet, self.policy)
        self.webhooks = WebhookStore(self.redis, Seal.of(fleet))
        self.courier = Courier(
            self.webhooks, Deliveries(self.redis), Events(self.ledger, self.batches),
            settings.gateway_webhook_networks, self.on_thread,
        )  # fmt: skip

    def client(self, tenant: str) -> AsyncClient:
        """Return the client of a tenant, which all requests of the tenant share."""
        client = self._clients.pop(tenant, None) or self._opened(tenant)
        self._clients[tenant] = client  # the last is the most recently used
        return client

    def _opened(self, tenant: str) -> AsyncClient:
        if len(self._clients) >= MAX_TENANTS:
            oldest = next(iter(self._clients))
            self._submissions.pop(oldest, None)
            self.later(self._clients.pop(oldest).close())
        return AsyncClient(tenant=tenant, settings=self._clients_settings)

    def reading(self, job_id: str) -> AbstractContextManager[Pieces]:
        """Read the text of a job while it is generated; see `TextReader.reading`."""
        return self._texts(job_id).reading(job_id)

    async def pieces_after(self, job_id: str, last: bytes) -> list[Entry]:
        """Return the entries of a job's text after the last one that was read."""
        return await self.on_thread(self._texts(job_id).after, job_id, last)

    def _texts(self, job_id: str) -> TextReader:
        tenant = job_id.partition(".")[0]
        return self._texts_of(tenant) if self._texts_of else self.texts

    async def begin(self, job: Job) -> Begun:
        """Submit a job; return its id, and the future of its result. Many share a round trip.

        Raises:
            ForebayError: The job was refused.
        """
        begin = self._submissions.get(job.tenant)
        if begin is None:
            begin = Together(partial(self._begin_all, job.tenant), MAX_JOBS_AT_ONCE, self._abandon)
            self._submissions[job.tenant] = begin
        return await begin(job)

    async def _begin_all(self, tenant: str, jobs: Sequence[Job]) -> Sequence[Begun | ForebayError]:
        submitted = await self.client(tenant).submit_with_futures(jobs)
        return [
            one if isinstance(one, ForebayError) else (one[0], awaitable(one[1]))
            for one in submitted
        ]

    def _abandon(self, job: Job, begun: Begun) -> None:
        """Cancel a job whose request ended meanwhile, unless its client can ask for it again."""
        job_id, future = begun
        future.cancel()
        if job.idempotency_key is None:
            self.later(self.client(job.tenant).cancel(job_id))

    async def take(self, take: Take) -> Taken:
        """Take from the limits of an API key. Many share a round trip.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        return await self._takes(take)

    async def _take_all(self, takes: Sequence[Take]) -> Sequence[Taken | ForebayError]:
        return await run_blocking(self._rates.take_all, takes)

    def later(self, work: Coroutine[Any, Any, object]) -> None:
        """Do this work soon, whatever becomes of the request that it belongs to."""
        task = asyncio.get_running_loop().create_task(_quietly(work))
        self._later.add(task)  # the event loop itself keeps only weak references to tasks
        task.add_done_callback(self._later.discard)

    async def on_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call what blocks on Redis, on a thread."""
        call = partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def lease(self, name: str) -> Lease:
        """Return the lease of this name."""
        return Lease(self.redis, name)

    def tell_end(self, batch: Batch) -> None:
        """Tell the tenant's webhooks of the end of a batch, or of a bulk that could not begin."""
        if batch.terms.family != "bulk":
            tell_end(self.redis, batch.id, batch.state, what="batch")
        elif batch.failed_at:
            tell_end(self.redis, batch.id, "failed", what="bulk")

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
        self.redis.close()
        await self._loop_redis.close_lines()
        await close_on_loop(self._on_loop)
        self._probe.close()


async def _quietly(work: Coroutine[Any, Any, object]) -> None:
    with contextlib.suppress(ForebayError):
        await work
