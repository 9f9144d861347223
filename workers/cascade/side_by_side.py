"""Many jobs on one thread: begun together, and finished in groups as their answers are there."""

from __future__ import annotations

import queue
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import NamedTuple, NoReturn

from forebay.routing.base import Kind
from forebay.routing.errors import InvalidJob
from forebay.routing.ledger.claim import Claim
from forebay.workers.cascade.answerer import Ended
from forebay.workers.cascade.job_steps import JobSteps
from forebay.workers.cascade.second_opinion import SecondOpinion
from forebay.workers.cascade.stages import DecidedAnswer, DoubtedAnswer, PendingAnswer, RawAnswer
from forebay.workers.checks import bounded
from forebay.workers.engines.engine import Prompt
from forebay.workers.isolation import pool
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.claims.leases import Leases
from forebay.workers.runtime.claims.right_of_way import right_of_way
from forebay.workers.runtime.execute import Worked, attempt
from forebay.workers.runtime.outcomes import Outcome

AT_ONCE_S = 0.005  # that jobs which go first wait for their answers before others go on
JOBS_AT_ONCE = 32  # whose outcomes are recorded together: some milliseconds of work

#: Returns the attempt at a job, or its outcome if there is nothing to answer.
Open = Callable[[Claim], Attempt | Outcome]


