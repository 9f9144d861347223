"""Makes audits: what was predicted of a local answer, beside what Bedrock's answer shows of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import redis

from forebay.routing.jobs import Answer, Classification, Content, Decisions, Job, Verdict
from forebay.routing.learning.audits import MAX_LABELS_KEPT, Audit, LabelOutcome
from forebay.routing.learning.job_types import digest, question_digests
from forebay.routing.learning.label_calibration import raw_shares
from forebay.routing.learning.verdicts import Verdicts, features
from forebay.routing.learning.versions import CurrentRouterModel


class AuditMaker:
    """Makes the audits of one fleet."""

    def __init__(self, client: redis.Redis, secret: bytes) -> None:
        self._redis = client
        self._secret = secret

    @cached_property
    def _verdicts(self) -> Verdicts:
        """Loaded with the first audit: most fleets make none."""
        return Verdicts(CurrentRouterModel(self._redis), self._redis, self._secret)

    def make(
        self, job: Job, local: Answer, second: Answer, outcome: float,
        how: Literal["compared", "judged", "escalated"], *, sampled: bool = True,
        numbers: dict[str, float] | None = None,
    ) -> tuple[Audit, float]:  # fmt: skip
        """Return the audit, and how much worse the local answer is than was predicted.

        Args:
            job: the job, or its shadow.
            local: its local answer.
            second: the answer of Bedrock.
            outcome: how good the local answer is, 0 to 1.
            how: how that was found.
            numbers: about the local answer, by name.
            sampled: the answer is of a random sample of all answers.
        """
        encoded = local.verdict.encoded if local.verdict else None
        plain, predicted_gap = self._verdicts.plain(job, encoded)
        verdict = local.verdict or Verdict(probability=plain.probability, version="none")
        audit = Audit(
            job=local.id, tenant=job.tenant, kind=job.kind, type=digest(job, self._secret),
            version=verdict.version, score=verdict.score, probability=verdict.probability,
            model=plain.version, base_score=plain.score, base_probability=plain.probability,
            features=features(job, encoded), answered_by=local.model, answer=numbers or {},
            **_doubt(local),
            labels=label_outcomes(
                local.content, second.content, question_digests(job, self._secret)
            ),
            outcome=outcome, how=how,
            sampled=sampled, made=time.time(), stand_in=second.stand_in,
            cost_nusd=0 if how == "escalated" else second.cost_nusd,
        )  # fmt: skip
        return audit, audit.gap - predicted_gap


def _doubt(local: Answer) -> dict[str, Any]:
    doubt = local.doubt
    if doubt is None:
        return {}
    return {
        "agreement": doubt.agreement, "agreements": doubt.agreements or (),
        "doubt": doubt.probability,
        "second": doubt.second if doubt.agreement is not None else None,
        "base_doubt": doubt.probability if doubt.base is None else doubt.base,
        "doubt_model": doubt.version.partition("+")[0],
    }  # fmt: skip


def label_outcomes(
    local: Content, second: Content, questions: Mapping[str, str]
) -> tuple[LabelOutcome, ...]:
    """Return the probabilities of a local answer between labels, each with whether it is right.

    `questions` are digests of the questions, by name.
    """
    match local, second:
        case Classification(), Classification():
            right = {local.label: local.label == second.label}
            names = [local.label]
        case Decisions(), Decisions():
            chosen = {answer.name: answer.chosen for answer in second.answers}
            choices = [answer for answer in local.answers if answer.type != "score"]
            names = [answer.name for answer in choices]
            right = {answer.name: chosen.get(answer.name) == answer.chosen for answer in choices}
        case _:
            return ()
    return tuple(
        LabelOutcome(
            shares=_without_names(picked, shares), right=float(right[name]),
            question=questions.get(name, ""),
        )
        for name, (picked, shares) in zip(names, raw_shares(local), strict=False)
    )  # fmt: skip


def _without_names(chosen: str, shares: dict[str, float]) -> tuple[float, ...]:
    others = sorted((share for name, share in shares.items() if name != chosen), reverse=True)
    kept = (shares.get(chosen, 0.0), *others)[:MAX_LABELS_KEPT]
    return tuple(round(share, 6) for share in kept)
