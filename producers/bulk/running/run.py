"""Runs a bulk: feeds rows, collects results, and writes them down, until all are written."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Self

from forebay.producers.bulk.outputs.columns import BAD_ROW_COLUMNS, of_bad_row
from forebay.producers.bulk.outputs.open_output import open_output
from forebay.producers.bulk.outputs.output import Output, Rows, each_of
from forebay.producers.bulk.rows import BadRow
from forebay.producers.bulk.running.arrivals import Arrivals
from forebay.producers.bulk.running.blocks import Block, BlockReader
from forebay.producers.bulk.running.collector import Collector
from forebay.producers.bulk.running.feeder import Feeder
from forebay.producers.bulk.running.journal import Journal
from forebay.producers.bulk.running.manifest import Manifest
from forebay.producers.bulk.running.progress import Rate
from forebay.producers.bulk.sources.source import Source
from forebay.producers.bulk.templates.template import Template
from forebay.routing.base import NANO
from forebay.routing.bulk.bulks import BulkRecord, Bulks, BulkState, jobs_ahead
from forebay.routing.bulk.shards import Shards
from forebay.routing.errors import ForebayError, InvalidJob, Unavailable, UnknownJob
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.store.backoff import patiently

LOOK_EVERY_S = 1.0  # at the record of the bulk: it may be paused or cancelled from anywhere
FIRST_BAD = 20  # bad rows that are kept in memory
WAIT_S = 0.2  # for the next end, if there is nothing to do
PATIENCE_S = 60.0  # for Redis to take the final state


class BulkRun:
    """One process's work on a bulk; another process may have begun it.

    1. Opens the outputs and the journal where they were left.
    2. `steps` feeds, collects and writes, a little at each step, and yields after each.
    3. Results count once they are on the disk and the journal says so; what was written after the
       last line of the journal is cut off when the bulk is resumed.
    4. At the end the outputs get their final form, and the record of the bulk its final state.

    Attributes:
        source: where its rows come from.
        record: the record of the bulk, at most a second old.
        rate: how fast rows end.
        jobs_ahead: jobs that wait and go before the rows.
        input_change: at the end, how the input differs from what it was when the bulk began.
        first_bad: the first bad rows that this process has read.
    """

    def __init__(
        self,
        ledger: Ledger,
        manifest: Manifest,
        source: Source,
        template: Template,
        *,
        resumed: bool = False,
        overwrite: bool = False,
        at_end: Callable[[], object] = lambda: None,
    ) -> None:
        """`at_end` is called once all is written, and again if this process dies meanwhile."""
        self._at_end = at_end
        self.manifest, self._ledger, self._bulks = manifest, ledger, Bulks(ledger)
        self.source, self._resumed = source, resumed
        self._arrivals = Arrivals(ledger, manifest.tenant)
        self._looked_at, self.rate, self.jobs_ahead = 0.0, Rate(), 0
        self.input_change: str | None = None
        self._written: list[Rows] = []
        self.first_bad: list[BadRow] = []
        with ExitStack() as opened:
            self._journal = Journal.open(manifest.journal)
            opened.callback(self._journal.close)
            self._out, self._bad = self._outputs(opened, overwrite=overwrite)
            self.record = self._begin()
            opened.pop_all()
        self._reader = reader = BlockReader(manifest, source, template)
        reader.keys_until(self._journal.next_start)
        self._feeder = Feeder(reader, self._journal, Shards(ledger), self._arrivals.stream)
        self._collector = Collector(ledger, self._arrivals, manifest.order)

    def _outputs(self, opened: ExitStack, *, overwrite: bool) -> tuple[Output, Output]:
        """Open the outputs; `opened` undoes that if the bulk cannot begin."""
        manifest, journal, resumed = self.manifest, self._journal, self._resumed
        out = open_output(
            manifest.out,
            format=manifest.out_format,  # type: ignore[arg-type]  # checked when it is opened
            resume_at=journal.out_size if resumed else None,
            overwrite=overwrite,
        )
        opened.callback(out.close if resumed else out.discard)
        bad = open_output(
            manifest.bad_rows,
            columns=BAD_ROW_COLUMNS,
            resume_at=journal.bad_size if resumed and manifest.bad_rows.exists() else None,
            overwrite=True,
        )
        opened.callback(bad.close if resumed else bad.discard)
        return out, bad

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bulk as it is: its shards go on, and `resume` goes on with the rest."""
        for output in (self._out, self._bad):
            output.close()
        self._journal.close()
        self.source.close()
        with suppress(ForebayError):
            self._arrivals.close()
            self._bulks.update(self.manifest.id, fed_at=0)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The results that were written in the last step."""
        return [dict(row) for row in each_of(self._written)]

    @property
    def written(self) -> int:
        """Rows whose results are in the outputs, bad rows included."""
        return self._journal.totals["rows"] + self._journal.totals["bad"]

    @property
    def total(self) -> int | None:
        """All rows of the source; `None` until it was read to its end."""
        return self._journal.next_start.row if self._feeder.exhausted else None

    @property
    def read_share(self) -> float:
        """How much of the source was read, 0 to 1."""
        size = self.source.size()
        return min(1.0, self._journal.next_start.offset / size) if size else 1.0

    @property
    def rereading(self) -> float | None:
        """How much of what an earlier process read was read again; `None` if nothing has to be."""
        return self._reader.rereading

    def steps(self) -> Iterator[BulkRecord]:
        """Work until all is written or the bulk is cancelled; yield its record after each step.

        Raises:
            ForebayError: The bulk cannot go on now, such as with a full disk. It can be resumed.
        """
        while self.record.state != "cancelled":
            if self.record.state != "paused":
                self._feed()
            self._gather()
            self._write()
            self._look()
            yield self.record
            if self._feeder.idle and not len(self._collector):
                self._end()
                return
        self._cancel_rest()

    def _begin(self) -> BulkRecord:
        manifest = self.manifest
        limit = None if manifest.max_usd is None else int(manifest.max_usd * NANO)
        about = {
            "source": self.source.name, "out": str(manifest.results),
            "folder": str(manifest.folder), "kind": manifest.template.get("kind"),
            "deadline": manifest.deadline,
        }  # fmt: skip
        self._bulks.create(manifest.id, about, limit)
        return self._bulks.get(manifest.id)

    def _feed(self) -> None:
        waiting = self._collector
        try:
            waiting.add(self._feeder.feed(waiting.shards_under_way, len(waiting), self.rate()))
        except InvalidJob:
            if not (self._resumed or self._journal.next_block):
                self._withdraw()
            raise

    def _withdraw(self) -> None:
        """Leave nothing of a bulk whose input has no row, so that it can be begun again."""
        self._out.discard()
        self._bad.discard()
        self.close()
        with suppress(ForebayError):
            self._bulks.update(self.manifest.id, state="cancelled")
        shutil.rmtree(self.manifest.folder, ignore_errors=True)

    def _gather(self) -> None:
        """Wait a moment for rows to end, and collect them."""
        try:
            wait_s = WAIT_S if self.rereading is None else 0.0
            ended = self._arrivals.wait(self._collector.awaited(), wait_s)
            self._collector.collect(ended)
            self._feeder.feed_again(self._collector.take_lost())
        except Unavailable:  # Redis is away: the rows wait for it, and so does this process
            time.sleep(WAIT_S)

    def _write(self) -> None:
        """Write the results of complete blocks to the disk, then to the journal."""
        blocks = self._collector.take_complete()
        self._written = [rows for block in blocks for rows in block.written()]
        if not blocks:
            return
        out_size = self._out.append(self._written) if self._written else self._journal.out_size
        bad = [row for block in blocks for row in block.bad]
        self.first_bad += bad[: FIRST_BAD - len(self.first_bad)]
        bad_size = self._bad.append(map(of_bad_row, bad)) if bad else self._journal.bad_size
        told = [(block.fed.number, block.totals()) for block in blocks]
        self._journal.done(told, out_size, bad_size)
        self._forget(blocks)

    def _forget(self, blocks: list[Block]) -> None:
        """Remove shards whose results are on the disk, and rows that Bedrock answered."""
        ids = [part.id for block in blocks for part in block.parts]
        ids += [job_id for block in blocks for job_id in block.answered]
        with suppress(ForebayError):  # they expire
            self._ledger.forget_all(ids)

    def _look(self, *, now: bool = False) -> None:
        """Read the record of the bulk, and write how far it is: each second, or `now`."""
        at = time.monotonic()
        if not now and at - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = at
        with suppress(Unavailable):
            fields: dict[str, Any] = {
                "sent": self._journal.next_start.row, "bad": self._journal.totals["bad"],
                "written": self.written, "share": f"{self.read_share:.6f}",
                "under_way": self._collector.rows_under_way(),
                "rereading": "" if self.rereading is None else f"{self.rereading:.6f}",
                "rows_per_s": "" if (rate := self.rate()) is None else f"{rate:.3f}",
            }  # fmt: skip
            if self.total is not None:
                fields["total"] = self.total
            try:
                self._bulks.feeding(self.manifest.id, **fields)
                self.record = self._bulks.get(self.manifest.id)
                self.jobs_ahead = jobs_ahead(self._ledger)
            except UnknownJob:  # Redis has lost it
                self.record = self._begin()
            if self.record.state == "paused" or self.rereading is not None:
                self.rate = Rate()
            self.rate.add(self.record.so_far)

    def _end(self) -> None:
        """Give the outputs their final form, and the bulk its final state."""
        self._look(now=True)
        self._finish_outputs()
        self._count_again()
        if self.record.state == "cancelled":
            return
        if (then := self.manifest.fingerprint) is not None:
            self.input_change = self.source.changed_since(then)
        self._at_end()
        state: BulkState = "incomplete" if self._journal.unanswered else "done"
        patiently(partial(self._bulks.update, self.manifest.id, state=state), patience_s=PATIENCE_S)
        self.record = replace(self.record, state=state)

    def _count_again(self) -> None:
        """Write into the record what the outputs hold, if its counts say otherwise.

        Redis may have lost some, and counts all rows of a shard that was cut short alike.
        """
        totals = {k: n for k, n in self._journal.totals.items() if k[:5] == "rows_"}
        if any(self.record.counters.get(name, 0) != number for name, number in totals.items()):
            self._bulks.update(self.manifest.id, **totals)
            self._look(now=True)

    def _finish_outputs(self) -> None:
        self._out.finish()
        self._bad.finish()
        if not self._journal.totals["bad"]:
            self.manifest.bad_rows.unlink(missing_ok=True)

    def _cancel_rest(self) -> None:
        """Cancel what is on the ledger, and write the answers so far, in their final form."""
        before: object = None
        with suppress(Unavailable):
            while before != (before := (len(self._collector), self._collector.awaited())):
                for job_id in self._collector.awaited():
                    with suppress(UnknownJob):
                        self._ledger.cancel(job_id)
                self._collector.collect(self._collector.awaited())
                self._collector.take_lost()
                self._write()
            self._look(now=True)
            self._count_again()
        self._finish_outputs()
