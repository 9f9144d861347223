"""One attempt at a job: what a lane's steps are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from forebay.routing.errors import EngineDied
from forebay.routing.jobs import Job
from forebay.routing.ledger.claim import Claim
from forebay.routing.reasons import DEGRADING


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claim and the job that it holds."""

    claim: Claim
    job: Job

    @classmethod
    def of(cls, claim: Claim) -> Self:
        """Open the claim's job.

        Raises:
            InvalidJob: The content is missing, damaged, or another job's.
            Unavailable: This worker lacks the key to the content; another worker may have it.
        """
        return cls(claim, claim.job())

    @property
    def prompt_id(self) -> str:
        """The id of the first prompt; no other attempt uses it."""
        return f"{self.claim.id}/{self.claim.token}"

    @property
    def second_prompt_id(self) -> str:
        """The id of the second opinion's prompt."""
        return f"{self.prompt_id}/2"

    @property
    def degraded(self) -> bool:
        """True if the policy wanted the other lane for this job and could not have it."""
        reasons = self.claim.record.reasons
        return any(reason.partition(":")[0] in DEGRADING for reason in reasons)

    @property
    def suspect(self) -> bool:
        """True if an engine died while it worked this job, which may have killed it."""
        return self.claim.record.error == EngineDied.code
