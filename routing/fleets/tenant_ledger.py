"""The ledger of a tenant whose jobs may be in several fleets, for producers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from forebay.routing.broker.doorbell import packaged_template
from forebay.routing.errors import ForebayError, UnknownJob
from forebay.routing.fleets.following_redis import FollowingRedis
from forebay.routing.fleets.tenant_fleets import TenantFleets
from forebay.routing.jobs import Job, JobStatus
from forebay.routing.ledger.admission import MOVED_RETRY_AFTER_S, NewJob, TenantMoved
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.reader import check_stream
from forebay.routing.ledger.record import Record
from forebay.routing.ledger.result import Result
from forebay.routing.settings import Settings
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.event_loop import pause
from forebay.routing.tracing import traceparent

#: How long a refused submit waits for the map to say where the tenant is now: it is written in the
#: moment after the fence.
FOLLOW_S, LOOK_EVERY_S = 1.0, 0.05

T = TypeVar("T")


class TenantLedger(Ledger):
    """A ledger over the fleets of one tenant.

    1. New jobs go to the first fleet of the map, unless the old fleet knows them already, by their
       id or by their idempotency key.
    2. A job is asked about where it is: in the first fleet, or else in the old one.
    3. All else is done in the tenant's home: see `TenantFleets`.
    4. A fleet that refuses jobs of the tenant makes it read the map again.
    """

    def __init__(self, fleets: TenantFleets, settings: Settings) -> None:
        self._fleets = fleets
        client = FollowingRedis(lambda: fleets.home().redis, fleets.close)
        super().__init__(client, settings, packaged_template)

    def places(self) -> Sequence[Ledger]:
        """Return the ledgers that may hold jobs of the tenant, that of its new jobs first."""
        return self._fleets.places()

    def place_of(self, job_id: str) -> Ledger:
        """Return the ledger that holds a job; the first one for a job that none holds."""
        return self._places_of([job_id])[0]

    # --- putting jobs on ----------------------------------------------------------------------

    def create(self, jobs: Sequence[Job], watcher: str = "") -> list[str | ForebayError]:
        """Store jobs in the fleet of the tenant; see `Ledger.create`."""
        for job in jobs:
            check_stream(job.id, watcher)
        trace = traceparent.current()
        rows = [self._new_job(job, watcher, trace) for job in jobs]
        asked, replies = self._fleets.names(), self._put_on(rows)
        end = time.monotonic() + FOLLOW_S
        while moved := [at for at, reply in enumerate(replies) if isinstance(reply, TenantMoved)]:
            if not self._fleets.look_again(asked) and time.monotonic() > end:
                return [self._moved() if isinstance(one, TenantMoved) else one for one in replies]
            pause(LOOK_EVERY_S)
            asked, again = self._fleets.names(), self._put_on([rows[at] for at in moved])
            for at, reply in zip(moved, again, strict=True):
                replies[at] = reply
        return replies

    def _put_on(self, rows: Sequence[NewJob]) -> list[str | ForebayError]:
        """Create jobs, each in the fleet that knows it already, or else in the first."""
        first, *others = self.places()
        chosen = [first] * len(rows)
        for other in others:
            for at, known in enumerate(_known(other, rows)):
                chosen[at] = other if known else chosen[at]
        return _grouped(rows, chosen, lambda place, own: place.put_on(own))

    def _moved(self) -> TenantMoved:
        """Return the error of a tenant whose line in the map is old."""
        to, says = self._fleets.moved_to(), " and ".join(self._fleets.names())
        return TenantMoved(
            f"the tenant has moved to fleet {to}, and the map still says {says}: change its line",
            field="FOREBAY_FLEETS", retry_after=MOVED_RETRY_AFTER_S,
        )  # fmt: skip

    # --- asking about jobs --------------------------------------------------------------------

    def record(self, job_id: str) -> Record:
        """See `LedgerReader.record`."""
        return self._where_it_is(job_id, lambda place: place.record(job_id))

    def status(self, job_id: str) -> JobStatus:
        """See `LedgerReader.status`."""
        return self._where_it_is(job_id, lambda place: place.status(job_id))

    def cancel(self, job_id: str) -> bool:
        """See `Ledger.cancel`."""
        return self._where_it_is(job_id, lambda place: place.cancel(job_id))

    def watch(self, job_id: str, stream: str) -> str:
        """See `LedgerReader.watch`."""
        return self._where_it_is(job_id, lambda place: place.watch(job_id, stream))

    def records(self, job_ids: Sequence[str]) -> list[Record]:
        """See `LedgerReader.records`."""
        return [record for place in self.places() for record in place.records(job_ids)]

    def results(self, job_ids: Sequence[str]) -> list[Result | None]:
        """See `LedgerReader.results`."""
        return self._spread(job_ids, lambda place, own: place.results(own))

    def watch_all(self, job_ids: Sequence[str], stream: str) -> list[str | None]:
        """See `LedgerReader.watch_all`."""

        def watch(place: Ledger, own: Sequence[str]) -> list[str | None]:
            return place.watch_all(own, stream)

        asked, states = self._fleets.names(), self._spread(job_ids, watch)
        if None in states and self._fleets.look_again(asked):
            return self._spread(job_ids, watch)
        return states

    def cancel_all(self, job_ids: Sequence[str]) -> None:
        """See `Ledger.cancel_all`."""
        for place in self.places():
            place.cancel_all(job_ids)

    def forget(self, job_id: str) -> bool:
        """See `Ledger.forget`. The old fleet goes first, so that no copy of the job is left."""
        return any([place.forget(job_id) for place in reversed(self.places())])  # noqa: C419 - in all

    def forget_all(self, job_ids: Sequence[str]) -> None:
        """See `Ledger.forget_all`."""
        for place in reversed(self.places()):
            place.forget_all(job_ids)

    def _where_it_is(self, job_id: str, ask: Callable[[Ledger], T]) -> T:
        """Ask the fleet that holds a job.

        Raises:
            UnknownJob: No fleet of the tenant holds it.
            Unavailable: The tenant has moved away, and the map does not say so.
        """
        asked = self._fleets.names()
        try:
            return ask(self.place_of(job_id))
        except UnknownJob:
            if self._fleets.look_again(asked):
                return ask(self.place_of(job_id))
            if self._fleets.moved_to() is None:
                raise
        raise self._moved()

    def _spread(
        self, job_ids: Sequence[str], ask: Callable[[Ledger, Sequence[str]], Sequence[T]]
    ) -> list[T]:
        """Ask each fleet about the jobs that it holds; return the replies in the jobs' order."""
        return _grouped(job_ids, self._places_of(job_ids), ask)

    def _places_of(self, job_ids: Sequence[str]) -> list[Ledger]:
        """Return the ledger that holds each job.

        A job that was carried between two looks is in the first fleet at the second.
        """
        first, *others = self.places()
        found = [first] * len(job_ids)
        if not others:
            return found
        (other,) = others
        missing = [at for at, there in enumerate(_held(first, job_ids)) if not there]
        elsewhere = _held(other, [job_ids[at] for at in missing])
        for at, there in zip(missing, elsewhere, strict=True):
            found[at] = other if there else first
        return found


