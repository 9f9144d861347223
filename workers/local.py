"""The local lane: `celery -A forebay.workers.local worker`, one process a GPU (or a CPU engine).

Many tasks, on threads, share one continuously batched engine: as many threads as it has slots, and
as many again that look ahead, so that no slot waits for bookkeeping.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from forebay.routing.errors import Misconfigured
from forebay.routing.lanes import EMBED, local_queue
from forebay.routing.learning.audit_sampling import AuditSampler
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.frontier_status import FrontierStatus
from forebay.routing.limits.lanes.lane_check import LaneCheck
from forebay.routing.policy.policy_file import PolicyFile
from forebay.routing.store.answer_cache import AnswerCache
from forebay.routing.store.fleet_secret import fleet_secret
from forebay.routing.store.served_models import ServedModels
from forebay.routing.store.text_stream import TextWriter
from forebay.workers.bulk.row_opinions import RowOpinions
from forebay.workers.bulk.row_steps import RowSteps
from forebay.workers.bulk.shard_work import ShardWork
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.cascade.conclusion import Conclusion
from forebay.workers.cascade.doubting.doubt import Doubter
from forebay.workers.cascade.doubting.label_probabilities import LabelProbabilities
from forebay.workers.cascade.doubting.ranking import Ranking
from forebay.workers.cascade.engines import Engines
from forebay.workers.cascade.escalation import Escalator
from forebay.workers.cascade.job_steps import JobSteps
from forebay.workers.cascade.long_texts.long_texts import LongTexts
from forebay.workers.cascade.recall import Recall
from forebay.workers.cascade.second_opinion import SecondOpinions
from forebay.workers.cascade.side_by_side import JOBS_AT_ONCE, SideBySide
from forebay.workers.engines.batching.slot_shares import reserved_places
from forebay.workers.engines.settings import LocalSettings
from forebay.workers.isolation import pool
from forebay.workers.runtime.actor import Actor, app_on_demand
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.claims.leases import Leases
from forebay.workers.runtime.claims.reserve import ReserveTerms
from forebay.workers.runtime.execute import Worked
from forebay.workers.runtime.outcomes import Outcome
from forebay.workers.runtime.retries import outcome_of_place
from forebay.workers.runtime.start_up import give_up, settings_of
from forebay.workers.telemetry.announcement import Announcement
from forebay.workers.telemetry.observers import observers

#: Threads for jobs that need no slot of the batch.
LIGHT_THREADS = 2
JOBS_PER_SLOT = 2  # one that runs, and one that is ready when the slot is free
SHARDS_AT_ONCE = 2  # while one ends, the other fills the batch; each has a thread of its own


class Local:
    """Answers jobs on an engine.

    1. Sends on a job that skipped the router, if its lane holds no more; recalls an exact earlier
       answer, if the job allows it.
    2. Answers the job, and has it answered again if that is worth its time. A job that the engine
       cannot do goes up if it may.
    3. Checks the answer, compares the two, and computes how much to doubt the answer.
    4. Decides by the policy whether the answer is kept, the job escalated, or the answer degraded.
    5. Concludes: the outcome is recorded, and a kept answer is then cached and may be audited.
    """

    def __init__(
        self,
        ledger: Ledger,
        open_engines: Callable[[], Answerer],
        queues: Sequence[str] = (),
        *,
        reserved: float = 0.0,
        ranking: Ranking | None = None,
        third: bool = False,
    ) -> None:
        """Make a worker.

        Args:
            ledger: the ledger.
            open_engines: starts the engines.
            queues: those whose jobs this worker answers: it announces its models there.
            reserved: the share of its threads that only interactive jobs get.
            ranking: the learned cascade, if one is used.
            third: take two further answers for a second opinion.
        """
        settings = ledger.settings
        self._reserved = reserved
        policy, frontier = PolicyFile(settings.policy_file), FrontierStatus(ledger.redis)
        key = fleet_secret(ledger.redis, settings)
        cache = AnswerCache(ledger.redis, key, settings.cache_s, ledger.seal)
        self._lane_check = LaneCheck(ledger.redis, policy)
        self._leases = Leases(ledger)
        self._quarantine = threading.Lock()
        self._doubter = Doubter(ledger.redis, key, ranking)
        self._labels = LabelProbabilities(ledger.redis, key)
        self._escalator = Escalator(ledger, policy, frontier)
        sampler = AuditSampler(ledger, key)
        self._conclusion = Conclusion(cache, sampler)
        # The engines are opened last: that takes long, and what is wrong above is reported first.
        self._answerer = open_engines()
        served = ServedModels(ledger.redis)
        self._announcement = Announcement(served, queues, self._answerer.signatures)
        self._texts = TextWriter(ledger.redis, ledger.seal)
        self._second_opinions = SecondOpinions(
            ledger, policy, frontier, self._answerer, third=third
        )
        self._long_texts = LongTexts(self._answerer, policy)
        steps = RowSteps(
            self._answerer, self._labels, self._doubter, self._escalator, self._long_texts,
            RowOpinions(self._second_opinions, ledger.redis, key), sampler,
        )  # fmt: skip
        self._shard_work = ShardWork(ledger, self._answerer, steps)
        self._steps = self._job_steps(Recall(cache, self._answerer))
        places = JOBS_PER_SLOT * self._answerer.info.slots
        self._side_by_side = SideBySide(self._steps, self._leases, self._open, self._work, places)

    def _job_steps(self, recall: Recall) -> JobSteps:
        return JobSteps(
            self._answerer, recall, self._texts, self._second_opinions,
            self._labels, self._doubter, self._escalator, self._long_texts, self._conclusion,
        )  # fmt: skip

    def work(self, claim: Claim, /) -> Outcome:
        """Answer one job, or have it escalated; see the class for the steps."""
        opened = self._open(claim)
        return self._work(opened) if isinstance(opened, Attempt) else opened

    def work_all(self, claims: Sequence[Claim], /) -> Iterator[Worked]:
        """Yield the outcomes of several jobs, each group as soon as it is ready."""
        return self._side_by_side.work(claims)

    def _open(self, claim: Claim) -> Attempt | Outcome:
        """Return the attempt at a job, or the outcome of a shard or of what belongs elsewhere."""
        if elsewhere := outcome_of_place(self._lane_check, claim):
            return elsewhere
        return self._work_shard(claim) if claim.record.rows else Attempt.of(claim)

    def _work(self, attempt: Attempt) -> Outcome:
        cancel = partial(self._cancel, attempt)
        with (
            pool.cancellable(attempt.prompt_id),
            self._leases.holding(attempt.claim, cancel),
            self._alone_if_suspect(attempt),
        ):
            return self._steps.recall(attempt) or self._steps.answer(attempt)

    def _work_shard(self, claim: Claim) -> Outcome:
        lost = threading.Event()
        with self._leases.holding(claim, lost.set):
            return self._shard_work.work(claim, lost)

    def reserves(self) -> list[ReserveTerms]:
        """Return the threads for jobs that must not wait until the batch has room.

        Interactive jobs have some threads for themselves, unless nothing is reserved for them. Jobs
        that need no slot of the batch have some too.
        """
        places = JOBS_PER_SLOT * self._answerer.info.slots
        interactive = max(2, 2 * reserved_places(places, self._reserved)) if self._reserved else 0
        light = self._answerer.light_kinds
        return [
            ReserveTerms(interactive, interactive=True),
            ReserveTerms(LIGHT_THREADS if light else 0, kinds=light),
        ]

    def steps(self) -> int:
        """Return a counter that rises while the engines make progress."""
        return self._answerer.steps()

    def close(self) -> None:
        """Stop the engines and the threads."""
        self._announcement.close()
        self._side_by_side.close()
        self._answerer.close()
        self._texts.close()
        self._leases.close()

    def _cancel(self, attempt: Attempt) -> None:
        """Cancel what runs for a job whose claim was lost."""
        pool.cancel(attempt.prompt_id)
        self._steps.cancel(attempt)

    def _alone_if_suspect(self, attempt: Attempt) -> AbstractContextManager[object]:
        """Work the jobs that an engine died with one at a time, as one of them may kill engines.

        So such a job takes others along once, and not until their attempts are used up too.
        """
        return self._quarantine if attempt.suspect else nullcontext()


def _ranking(settings: LocalSettings) -> Ranking | None:
    try:
        return Ranking.configured(settings)
    except Misconfigured as error:
        give_up(error)


def _actor() -> Actor:
    settings = settings_of(LocalSettings)
    engines = Engines.configured(settings)
    ranking = _ranking(settings)
    queues = [local_queue(settings.pool), EMBED]
    return Actor(
        queues,
        lambda ledger: Local(
            ledger,
            engines.open,
            queues,
            reserved=engines.first.reserved,
            ranking=ranking,
            third=settings.second_opinions > 1,
        ),
        pool="threads",
        concurrency=JOBS_PER_SLOT * engines.first.slots + SHARDS_AT_ONCE,
        shards_at_once=SHARDS_AT_ONCE,
        jobs_at_once=JOBS_AT_ONCE,
        work_all=Local.work_all,
        reserves=Local.reserves,
        steps=Local.steps,
        hooks=observers(),
        quiet_s=max(engine.hang_s for engine in engines.all),
    )


__getattr__ = app_on_demand(_actor)
