"""Work on a shard: its rows run side by side in the engine's batch."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from forebay.routing.bulk.bulks import Bulks
from forebay.routing.bulk.row_result import RowResult
from forebay.routing.bulk.shard import Shard
from forebay.routing.bulk.shards import RisingRow, Shards, kept_results, open_shard
from forebay.routing.errors import (
    EngineBusy,
    EngineDied,
    ForebayError,
    InvalidJob,
    Lost,
    UnknownJob,
)
from forebay.routing.jobs import Receipt
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.workers.bulk.budget_share import affordable_rows, hardest, kept_for_budget
from forebay.workers.bulk.row_steps import RowOutcome, RowSteps, failed
from forebay.workers.cascade.answerer import Answerer, PendingAnswer
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.outcomes import Outcome, Retry, ShardAnswered

ROWS_PER_SLOT = 2  # one that runs, and one that is ready when the slot is free
MIN_ROWS_UNDER_WAY = 8  # of all shards of the process
ROWS_AT_ONCE = 64  # rows that are embedded in one call
KEEP_EVERY_S = 5.0  # the results so far are kept with the shard, in case this process dies
LOOK_EVERY_S = 2.0  # at the state of the bulk: it may have been paused or cancelled
BUSY_S = 0.2  # between two tries while the engine takes no requests


class ShardWork:
    """Works the shards of one local worker.

    1. Goes on with the results that a worker kept which died.
    2. Begins the rows as the engine has room for them, and finishes them as they are ready.
    3. Keeps the results so far every few seconds.
    4. Ends early if the bulk was paused (the shard is given back) or cancelled.
    5. Works the rows one at a time after an engine died: a row that kills engines fails alone.
    """

    def __init__(self, ledger: Ledger, answerer: Answerer, steps: RowSteps) -> None:
        self._shards, self._bulks = Shards(ledger), Bulks(ledger)
        self._answerer, self._steps = answerer, steps
        places = max(MIN_ROWS_UNDER_WAY, ROWS_PER_SLOT * answerer.info.slots)
        self._places = threading.BoundedSemaphore(places)

    def work(self, claim: Claim, lost: threading.Event) -> Outcome:
        """Answer all rows of a shard. `lost` is set if the claim is lost meanwhile.

        Raises:
            Lost: The shard is not this claim's any more.
            PassingError, EngineDied: The engine gives no answers now; what is done is kept.
        """
        run = _Run(claim, open_shard(claim), lost)
        try:
            self._answer(run)
        except _Ended as end:
            self._shards.keep(claim, run.results())
            return Retry(end.code, counted=False)
        except (EngineDied, EngineBusy):
            self._shards.keep(claim, run.results())
            raise
        finally:
            for prompt_id in run.under_way:
                self._answerer.cancel(prompt_id)
        self._keep_to_budget(run)
        return run.outcome()

    def _keep_to_budget(self, run: _Run) -> None:
        """Let the hardest rows go up, as many as the shard's part of the bulk's budget covers."""
        rising = run.rising()
        if not rising:
            return
        with suppress(UnknownJob):
            bulk = self._bulks.get(run.shard.bulk)
            count = affordable_rows(bulk, len(run.shard.rows))
            if count >= len(rising):
                return
            going = hardest(rising, int(count) + (run.luck < count % 1))
            for index, row in rising:
                if index not in going:
                    run.add(index, kept_for_budget(row))

    def _answer(self, run: _Run) -> None:
        if run.claim.record.error == EngineDied.code:
            self._one_at_a_time(run)
        elif self._answerer.answers_by_vectors(run.shard.kind):
            self._at_once(run)
        else:
            self._side_by_side(run)

    # --- three ways ---------------------------------------------------------------------------

    def _side_by_side(self, run: _Run) -> None:
        """Keep as many rows in the engine as there are places, in whatever order they end."""
        ready: queue.SimpleQueue[_Begun] = queue.SimpleQueue()
        under_way = 0
        try:
            while run.todo or under_way:
                while run.todo and self._places.acquire(blocking=not under_way, timeout=None):
                    under_way += self._begin(run, ready)
                if under_way:
                    self._finish(run, ready.get())
                    under_way -= 1
                    self._places.release()
                self._look_up(run)
        finally:
            for _ in range(under_way):
                self._places.release()

    def _begin(self, run: _Run, ready: queue.SimpleQueue[_Begun]) -> bool:
        """Begin the next row; return False, and give its place back, if it ended at once."""
        index = run.todo.popleft()
        try:
            begun = self._begun(run, index)
        except InvalidJob as error:
            run.add(index, failed(error))
            self._places.release()
            return False
        except BaseException:
            self._places.release()
            raise
        begun.pending.when_ready(lambda: ready.put(begun))
        return True

    def _begun(self, run: _Run, index: int) -> _Begun:
        attempt, prompt_id = run.row(index), f"{run.claim.id}/{run.claim.token}/{index}"
        run.under_way.add(prompt_id)
        return _Begun(index, attempt, prompt_id, self._answerer.begin(attempt.job, prompt_id))

    def _finish(self, run: _Run, begun: _Begun) -> None:
        """Record what became of a row. A row that found no room in the engine is begun again."""
        run.under_way.discard(begun.prompt_id)
        try:
            outcome = self._steps.finish(begun.attempt, begun.pending, begun.prompt_id)
        except EngineBusy:
            run.todo.append(begun.index)
            time.sleep(BUSY_S)
            return
        run.add(begun.index, outcome)

    def _at_once(self, run: _Run) -> None:
        """Answer rows by vectors, many in one call."""
        while run.todo:
            attempts = []
            for index in [run.todo.popleft() for _ in range(min(ROWS_AT_ONCE, len(run.todo)))]:
                try:
                    attempts.append((index, run.row(index)))
                except InvalidJob as error:
                    run.add(index, failed(error))
            raws = self._answerer.at_once([row.job for _, row in attempts]) if attempts else []
            for (index, row), raw in zip(attempts, raws or [], strict=True):
                run.add(index, self._steps.conclude(row, raw))
            self._look_up(run)

    def _one_at_a_time(self, run: _Run) -> None:
        """Answer rows one after the other. A row during which an engine dies has failed."""
        while run.todo:
            index = run.todo[0]
            blamed = run.results()
            blamed[index] = failed(EngineDied("the engine died while it worked this row"))
            self._shards.keep(run.claim, blamed)  # in case this process dies with it
            try:
                begun = self._begun(run, index)
                run.under_way.discard(begun.prompt_id)
                run.add(index, self._steps.finish(begun.attempt, begun.pending, begun.prompt_id))
            except EngineBusy:
                time.sleep(BUSY_S)  # it is being restarted
                run.check()
                continue
            except EngineDied as error:
                run.add(index, failed(error))
            except InvalidJob as error:
                run.add(index, failed(error))
            run.todo.popleft()
            self._look_up(run)

    def _look_up(self, run: _Run) -> None:
        """Now and then, keep the results so far and look at the state of the bulk."""
        run.check()
        now = time.monotonic()
        if now - run.kept_at > KEEP_EVERY_S:
            run.kept_at = now
            with suppress(ForebayError):  # the next time
                self._shards.keep(run.claim, run.results())
        if now - run.looked_at > LOOK_EVERY_S:
            run.looked_at = now
            state = self._bulks.state(run.shard.bulk)
            if state in {"paused", "cancelled"}:
                raise _Ended(state)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A row in the engine."""

    index: int
    attempt: Attempt
    prompt_id: str
    pending: PendingAnswer = field(repr=False)


