"""Work on a shard: its rows run side by side in the engine's batch."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import suppress
from functools import partial

from forebay.routing.bulk.bulks import Bulks
from forebay.routing.bulk.shard import Shard
from forebay.routing.bulk.shards import Shards, open_shard
from forebay.routing.errors import (
    EngineBusy,
    EngineDied,
    ForebayError,
    InvalidJob,
    PassingError,
)
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.workers.bulk.budget_share import keep_to_budget
from forebay.workers.bulk.places import Places
from forebay.workers.bulk.row_outcome import RowOutcome, failed
from forebay.workers.bulk.row_steps import Concluded, RowSteps, WantsSecond
from forebay.workers.bulk.shard_run import BegunRow, ShardRun
from forebay.workers.bulk.vector_rows import VectorRows
from forebay.workers.cascade.answerer import Answerer, Ended
from forebay.workers.prompts.prompts import ALIKE_KINDS
from forebay.workers.runtime.outcomes import Outcome, Retry

ROWS_PER_SLOT = 2  # one that runs, and one that is ready when the slot is free
MIN_ROWS_UNDER_WAY = 8  # of all shards of the process
KEEP_EVERY_S = 5.0  # the results so far are kept with the shard, in case this process dies
LOOK_EVERY_S = 2.0  # at the state of the bulk: it may have been paused or cancelled
WAIT_S = 1.0  # for a place or an answer, which may take minutes: the shard may be lost meanwhile
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
        self._by_vectors = VectorRows(answerer, steps)
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
            return Retry(str(end), counted=False)
        except (EngineDied, PassingError):
            with suppress(ForebayError):  # the rows are answered again
                self._shards.keep(claim, run.results())
            raise
        finally:
            for prompt_id in run.under_way:
                self._answerer.cancel(prompt_id)
        keep_to_budget(run, self._bulks)
        return run.outcome()

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
        begun: dict[str, BegunRow] = {}
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

    def _begin_seconds(self, run: ShardRun, most: int, ready: _Ready) -> dict[str, BegunRow]:
        """Begin second opinions: they go before other rows, so that few rows are half done."""
        rows: dict[str, BegunRow] = {}
        try:
            for index, wish in [run.seconds.popleft() for _ in range(min(most, len(run.seconds)))]:
                prompt_id = wish.attempt.second_prompt_id
                rows[prompt_id] = BegunRow(index, run)
                run.under_way |= wish.attempt.further_prompt_ids
                wish.second.begin(partial(ready.put, (prompt_id, wish)))
        except BaseException:
            self._places.give_back(most)
            raise
        return rows

    def _begin(self, run: ShardRun, count: int, ready: _Ready) -> dict[str, BegunRow]:
        """Begin the next rows; give back the places of those that ended at once."""
        rows: dict[str, BegunRow] = {}
        begin = self._begin_alike if _are_alike(run.shard) else self._begin_each
        try:
            rows = begin(run, [run.todo.popleft() for _ in range(count)], ready)
        except BaseException:
            self._places.give_back(count)
            raise
        self._places.give_back(count - len(rows))
        return rows

    def _begin_alike(
        self, run: ShardRun, indexes: Iterable[int], ready: _Ready
    ) -> dict[str, BegunRow]:
        """Begin rows whose prompts differ in little. A row with a wrong text fails instead."""
        rows, texts = {}, {}
        for index in indexes:
            prompt_id = run.prompt_id(index)
            try:
                texts[prompt_id] = run.shard.text(index)
                rows[prompt_id] = BegunRow(index, run)
            except InvalidJob as error:
                run.add(index, failed(error))
        run.under_way.update(rows)
        if rows:
            first = next(iter(rows.values())).attempt.job
            self._answerer.begin_alike(first, texts, lambda *ended: ready.put(ended))
        return rows

    def _begin_each(
        self, run: ShardRun, indexes: Iterable[int], ready: _Ready
    ) -> dict[str, BegunRow]:
        """Begin rows, each with a prompt of its own. A row with a wrong field fails instead."""
        rows, jobs = {}, {}
        for index in indexes:
            prompt_id, row = run.prompt_id(index), BegunRow(index, run)
            try:
                jobs[prompt_id] = row.attempt.job
                rows[prompt_id] = row
            except InvalidJob as error:
                run.add(index, failed(error))
        run.under_way.update(rows)
        refused = self._answerer.begin_all(jobs, lambda *ended: ready.put(ended))
        for prompt_id, refusal in refused.items():
            run.add(rows.pop(prompt_id).index, failed(refusal))
        return rows

    def _finish_all(self, run: ShardRun, answers: Sequence[tuple[str, BegunRow, _Answer]]) -> None:
        """Record what became of rows. A row that found no room in the engine is begun again.

        Raises:
            Lost, PassingError, EngineDied: The error of one of the rows, once the others are
                recorded.
        """
        firsts = [(row, end) for _, row, end in answers if isinstance(end, Ended)]
        seconds = [(row, end) for _, row, end in answers if isinstance(end, WantsSecond)]
        run.under_way.difference_update([key for key, _, _ in answers])
        run.under_way.difference_update(*(end.attempt.further_prompt_ids for _, end in seconds))
        told = self._finish_firsts(run, firsts)
        told += [(row, wish.finish()) for row, wish in seconds]
        errors = [self._record(run, row.index, end) for row, end in told]
        for error in filter(None, errors):
            raise error

    def _finish_firsts(
        self, run: ShardRun, rows: Sequence[tuple[BegunRow, Ended]]
    ) -> list[tuple[BegunRow, Concluded]]:
        """Record the rows with a plain answer; return what becomes of the others."""
        plain = self._steps.plain_labels(rows[0][0].attempt) if rows else None
        others = []
        for row, ended in rows:
            try:
                result = plain and plain.result(ended)
            except Exception:  # noqa: BLE001 - the steps of the row break again: it fails alone
                result = None
            if result is None:
                others.append((row, ended))
            else:
                run.add(row.index, result)
        ends = self._steps.finish_all(
            [(row.attempt, ended.answer_to(row.attempt.job)) for row, ended in others]
        )
        return [(row, end) for (row, _), end in zip(others, ends, strict=True)]

    def _record(self, run: ShardRun, index: int, end: Concluded) -> ForebayError | None:
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
        """Answer rows by vectors, then take the second opinions on them."""
        while run.todo:
            self._by_vectors.answer_some(run)
            self._look_up(run)
        self._side_by_side(run)

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
        while pending.generation and wait([pending.generation], WAIT_S).not_done:
            self._check(run)
        outcome = self._steps.finish(attempt, pending)
        run.under_way.discard(attempt.prompt_id)
        return outcome

    def _look_up(self, run: ShardRun) -> None:
        """Now and then, keep the results so far and look at the state of the bulk."""
        if time.monotonic() - run.kept_at > KEEP_EVERY_S:
            run.kept_at = time.monotonic()
            with suppress(ForebayError):  # the next time
                self._shards.keep(run.claim, run.results())
        self._check(run)

    def _check(self, run: ShardRun) -> None:
        """End the work if the claim was lost or, now and then, if the bulk is not to go on."""
        run.check()
        if time.monotonic() - run.looked_at > LOOK_EVERY_S:
            run.looked_at = time.monotonic()
            with suppress(ForebayError):  # the next time
                state = self._bulks.state(run.shard.bulk)
                if state in {"paused", "cancelled"}:
                    raise _Ended(state)


#: How a first answer ended, or a row whose second answer is there too.
_Answer = Ended | WantsSecond

#: The answers that are ready, with the ids of their prompts.
_Ready = queue.SimpleQueue[tuple[str, _Answer]]


def _are_alike(shard: Shard) -> bool:
    """Return whether the prompts of the rows differ in nothing but their last turns."""
    return shard.texts_alone_differ and shard.kind in ALIKE_KINDS


class _Ended(Exception):
    """The bulk was paused or cancelled, as its text says; a control signal of this file."""
