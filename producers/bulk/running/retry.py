"""Answers the rows of a finished bulk again that have no answer, and puts the results in place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.outputs.open_output import open_output
from forebay.producers.bulk.rows import BadRow
from forebay.producers.bulk.running.manifest import Manifest
from forebay.producers.bulk.sample import jobs_of
from forebay.producers.bulk.sources.source import Source
from forebay.producers.bulk.templates.template import Template
from forebay.producers.bulk.validated import validated_rows
from forebay.routing.errors import InvalidJob

ROWS_PER_WRITE = 500


def rows_without_answer(manifest: Manifest) -> list[int]:
    """Return the numbers of the rows in the output that have no answer.

    Raises:
        InvalidJob: The output is not JSON Lines, or cannot be read.
    """
    out = Path(manifest.out)
    if out.suffix not in {".jsonl", ".ndjson"} and manifest.out_format != "jsonl":
        raise InvalidJob(
            "only an output in JSON Lines can be completed; make a file of the failed rows and run "
            "it as a bulk of its own",
            field=shown(out),
        )
    return [row["row"] for row in _lines(out) if row["status"] != "done"]


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


def put_in_place(manifest: Manifest, numbers: list[int], again: Path) -> int:
    """Replace rows of the output by new results, all of them or none.

    Args:
        manifest: the bulk whose output is completed.
        numbers: the rows that were answered again, in order.
        again: their new results, in the same order. They are held in memory.

    Returns:
        How many rows still have no answer.
    """
    out = Path(manifest.out)
    new = out.with_name(out.name + ".new")
    replaced = dict(zip(numbers, _lines(again), strict=True))
    unanswered = 0
    with open_output(new, format="jsonl", overwrite=True) as output:
        for batch in _batched(_lines(out), ROWS_PER_WRITE):
            rows = [_better(row, replaced.get(row["row"])) for row in batch]
            unanswered += sum(row["status"] != "done" for row in rows)
            output.append(rows)
        output.finish()
    new.replace(out)
    return unanswered


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
