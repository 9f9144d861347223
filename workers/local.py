"""The local lane: `celery -A workers.local worker`, one process a GPU (or a CPU engine).

Many tasks, on threads, share one continuously batched engine: as many threads as it has slots, and
as many again that look ahead, so that no slot waits for bookkeeping.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

from routing import policy
from routing.cache import Cache, secret
from routing.errors import BadAnswer, EngineDied, Expired
from routing.jobs import Answer, Check, Content, Embed, Embedding, Job
from routing.lanes import EMBED, local_queue
from routing.ledger import Claim, Ledger, Lost
from routing.policy import Judgement, PolicyFile
from routing.reasons import DEGRADING
from workers import answers, prompts, similarity, verify
from workers.actor import Actor, settings_of
from workers.engines.engine import Completion, Ending, Engine
from workers.engines.host import open_engine
from workers.execute import Answered, Escalated, Failed, Outcome, recalled
from workers.leases import Leases
from workers.outlook import Outlook
from workers.settings import EngineSettings
from workers.verify import INDISPENSABLE


@dataclass(frozen=True, slots=True)
class Made:
    """What the engine made of a job; no content where it cannot be read as an answer."""

    model: str
    revision: str
    tokens_in: int
    tokens_out: int
    content: Content | None
    finish: Ending = "stop"


class Local:
    """Works jobs on an engine: recall, make, check, judge."""

    def __init__(self, ledger: Ledger, open_engine: Callable[[], Engine]) -> None:
        settings = ledger.settings
        self._leases = Leases(ledger)
        self._quarantine = threading.Lock()
        self._policy = PolicyFile(settings.policy_file)
        self._outlook = Outlook(ledger.redis)
        key = secret(ledger.redis, settings)
        self._cache = Cache(ledger.redis, key, settings.cache_s, ledger.seal)
        self._engine = open_engine()  # last: it takes long, and what is wrong above is said first
        self._info = self._engine.info()

    def work(self, claim: Claim, /) -> Outcome:
        """Answer one job, or say that it must go up the ladder."""
        job = claim.job()
        prompt_id = f"{claim.id}/{claim.token}"
        stop = partial(self._engine.cancel, prompt_id)
        with self._leases.holding(claim, stop), self._apart(claim):
            return self._recall(claim, job) or self._judge(claim, job, self._make(job, prompt_id))

    def close(self) -> None:
        """Stop the engine."""
        self._engine.close()

    def _apart(self, claim: Claim) -> AbstractContextManager[object]:
        """Of the jobs that an engine died with one may be poisonous: they are tried one at a time.

        So it takes others along once, and not until their attempts are used up too.
        """
        suspect = claim.record.error == EngineDied.code
        return self._quarantine if suspect else nullcontext()

    def _recall(self, claim: Claim, job: Job) -> Outcome | None:
        """An exact earlier answer, where the job wants one."""
        if not job.cache:
            return None
        found = self._cache.get(job, claim.record.egress, *self._maker(job))
        return recalled(claim, found, degraded=_second_best(claim)) if found else None

    def _maker(self, job: Job) -> tuple[str, str]:
        """Model and revision that answer this kind here."""
        info = self._info
        if info.embed_model and (job.kind == "embed" or self._by_similarity(job)):
            return info.embed_model, info.embed_revision or ""
        return info.model, info.revision

    def _by_similarity(self, job: Job) -> bool:
        return job.kind == "classify" and self._info.classify == "similarity"

    def _make(self, job: Job, prompt_id: str) -> Made:
        model, revision = self._maker(job)
        if isinstance(job.request, Embed):
            vectors = self._engine.embed(list(job.request.texts))
            return Made(model, revision, vectors.tokens_in, 0, Embedding(vectors=vectors.vectors))
        if self._by_similarity(job):
            content, tokens_in = similarity.classify(job, self._engine.embed)
            return Made(model, revision, tokens_in, 0, content)
        prompt = prompts.local(job, self._info, prompt_id=prompt_id)
        completion = self._engine.submit(prompt).result()
        used = completion.tokens_in, completion.tokens_out
        return Made(model, revision, *used, *_read(job, completion))

    def _judge(self, claim: Claim, job: Job, made: Made) -> Outcome:
        """Keep the answer, or what the policy makes of one that will not do."""
        checks = verify.check(job, made.content, finish=made.finish) if made.content else ()
        unusable = any(check.name in INDISPENSABLE for check in checks if not check.passed)
        content = None if unusable else made.content
        judgement = self._judgement(claim, job, content, checks)
        if content is None:
            return _without_answer(judgement)
        answer = _answer(claim, made, content, checks, judgement)
        if judgement.step == "escalate":
            return Escalated(",".join(judgement.reasons), answer)
        # Lent to others only once it is settled: not what was cancelled or forgotten meanwhile.
        return Answered(answer, lambda: self._cache.put(job, claim.record.egress, answer))

    def _judgement(
        self, claim: Claim, job: Job, content: Content | None, checks: tuple[Check, ...]
    ) -> Judgement:
        rules = self._policy.current()
        state = self._outlook.state(job, rules)
        judgement = policy.should_escalate(job, content, checks, rules, state)
        if judgement.step == "escalate" and _second_best(claim):
            # It has been at Bedrock's door already; going round in circles helps nobody.
            return judgement.model_copy(update={"step": "degrade" if content else "fail"})
        return judgement


def _second_best(claim: Claim) -> bool:
    """The policy wanted the other lane for this job, and could not have it."""
    return bool(DEGRADING.intersection(claim.record.reasons))


def _read(job: Job, completion: Completion) -> tuple[Content | None, Ending]:
    """The content of a completion, none where it cannot be read, and how it ended."""
    if completion.finish == "cancelled":
        raise Lost
    if completion.finish == "deadline":
        raise Expired("the deadline passed while it was worked")
    scores, finish = completion.option_logprobs, completion.finish
    try:
        return answers.read(job, completion.text, option_logprobs=scores, finish=finish), finish
    except BadAnswer:
        return None, finish


def _without_answer(judgement: Judgement) -> Outcome:
    if judgement.step == "escalate":
        return Escalated(",".join(judgement.reasons), None)
    return Failed(BadAnswer("the local lane has no answer that will do"), judgement.reasons)


def _answer(
    claim: Claim, made: Made, content: Content, checks: tuple[Check, ...], judgement: Judgement
) -> Answer:
    record = claim.record
    return Answer(
        id=claim.id,
        kind=record.kind,
        egress=record.egress,
        status="done",
        lane="local",
        reasons=(*record.reasons, *judgement.reasons),
        degraded=_second_best(claim) or judgement.step != "keep",
        model=made.model,
        revision=made.revision,
        tokens_in=made.tokens_in,
        tokens_out=made.tokens_out,
        verdict=record.verdict,
        checks=checks,
        attempts=record.attempts,
        content=content,
    )


def _start(ledger: Ledger) -> Local:
    return Local(ledger, lambda: open_engine(_settings))


_settings = settings_of(EngineSettings)
app = Actor(
    [local_queue(_settings.pool), EMBED], _start, pool="threads", concurrency=2 * _settings.slots
).app
