"""Templates: every kind, every option, and each wrong row by its column."""

import json

import pytest
from pydantic import BaseModel

from forebay.producers.bulk.rows import BadRow, Position, RawRow, TemplatedRow
from forebay.producers.bulk.sources.open_source import open_source
from forebay.producers.bulk.templates.template import Template
from forebay.producers.bulk.templates.varying import varying_field
from forebay.routing.base import KINDS, MAX_TEXT
from forebay.routing.errors import InvalidJob
from forebay.routing.requests import parse_request
from policy_cases import REQUESTS

SCHEMA = {"type": "object", "properties": {"total": {"type": "number"}}}
TEMPLATES = {
    kind: {name: fields[name] for name in fields.keys() - {"kind", varying_field(kind)}}
    for kind, fields in REQUESTS.items()
    if kind != "generate" and varying_field(kind)
}
TEMPLATES |= {
    "generate": {"user": "{text}", "system": "Be brief.", "max_tokens": 9, "stop": ["."]},
    "classify": {"labels": ["good", {"name": "bad", "description": "not good"}]},
    "summarize": {"max_words": 30, "focus": "money"},
}


class Invoice(BaseModel):
    total: float


def raw(fields, number=3):
    return RawRow(number, number + 1, fields, Position(100, number, number + 1))


def request(row):
    assert isinstance(row, TemplatedRow), row
    return parse_request(row.common | row.varying)


@pytest.mark.parametrize("kind", TEMPLATES)
def test_each_kind_is_filled_from_a_column(kind):
    template = Template.of(kind, **TEMPLATES[kind])
    row = template.row(raw({"text": "a text", "more": 1}))
    assert (row.number, row.line, row.kind, row.egress, row.key) == (3, 4, kind, "deny", None)
    assert row.end == (100, 3, 4)
    made = request(row)
    assert made.kind == kind
    assert "a text" in json.dumps(row.varying)
    assert "a text" not in json.dumps(row.common)
    for name, value in TEMPLATES[kind].items():
        if name not in {"user", "system"}:
            assert row.common[name] == value


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_job_can_be_a_row(kind):
    row = Template.of().row(raw(REQUESTS[kind]))
    assert request(row) == parse_request(REQUESTS[kind])
    assert row.varying.keys() == {varying_field(kind)}


def test_a_chat_is_made_of_two_forms():
    template = Template.of("generate", system="You speak {lang}.", user="Translate: {body}")
    row = template.row(raw({"lang": "French", "body": "{hi}"}))
    assert [(turn.role, turn.content) for turn in request(row).messages] == [
        ("system", "You speak French."),
        ("user", "Translate: {hi}"),
    ]


def test_a_text_may_be_made_of_several_columns():
    template = Template.of("summarize", text="{title}: {body}")
    row = template.row(raw({"title": "T", "body": "B"}))
    assert request(row).text == "T: B"
    embed = Template.of("embed", text="{title}: {body}")
    assert request(embed.row(raw({"title": "T", "body": "B"}))).texts == ("T: B",)


def test_embed_takes_a_text_or_a_list_of_texts():
    template = Template.of("embed", text_field="body")
    assert request(template.row(raw({"body": "a"}))).texts == ("a",)
    assert request(template.row(raw({"body": ["a", "b"]}))).texts == ("a", "b")
    bad = template.row(raw({"body": ["a", 7]}))
    assert (bad.column, bad.reason) == ("body", "must be text")


def test_labels_and_schema_may_be_files(tmp_path):
    (tmp_path / "labels.txt").write_text("\ufeffgood\r\n\n bad \n")
    (tmp_path / "labels.json").write_text('["good", {"name": "bad"}]')
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    lines = Template.of("classify", labels=tmp_path / "labels.txt")
    assert lines.spec["labels"] == ["good", "bad"]
    array = Template.of("classify", labels=tmp_path / "labels.json")
    options = request(array.row(raw({"text": "t"}))).options
    assert [label.name for label in options] == ["good", "bad"]
    assert Template.of("extract", schema=tmp_path / "schema.json").spec["schema"] == SCHEMA


def test_a_model_class_as_the_schema_is_remembered():
    template = Template.of("extract", schema=Invoice)
    assert template.answer_model is Invoice
    assert template.spec["schema"]["properties"]["total"]["type"] == "number"


