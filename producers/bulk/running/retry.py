"""Answers the rows of a finished bulk again that have no answer, and puts the results in place."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.outputs.delimited import stored_records
from forebay.producers.bulk.outputs.open_output import DELIMITERS, Format, format_of, open_output
from forebay.producers.bulk.rows import BadRow
from forebay.producers.bulk.running import results
from forebay.producers.bulk.running.manifest import Manifest
from forebay.producers.bulk.sample import jobs_of
from forebay.producers.bulk.sources.source import Source
from forebay.producers.bulk.templates.template import Template
from forebay.producers.bulk.validated import validated_rows
from forebay.routing.bulk.bulks import Bulks, BulkState
from forebay.routing.errors import InvalidJob, UnknownJob
from forebay.routing.ledger.ledger import Ledger

ROWS_PER_WRITE = 500

#: Counters of a bulk's record that a retry counts again, beside the errors.
COUNTERS = (
    "rows_done", "rows_failed", "rows_expired", "rows_cancelled", "rows_local", "rows_bedrock",
    "rows_degraded",
)  # fmt: skip


def rows_without_answer(manifest: Manifest) -> list[int]:
    """Return the numbers of the rows in the output that have no answer.

    Raises:
        InvalidJob: The output cannot be completed, or cannot be read.
    """
    return [row["row"] for row in _stored(manifest) if row["status"] != "done"]


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
    new = out.with_name(out.name + ".new")
    replaced = dict(zip(numbers, _lines(again), strict=True))
    counted: Counter[str] = Counter()
    with open_output(new, format=_format(manifest), overwrite=True) as output:
        for batch in _batched(_stored(manifest), ROWS_PER_WRITE):
            rows = [_better(row, replaced.get(row["row"])) for row in batch]
            counted.update(results.totals(rows, 0))
            counted.update(f"error:{row['error']}" for row in rows if row["error"])
            output.append(rows)
        output.finish()
    new.replace(out)
    return counted


def _format(manifest: Manifest) -> Format:
    """Return the format of an output that can be completed."""
    form = format_of(Path(manifest.out), manifest.out_format)
    if form not in {"jsonl", *DELIMITERS}:
        raise InvalidJob(
            "only JSON Lines, CSV and TSV can be completed; make a file of the failed rows and run "
            "it as a bulk of its own",
            field=shown(Path(manifest.out)),
        )
    return form


def _stored(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Yield the rows of an output that can be completed."""
    out, form = Path(manifest.out), _format(manifest)
    if form == "jsonl":
        yield from _lines(out)
        return
    try:
        yield from stored_records(out, DELIMITERS[form])
    except (OSError, ValueError, KeyError):
        raise InvalidJob("cannot be read", field=shown(out)) from None


def _better(row: dict[str, Any], again: dict[str, Any] | None) -> dict[str, Any]:
    return row if again is None else {**again, "row": row["row"], "key": row["key"]}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open() as file:
            for line in file:
                yield json.loads(line)
    except (OSError, ValueError):
        raise InvalidJob("cannot be read", field=shown(path)) from None


def _batched(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Yield lists of at most `size` rows."""
    while batch := list(islice(rows, size)):
        yield batch
