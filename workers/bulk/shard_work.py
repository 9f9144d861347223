"""Work on a shard: its rows run side by side in the engine's batch."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
from forebay.workers.bulk.places import Places
from forebay.workers.bulk.row_outcome import RowOutcome, failed
from forebay.workers.bulk.row_steps import Ended, RowSteps, WantsSecond, isolated
from forebay.workers.bulk.shard_run import ShardRun
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.cascade.stages import PendingAnswer, RawAnswer
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.outcomes import Outcome, Retry

ROWS_PER_SLOT = 2  # one that runs, and one that is ready when the slot is free
MIN_ROWS_UNDER_WAY = 8  # of all shards of the process
ROWS_AT_ONCE = 64  # rows that are embedded in one call
KEEP_EVERY_S = 5.0  # the results so far are kept with the shard, in case this process dies
LOOK_EVERY_S = 2.0  # at the state of the bulk: it may have been paused or cancelled
WAIT_S = 1.0  # for a place or an answer, which may take minutes: the shard may be lost meanwhile
PATIENCE_S = 600.0  # for Redis to tell the budget, once all rows of a shard are answered
BUSY_S = 0.2  # between two tries while the engine takes no requests


class ShardWork:
    """Works the shards of one local worker.

    1. Goes on with the results that a worker kept which died.
    2. Begins the rows, and the second opinions on them, as the engine has room; goes on with each
       as it is ready.
    3. Keeps the results so far every few seconds.
    4. Ends early if the bulk was paused (the shard is given back) or cancelled.
    5. Works the rows one at a time after an engine died: a row that kills engines fails alone.
    """

    def __init__(self, ledger: Ledger, answerer: Answerer, steps: RowSteps) -> None:
        self._shards, self._bulks = Shards(ledger), Bulks(ledger)
        self._answerer, self._steps = answerer, steps
        self._slots = answerer.info.slots
        self._places = Places(max(MIN_ROWS_UNDER_WAY, ROWS_PER_SLOT * self._slots))

    def work(self, claim: Claim, lost: threading.Event) -> Outcome:
        """Answer all rows of a shard. `lost` is set if the claim is lost meanwhile.

        Raises:
            Lost: The shard is not this claim's any more.
            PassingError, EngineDied: The engine gives no answers now; what is done is kept.
        """
        run = ShardRun(claim, open_shard(claim), lost)
        if run.shard.model is not None:
            self._answerer.require_model(run.shard.job(0, run.shard.egress))
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

    def _side_by_side(self, run: ShardRun) -> None:
        """Keep as many rows in the engine as there are places, in whatever order they end."""
        ready: _Ready = queue.SimpleQueue()
        begun: dict[str, _Begun] = {}
        try:
            while run.todo or run.seconds or begun:
                within_s = 0.0 if begun else WAIT_S
                places = self._places.take(len(run.seconds) + len(run.todo), within_s=within_s)
                seconds = self._begin_seconds(run, places, ready)
                begun |= seconds
                begun |= self._begin(run, places - len(seconds), ready)
                if answers := [(key, begun.pop(key), end) for key, end in self._next(begun, ready)]:
                    self._places.give_back(len(answers))
                    self._finish_all(run, answers)
                self._look_up(run)
        finally:
            self._places.give_back(len(begun))

    def _next(self, begun: Collection[str], ready: _Ready) -> Iterator[tuple[str, _Answer]]:
        """Wait a moment for an answer of those that were begun; yield those that are ready."""
        with suppress(queue.Empty):
            if begun:
                yield ready.get(timeout=WAIT_S)
            for _ in range(min(len(begun), self._slots - 1)):
                yield ready.get_nowait()

    def _begin_seconds(self, run: ShardRun, most: int, ready: _Ready) -> dict[str, _Begun]:
        """Begin second opinions: they go before other rows, so that few rows are half done."""
        rows: dict[str, _Begun] = {}
        try:
            for index, wish in [run.seconds.popleft() for _ in range(min(most, len(run.seconds)))]:
                prompt_id = wish.attempt.second_prompt_id
                rows[prompt_id] = _Begun(index, wish.attempt)
                run.under_way |= wish.attempt.further_prompt_ids
                wish.second.begin(partial(ready.put, (prompt_id, wish)))
        except BaseException:
            self._places.give_back(most)
            raise
        return rows

    def _begin(self, run: ShardRun, count: int, ready: _Ready) -> dict[str, _Begun]:
        """Begin the next rows; give back the places of those that ended at once."""
        rows: dict[str, _Begun] = {}
        try:
            rows = {row.attempt.prompt_id: row for row in self._attempts(run, count)}
            run.under_way.update(rows)
            jobs = {prompt_id: row.attempt.job for prompt_id, row in rows.items()}
            refused = self._answerer.begin_all(
                jobs, lambda *answer: ready.put(answer), alike=run.shard.texts_alone_differ
            )
        except BaseException:
            self._places.give_back(count)
            raise
        for prompt_id, error in refused.items():
            run.add(rows.pop(prompt_id).index, failed(error))
        self._places.give_back(count - len(rows))
        return rows

    def _attempts(self, run: ShardRun, count: int) -> Iterator[_Begun]:
        """Yield attempts at the next rows. A row with a wrong field fails instead."""
        for index in [run.todo.popleft() for _ in range(count)]:
            try:
                yield _Begun(index, run.row(index))
            except InvalidJob as error:
                run.add(index, failed(error))

    def _finish_all(self, run: ShardRun, answers: Sequence[tuple[str, _Begun, _Answer]]) -> None:
        """Record what became of rows. A row that found no room in the engine is begun again.

        Raises:
            Lost, PassingError, EngineDied: The error of one of the rows, once the others are
                recorded.
        """
        firsts = [(row, end) for _, row, end in answers if isinstance(end, PendingAnswer)]
        seconds = [(row, end) for _, row, end in answers if isinstance(end, WantsSecond)]
        run.under_way.difference_update([key for key, _, _ in answers])
        run.under_way.difference_update(*(row.attempt.further_prompt_ids for row, _ in seconds))
        ends = self._steps.finish_all([(row.attempt, pending) for row, pending in firsts])
        told = [(row, end) for (row, _), end in zip(firsts, ends, strict=True)]
        told += [(row, wish.finish()) for row, wish in seconds]
        errors = [self._record(run, row.index, end) for row, end in told]
        for error in filter(None, errors):
            raise error

    def _record(self, run: ShardRun, index: int, end: Ended) -> ForebayError | None:
        """Record the end of a row, and return an error that concerns the whole shard."""
        if isinstance(end, EngineBusy):
            run.todo.append(index)
            time.sleep(BUSY_S)
        elif isinstance(end, ForebayError):
            return end
        else:
            run.add(index, end)
        return None

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
        self._side_by_side(run)  # the second opinions

    def _by_vectors(
        self, rows: Sequence[tuple[int, Attempt]]
    ) -> Iterator[tuple[int, RowOutcome | WantsSecond]]:
        """Answer rows in one call, or each in its own if a row breaks the call."""
        raws: Sequence[RawAnswer] = ()
        with suppress(InvalidJob, ValueError, TypeError, LookupError, ArithmeticError):
            raws = self._answerer.at_once([row.job for _, row in rows]) if rows else ()
        for at, (index, row) in enumerate(rows):
            if raws:
                yield index, self._steps.conclude(row, raws[at])
            else:
                yield index, isolated(row, partial(self._alone, row))

    def _alone(self, row: Attempt) -> RowOutcome | WantsSecond:
        (raw,) = self._answerer.at_once([row.job])
        return self._steps.conclude(row, raw)

    def _one_at_a_time(self, run: ShardRun) -> None:
        """Answer rows one after the other. A row during which an engine dies has failed."""
        while run.todo:
            index = run.todo[0]
            self._shards.keep(run.claim, run.blaming(index))  # in case this process dies with it
            try:
                run.add(index, self._alone_in_engine(run, index))
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

    def _alone_in_engine(self, run: ShardRun, index: int) -> RowOutcome | WantsSecond:
        """Answer one row; the policy gives no second opinion on a row that may kill engines."""
        attempt = run.row(index)
        run.under_way.add(attempt.prompt_id)
        pending = self._answerer.begin(attempt.job, attempt.prompt_id)
        outcome = self._steps.finish(attempt, pending)
        run.under_way.discard(attempt.prompt_id)
        return outcome

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


#: A first answer, or a row whose second answer is there too.
_Answer = PendingAnswer | WantsSecond

#: The answers that are ready, with the ids of their prompts.
_Ready = queue.SimpleQueue[tuple[str, _Answer]]


class _Ended(Exception):
    """The bulk was paused or cancelled; a control signal of this file."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
