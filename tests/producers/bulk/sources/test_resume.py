"""Whatever the rows, the chunks in which they come, and the row to go on after: each row once."""

import csv
import io
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from forebay.producers.bulk.rows import BadRow, Position, RawRow
from forebay.producers.bulk.sources.delimited import DelimitedSource
from forebay.producers.bulk.sources.jsonl import JsonlSource
from forebay.producers.bulk.streams.inputs import FileInput
from forebay.producers.bulk.streams.spooled import SpooledInput

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
TABLES = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6)
CHUNKS = st.lists(st.integers(1, 40), min_size=1, max_size=5)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | CELLS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELLS, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
OBJECTS = st.lists(st.dictionaries(CELLS, JSON_VALUES, max_size=4), min_size=1, max_size=6)


def in_chunks(data, sizes):
    """Return a function that reads `data` in chunks of these sizes, over and over."""
    stream, turn = io.BytesIO(data), iter(range(10**9))
    return lambda most: stream.read(min(most, sizes[next(turn) % len(sizes)]))


def as_csv(table, delimiter, ending):
    text = io.StringIO()
    # With a bare line feed as its ending, csv.writer leaves a carriage return in a cell unquoted.
    quoting = csv.QUOTE_ALL if ending == "\n" else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=delimiter, lineterminator=ending, quoting=quoting)
    writer.writerow(["one", "two"])
    writer.writerows(table)
    return text.getvalue().encode()


def check_each_row_once(data, sizes, make):
    """Check reading in chunks, reading as a file, and going on after each row in another reader."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder, "rows")
        path.write_bytes(data)
        rows = list(make(FileInput(path)).rows())
        spooled = SpooledInput(in_chunks(data, sizes), path=Path(folder, "spool"), name=str(path))
        assert list(stack.enter_context(make(spooled)).rows()) == rows
        assert Path(folder, "spool").read_bytes() == data
        assert rows[-1].end.offset == len(data)
        for index, row in enumerate(rows):
            start = Position(*json.loads(json.dumps(row.end)))
            assert list(make(FileInput(path)).rows(start)) == rows[index + 1 :]
            assert list(make(spooled).rows(start)) == rows[index + 1 :]
    return rows


@given(TABLES, CHUNKS, st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]))
def test_each_row_of_a_csv_is_read_once(table, sizes, delimiter, ending):
    rows = check_each_row_once(
        as_csv(table, delimiter, ending), sizes, lambda content: DelimitedSource(content, delimiter)
    )
    assert [tuple(row.fields.values()) for row in rows] == table


@given(OBJECTS, CHUNKS, st.booleans(), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_each_row_of_json_lines_is_read_once(objects, sizes, ascii_only, ending):
    data = ending.join(json.dumps(each, ensure_ascii=ascii_only) for each in objects).encode()
    rows = check_each_row_once(data, sizes, JsonlSource) if data[:1] != b"[" else []
    assert [row.fields for row in rows] == objects


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=10), CHUNKS, st.data())
def test_any_bytes_give_the_same_rows_from_any_row_on(lines, sizes, data):
    content = b"one,two\n" + b"\n".join(lines)
    rows = check_rows_agree(content, sizes, lambda each: DelimitedSource(each, ","))
    assert all(isinstance(row, RawRow | BadRow) for row in rows)
    check_rows_agree(b'{"a": 1}\n' + b"\n".join(lines), sizes, JsonlSource)


def check_rows_agree(data, sizes, make):
    """Check as above, for data that may have no rows at all, or blank lines at its end."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder, "rows")
        path.write_bytes(data + b"\n1,2\n")
        rows = list(make(FileInput(path)).rows())
        for index, row in enumerate(rows):
            assert list(make(FileInput(path)).rows(row.end)) == rows[index + 1 :]
        assert [row.number for row in rows] == list(range(1, len(rows) + 1))
        live = in_chunks(path.read_bytes(), sizes)
        spooled = SpooledInput(live, name=str(path))
        assert list(stack.enter_context(make(spooled)).rows()) == rows
    return rows
