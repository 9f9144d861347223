"""One attempt at a job: what a lane's steps are given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

from forebay.routing.base import NANO
from forebay.routing.errors import EngineDied
from forebay.routing.jobs import Job, Verdict
from forebay.routing.ledger.claim import Claim
from forebay.routing.reasons import DEGRADING


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claim and the job that it holds.

    Attributes:
        row: the place in its shard of a row, which is worked as a job under the shard's claim.
    """

    claim: Claim
    job: Job
    row: int | None = None

    @classmethod
    def of(cls, claim: Claim) -> Self:
        """Open the claim's job.

        Raises:
            InvalidJob: The content is missing, damaged, or another job's.
            Unavailable: This worker lacks the key to the content; another worker may have it.
        """
        return cls(claim, claim.job())

    def judged(self, verdict: Verdict | None) -> Self:
        """Return the attempt with another verdict on its job."""
        record = self.claim.record._replace(verdict=verdict)
        return replace(self, claim=replace(self.claim, record=record))

    def having_spent(self, nusd: int) -> Self:
        """Return the attempt after a call that cost so much: later ones may cost less."""
        most_usd = self.job.max_cost_usd
        if most_usd is None:
            return self
        update = {"max_cost_usd": max(0.0, most_usd - nusd / NANO)}
        return replace(self, job=self.job.model_copy(update=update))

    @property
    def prompt_id(self) -> str:
        """The id of the first prompt; no other attempt uses it."""
        whole = f"{self.claim.id}/{self.claim.token}"
        return whole if self.row is None else f"{whole}/{self.row}"

    @property
    def second_prompt_id(self) -> str:
        """The id of the second opinion's prompt."""
        return f"{self.prompt_id}/2"

    @property
    def third_prompt_id(self) -> str:
        """The id of the prompt of a third answer."""
        return f"{self.prompt_id}/3"

    @property
    def further_prompt_ids(self) -> set[str]:
        """The ids of all prompts after the first one."""
        return {self.second_prompt_id, self.third_prompt_id}

    @property
    def degraded(self) -> bool:
        """True if the policy wanted the other lane for this job and could not have it."""
        return _degrades(self.claim.record.reasons)

    @property
    def suspect(self) -> bool:
        """True if an engine died while it worked this job, which may have killed it."""
        return self.claim.record.error == EngineDied.code


@lru_cache(maxsize=64)  # the rows of a shard share its reasons
def _degrades(reasons: tuple[str, ...]) -> bool:
    return any(reason.partition(":")[0] in DEGRADING for reason in reasons)
