"""Simulated traffic for the pacer: jobs with random scores are offered to a real `Pacer`."""

from __future__ import annotations

import random
from collections.abc import Callable

from forebay.routing.jobs import Job
from forebay.routing.limits.pacing import Pacer
from forebay.routing.policy.policy_file import Policy, TenantPolicy
from forebay.routing.policy.tables import PacePolicy

REQUESTS = {
    "classify": {"kind": "classify", "text": "the pump stopped", "labels": ["water", "power"]},
    "summarize": {"kind": "summarize", "text": "a long story"},
}
Scores = Callable[[random.Random, int], float]


def rules(**pace) -> Policy:
    return Policy(defaults=TenantPolicy(pace=PacePolicy(**pace)))


def job(rng: random.Random, kind: str = "classify", tenant: str = "acme") -> Job:
    job_id = f"{tenant}.{rng.getrandbits(128):032x}"
    return Job(id=job_id, tenant=tenant, request=REQUESTS[kind], egress="allow")


class Traffic:
    """Offers the jobs of one tenant; jobs that stay local are answered `behind` jobs later.

    Attributes:
        went: by job, whether it was escalated.
        scores: by job, the last score that it was offered with.
    """

    def __init__(self, redis, seed: int = 1, behind: int = 20, **pacer) -> None:
        self.pacer = Pacer(redis, **pacer)
        self.rng = random.Random(seed)
        self.behind = behind
        self.went: list[bool] = []
        self.scores: list[float] = []
        self._local: list[tuple[int, Job]] = []

    def send(self, policy, count, score: Scores, *, hard=0.0, kind="classify") -> float:
        """Offer `count` more jobs, and return the share of them that was escalated."""
        first = len(self.went)
        for i in range(count):
            self._offer(policy, score(self.rng, i), kind)
            if len(self._local) > self.behind:
                self._answer(policy, score(self.rng, i), hard)
        for _ in range(len(self._local)):
            self._answer(policy, score(self.rng, count), hard)
        return sum(self.went[first:]) / count

    def _offer(self, policy, score: float, kind: str) -> None:
        offered = job(self.rng, kind)
        pace = self.pacer.offer(offered, policy, "before", score)
        self.went.append(pace.go)
        self.scores.append(score)
        if not pace.go:
            self._local.append((len(self.went) - 1, offered))

    def _answer(self, policy, score: float, hard: float) -> None:
        i, answered = self._local.pop(0)
        if self.rng.random() < hard:
            self.pacer.hard(answered, policy)
            self.went[i] = True
        else:
            self.went[i] = self.pacer.offer(answered, policy, "after", score).go
            self.scores[i] = score

    def share(self, first: int, last: int) -> float:
        """Return the share that was escalated of the jobs from `first` to `last`."""
        return sum(self.went[first:last]) / (last - first)


#: Distributions of scores; the second argument counts the jobs.
SCORES: dict[str, Scores] = {
    "even": lambda rng, _: rng.random(),
    "mostly easy": lambda rng, _: rng.betavariate(0.5, 3),
    "three values": lambda rng, _: rng.choice([0, 0, 0, 0, 0.5, 1]),
    "all the same": lambda rng, _: 0.5,
    "ever harder": lambda rng, i: rng.random() + i / 500,
    "ever easier": lambda rng, i: rng.random() - i / 500,
    "suddenly harder": lambda rng, i: rng.random() + (i > 250),
    "suddenly easier": lambda rng, i: rng.random() - (i > 250),
}
