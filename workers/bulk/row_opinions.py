"""Second opinions on the rows of shards, by the policy that holds for jobs."""

from __future__ import annotations

from functools import cached_property

import redis

from forebay.routing.jobs import Content, Verdict
from forebay.routing.learning.verdicts import Verdicts
from forebay.routing.learning.versions import CurrentRouterModel
from forebay.workers.cascade.second_opinion import SecondOpinion, SecondOpinions
from forebay.workers.runtime.attempt import Attempt


class RowOpinions:
    """Decides for one local worker which rows are answered twice.

    No router saw the rows of a shard. So the verdict on a row is computed here, if the policy asks
    for one: it takes a millisecond.
    """

    def __init__(self, opinions: SecondOpinions, client: redis.Redis, secret: bytes) -> None:
        self._opinions = opinions
        self._redis = client
        self._secret = secret

    def may_want(self, attempt: Attempt) -> bool:
        """Return True if a row may be answered twice; alike for all rows of a shard."""
        return self._opinions.may_want(attempt)

    def open(self, attempt: Attempt, first: Content | None) -> SecondOpinion | None:
        """Return the second opinion on a row, which has not begun; `None` if none is wanted.

        Args:
            attempt: the attempt at the row, which has no verdict: the policy takes it as unsure.
            first: the first answer.
        """
        if not self._opinions.wants(attempt, first):
            return None
        judged = attempt.judged(self._verdict(attempt))
        return self._opinions.open_wanted(judged) if self._opinions.wants(judged, first) else None

    def _verdict(self, attempt: Attempt) -> Verdict | None:
        """Return the verdict on a row; a job that may not leave has none either."""
        return None if attempt.job.egress == "deny" else self._verdicts.verdict(attempt.job)

    @cached_property
    def _verdicts(self) -> Verdicts:
        """Loaded with the first row that needs a verdict: most fleets need none here."""
        return Verdicts(CurrentRouterModel(self._redis), self._redis, self._secret)
