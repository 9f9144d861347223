"""Work on a shard: its rows run side by side in the engine's batch."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from forebay.routing.bulk.bulks import Bulks
from forebay.routing.bulk.shards import Shards, open_shard
from forebay.routing.errors import (
    EngineBusy,
    EngineDied,
    ForebayError,
    InvalidJob,
    PassingError,
    UnknownJob,
)
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.store.backoff import patiently
from forebay.workers.bulk.budget_share import affordable_rows, hardest, kept_for_budget
from forebay.workers.bulk.row_steps import RowOutcome, RowSteps, failed, isolated
from forebay.workers.bulk.shard_run import ShardRun
from forebay.workers.cascade.answerer import Answerer, PendingAnswer
from forebay.workers.cascade.stages import RawAnswer
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.outcomes import Outcome, Retry

ROWS_PER_SLOT = 2  # one that runs, and one that is ready when the slot is free
MIN_ROWS_UNDER_WAY = 8  # of all shards of the process
ROWS_AT_ONCE = 64  # rows that are embedded in one call
KEEP_EVERY_S = 5.0  # the results so far are kept with the shard, in case this process dies
LOOK_EVERY_S = 2.0  # at the state of the bulk: it may have been paused or cancelled
PATIENCE_S = 600.0  # for Redis to tell the budget, once all rows of a shard are answered
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
        run = ShardRun(claim, open_shard(claim), lost)
        try:
            self._answer(run)
        except _Ended as end:
            self._shards.keep(claim, run.results())
            return Retry(end.code, counted=False)
        except (EngineDied, PassingError):
            with suppress(ForebayError):  # the rows are answered again
                self._shards.keep(claim, run.results())
            raise
        finally:
            for prompt_id in run.under_way:
                self._answerer.cancel(prompt_id)
        self._keep_to_budget(run)
        return run.outcome()

    def _keep_to_budget(self, run: ShardRun) -> None:
        """Let the hardest rows go up, as many as the shard's part of the bulk's budget covers."""
        rising = run.rising()
        if not rising:
            return
        with suppress(UnknownJob):
            bulk = patiently(partial(self._bulks.get, run.shard.bulk), patience_s=PATIENCE_S)
            count = affordable_rows(bulk, len(run.shard.rows))
            if count >= len(rising):
                return
            going = hardest(rising, int(count) + (run.luck < count % 1))
            for index, row in rising:
                if index not in going:
                    run.add(index, kept_for_budget(row))

    def _answer(self, run: ShardRun) -> None:
        if run.claim.record.error == EngineDied.code:
            self._one_at_a_time(run)
        elif run.shard.kind in self._answerer.light_kinds:
            self._at_once(run)
        else:
            self._side_by_side(run)

    # --- three ways ---------------------------------------------------------------------------

    def _side_by_side(self, run: ShardRun) -> None:
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

    def _begin(self, run: ShardRun, ready: queue.SimpleQueue[_Begun]) -> bool:
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

    def _begun(self, run: ShardRun, index: int) -> _Begun:
        attempt, prompt_id = run.row(index), f"{run.claim.id}/{run.claim.token}/{index}"
        run.under_way.add(prompt_id)
        return _Begun(index, attempt, prompt_id, self._answerer.begin(attempt.job, prompt_id))

    def _finish(self, run: ShardRun, begun: _Begun) -> None:
        """Record what became of a row. A row that found no room in the engine is begun again."""
        run.under_way.discard(begun.prompt_id)
        try:
            outcome = self._steps.finish(begun.attempt, begun.pending, begun.prompt_id)
        except EngineBusy:
            run.todo.append(begun.index)
            time.sleep(BUSY_S)
            return
        run.add(begun.index, outcome)

    def _at_once(self, run: ShardRun) -> None:
        """Answer rows by vectors, many in one call."""
        while run.todo:
            attempts = []
            for index in [run.todo.popleft() for _ in range(min(ROWS_AT_ONCE, len(run.todo)))]:
                try:
                    attempts.append((index, run.row(index)))
                except InvalidJob as error:
                    run.add(index, failed(error))
            for index, outcome in self._by_vectors(attempts):
                run.add(index, outcome)
            self._look_up(run)

    def _by_vectors(self, rows: Sequence[tuple[int, Attempt]]) -> Iterator[tuple[int, RowOutcome]]:
        """Answer rows in one call, or each in its own if a row breaks the call."""
        raws: Sequence[RawAnswer] = ()
        with suppress(InvalidJob, ValueError, TypeError, LookupError, ArithmeticError):
            raws = self._answerer.at_once([row.job for _, row in rows]) if rows else ()
        for at, (index, row) in enumerate(rows):
            if raws:
                yield index, self._steps.conclude(row, raws[at])
            else:
                yield index, isolated(row, partial(self._alone, row))

    def _alone(self, row: Attempt) -> RowOutcome:
        (raw,) = self._answerer.at_once([row.job])
        return self._steps.conclude(row, raw)

    def _one_at_a_time(self, run: ShardRun) -> None:
        """Answer rows one after the other. A row during which an engine dies has failed."""
        while run.todo:
            index = run.todo[0]
            self._shards.keep(run.claim, run.blaming(index))  # in case this process dies with it
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

    def _look_up(self, run: ShardRun) -> None:
        """Now and then, keep the results so far and look at the state of the bulk."""
        run.check()
        now = time.monotonic()
        if now - run.kept_at > KEEP_EVERY_S:
            run.kept_at = now
            with suppress(ForebayError):  # the next time
                self._shards.keep(run.claim, run.results())
        if now - run.looked_at > LOOK_EVERY_S:
            run.looked_at = now
            with suppress(ForebayError):  # the next time
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
