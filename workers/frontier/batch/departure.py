"""How jobs, money and files leave a batch that gives no answers, or no more answers."""

from __future__ import annotations

import logging

from forebay.routing.bedrock_batches.batch_record import ANSWERED, INTERRUPTED, LOST, BatchRecord
from forebay.routing.bedrock_batches.batches import BedrockBatches
from forebay.routing.bedrock_batches.groups import WaitingGroups
from forebay.routing.errors import ForebayError
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.logs import Event, event
from forebay.routing.policy.policy_file import PolicyFile
from forebay.workers.frontier.batch.batched_jobs import call_id
from forebay.workers.frontier.batch.candidates import GRACE_S
from forebay.workers.frontier.bedrock.batch_bucket import BatchBucket
from forebay.workers.frontier.bedrock.batch_service import FAILED

log = logging.getLogger(__name__)

#: After Bedrock or S3 has refused a batch of a model, none is made for so long.
REST_S = 900.0


class Departure:
    """Ends batches. Each step can be done again, by another process too."""

    def __init__(
        self,
        ledger: Ledger,
        batches: BedrockBatches,
        bucket: BatchBucket,
        budget: Budget,
        policy: PolicyFile,
    ) -> None:
        self._ledger, self._batches, self._bucket = ledger, batches, bucket
        self._budget, self._policy = budget, policy
        self._groups = WaitingGroups(ledger.redis)

    def refused(self, batch: BatchRecord, error: ForebayError) -> None:
        """End a batch that was refused before Bedrock began it, and rest its model for a while."""
        self._rest(batch, str(error))
        self.abandon(batch, error.code)

    def failed(self, batch: BatchRecord, why: str) -> None:
        """End a batch that failed as a whole, unbilled, and rest its model for a while."""
        self._rest(batch, why)
        self.abandon(batch, "failed", status=FAILED, failed=batch.records)

    def _rest(self, batch: BatchRecord, why: str) -> None:
        log.error(
            "no batches of %s for %.0f s: %s", batch.model, REST_S, why,
            extra=event(Event.BEDROCK_BATCH_FAILED, model=batch.model, batch=batch.id),
        )  # fmt: skip
        self._groups.rest(batch.model, REST_S, why)

    def abandon(self, batch: BatchRecord, outcome: str, **fields: str | int) -> None:
        """End a batch without answers."""
        leaving = self._batches.advance(batch, "leaving", outcome=outcome, **fields)
        if leaving is not None:
            self.finish(leaving)

    def finish(self, batch: BatchRecord) -> None:
        """Let go of what a batch in the state `leaving` still has."""
        if batch.outcome != ANSWERED:
            if batch.outcome != LOST:
                self.release(batch)
            self._let_jobs_go(batch)
        self._delete(batch)
        self._batches.advance(batch, "ended")

    def release(self, batch: BatchRecord) -> None:
        """Give back the money of all records. Nothing of the batch was billed."""
        for record_id in self._batches.jobs(batch.id):
            self._budget.release(call_id(batch.id, record_id))

    def _let_jobs_go(self, batch: BatchRecord) -> None:
        job_ids = list(self._batches.jobs(batch.id).values())
        rules = self._policy.current().batch
        refused = rules.when_refused == "wait" and self._groups.rests(batch.model)
        again = batch.outcome == INTERRUPTED or (refused and batch.outcome != LOST)
        wait_s = rules.max_wait_s + GRACE_S + (REST_S if refused else 0)
        to_group = batch.group if again else ""
        self._batches.leave(
            job_ids, self._ledger.bell, batch=batch.id, to_group=to_group, wait_s=wait_s
        )

    def _delete(self, batch: BatchRecord) -> None:
        """Delete the files, which hold content. What cannot be deleted is left to the bucket."""
        try:
            self._bucket.delete(batch)
        except ForebayError as error:
            log.warning(
                "the files of batch %s are still in the bucket: %s", batch.id, error,
                extra=event(Event.BEDROCK_BATCH_AWAY, batch=batch.id),
            )  # fmt: skip
