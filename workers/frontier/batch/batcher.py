"""The batcher: a thread of each bedrock worker, of which one in the fleet works at a time.

It makes batches of the jobs that wait for one, has Bedrock begin them, looks at those that run, and
reads the results. All that it knows is in Redis, so any worker goes on where another died.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from forebay.routing.bedrock_batches.batch_record import LOST, BatchRecord
from forebay.routing.bedrock_batches.batches import BedrockBatches
from forebay.routing.bedrock_batches.groups import ALL_TENANTS, Group, WaitingGroups
from forebay.routing.errors import ForebayError, Lost
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.pauses import Pauses
from forebay.routing.logs import Event, event, place
from forebay.routing.policy.policy_file import PolicyFile
from forebay.routing.store.lease import Lease
from forebay.workers.frontier.batch.batch_writer import BatchWriter
from forebay.workers.frontier.batch.collection import Collection
from forebay.workers.frontier.batch.departure import Departure
from forebay.workers.frontier.batch.held_lease import HeldLease
from forebay.workers.frontier.batch.record_call import READ_WITHIN_S
from forebay.workers.frontier.batch.submission import Submission
from forebay.workers.frontier.bedrock.batch_service import BatchService

log = logging.getLogger(__name__)

LEASE = "bedrock-batches"
CLOSE_S = 5.0
MAX_RELEASED = 10_000  # jobs of a group that are given back at once


class Batcher:
    """Moves the fleet's batches on, in rounds.

    1. Batches that a process left behind before Bedrock had them are begun, or ended.
    2. Batches that run are looked at: their results are read, or they are stopped if nobody waits
       for them any more or they take too long.
    3. Groups that are full, or have waited long enough, become batches. Those with too few jobs are
       given back to their queue.
    """

    def __init__(
        self,
        ledger: Ledger,
        policy: PolicyFile,
        service: BatchService,
        steps: tuple[BatchWriter, Submission, Collection, Departure],
        poll_s: float,
    ) -> None:
        self._ledger, self._policy, self._service = ledger, policy, service
        self._writer, self._submission, self._collection, self._departure = steps
        self._batches, self._groups = BedrockBatches(ledger.redis), WaitingGroups(ledger.redis)
        self._pauses = Pauses(ledger.redis)
        self._lease, self._poll_s = Lease(ledger.redis, LEASE), poll_s
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to make rounds."""
        self._thread = threading.Thread(target=self._run, daemon=True, name="batcher")
        self._thread.start()

    def close(self) -> None:
        """Stop; a batch that is being written goes back to its group."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(timeout=CLOSE_S)

    def round(self) -> None:
        """Make one round, if no other process makes one."""
        if not self._lease.hold():
            return
        with HeldLease(self._lease, self._closed) as lease:
            for batch in self._batches.open():
                self._guarded(partial(self._go_on, batch, lease))
            for group in self._groups.all():
                self._guarded(partial(self._make, group, lease))

    def _run(self) -> None:
        while not self._closed.wait(self._poll_s):
            self._guarded(self.round)
        self._guarded(self._lease.release)

    def _guarded(self, step: Callable[[], object]) -> None:
        """Take a step. What cannot be done now is done in a later round, by whoever makes it."""
        try:
            step()
        except Lost:
            return
        except ForebayError as error:
            log.warning(
                "batches wait: %s", error, extra=event(Event.BEDROCK_BATCH_AWAY, code=error.code)
            )
        except Exception as error:  # noqa: BLE001 - the thread outlives any batch
            log.error(  # noqa: TRY400 - the message may hold content
                "%s at %s", type(error).__name__, place(error),
                extra=event(Event.BEDROCK_BATCH_AWAY),
            )  # fmt: skip

    def _go_on(self, batch: BatchRecord, lease: HeldLease) -> None:
        """Move one batch on."""
        lease.check()
        if batch.state in {"writing", "uploading"}:  # its writer died
            self._departure.abandon(batch, "its writer died")
        elif batch.state in {"uploaded", "creating"}:
            self._submission.submit(batch)
        elif batch.state == "leaving":
            self._departure.finish(batch)
        else:
            self._look(batch, lease)

    def _look(self, batch: BatchRecord, lease: HeldLease) -> None:
        """Look at a batch that Bedrock has."""
        now = self._batches.now_ms()
        try:
            progress = self._service.look(batch)
        except ForebayError:
            if now - batch.at > batch.turnaround_ms + READ_WITHIN_S * 1_000:
                self._departure.abandon(batch, LOST)
            raise
        since = batch.complete_at or (now if progress.ended else 0)
        seen = self._batches.advance(batch, "running", status=progress.status, complete_at=since)
        if seen is None:
            return
        if progress.ended:
            self._collection.collect(seen, progress, lease)
        elif not seen.stopping and self._is_to_stop(seen, now):
            self._service.stop(seen)
            self._batches.advance(seen, "running", stopping="1")

    def _is_to_stop(self, batch: BatchRecord, now_ms: int) -> bool:
        """Return whether a batch takes too long, or no job waits for it any more."""
        if now_ms - batch.created_at > batch.turnaround_ms:
            return True
        job_ids = list(self._batches.jobs(batch.id).values())
        return not self._batches.is_awaited(batch.id, job_ids)

    def _make(self, group: Group, lease: HeldLease) -> None:
        """Make a batch of a group, or give its jobs back."""
        lease.check()
        policy = self._policy.current()
        rules = policy.batch
        rests = self._groups.rests(group.model)
        if not rules.takes(group.model) or (rests and rules.when_refused == "call"):
            self._give_back(group)
        elif rests or self._is_paused(group) or self._open(group.model) >= rules.max_open:
            return
        elif group.jobs >= rules.max_records or group.oldest_s >= rules.max_wait_s:
            if group.jobs < rules.min_records:
                self._give_back(group)
            elif batch := self._writer.write(group, policy, lease):
                self._submission.submit(batch)

    def _open(self, model: str) -> int:
        """Return how many batches of a model have not ended."""
        return sum(batch.model == model for batch in self._batches.open())

    def _is_paused(self, group: Group) -> bool:
        """Return whether an operator holds back what the group waits for."""
        scopes = ["lane:bedrock", f"model:{group.model}"]
        if group.tenant != ALL_TENANTS:
            scopes += [f"tenant:{group.tenant}", f"bedrock:{group.tenant}"]
        return self._pauses.hold(*scopes)

    def _give_back(self, group: Group) -> None:
        """Have the jobs of a group called one by one."""
        job_ids = self._groups.jobs(group.name, MAX_RELEASED)
        self._batches.leave(job_ids, self._ledger.bell, of_group=group.name)