class SideBySide:
    """Works several jobs of a local worker at a time, on one thread.

    Switches between threads cost more than most steps of a job. But a job that would keep the
    others waiting goes aside, to a thread of its own: if it may get a second opinion, if its text
    is streamed, if an engine died with it, if its checks take long, or if the engine cannot do it.

    Args:
        steps: the steps of one job.
        leases: renews the claims.
        open_one: opens a job.
        alone: works one attempt from the beginning to the end.
        aside: jobs that are aside at once.
    """

    def __init__(
        self, steps: JobSteps, leases: Leases, open_one: Open,
        alone: Callable[[Attempt], Outcome], aside: int,
    ) -> None:  # fmt: skip
        self._steps, self._leases = steps, leases
        self._open_one, self._alone = open_one, alone
        self._aside = ThreadPoolExecutor(aside, "aside")

    def work(self, claims: Sequence[Claim]) -> Iterator[Worked]:
        """Yield the outcomes of all jobs, together those that are ready at the same time.

        The jobs that go first are begun first, and finished by themselves once they are ready.
        """
        try:
            for worked in self._groups(claims):
                self._leases.release(claim for claim, _ in worked)
                yield worked
        finally:
            self._leases.release(claims)

    def close(self) -> None:
        """Begin with no more jobs aside."""
        self._aside.shutdown(wait=False, cancel_futures=True)

    def _groups(self, claims: Sequence[Claim]) -> Iterator[Worked]:
        batch = _Batch(lone=len(claims) == 1)
        with right_of_way.working(claims) as (first, others):
            with right_of_way.computing(first=bool(first)):
                go_first = partial(self._open, first=True)
                begin = [(claim, attempt(go_first, claim)) for claim in first]
                yield from self._started(begin, batch)
                while batch.left and batch.answered_within(AT_ONCE_S):
                    yield from self._finished(batch)
            begin = []
            for claim in others:
                right_of_way.give_way()
                begin.append((claim, attempt(partial(self._open, first=False), claim)))
                if batch.later or not batch.ready.empty():
                    yield from self._finished(batch)
            yield from self._started(begin, batch)
            while batch.left:
                yield from self._finished(batch)

    def _open(self, claim: Claim, *, first: bool) -> _Begun | Outcome:
        """Open a job, and have its lease renewed; return its outcome if nothing is to be done."""
        opened = self._open_one(claim)
        if not isinstance(opened, Attempt):
            return opened
        second = self._steps.second_opinions.open(opened)
        waits = second.possible or opened.suspect or opened.job.stream
        self._leases.hold(claim, partial(self._cancel, opened))
        recalled = None if waits else self._steps.recall(opened)
        return recalled or _Begun(opened, second, waits, first)

    def _cancel(self, lost: Attempt) -> None:
        pool.cancel(lost.prompt_id)
        self._steps.cancel(lost)

    def _started(self, opened: Sequence[_Opened], batch: _Batch) -> Iterator[Worked]:
        """Begin jobs; yield the outcomes of those that have nothing to answer."""
        begun = [one for _, one in opened if isinstance(one, _Begun)]
        batch.left += len(begun)
        self._begin(begun, batch)
        if ended := [(claim, one) for claim, one in opened if not isinstance(one, _Begun)]:
            yield ended

    def _begin(self, begun: Sequence[_Begun], batch: _Batch) -> None:
        """Begin all jobs: in the batch, by vectors, or aside."""
        light = self._steps.answerer.light_kinds
        slow: list[_Begun] = []
        by_vectors: defaultdict[Kind, list[_Begun]] = defaultdict(list)
        for one in begun:
            kind = one.attempt.job.kind
            if one.waits:
                self._go_aside(one, batch, partial(self._alone, one.attempt))
            else:
                (by_vectors[kind] if kind in light else slow).append(one)
        self._begin_batch(slow, batch.ready)
        for same in by_vectors.values():
            batch.later.append(partial(self._by_vectors, same, batch.ready))

    def _begin_batch(self, begun: Sequence[_Begun], ready: _Ready) -> None:
        """Begin jobs that need a slot of the batch, with one write to the engine's process."""
        if not begun:
            return
        by_id = {one.attempt.prompt_id: one for one in begun}
        prompts: list[Prompt] = []
        for prompt_id, one in by_id.items():
            try:
                with pool.cancellable(prompt_id):
                    prompts.append(self._steps.answerer.prompt(one.attempt.job, prompt_id))
            except Exception as error:  # noqa: BLE001 - the finish of this job raises it
                ready.put((one, PendingAnswer(partial(_raise, error))))

        def take(prompt_id: str, ended: Ended) -> None:
            one = by_id[prompt_id]
            ready.put((one, ended.answer_to(one.attempt.job)))

        self._steps.answerer.begin_prompts(prompts, take)

    def _by_vectors(self, same: Sequence[_Begun], ready: _Ready) -> None:
        """Answer jobs of one kind in one call, or each in its own if a job breaks the call."""
        at_once, jobs = self._steps.answerer.at_once, [one.attempt.job for one in same]
        try:
            answers = [_known(raw) for raw in at_once(jobs)]
        except Exception:  # noqa: BLE001 - the call of the job that breaks it raises it again
            answers = [PendingAnswer(partial(_only, partial(at_once, [job]))) for job in jobs]
        for answered in zip(same, answers, strict=True):
            ready.put(answered)

    def _finished(self, batch: _Batch) -> Iterator[Worked]:
        """Wait for an answer; finish its job, and the others whose answers are there."""
        group = batch.next()
        with right_of_way.computing(first=group[0][0].first):
            if worked := self._outcomes(group, batch):
                batch.left -= len(worked)
                yield worked

    def _outcomes(self, group: Sequence[_Answered], batch: _Batch) -> Worked:
        """Finish jobs whose answers are there, but for those that go aside."""
        ended: list[tuple[_Begun, Outcome]] = []
        doubted: list[tuple[_Begun, DoubtedAnswer]] = []
        for one, answer in group:
            right_of_way.give_way()
            stage: DoubtedAnswer | Outcome | None = (
                self._doubted(one, answer, batch) if isinstance(answer, PendingAnswer) else answer
            )
            if isinstance(stage, DoubtedAnswer):
                doubted.append((one, stage))
            elif stage is not None:
                ended.append((one, stage))
        ended += self._decided(doubted)
        return [(one.attempt.claim, outcome) for one, outcome in ended]

    def _doubted(
        self, one: _Begun, pending: PendingAnswer, batch: _Batch
    ) -> DoubtedAnswer | Outcome | None:
        """Check and doubt an answer that is there; return `None` if the job goes aside."""
        try:
            raw = pending()
            quick = raw.content is None or bounded.is_quick(one.attempt.job, raw.content)
            pending = _known(raw)
        except Exception as error:  # noqa: BLE001 - raised again by the steps
            quick = not isinstance(error, InvalidJob)
            pending = PendingAnswer(partial(_raise, error))
        if not quick:
            self._go_aside(one, batch, partial(self._last_steps, one, pending))
            return None
        with pool.cancellable(one.attempt.prompt_id):
            steps = partial(self._steps.doubt, one.attempt, one.second, pending)
            return attempt(lambda _: steps(), one.attempt.claim)

    def _decided(
        self, doubted: Sequence[tuple[_Begun, DoubtedAnswer]]
    ) -> Iterator[tuple[_Begun, Outcome]]:
        """Decide on answers together, or each by itself if one of them breaks that."""
        escalator = self._steps.escalator
        try:
            decided = escalator.decide_all([answer for _, answer in doubted])
            decisions = [partial(_same, one) for one in decided]
        except Exception:  # noqa: BLE001 - the decision on the job that broke it raises it again
            decisions = [partial(escalator.decide, answer) for _, answer in doubted]
        for (one, _), decide in zip(doubted, decisions, strict=True):
            right_of_way.give_way()
            yield one, attempt(partial(self._concluded, one, decide), one.attempt.claim)

    def _concluded(self, one: _Begun, decide: _Decide, _claim: Claim) -> Outcome:
        return self._steps.conclude(one.second, decide())

    def _last_steps(self, one: _Begun, pending: PendingAnswer) -> Outcome:
        with pool.cancellable(one.attempt.prompt_id):
            return self._steps.finish(one.attempt, one.second, pending)

    def _go_aside(self, one: _Begun, batch: _Batch, steps: Callable[[], Outcome]) -> None:
        """Work a job on a thread of its own, or on this one if it keeps no other waiting."""
        put_off: Callable[[Callable[[], None]], object]
        put_off = batch.later.append if batch.lone else self._aside.submit
        put_off(lambda: batch.ready.put((one, attempt(lambda _: steps(), one.attempt.claim))))


