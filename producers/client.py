"""The client: submit jobs, and get their answers.

from forebay import Client, Summarize

with Client(tenant="support") as client:
answer = client.run(Summarize(text=ticket, max_words=30))
print(answer.content.text, answer.lane, answer.cost_usd)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self, Unpack, overload

import redis

from forebay.producers.arguments import (
    checked_many,
    checked_patience,
    checked_redis,
    checked_settings,
    checked_tenant,
    checked_timeout,
)
from forebay.producers.bulk.methods import BulkMethods
from forebay.producers.handles import JobHandle
from forebay.producers.mapping import Items, Window, as_they_end, in_order, submitted
from forebay.producers.options import Item, Options, job_maker
from forebay.producers.results import Completed
from forebay.producers.single_jobs import ContentT, KnownT, SingleJobs
from forebay.routing.broker.doorbell import packaged_template
from forebay.routing.errors import ForebayError
from forebay.routing.fleets.opening import open_ledger
from forebay.routing.jobs import Answer, Answerable, Job
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.receipts import AnyContent
from forebay.routing.settings import Settings, read_settings
from forebay.routing.store.connection import connect


class Client(SingleJobs, BulkMethods):
    """A tenant's access to Forebay. Safe to share between threads.

    Close it, or use it in a `with` statement. It connects to Redis at its first call. Methods raise
    only errors of `forebay.routing.errors`; after `close` that is `Unavailable`. After a fork the
    child can use the client too; a future belongs to the process that made it.

    Where a method takes `cancel_on_exit`, the job is cancelled if its caller goes away before it
    ends: an error or Ctrl-C interrupts the wait, the task is cancelled, the `with` statement of the
    client is left, or the wait takes too long. Otherwise the job goes on. A process that is killed
    cancels nothing; a deadline ends its jobs.

    Args:
        tenant: the owner of the jobs. A client sees the jobs of its tenant only.
        settings: where Redis is; by default from the environment (`FOREBAY_REDIS_URL`, ...). With a
            map of fleets (`FOREBAY_FLEETS`) the client finds the tenant's fleet there, and follows
            the map as it changes.
        redis: a Redis client to use instead of a new one, and of a map; it is not closed.
        patience: seconds that a submit (also in `run` and `map`) keeps trying while Redis is away,
            full, or has too many jobs waiting. By default such a submit fails at once.

    Raises:
        Misconfigured: A setting or an argument is wrong; the error names it.
    """

    def __init__(
        self,
        *,
        tenant: str = "default",
        settings: Settings | None = None,
        redis: redis.Redis | None = None,
        patience: float = 0.0,
    ) -> None:
        settings = read_settings() if settings is None else checked_settings(settings)
        lent, tenant = None if redis is None else checked_redis(redis), checked_tenant(tenant)
        if lent is None:
            ledger = open_ledger(settings, tenant, self._connect)
        else:
            ledger = Ledger(lent, settings, packaged_template)
        super().__init__(tenant, ledger, checked_patience(patience))
        self._owns_redis = lent is None

    def _connect(self, settings: Settings) -> redis.Redis:
        return connect(settings)

    def submit_all(
        self,
        requests: Iterable[Answerable[ContentT] | Mapping[str, Any]],
        **options: Unpack[Options],
    ) -> Iterator[JobHandle[ContentT] | ForebayError]:
        """Submit any number of jobs; yield each one's handle, or the error in its place.

        It is the fastest way to submit, and waits for no answers (`as_completed` does). Jobs are
        submitted some hundreds at a time, ahead of the handles, and none before the first handle is
        asked for. So iterate to the end: `handles = list(client.submit_all(...))`.

        Args:
            requests: requests or jobs; a generator will do. See `map` for wrong ones.
            options: the same for all requests; no idempotency key, since a key is for one job.

        Raises:
            Unavailable: No more jobs can be submitted. The jobs of which it is not known whether
                they were have yielded an error with their `job_id`.
        """
        self._access.check_open()
        requests = checked_many(requests, options, field="requests", single="submit")
        return submitted(Items(requests, self._maker(options)), self._submitter)

    @overload
    def map(
        self,
        requests: Iterable[Answerable[KnownT]],
        timeout: float | None = None,
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> Iterator[Answer[KnownT] | ForebayError]: ...
    @overload
    def map(
        self,
        requests: Iterable[Item],
        timeout: float | None = None,
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> Iterator[Answer[AnyContent] | ForebayError]: ...
    def map(
        self,
        requests: Iterable[Item],
        timeout: float | None = None,
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> Iterator[Answer[Any] | ForebayError]:
        """Yield the answers in the order of the requests; a job that failed yields its error.

        An item that is no valid request yields its error in its place too. A generator that raises
        cannot go on: what it raised is raised after the answers of all requests before. To have
        wrong rows cost only their own place, yield dictionaries (`{"kind": "summarize", ...}`).

        At most 2,000 jobs are under way at once, so that any number of requests fits in memory. If
        the iteration ends early (`break`, `close`, an error), the jobs of bare requests are
        cancelled, because nobody has their ids; each `Job` goes on. After a timeout all go on.

        Args:
            requests: requests or jobs, or requests as dictionaries; a generator will do.
            timeout: seconds to wait for the next answer.
            cancel_on_exit: cancel all jobs under way if the iteration ends early.
            options: the same for all requests; no idempotency key, since a key is for one job.

        Raises:
            ResultTimeout: An answer did not come in time. `error.job_ids` are all jobs under way.
            Unavailable: No more jobs can be submitted; raised after the answers of all jobs before.
                `error.job_ids` are the jobs of which it is not known if they were submitted.
        """
        self._access.check_open()
        requests = checked_many(requests, options, field="requests", single="run")
        items = Items(requests, self._maker(options))
        return in_order(
            Window(items, self._submitter, tied=cancel_on_exit), checked_timeout(timeout)
        )

    @overload
    def as_completed(
        self,
        items: Iterable[JobHandle[KnownT] | Answerable[KnownT]],
        timeout: float | None = None,
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> Iterator[Completed[KnownT]]: ...
    @overload
    def as_completed(
        self,
        items: Iterable[str | Item],
        timeout: float | None = None,
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> Iterator[Completed[AnyContent]]: ...
    def as_completed(
        self,
        items: Iterable[Any],
        timeout: float | None = None,
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> Iterator[Completed[Any]]:
        """Yield the answers as their jobs end, each with its handle and its item.

            for handle, answer, item in client.as_completed(handles): ...

        Args:
            items: handles or ids of submitted jobs; or requests or jobs, which are submitted as in
                `map`, with the same limits and the same errors in place of answers.
            timeout: seconds to wait for the next answer.
            cancel_on_exit: cancel all jobs under way if the iteration ends early.
            options: the same for all requests; no idempotency key, since a key is for one job.

        Raises:
            ResultTimeout, Unavailable: See `map`.
        """
        self._access.check_open()
        items = checked_many(items, options, field="items", single="result")
        make = self._maker(options)
        taken = Items(items, lambda item: self._found(item) or make(item))
        return as_they_end(
            Window(taken, self._submitter, tied=cancel_on_exit), checked_timeout(timeout)
        )

    def _maker(self, options: Options) -> Callable[[Any], Job]:
        """Return what makes the job of an item, or raises why it cannot be one."""
        make_job = job_maker(self.tenant, options)

        def make(item: Any) -> Job:
            job = make_job(item)
            self._access.check(job)
            return job

        return make

    def _found(self, item: Any) -> JobHandle[Any] | None:
        """Return the handle of a job that was submitted before; `None` for a request."""
        if not isinstance(item, str):
            return None
        with self._access.to(item):
            return item if isinstance(item, JobHandle) else JobHandle(item)

    def close(self) -> None:
        """Stop waiting for answers, and close the connections of this client.

        Jobs that were submitted with `cancel_on_exit` and have not ended are cancelled, and so are
        the jobs of a `map` that was not iterated to its end, as described there. If Ctrl-C
        interrupts it, call it again: it does what is left.
        """
        self._access.closing = True  # first, so that no map yields a job that is cancelled here
        if not self._access.closed:
            self._ties.cancel_all()
            self._submitter.end()
            self._access.closed = True
        self._wakeups.close()
        if self._owns_redis:
            self._ledger.redis.close()

    def __enter__(self) -> Self:
        self._access.check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