@pytest.mark.parametrize("kind", TEMPLATES)
def test_the_spec_makes_the_same_template_in_another_process(kind):
    template = Template.of(kind, key="id", egress_column="leave", **TEMPLATES[kind])
    again = Template.of(**json.loads(json.dumps(template.spec)))
    fields = {"id": 7, "text": "t", "leave": "allow"}
    assert again.row(raw(fields)) == template.row(raw(fields))
    assert again.spec == template.spec


def test_the_columns_are_those_that_are_read():
    template = Template.of("classify", labels=["a", "b"], key="id", egress_column="leave")
    assert template.columns == {"text", "id", "leave"}
    assert Template.of("generate", user="{a} {b}").columns == {"a", "b"}
    assert Template.of().columns is None


@pytest.mark.parametrize(
    ("value", "egress"),
    [("allow", "allow"), ("deny", "deny"), ("", "deny"), (None, "deny")],
)
def test_a_column_may_say_that_a_row_may_leave(value, egress):
    template = Template.of("classify", labels=["a", "b"], egress_column="leave")
    assert template.row(raw({"text": "t", "leave": value})).egress == egress
    assert template.row(raw({"text": "t"})).egress == "deny"


def test_all_rows_may_leave_if_the_template_says_so():
    template = Template.of("classify", labels=["a", "b"], egress="allow")
    assert template.row(raw({"text": "t"})).egress == "allow"


@pytest.mark.parametrize("value", ["Allow", "yes", True, 1, ["allow"], {"a": 1}])
def test_an_egress_that_is_neither_is_a_bad_row(value):
    template = Template.of("classify", labels=["a", "b"], egress_column="leave")
    bad = template.row(raw({"text": "t", "leave": value}))
    assert (bad.column, bad.reason) == ("leave", "must be deny or allow")


@pytest.mark.parametrize(("value", "key"), [("k1", "k1"), (17, "17"), ("é" * 200, "é" * 200)])
def test_a_key_is_text_or_a_whole_number(value, key):
    template = Template.of("classify", labels=["a", "b"], key="id")
    assert template.row(raw({"text": "t", "id": value})).key == key


@pytest.mark.parametrize(
    ("fields", "column", "reason"),
    [
        ({"text": "t"}, "id", "the row has no column 'id'; the columns are text"),
        ({"text": "t", "id": None}, "id", "is null: give it a value"),
        ({"text": "t", "id": ""}, "id", "must have 1 to 200 characters: it is the row's key"),
        ({"text": "t", "id": "x" * 201}, "id", "must have 1 to 200 characters"),
        ({"text": "t", "id": 1.5}, "id", "must be text or a whole number"),
        ({"text": "t", "id": True}, "id", "must be text or a whole number"),
        ({"id": "k"}, "text", "the row has no column 'text'; the columns are id"),
        ({"id": "k", "text": None}, "text", "is null: give it a value"),
        ({"id": "k", "text": ""}, "text", "must have at least 1 character"),
        ({"id": "k", "text": 7}, "text", "must be text"),
        ({"id": "k", "text": "x" * (MAX_TEXT + 1)}, "text", "must have at most 500000 characters"),
    ],
)
def test_a_wrong_row_is_a_bad_row_with_its_column(fields, column, reason):
    template = Template.of("classify", labels=["a", "b"], key="id")
    bad = template.row(raw(fields), file="rows.csv")
    assert isinstance(bad, BadRow)
    assert (bad.number, bad.line, bad.column, bad.file) == (3, 4, column, "rows.csv")
    assert bad.reason.startswith(reason)
    assert bad.key == (fields.get("id") if column == "text" else None)
    assert bad.end == (100, 3, 4)


