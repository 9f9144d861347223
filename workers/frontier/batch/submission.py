"""Has Bedrock begin a batch whose file is in the bucket: once, whoever dies meanwhile."""

from __future__ import annotations

import logging

from forebay.routing.bedrock_batches.batch_record import LOST, BatchRecord
from forebay.routing.bedrock_batches.batches import BedrockBatches
from forebay.routing.errors import ForebayError, Throttled, Unavailable
from forebay.routing.logs import Event, event
from forebay.workers.frontier.batch.departure import Departure
from forebay.workers.frontier.bedrock.batch_service import BatchService

TOO_LATE = "not begun in time"

log = logging.getLogger(__name__)


class Submission:
    """Creates batches. A batch in the state `creating` is looked for before it is created again."""

    def __init__(
        self, batches: BedrockBatches, service: BatchService, departure: Departure
    ) -> None:
        self._batches, self._service, self._departure = batches, service, departure

    def submit(self, batch: BatchRecord) -> None:
        """Have Bedrock begin the batch; leave it as it is if that is not possible yet."""
        late = self._batches.now_ms() - batch.at > batch.turnaround_ms
        if late and batch.state == "uploaded":
            self._departure.abandon(batch, TOO_LATE)
            return
        asked = self._batches.advance(batch, "creating")
        if asked is None:  # another process goes on with it
            return
        try:
            arn = self._service.find(asked) if batch.state == "creating" else ""
        except ForebayError as error:  # nobody knows if it was begun
            _tell(asked, error)
            if late:
                self._departure.abandon(asked, LOST)
            return
        if late and not arn:
            self._departure.abandon(asked, TOO_LATE)
        elif arn := arn or self._created(asked):
            self._begun(asked, arn)

    def _created(self, batch: BatchRecord) -> str:
        """Create the batch, and return its ARN; empty if it has none yet."""
        try:
            return self._service.create(batch)
        except (Throttled, Unavailable) as error:  # it may have been begun
            _tell(batch, error)
        except ForebayError as error:
            self._departure.refused(batch, error)
        return ""

    def _begun(self, batch: BatchRecord, arn: str) -> None:
        at = self._batches.now_ms()
        if self._batches.advance(batch, "running", arn=arn, created_at=at, status="Submitted"):
            log.info(
                "batch %s of %d jobs for %s", batch.id, batch.records, batch.model,
                extra=event(
                    Event.BEDROCK_BATCH_BEGUN, batch=batch.id, model=batch.model,
                    jobs=batch.records,
                ),
            )  # fmt: skip


def _tell(batch: BatchRecord, error: ForebayError) -> None:
    log.warning(
        "batch %s cannot be begun yet: %s", batch.id, error,
        extra=event(Event.BEDROCK_BATCH_AWAY, batch=batch.id),
    )  # fmt: skip
