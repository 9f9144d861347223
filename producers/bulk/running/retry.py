"""Answers rows of a finished bulk again, those that failed or are degraded, and replaces them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from forebay.producers.bulk.outputs.open_output import format_of, open_output
from forebay.producers.bulk.outputs.output import ResultRow
from forebay.producers.bulk.outputs.stored import stored_rows
from forebay.producers.bulk.rows import BadRow
from forebay.producers.bulk.running import results
from forebay.producers.bulk.running.manifest import Manifest
from forebay.producers.bulk.sample import jobs_of
from forebay.producers.bulk.sources.source import Source
from forebay.producers.bulk.templates.template import Template
from forebay.producers.bulk.validated import validated_rows
from forebay.routing.bulk.bulks import Bulks, BulkState
from forebay.routing.errors import UnknownJob
from forebay.routing.ledger.ledger import Ledger

ROWS_PER_WRITE = 500

#: Counters of a bulk's record that a retry counts again, beside the errors.
COUNTERS = (
    "rows_done", "rows_failed", "rows_expired", "rows_cancelled", "rows_local", "rows_bedrock",
    "rows_degraded", "rows_mock",
)  # fmt: skip


def rows_to_retry(manifest: Manifest) -> list[int]:
    """Return the numbers of the rows in the output that have no answer or a degraded one.

    Raises:
        InvalidJob: The output cannot be read.
    """
    rows = _stored(manifest)
    return sorted(row["row"] for row in rows if row["status"] != "done" or row["degraded"])


def failed_rows(source: Source, template: Template, numbers: list[int]) -> Iterator[dict[str, Any]]:
    """Yield the rows of these numbers, which ascend, as jobs."""
    wanted = iter(numbers)
    number = next(wanted, None)
    for row in validated_rows(source, template):
        if number is None:
            return
        if isinstance(row, BadRow):
            continue
        if row.number == number:
            yield from jobs_of([row])
            number = next(wanted, None)


def complete(ledger: Ledger, manifest: Manifest) -> None:
    """Put the results of a retry into the output of the bulk that it completes, and count again.

    It may be done twice. A bulk that is no retry completes nothing.
    """
    if not manifest.completes:
        return
    first, bulks = Manifest.load(Path(manifest.completes)), Bulks(ledger)
    counted = put_in_place(first, manifest.numbers, Path(manifest.out))
    with suppress(UnknownJob):  # it is too old
        record = bulks.get(first.id)
        names = {*COUNTERS, *(name for name in record.counters if name.startswith("error:"))}
        counters = {name: counted[name] for name in names}
        state = record.state if record.state == "cancelled" else _state(first, counted)
        spent = record.settled_nusd + settled(bulks, manifest)
        bulks.update(first.id, **counters, state=state, settled_nusd=spent)


def settled(bulks: Bulks, manifest: Manifest) -> int:
    """Return what a bulk has cost, in billionths of a dollar; 0 if it is not known any more."""
    try:
        return bulks.get(manifest.id).settled_nusd
    except UnknownJob:
        return 0


def _state(manifest: Manifest, counted: Counter[str]) -> BulkState:
    unanswered = counted["rows"] - counted["rows_done"]
    wanting = unanswered or counted["rows_over_budget"] or manifest.bad_rows.exists()
    return "incomplete" if wanting else "done"


def put_in_place(manifest: Manifest, numbers: Sequence[int], again: Path) -> Counter[str]:
    """Replace rows of the output by new results, all of them or none.

    Args:
        manifest: the bulk whose output is completed.
        numbers: the rows that were answered again, in order.
        again: their new results, in the same order. They are held in memory.

    Returns:
        What became of the rows of the output, as counters.
    """
    out = Path(manifest.out)
    new, form = out.with_name(out.name + ".new"), format_of(out, manifest.out_format)
    replaced = dict(zip(numbers, stored_rows(again, "jsonl"), strict=True))
    counted: Counter[str] = Counter()
    with open_output(new, format=form, overwrite=True) as output:
        for batch in _batched(_stored(manifest), ROWS_PER_WRITE):
            rows = [better(row, replaced.get(row["row"])) for row in batch]
            counted.update(results.totals(rows, 0))
            counted.update(f"error:{row['error']}" for row in rows if row["error"])
            output.append(rows)
        output.finish()
        output.replace(out)
    return counted


def _stored(manifest: Manifest) -> Iterator[ResultRow]:
    """Yield the rows of an output."""
    out = Path(manifest.out)
    return stored_rows(out, format_of(out, manifest.out_format))


def better(row: ResultRow, again: ResultRow | None) -> ResultRow:
    """Return the new result of a row in its place, unless the row would lose its answer."""
    if again is None or (row["status"] == "done" and again["status"] != "done"):
        return row
    return {**again, "row": row["row"], "key": row["key"]}


def _batched(rows: Iterator[ResultRow], size: int) -> Iterator[list[ResultRow]]:
    """Yield lists of at most `size` rows."""
    while batch := list(islice(rows, size)):
        yield batch