@pytest.mark.parametrize(
    ("arguments", "field", "reason"),
    [
        ({"kind": "clasify"}, "kind", "must be one of classify"),
        ({"kind": "classify"}, "labels", "is missing"),
        ({"kind": "classify", "labels": ["a"]}, "labels", "must have at least 2"),
        ({"kind": "classify", "labels": ["a", "b"], "max_words": 9}, "max_words", "is not a field"),
        ({"kind": "extract", "schema": {"type": "array"}}, "schema", "must describe an object"),
        ({"kind": "generate"}, "user", "is missing: give the message"),
        ({"kind": "generate", "user": "hello"}, "user", "must name a column in braces"),
        ({"kind": "generate", "user": "{a}", "text": "{a}"}, "text", "is not for generate"),
        ({"kind": "summarize", "user": "{a}"}, "user", "is for generate, not for summarize"),
        ({"kind": "summarize", "text": "{a}", "text_field": "a"}, "text", "cannot be combined"),
        ({"kind": "summarize", "egress": "yes"}, "egress", "must be deny or allow"),
        (
            {"kind": "summarize", "egress": "allow", "egress_column": "e"},
            "egress_column",
            "cannot be combined with egress=allow",
        ),
        ({"egress_column": "e"}, "egress_column", "needs a kind"),
        ({"text_field": "a"}, "text_field", "needs a kind: without one, rows are jobs"),
        ({"labels": ["a", "b"]}, "labels", "needs a kind: without one, rows are jobs"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(arguments, field, reason):
    with pytest.raises(InvalidJob) as error:
        Template.of(**arguments)
    assert error.value.field == field
    assert error.value.message.startswith(reason)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("labels.txt", b"", "is empty"),
        ("labels.txt", b"\xff\xfe", "is not UTF-8 text"),
        ("labels.txt", b"a\n\nb\n \nA \n", "line 5 repeats the label of line 1: remove one"),
        ("labels.txt", b"a\n\n", "has only one label: it must have at least two"),
        ("labels.txt", b'["a", "", "b"]', "item 2 must be text that is not empty"),
        ("labels.txt", b'["a", 7]', "item 2 must be text that is not empty"),
        ("labels.txt", b'["a", {"name": "A"}]', "item 2 repeats the label of item 1: remove one"),
        ("labels.txt", b'{"a": 1}', "must hold one label a line, or a JSON array"),
        ("labels.txt", b"[1, ", "is not JSON: Expecting value at line 1, column 5"),
        ("missing.txt", None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_of_labels_that_cannot_be_read_is_refused_by_name(tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidJob) as error:
        Template.of("classify", labels=tmp_path / name)
    assert error.value.field == str(tmp_path / name)
    assert error.value.message.startswith(reason)


@pytest.mark.parametrize("content", [b"[]", b"7", b"[" * 100_000])
def test_a_schema_that_is_no_object_is_refused_by_name(tmp_path, content):
    (tmp_path / "schema.json").write_bytes(content)
    with pytest.raises(InvalidJob, match=r"schema\.json: "):
        Template.of("extract", schema=tmp_path / "schema.json")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"kind": "summarize", "text_field": "bdy"}, "text_field"),
        ({"kind": "summarize", "text": "{id} {bdy}"}, "text"),
        ({"kind": "generate", "user": "{id} {bdy}"}, "user"),
        ({"kind": "generate", "user": "{id}", "system": "{bdy}"}, "system"),
        ({"kind": "summarize", "text_field": "body", "key": "bdy"}, "key"),
        ({"kind": "summarize", "text_field": "body", "egress_column": "bdy"}, "egress_column"),
        ({"key": "bdy"}, "key"),
    ],
)
def test_a_column_that_a_csv_lacks_is_refused_at_once(tmp_path, arguments, field):
    path = tmp_path / "rows.csv"
    path.write_text("id,body\n1,x\n")
    with pytest.raises(InvalidJob) as error:
        Template.of(**arguments).check(open_source(path))
    assert error.value.field == field
    assert error.value.message == f"{path} has no column 'bdy'; did you mean 'body'?"


def test_a_column_that_few_json_lines_have_is_not_missed(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "t"}\n')
    Template.of("summarize", egress_column="leave").check(open_source(path))
    with pytest.raises(InvalidJob, match="has no column 'body'; the columns are text"):
        Template.of("summarize", text_field="body").check(open_source(path))


@pytest.mark.parametrize(("name", "wrong"), [("egres", True), ("Egress", True), ("address", False)])
def test_an_egress_column_that_is_misspelt_is_told_although_rows_may_lack_it(tmp_path, name, wrong):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "x", name: "allow"}) + "\n")
    template, source = Template.of("summarize", egress_column="egress"), open_source(path)
    if not wrong:
        template.check(source)
        return
    with pytest.raises(InvalidJob, match=f"has no column 'egress'; did you mean '{name}'"):
        template.check(source)
