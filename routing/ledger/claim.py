"""A worker's hold on a job: a lease with a fencing token, and the job's stored content."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from forebay.routing.base import Kind
from forebay.routing.errors import (
    CallerError,
    EgressDenied,
    InvalidJob,
    Lost,
    Misconfigured,
    Unavailable,
)
from forebay.routing.jobs import Answer, Job, Verdict, parse_job
from forebay.routing.ledger.record import Record
from forebay.routing.logs import Event, event
from forebay.routing.store.encryption import PLAIN, Seal

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of the waiting jobs a claim may take: all of them, unless an attribute says otherwise.

    Attributes:
        interactive: only interactive jobs.
        kinds: only jobs of these kinds, if any are named. A claim looks at the first hundred jobs.
        passed_over: no jobs of these tenants.
        held: how many jobs of each tenant the worker works. Tenants with the fewest go first.
    """

    interactive: bool = False
    kinds: frozenset[Kind] = frozenset()
    passed_over: frozenset[str] = frozenset()
    held: Mapping[str, int] = field(default_factory=dict)

    def packed(self) -> str:
        """Return the selection as `lua/claim.lua` takes it; empty if it allows all jobs."""
        names = {"kinds": sorted(self.kinds), "passed_over": sorted(self.passed_over)}
        limits: dict[str, object] = {name: value for name, value in names.items() if value}
        if self.interactive:
            limits["interactive"] = True
        if self.held:
            limits["held"] = dict(self.held)
        return json.dumps(limits) if limits else ""


#: Any job, in the order of the ledger.
ANY_JOB = Selection()


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's hold on a job.

    Attributes:
        id: the job's id.
        token: fences the job; a write with an old token changes nothing.
        record: the job's record at the time of the claim.
        sealed: the job's content as it is stored.
        draft: the kept answer as it is stored, see `drafted`; empty if there is none.
        seal: opens `sealed` and `draft`.
    """

    id: str
    token: str
    record: Record
    sealed: bytes = field(repr=False)
    draft: bytes = field(repr=False)
    seal: Seal = field(default=PLAIN, repr=False)

    @property
    def tenant(self) -> str:
        """The job's tenant."""
        return self.record.tenant

    def job(self) -> Job:
        """Return the job. Its egress is `deny` if the record has come to say so.

        Raises:
            InvalidJob: The content is missing, damaged, or another job's.
            Unavailable: This worker lacks the key; another worker may have it.
        """
        job = open_job(self.id, self.sealed, self.seal)
        if job.egress == self.record.egress:
            return job
        return job.model_copy(update={"egress": "deny"})

    def drafted(self) -> Answer | None:
        """Return the answer that is kept with the job, if there is one.

        It is the local answer of an escalated job, or an answer of Bedrock that was paid for by a
        worker that could not settle the job.

        Raises:
            InvalidJob: The answer is damaged, or another job's.
            Unavailable: This worker lacks the key; another worker may have it.
        """
        if not self.draft:
            return None
        try:
            draft = Answer.model_validate_json(unsealed(self.draft, self.seal), extra="ignore")
        except (ValueError, CallerError):
            raise InvalidJob("the stored draft cannot be read") from None
        if draft.id != self.id:
            raise InvalidJob("the stored draft is another job's")
        return draft


class Move(NamedTuple):
    """A claimed job and where it goes.

    Attributes:
        egress: `deny` if the content may not leave any more; `allow` changes nothing.
        reason: why; several reason codes are separated by commas.
        verdict: what the router model said; `None` if it was not asked.
    """

    claim: Claim
    queue: str
    egress: str
    reason: str
    verdict: Verdict | None

    def as_args(self) -> tuple[str, ...]:
        """Return the arguments by which `route.lua` moves this job."""
        verdict = self.verdict.model_dump_json() if self.verdict else ""
        return self.claim.id, self.claim.token, self.queue, self.egress, self.reason, verdict


def refusal_of(reply: bytes) -> Lost | EgressDenied | None:
    """Return why a script did not move a job; `None` if it did."""
    if reply == b"lost":
        return Lost()
    if reply == b"egress_denied":
        return EgressDenied("the content of this job may not leave", field="egress")
    return None


def check_moved(reply: bytes) -> None:
    """Raise the error if a script did not move a job."""
    error = refusal_of(reply)
    if error is not None:
        raise error


def open_job(job_id: str, sealed: bytes, seal: Seal) -> Job:
    """Return the job in a sealed content.

    Raises:
        InvalidJob: The content is missing, damaged, or another job's.
        Unavailable: This process lacks the key; another process may have it.
    """
    try:
        job = parse_job(unsealed(sealed, seal))
    except (ValueError, CallerError):
        raise InvalidJob("the stored content cannot be read") from None
    if job.id != job_id:
        raise InvalidJob("the stored content is another job's")
    return job


def unsealed(sealed: bytes, seal: Seal) -> bytes:
    """Return a stored content.

    Raises:
        ValueError: It is damaged.
        Unavailable: This process lacks the key; another process may have it.
    """
    try:
        return seal.open(sealed)
    except Misconfigured as error:
        _log.error("a stored content cannot be read: %s", error, extra=event(Event.JOB_UNREADABLE))
        raise Unavailable("this process cannot open the stored content") from None