class _Ended(Exception):
    """The bulk was paused or cancelled; a control signal of this file."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _Run:
    """One shard while it is worked: its rows that are left, and what became of the others."""

    def __init__(self, claim: Claim, shard: Shard, lost: threading.Event) -> None:
        self.shard = shard
        self.claim = claim
        self._lost = lost
        self._outcomes: list[RowOutcome | None] = [*kept_results(claim, len(shard.rows))]
        self.todo = deque(i for i, outcome in enumerate(self._outcomes) if outcome is None)
        self.under_way: set[str] = set()
        self.kept_at = self.looked_at = time.monotonic()

    def check(self) -> None:
        """Raise `Lost` if the claim was lost."""
        if self._lost.is_set():
            raise Lost

    def row(self, index: int) -> Attempt:
        """Return an attempt at a row.

        Raises:
            InvalidJob: A field of the row is wrong.
        """
        return Attempt(self.claim, self.shard.job(index, self.shard.egress))

    def add(self, index: int, outcome: RowOutcome) -> None:
        """Record what became of a row."""
        self._outcomes[index] = outcome

    def results(self) -> list[RowResult | None]:
        """Return the rows that are over. A row that goes up is decided on again if need be."""
        return [each if isinstance(each, RowResult) else None for each in self._outcomes]

    def rising(self) -> list[tuple[int, RisingRow]]:
        """Return the rows that go up, with their places in the shard."""
        outcomes = enumerate(self._outcomes)
        return [(index, each) for index, each in outcomes if isinstance(each, RisingRow)]

    @property
    def luck(self) -> float:
        """A number from 0 to 1 that is always the same for this shard."""
        return int(self.shard.id[-12:], 16) / 16**12

    def outcome(self) -> ShardAnswered:
        """Return the outcome of a shard whose rows are all over."""
        rising = [row for _, row in self.rising()]
        results = tuple(_result(each) for each in self._outcomes)
        return ShardAnswered(self._receipt(results), results, tuple(rising))

    def _receipt(self, results: Sequence[RowResult]) -> Receipt:
        record = self.claim.record
        answered = next((each for each in results if each.model), None)
        return Receipt(
            **record.heading(),
            status="done",
            lane="local",
            reasons=record.reasons,
            degraded=any(each.degraded for each in results),
            model=answered.model if answered else None,
            revision=answered.revision if answered else None,
            tokens_in=sum(each.tokens_in for each in results),
            tokens_out=sum(each.tokens_out for each in results),
        )


def _result(outcome: RowOutcome | None) -> RowResult:
    if isinstance(outcome, RisingRow):
        return RowResult(status="up", reasons=outcome.reasons, job=outcome.job.id)
    assert outcome is not None, "a shard ends when all its rows are over"
    return outcome
