"""The whole way: rows of a file to requests, and results to a file, resumed anywhere."""

import json

import pytest

from forebay.producers.bulk.outputs.columns import BAD_ROW_COLUMNS, of_bad_row
from forebay.producers.bulk.outputs.open_output import open_output
from forebay.producers.bulk.repeated_keys import RepeatedKeys
from forebay.producers.bulk.rows import START, BadRow, Position, TemplatedRow
from forebay.producers.bulk.sources.open_source import open_source
from forebay.producers.bulk.templates.template import Template
from forebay.producers.bulk.validated import validated_rows
from forebay.routing.errors import InvalidJob
from forebay.routing.requests import parse_request

LABELS = Template.of("classify", labels=["good", "bad"], text_field="body", key="id")


@pytest.fixture
def mails(tmp_path):
    path = tmp_path / "mails.jsonl"
    rows = [{"id": f"m{n}", "body": f"mail {n}"} for n in range(1, 6)]
    rows[3]["id"] = "m2"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"id": "m6"}\n')
    return path


def test_each_row_of_a_file_becomes_a_request_or_a_bad_row(mails):
    rows = list(validated_rows(open_source(mails), LABELS))
    assert [type(row) for row in rows] == [
        TemplatedRow, TemplatedRow, TemplatedRow, BadRow, TemplatedRow, BadRow,
    ]  # fmt: skip
    for row in rows:
        if isinstance(row, TemplatedRow):
            assert parse_request(row.common | row.varying).text == f"mail {row.number}"
            assert (row.key, row.egress, row.line) == (f"m{row.number}", "deny", row.number)
    assert str(rows[3]) == f"{mails}, line 4, column id: repeats the key of row 2"
    assert rows[3].key == "m2"
    assert str(rows[5]) == (
        f"{mails}, line 6, column body: the row has no column 'body'; the columns are id"
    )


def test_reading_goes_on_after_any_row_in_another_process(mails):
    every = list(validated_rows(open_source(mails), LABELS))
    for index, row in enumerate(every):
        start = Position(*json.loads(json.dumps(row.end)))
        keys = RepeatedKeys()
        for earlier in every[: index + 1]:
            if isinstance(earlier, TemplatedRow):
                keys.first_row(earlier.key, earlier.number)
        rest = list(validated_rows(open_source(mails), LABELS, start=start, keys=keys))
        assert rest == every[index + 1 :]


def test_rows_are_equal_in_what_they_share(mails):
    rows = [row for row in validated_rows(open_source(mails), LABELS) if hasattr(row, "common")]
    assert len({id(row.common) for row in rows}) == 1


def test_a_column_that_the_file_lacks_is_refused_before_the_first_row(mails):
    template = Template.of("classify", labels=["good", "bad"], text_field="bdy")
    with pytest.raises(InvalidJob, match="has no column 'bdy'; did you mean 'body'") as error:
        next(validated_rows(open_source(mails), template))
    assert error.value.field == "text_field"


def test_results_are_written_and_resumed_at_the_size_that_counts(mails, tmp_path):
    out = tmp_path / "results.jsonl"
    with open_output(out) as output:
        size = output.append([{"row": 1, "status": "done", "answer": {"label": "good"}}])
        output.append([{"row": 2, "status": "done"}, {"row": 3, "status": "failed"}])
    with open_output(out, resume_at=size) as output:
        output.append([{"row": 2, "status": "failed"}])
        output.finish()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["row"], row["status"]) for row in rows] == [(1, "done"), (2, "failed")]
    assert START == (0, 0, 0)


def test_a_bad_row_has_its_key_if_the_key_could_be_read(tmp_path):
    path = tmp_path / "mails.csv"
    path.write_bytes(
        b'body,id\n\xff,m1\nbody,m2,more\nx,\xff\nbody,id\n"x"y,m5\nx\0,m6\nx\n\xff,\xff\n'
    )
    rows = list(validated_rows(open_source(path), LABELS))
    assert [(row.number, row.column, row.key) for row in rows] == [
        (1, "body", "m1"),
        (2, None, "m2"),
        (3, "id", None),
        (4, None, None),
        (5, None, None),
        (6, "body", "m6"),
        (7, None, None),
        (8, "body", None),
    ]
    assert {type(row) for row in rows} == {BadRow}
    with open_output(tmp_path / "bad.jsonl", columns=BAD_ROW_COLUMNS) as output:
        output.append(map(of_bad_row, rows))


def test_a_row_of_a_folder_is_known_by_its_file(tmp_path):
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.txt").write_text("")
    good, bad = validated_rows(open_source(tmp_path), Template.of("summarize"))
    assert (good.key, bad.key) == ("a.txt", "sub/b.txt")
    assert str(bad).startswith(f"{tmp_path}/sub/b.txt, line 1, column text: must have at least 1")
