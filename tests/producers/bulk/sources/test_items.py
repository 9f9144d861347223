"""Any iterable: mappings, strings, requests and jobs become rows, and all else a bad row."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

from forebay import Classify, Embed, Extract, Generate, Job, Message, Summarize
from forebay.producers.bulk.rows import BadRow
from forebay.producers.bulk.sources.items import encoded
from forebay.producers.bulk.sources.open_source import open_source
from forebay.producers.bulk.templates.template import Template


class Invoice(BaseModel):
    total: float


REQUESTS = [
    Classify(text="t", labels=["a", "b"]),
    Extract(text="t", schema=Invoice),
    Summarize(text="t", max_words=30),
    Generate(messages=[Message(role="user", content="hi")], max_tokens=7),
    Embed(texts=["t", "u"]),
]


def read(items, **options):
    with open_source(items, **options) as source:
        return list(source.rows())


def test_mappings_and_strings_are_rows():
    rows = read(iter([{"a": 1, "when": datetime(2026, 1, 2, tzinfo=UTC)}, "text", {}]))
    assert [row.fields for row in rows] == [
        {"a": 1, "when": "2026-01-02T00:00:00Z"},
        {"text": "text"},
        {},
    ]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.kind)
def test_requests_and_jobs_come_back_as_they_were(request_):
    for item, egress in ((request_, "deny"), (Job(request=request_, egress="allow"), "allow")):
        row = Template.of().row(read([item])[0])
        assert row.egress == egress
        assert type(request_).model_validate(row.common | row.varying) == request_


@pytest.mark.parametrize("item", [7, None, ["a"], b"bytes", object()])
def test_an_item_that_is_no_row_is_a_bad_row(item):
    first, bad, last = read(["a", item, "b"])
    assert (first.number, last.number) == (1, 3)
    name = type(item).__name__
    assert bad.reason == f"is {name}; a row must be a mapping, a string, a request or a Job"


def test_a_value_that_json_cannot_hold_is_a_bad_row():
    circle = {}
    circle["self"] = circle
    for item in ({"a": object()}, "\ud800", circle, {"a": b"\xff"}):
        bad, good = read([item, "good"])
        assert isinstance(bad, BadRow), item
        assert (bad.reason, good.number) == ("holds a value that JSON cannot hold", 2)


def test_a_number_that_is_nan_is_a_bad_row():
    bad, good = read([{"a": float("nan")}, "good"])
    assert bad.reason == "is not a JSON object: NaN and Infinity are no JSON numbers"
    assert good.number == 2


def test_no_items_are_no_rows():
    assert read([]) == []


def test_a_field_of_a_job_that_a_row_cannot_have_is_refused_by_name():
    job = Job(request=REQUESTS[0], priority="bulk", deadline=timedelta(hours=1), tenant="acme")
    row = read([job])[0]
    assert row.fields.keys() == {"request", "priority", "deadline", "tenant"}
    bad = Template.of(tenant="acme").row(row)
    assert (bad.column, bad.reason) == (
        "priority",
        "cannot be set for one row: set it for the whole bulk",
    )


def test_an_iterable_that_fails_is_not_taken_for_ended(tmp_path):
    def rows():
        yield "one"
        raise KeyError("broken")

    with open_source(rows(), spool=tmp_path / "spool") as source:
        for _ in range(2):
            with pytest.raises(KeyError, match="broken"):
                list(source.rows())
    assert [path.name for path in tmp_path.iterdir()] == ["spool.part"]


def test_another_process_reads_the_spool(tmp_path):
    items = [{"a": n} for n in range(1_000)]
    items[500] = 7
    rows = read(iter(items), spool=tmp_path / "spool")
    with open_source(tmp_path / "spool", format="items") as source:
        again = list(source.rows())
        assert [tuple(row[:4]) for row in again] == [tuple(row[:4]) for row in rows]
        assert list(source.rows(rows[500].end)) == again[501:]


def test_an_endless_iterable_is_read_as_far_as_rows_are_taken():
    def endless():
        number = 0
        while True:
            yield {"n": (number := number + 1)}

    with open_source(endless()) as source:
        rows = source.rows()
        assert [next(rows).fields["n"] for _ in range(3)] == [1, 2, 3]
        rows.close()


def test_a_line_has_the_fields_of_a_job_that_were_given():
    job = Job(request=Summarize(text="t"), egress="allow")
    assert json.loads(encoded(job)) == {
        "egress": "allow",
        "request": {"kind": "summarize", "text": "t", "max_words": 60, "focus": ""},
    }