class _Begun(NamedTuple):
    """A job that is worked.

    Attributes:
        waits: the job would keep others waiting.
        first: it goes before the jobs of a tenant with many in work.
    """

    attempt: Attempt
    second: SecondOpinion
    waits: bool
    first: bool


#: An answer that is there, or the outcome of a job that went aside.
_Answered = tuple[_Begun, PendingAnswer | Outcome]
_Ready = queue.SimpleQueue[_Answered]
_Decide = Callable[[], DecidedAnswer]
_Opened = tuple[Claim, _Begun | Outcome]


class _Batch:
    """The jobs of one thread that have begun, and their answers.

    Attributes:
        lone: there is only one job.
        left: jobs that have begun and have no outcome.
        later: waits for vectors, or works the lone job that would keep others waiting.
    """

    def __init__(self, *, lone: bool) -> None:
        self.lone = lone
        self.later: list[Callable[[], None]] = []
        self.ready: _Ready = queue.SimpleQueue()
        self.left = 0

    def answered_within(self, seconds: float) -> bool:
        """Wait for an answer; return False if that takes longer."""
        with suppress(queue.Empty):
            self.ready.put(self.ready.get(timeout=seconds))
        return not self.ready.empty()

    def next(self) -> list[_Answered]:
        """Wait for an answer; return it with others: of jobs that go first, if there are any."""
        while self.later:
            self.later.pop()()
        count = min(max(1, self.ready.qsize()), JOBS_AT_ONCE)
        group = [self.ready.get() for _ in range(count)]
        first = [answered for answered in group if answered[0].first]
        for answered in group if first else ():
            if not answered[0].first:
                self.ready.put(answered)
        return first or group


def _same(decided: DecidedAnswer) -> DecidedAnswer:
    return decided


def _known(raw: RawAnswer) -> PendingAnswer:
    return PendingAnswer(lambda: raw)


def _only(answers: Callable[[], Sequence[RawAnswer]]) -> RawAnswer:
    (raw,) = answers()
    return raw


def _raise(error: Exception) -> NoReturn:
    raise error