def holds(place: Ledger, job_id: str) -> bool:
    """Return whether a ledger holds a job."""
    return _held(place, [job_id])[0]


def _held(place: Ledger, job_ids: Sequence[str]) -> list[bool]:
    """Return which of these jobs a ledger holds, in one round trip."""
    return _exist(place, [[f"fb:job:{job_id}"] for job_id in job_ids])


def _known(place: Ledger, rows: Sequence[NewJob]) -> list[bool]:
    """Return which new jobs a ledger knows already, by their id or their idempotency key."""
    return _exist(place, [[f"fb:job:{row.id}", *filter(None, [row.key])] for row in rows])


def _exist(place: Ledger, names: Sequence[Sequence[str]]) -> list[bool]:
    with reaching_redis(), place.redis.pipeline(transaction=False) as pipe:
        for each in names:
            pipe.exists(*each)
        return [bool(count) for count in pipe.execute()]


def _grouped(
    items: Sequence[Any],
    places: Sequence[Ledger],
    ask: Callable[[Ledger, Sequence[Any]], Sequence[T]],
) -> list[T]:
    """Ask each place about its items at once; return the replies in the order of the items."""
    replies: dict[int, T] = {}
    for place in dict.fromkeys(places):
        own = [at for at, each in enumerate(places) if each is place]
        replies |= zip(own, ask(place, [items[at] for at in own]), strict=True)
    return [replies[at] for at in range(len(items))]
