"""Rows that are jobs already."""

import pytest

from forebay.producers.bulk.rows import BadRow, Position, RawRow
from forebay.producers.bulk.templates.template import Template
from forebay.routing.jobs import Job
from forebay.routing.requests import parse_request

CLASSIFY = {"kind": "classify", "text": "t", "labels": ["a", "b"]}


def row(fields, **options):
    return Template.of(**options).row(RawRow(1, 1, fields, Position(9, 1, 1)))


@pytest.mark.parametrize(
    "fields",
    [
        CLASSIFY,
        {"request": CLASSIFY},
        {"request": CLASSIFY, "egress": "deny"},
        {**CLASSIFY, "egress": None},
        {"request": CLASSIFY, "tenant": "default"},
    ],
)
def test_a_row_has_a_kind_or_a_request(fields):
    made = row(fields)
    assert parse_request(made.common | made.varying) == parse_request(CLASSIFY)
    assert (made.kind, made.egress, made.varying) == ("classify", "deny", {"text": "t"})


def test_a_row_says_itself_whether_it_may_leave():
    assert row({**CLASSIFY, "egress": "allow"}).egress == "allow"
    assert row({"request": CLASSIFY, "egress": "deny"}, egress="allow").egress == "deny"
    assert row(CLASSIFY, egress="allow").egress == "allow"
    assert row({**CLASSIFY, "egress": "yes"}).column == "egress"


def test_a_key_may_stand_beside_the_fields_of_the_job():
    made = row({**CLASSIFY, "id": 7}, key="id")
    assert (made.key, made.common) == ("7", {"kind": "classify", "labels": ["a", "b"]})


def test_a_row_may_name_a_local_model():
    assert row({"request": CLASSIFY, "model": "small"}).model == "small"
    assert row({**CLASSIFY, "model": None}).model is row(CLASSIFY).model is None
    for wrong in ("", 7, "m" * 201):
        assert row({**CLASSIFY, "model": wrong}).column == "model"
    made = row({**CLASSIFY, "model": "7"}, key="model")
    assert (made.key, made.model) == ("7", None)


@pytest.mark.parametrize(
    "name", sorted(set(Job.model_fields) - {"request", "egress", "model", "tenant"})
)
@pytest.mark.parametrize("inside", [True, False])
def test_other_fields_of_a_job_are_refused_by_name(name, inside):
    bad = row({"request": CLASSIFY, name: 1} if inside else {**CLASSIFY, name: 1})
    assert bad.column == name
    assert bad.reason.startswith("cannot be set for one row: set it for the whole bulk")


@pytest.mark.parametrize(
    ("fields", "column", "reason"),
    [
        ({}, "kind", "must be one of classify"),
        ({"text": "t"}, "kind", "must be one of classify"),
        ({**CLASSIFY, "kind": "clasify"}, "kind", "must be one of classify"),
        ({**CLASSIFY, "kind": ["classify"]}, "kind", "must be one of classify"),
        ({**CLASSIFY, "labels": ["a"]}, "labels", "must have at least 2"),
        ({**CLASSIFY, "label": "x"}, "label", "is not a field of classify; did you mean labels?"),
        ({**CLASSIFY, "text": ""}, "text", "must have at least 1 character"),
        ({"kind": "classify", "labels": ["a", "b"]}, "text", "is missing, add it"),
        ({"request": "text"}, "request", "must be an object"),
        ({"request": CLASSIFY, "text": "t"}, "text", "is not a field of a job: put it inside"),
        ({**CLASSIFY, "tenant": "acme"}, "tenant", "must be default, the tenant of the bulk"),
        (
            {"kind": "generate", "messages": [{"role": "user", "content": " "}]},
            "messages",
            "the last message must not be blank",
        ),
    ],
)
def test_a_wrong_job_is_a_bad_row_with_its_field(fields, column, reason):
    bad = row(fields)
    assert isinstance(bad, BadRow)
    assert bad.column == column
    assert bad.reason.startswith(reason)


def test_rows_with_equal_settings_share_them():
    template = Template.of()

    def read(fields):
        return template.row(RawRow(1, 1, fields, Position(9, 1, 1)))

    first = read(CLASSIFY)
    other = read({"kind": "summarize", "text": "t", "max_words": 9})
    again = read({**CLASSIFY, "text": "u", "labels": ["a", "b"]})
    assert again.common is first.common
    assert other.common == {"kind": "summarize", "max_words": 9}
    assert again.varying == {"text": "u"}


def test_many_different_settings_are_all_checked():
    template = Template.of()
    for number in range(30):
        fields = {**CLASSIFY, "labels": ["a", f"b{number}"]}
        made = template.row(RawRow(1, 1, fields, Position(9, 1, 1)))
        assert made.common["labels"] == ["a", f"b{number}"]
        bad = template.row(RawRow(1, 1, {**fields, "text": 7}, Position(9, 1, 1)))
        assert (bad.column, bad.reason) == ("text", "must be text")


def test_settings_that_compare_equal_are_read_as_the_contract_reads_them():
    template = Template.of()
    chat = {"kind": "generate", "messages": [{"role": "user", "content": "hi"}]}
    rows = [{**chat, "seed": seed} for seed in (1, 1.0, True, "1", 0, False, None)]
    made = [template.row(RawRow(1, 1, fields, Position(9, 1, 1))) for fields in rows]
    for fields, each in zip(rows, made, strict=True):
        assert parse_request(each.common | each.varying) == parse_request(fields)
