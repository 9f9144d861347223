"""The way from a source to valid requests: read, fill the template, look for repeated keys."""

from __future__ import annotations

from collections.abc import Iterator

from forebay.producers.bulk.repeated_keys import RepeatedKeys
from forebay.producers.bulk.rows import START, BadRow, Position, TemplatedRow
from forebay.producers.bulk.sources.source import Source
from forebay.producers.bulk.templates.template import Template


def validated_rows(
    source: Source,
    template: Template,
    *,
    start: Position = START,
    keys: RepeatedKeys | None = None,
) -> Iterator[TemplatedRow | BadRow]:
    """Yield each row after a position once: as a valid request, or as a bad row.

    Args:
        source: where the rows come from.
        template: how they become requests.
        start: the `end` of an earlier row.
        keys: the keys so far. Without it, only keys after `start` are compared with each other.

    Raises:
        InvalidJob: The source cannot be read, or lacks a column that the template names.
    """
    template.check(source)
    keys = RepeatedKeys() if keys is None else keys
    named = source.key_column if template.key_column is None else None
    for raw in source.rows(start, columns=template.columns):
        if isinstance(raw, BadRow):
            yield template.keyed(raw)
            continue
        name = None if named is None else raw.fields[named]
        row = template.row(raw, file=source.file_of(raw), name=name)
        if row.key is not None and name is None and isinstance(row, TemplatedRow):
            first = keys.first_row(row.key, row.number)
            if first is not None and first != row.number:  # not the row itself, read again
                yield _repeated(row, first, template.key_column, source.file_of(raw))
                continue
        yield row


def _repeated(row: TemplatedRow, first: int, column: str | None, file: str) -> BadRow:
    reason = f"repeats the key of row {first:,}"
    return BadRow(row.number, row.line, column, reason, row.end, row.key, file)
