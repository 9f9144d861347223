"""A worker's hold on a job, and how it reads what the job is."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from forebay.routing.errors import CallerError, InvalidJob, Misconfigured, Unavailable
from forebay.routing.jobs import Answer, Job, parse_job
from forebay.routing.ledger.record import Record
from forebay.routing.store.encryption import PLAIN, Seal

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's hold on a job. `token` fences it: a write with an old token changes nothing."""

    id: str
    token: str
    record: Record
    sealed: bytes = field(repr=False)
    draft: bytes = field(repr=False)
    seal: Seal = field(default=PLAIN, repr=False)

    def job(self) -> Job:
        """The job, from its content; where the record says `deny` by now, so does the job.

        Raises:
            InvalidJob: The content is missing, damaged, or another job's.
            Unavailable: This worker has not the key; another one may.
        """
        job = opened(self.id, self.sealed, self.seal)
        return job.model_copy(update={"egress": "deny"}) if self.record.egress == "deny" else job

    def drafted(self) -> Answer | None:
        """The local answer that an escalated job brings along.

        Raises:
            InvalidJob: It is damaged, or another job's.
            Unavailable: This worker has not the key; another one may.
        """
        if not self.draft:
            return None
        try:
            draft = Answer.model_validate_json(_unsealed(self.draft, self.seal))
        except (ValueError, CallerError):
            raise InvalidJob("the stored draft cannot be read") from None
        if draft.id != self.id:
            raise InvalidJob("the stored draft is another job's")
        return draft


def opened(job_id: str, sealed: bytes, seal: Seal) -> Job:
    """The job that is in a sealed content.

    Raises:
        InvalidJob: The content is missing, damaged, or another job's.
        Unavailable: This process has not the key; another one may.
    """
    try:
        job = parse_job(_unsealed(sealed, seal))
    except (ValueError, CallerError):
        raise InvalidJob("the stored content cannot be read") from None
    if job.id != job_id:
        raise InvalidJob("the stored content is another job's")
    return job


def _unsealed(sealed: bytes, seal: Seal) -> bytes:
    try:
        return seal.open(sealed)
    except Misconfigured as error:
        _log.error("a stored content cannot be read: %s", error)
        raise Unavailable("this process cannot open the stored content") from None
