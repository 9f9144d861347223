"""Recall: give an exact earlier answer again, if the job allows it."""

from __future__ import annotations

from forebay.routing.store.answer_cache import AnswerCache
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.outcomes import Answered, recalled


class Recall:
    """Looks a job up in the answer cache, for the model that would answer it here."""

    def __init__(self, cache: AnswerCache, answerer: Answerer) -> None:
        self._cache = cache
        self._answerer = answerer

    def recall(self, attempt: Attempt) -> Answered | None:
        """Return the earlier answer, or `None` if there is none or the job does not want one."""
        job, claim = attempt.job, attempt.claim
        if not job.cache:
            return None
        cached = self._cache.get(job, claim.record.egress, *self._answerer.signature(job))
        return recalled(claim, cached, degraded=attempt.degraded) if cached else None
