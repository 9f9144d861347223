"""The handle of a bulk: iterate over its results, wait for its end, see how far it is."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self

from forebay.producers.bulk.rows import BadRow
from forebay.producers.bulk.running.forecast import Forecast, forecast
from forebay.producers.bulk.running.progress import Progress, usd
from forebay.producers.bulk.running.run import BulkRun
from forebay.routing.bulk.bulks import ENDED, BulkRecord, Bulks
from forebay.routing.bulk.row_rates import RowRates
from forebay.routing.errors import ForebayError, InvalidJob, ResultTimeout
from forebay.routing.ledger.ledger import Ledger

ResultRow = dict[str, Any]
NAMED = ("done", "failed", "expired", "cancelled", "local", "bedrock", "mock", "up", "degraded")


class BulkHandle:
    """A bulk that this process feeds and collects. Iterate over it, or `wait` for its end.

    Rows go to the fleet, and results to the output, as long as somebody iterates or waits.
    `close`, or the end of a `with` block, detaches: rows that the fleet has are still answered,
    and `client.resume_bulk` goes on with the rest.

    Attributes:
        id: the id of the bulk.
        out: the file that holds the results at the end.
        bad_rows: the file of the rows that could not be read; made only if there are some.
    """

    def __init__(
        self,
        run: BulkRun,
        ledger: Ledger,
        *,
        temporary: bool = False,
    ) -> None:
        """`temporary` removes the output on `close`, and after its last row was iterated over."""
        self.id = run.manifest.id
        self.out = run.manifest.results
        self.bad_rows = run.manifest.bad_rows
        self._run, self._ledger = run, ledger
        self._temporary = temporary
        self._steps = run.steps()
        self._closed = self._has_rows = False

    def __repr__(self) -> str:
        """Return the id, and where the results are."""
        return f"BulkHandle(id={self.id!r}, out={str(self.out)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[ResultRow]:
        """Yield the rows of the output as they are written; see `RESULT_COLUMNS`.

        Raises:
            InvalidJob: Nothing was yielded because no row is a valid request.
            ForebayError: The bulk cannot go on now, such as with a full disk. It can be resumed.
        """
        while (rows := self.next_rows()) is not None:
            yield from rows

    def next_rows(self) -> list[ResultRow] | None:
        """Work a little, and return the rows that were written; `None` at the end."""
        self._check_open()
        if next(self._steps, None) is not None:
            rows = self._run.rows
            self._has_rows = self._has_rows or bool(rows)
            return rows
        if self._temporary:
            self.close()
            self._check_rows()
        return None

    def wait(
        self,
        timeout: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> Progress:
        """Wait until all rows are written or the bulk is cancelled.

        Args:
            timeout: seconds to wait; `None` waits for ever.
            on_progress: called several times a second.

        Raises:
            ResultTimeout: It takes longer; the bulk goes on when it is waited for again.
            InvalidJob: The handle was closed before the end.
            ForebayError: The bulk cannot go on now, such as with a full disk. It can be resumed.
        """
        self._check_open()
        end = None if timeout is None else time.monotonic() + timeout
        for _ in self._steps:
            if on_progress is not None:
                on_progress(self.progress())
            if end is not None and time.monotonic() > end:
                raise ResultTimeout(f"the bulk has not ended within {timeout:g} s")
        return self.progress()

    def progress(self) -> Progress:
        """Return how far the bulk is, without asking anybody."""
        run = self._run
        found = progress_of(run.record, run.rate(), run.jobs_ahead, run.written)
        return replace(found, rereading=run.rereading, fed=True)

    def forecast(self) -> Forecast | None:
        """Return how long the bulk will take, by the rate at which such rows were answered lately.

        It is `None` if no such row was answered in the last week, if rows are jobs of their own
        kinds, or if the source can be read only once.
        """
        manifest, source = self._run.manifest, self._run.source
        kind = manifest.template.get("kind")
        with suppress(ForebayError):  # a bulk goes on without it
            if kind and manifest.source and (rate := RowRates(self._ledger.redis).latest(kind)):
                return forecast(source, rate, manifest.deadline)
        return None

    @property
    def first_bad(self) -> list[BadRow]:
        """The first 20 bad rows that this process has read; `progress().bad` counts all."""
        return self._run.first_bad

    @property
    def input_change(self) -> str | None:
        """At the end, how the input differs from what it was when the bulk began, or `None`.

        Rows that were added to a file meanwhile are not in the results.
        """
        return self._run.input_change

    def pause(self) -> None:
        """Feed no more rows. Shards that wait are put aside; those that are worked stop soon."""
        Bulks(self._ledger).set_state(self.id, "paused")

    def resume(self) -> None:
        """Go on after a pause."""
        Bulks(self._ledger).set_state(self.id, "running")

    def cancel(self) -> None:
        """End the bulk. What is in the output stays there."""
        Bulks(self._ledger).set_state(self.id, "cancelled")

    def close(self) -> None:
        """Detach from the bulk; one without an output of its own is cancelled."""
        self._closed = True
        if self._temporary:
            with suppress(ForebayError):
                self.cancel()
            self._run.close()
            shutil.rmtree(self.out.parent, ignore_errors=True)
        else:
            self._run.close()

    def _check_rows(self) -> None:
        """Raise `InvalidJob` if all rows were bad, which no file of bad rows would tell."""
        if self.first_bad and not self._has_rows:
            bad = self.first_bad[0]
            wrong = f"none of them is a valid request; row {bad.number}: {bad.reason}"
            raise InvalidJob(wrong, field="rows")

    def _check_open(self) -> None:
        if self._closed and self._run.record.state not in ENDED:
            how = "it is cancelled" if self._temporary else "`resume_bulk` goes on with it"
            raise InvalidJob(f"its handle was closed: {how}", field="bulk")


def progress_of(
    record: BulkRecord, rows_per_s: float | None, jobs_ahead: int, written: int | None = None
) -> Progress:
    """Return how far a bulk is, from its record and from what the process that feeds it knows."""
    counters = record.counters
    per_s = record.rows_per_s if rows_per_s is None and record.fed else rows_per_s
    per_s = None if record.state == "paused" else per_s
    written = record.written if written is None else written
    over = max(record.so_far, written)
    left = None if record.total is None else max(0, record.total - over)
    left = left if record.state == "running" else None
    spent, seen = record.settled_nusd, max(1, over)
    return Progress(
        id=record.id,
        state=record.state,
        fed=record.fed,
        source=str(record.about.get("source", "")),
        out=str(record.about.get("out", "")),
        total=record.total,
        share=over / record.total if record.total else _share(record, over),
        rereading=record.rereading,
        sent=record.sent,
        over=over,
        written=written,
        bad=record.bad,
        rows_per_s=per_s,
        left_s=left / per_s if left is not None and per_s else None,
        spent_usd=usd(spent),
        reserved_usd=usd(record.reserved_nusd),
        projected_usd=usd(spent) * record.total / seen if record.total else None,
        max_usd=None if record.max_nusd is None else usd(record.max_nusd),
        jobs_ahead=jobs_ahead,
        deadline=record.about.get("deadline"),
        checks=_named(counters, "check:"),
        errors=_named(counters, "error:"),
        **{name: counters.get(f"rows_{name}", 0) for name in NAMED},
    )


def _share(record: BulkRecord, over: int) -> float | None:
    """Return the share of the rows that are over, from how much of the source was read."""
    return record.share * over / record.sent if record.sent else None


def _named(counters: Any, prefix: str) -> dict[str, int]:
    found = {
        name.removeprefix(prefix): number
        for name, number in counters.items()
        if name.startswith(prefix) and number
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))
