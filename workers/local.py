"""The local lane: `celery -A forebay.workers.local worker`, one process a GPU (or a CPU engine).

Many tasks, on threads, share one continuously batched engine: as many threads as it has slots, and
as many again that look ahead, so that no slot waits for bookkeeping.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from forebay.routing.errors import BadAnswer, ForebayError, Misconfigured
from forebay.routing.jobs import Answer, Job
from forebay.routing.lanes import EMBED, local_queue
from forebay.routing.learning.audit_sampling import AuditSampler
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.policy.escalation import NextStep
from forebay.routing.store.answer_cache import AnswerCache, secret
from forebay.workers.cascade.answerer import Answerer, RawAnswer
from forebay.workers.cascade.escalation import Checked, Escalator, better, second_best, suspect
from forebay.workers.cascade.second_opinion import Opinion, SecondOpinion, second_id
from forebay.workers.engines.engine import Engine
from forebay.workers.engines.host.supervisor import open_engine
from forebay.workers.engines.settings import EngineSettings, LocalSettings, SecondEngineSettings
from forebay.workers.runtime.actor import Actor, give_up, settings_of
from forebay.workers.runtime.execute import Answered, Escalated, Failed, Outcome, recalled
from forebay.workers.runtime.leases import Leases

log = logging.getLogger(__name__)


class Local:
    """Works jobs on an engine: recall, make, check, judge."""

    def __init__(self, ledger: Ledger, make: Callable[[], Answerer]) -> None:
        settings = ledger.settings
        self._leases = Leases(ledger)
        self._quarantine = threading.Lock()
        self._judge = Escalator(ledger)
        key = secret(ledger.redis, settings)
        self._cache = AnswerCache(ledger.redis, key, settings.cache_s, ledger.seal)
        self._sample = AuditSampler(ledger, key)
        self._maker = make()  # last: it takes long, and what is wrong above is said first

    def work(self, claim: Claim, /) -> Outcome:
        """Answer one job, or say that it must go up the ladder."""
        job = claim.job()
        prompt_id = f"{claim.id}/{claim.token}"
        with self._leases.holding(claim, partial(self._stop, prompt_id)), self._apart(claim):
            return self._recall(claim, job) or self._answer(claim, job, prompt_id)

    def close(self) -> None:
        """Stop its engines."""
        self._maker.close()

    def _stop(self, prompt_id: str) -> None:
        self._maker.stop(prompt_id)
        self._maker.stop(second_id(prompt_id))

    def _apart(self, claim: Claim) -> AbstractContextManager[object]:
        """Of the jobs that an engine died with one may be poisonous: they are tried one at a time.

        So it takes others along once, and not until their attempts are used up too.
        """
        return self._quarantine if suspect(claim) else nullcontext()

    def _recall(self, claim: Claim, job: Job) -> Outcome | None:
        """An exact earlier answer, where the job wants one."""
        if not job.cache:
            return None
        found = self._cache.get(job, claim.record.egress, *self._maker.signature(job))
        return recalled(claim, found, degraded=second_best(claim)) if found else None

    def _answer(self, claim: Claim, job: Job, prompt_id: str) -> Outcome:
        """Make it, twice where that is worth its time, and judge it."""
        wanted = partial(self._judge.wants_second, claim, job, self._maker.info.slots)
        second = SecondOpinion(self._maker, job, prompt_id, wanted)
        making = self._maker.begin(job, prompt_id)  # the first one's slot comes first
        with second:
            first = Checked.of(job, making())
            opinion = second.on(first.content) if first.sound else None
            said = self._judge.judge(claim, job, first, opinion)
            if said.step == "escalate":
                draft = _given(claim, first, said, first.made, opinion)
                return Escalated(",".join(said.reasons), draft)
            opinion = opinion if first.sound else second.on(first.content)
        best, said = better(job, first, opinion, said)
        return self._settled(claim, job, said, _given(claim, best, said, first.made, opinion))

    def _settled(
        self, claim: Claim, job: Job, said: NextStep, answer: Answer | None
    ) -> Answered | Failed:
        if answer is None:
            return Failed(BadAnswer("the local lane has no answer that will do"), said.reasons)
        return Answered(answer, partial(self._settled_now, claim, job, answer))

    def _settled_now(self, claim: Claim, job: Job, answer: Answer) -> None:
        """Lent to others and audited only now: not what was cancelled or forgotten meanwhile."""
        self._cache.put(job, claim.record.egress, answer)
        self._sample.take(job, answer)


def _given(
    claim: Claim, best: Checked, said: NextStep, first: RawAnswer, opinion: Opinion | None
) -> Answer | None:
    """The answer, with the tokens of all that was made for it; none where there is no content."""
    if best.content is None:
        return None
    record, made = claim.record, [first, *([opinion.made] if opinion else [])]
    return Answer(
        **record.heading() | {"doubt": said.doubt},
        status="done",
        lane="local",
        reasons=(*record.reasons, *said.reasons),
        degraded=second_best(claim) or said.step != "keep",
        model=best.made.model,
        revision=best.made.revision,
        tokens_in=sum(one.tokens_in for one in made),
        tokens_out=sum(one.tokens_out for one in made),
        checks=(*best.checks, *(opinion.check if opinion else ())),
        content=best.content,
    )


def _open() -> Answerer:
    """The engines, one after the other: on one card each finds what the other has left."""
    first = open_engine(_engine)
    _say("answers", first)
    if _second is None:
        return Answerer(first)
    try:
        second = open_engine(_second)
    except ForebayError as error:
        first.close()
        if error.field:
            error.field = SecondEngineSettings.worded(error.field)
        raise
    _say("second opinions", second)
    maker = Answerer(first, second)
    if second.info().revision == first.info().revision:
        maker.close()
        hint = "has the first engine's model, which would always agree with itself; name another"
        raise Misconfigured(hint, field="FOREBAY_SECOND_ENGINE")
    return maker


def _say(what: str, engine: Engine) -> None:
    info = engine.info()
    words = "%s by %s: %s %s, %d slots of %d tokens"
    log.info(words, what, info.engine, info.model, info.revision, info.slots, info.context_tokens)


def _second_settings() -> SecondEngineSettings | None:
    """Of the second model, where there is one; a setting of one that is not there is a mistake."""
    second = settings_of(SecondEngineSettings)
    if _own.second_engine:
        return second
    if second.model_fields_set:
        name = min(second.model_fields_set)
        hint = f"is needed where FOREBAY_SECOND_{name.upper()} is set"
        give_up(Misconfigured(hint, field="FOREBAY_SECOND_ENGINE"))
    return None


_own, _engine = settings_of(LocalSettings), settings_of(EngineSettings)
_second = _second_settings()
app = Actor(
    [local_queue(_own.pool), EMBED],
    lambda ledger: Local(ledger, _open),
    pool="threads",
    concurrency=2 * _engine.slots,
).app
