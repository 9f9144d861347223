"""Errors of pydantic become words that name the field and repeat nothing of its content."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from forebay.routing.base import (
    KINDS,
    FieldError,
    FrozenModel,
    changed,
    explain,
    first_error,
    made,
    without,
)
from forebay.routing.errors import ForebayError, InvalidJob, TooLong
from forebay.routing.jobs import Classification, Extract, parse_job, parse_request
from forebay.routing.json_schemas import MAX_SCHEMA_DEPTH, MAX_SCHEMA_LIST, MAX_SCHEMA_NODES

SECRET = "canary-secret"


class Inner(BaseModel):
    count: int = Field(ge=1)


class Outer(BaseModel, extra="forbid"):
    inner: list[Inner] = []
    by_name: dict[str, int] = {}
    needed: int = 0

    @model_validator(mode="after")
    def _small(self):
        if self.needed > 9:
            raise ValueError("needed must be small")
        return self


class Required(BaseModel):
    needed: int


def failed(model: type[BaseModel], data: dict) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data)
    return caught.value


@pytest.mark.parametrize(
    ("model", "data", "field", "message"),
    [
        (Outer, {"inner": [{"count": 0}]}, "inner.0.count", "must be greater than or equal to 1"),
        (Outer, {"by_name": {"a": SECRET}}, "by_name.a", "must be a whole number"),
        (Outer, {"typo": 1}, "typo", "is not a known field"),
        (Outer, {"needed": 10}, None, "needed must be small"),
        (Required, {}, "needed", "is missing, add it"),
    ],
)
def test_the_first_error_names_the_field_in_words_that_follow_its_name(model, data, field, message):
    first = first_error(failed(model, data))
    assert first.field == field
    assert first.message.startswith(message)
    assert SECRET not in first.message


def test_a_key_that_is_wrong_is_named_as_its_field():
    class Named(BaseModel):
        by_number: dict[int, int]

    assert first_error(failed(Named, {"by_number": {"x": 1}})).field == "by_number.x"


def test_a_long_name_is_cut_in_the_message():
    assert FieldError(("a" * 100, 3), "missing", "is missing, add it").field == "a" * 60 + ".3"


def test_an_unknown_field_of_a_job_says_where_the_known_ones_are():
    with pytest.raises(InvalidJob, match=r"did you mean tenant\? \(`forebay schema`") as caught:
        parse_job({"request": {"kind": "summarize", "text": "x"}, "tennant": "acme"})
    assert caught.value.field == "tennant"


def test_a_wrong_kind_lists_the_kinds():
    with pytest.raises(InvalidJob, match=", ".join(KINDS)) as caught:
        parse_job({"request": {"kind": SECRET}})
    assert caught.value.field == "kind"
    assert SECRET not in str(caught.value)


def test_a_value_that_is_too_long_is_told_apart():
    class Brief(FrozenModel):
        text: str = Field(max_length=3)

    with pytest.raises(TooLong) as caught:
        Brief(text=SECRET)
    assert (caught.value.field, SECRET in str(caught.value)) == ("text", False)


def test_a_name_that_the_caller_chose_is_content_and_is_left_out():
    with pytest.raises(InvalidJob) as caught:
        parse_job({"request": {"kind": "summarize", "text": "x"}, "metadata": {SECRET: 5}})
    assert caught.value.field == "metadata"
    with pytest.raises(InvalidJob) as caught:
        parse_job({"request": {"kind": "summarize", "text": "x"}, "Canary Secret": 5})
    assert caught.value.field is None


CLASSIFY = {"kind": "classify", "text": "x", "labels": ["a", "b"]}
GENERATE = {"kind": "generate", "messages": [{"role": "user", "content": "x"}]}
LIST, OBJECT, TEXT = "must be a list", "must be an object", "must be text"
MISTAKES = [
    ({**GENERATE, "messages": [{"role": SECRET, "content": "x"}]}, "messages.0.role", "must be "),
    ({**GENERATE, "messages": [{"role": "user", "content": 3}]}, "messages.0.content", TEXT),
    ({**GENERATE, "messages": [{"role": "user"}]}, "messages.0.content", "is missing"),
    ({**GENERATE, "messages": [SECRET]}, "messages.0", OBJECT),
    ({**GENERATE, "messages": SECRET}, "messages", LIST),
    ({**GENERATE, "messages": {SECRET: 1}}, "messages", LIST),
    ({**GENERATE, "stop": SECRET}, "stop", LIST),
    ({**GENERATE, "stop": ["a", 3]}, "stop.1", TEXT),
    ({**GENERATE, "seed": 1.5}, "seed", "must be a whole number"),
    ({**CLASSIFY, "labels": SECRET}, "labels", LIST),
    ({**CLASSIFY, "labels": 3}, "labels", LIST),
    ({**CLASSIFY, "labels": ["a", 3]}, "labels.1", TEXT),
    ({**CLASSIFY, "labels": ["a", {"name": "b", "description": 3}]}, "labels.1.description", TEXT),
    ({**CLASSIFY, "labels": ["a", {"description": SECRET}]}, "labels.1.name", "is missing"),
    ({**CLASSIFY, "labels": ["a", {"name": "b", "examples": ["c", 3]}]}, "labels.1.examples.1",
     TEXT),
    ({**CLASSIFY, "labels": ["a", {"nam": SECRET}]}, "labels.1.nam",
     "is not a field of label; did you mean name?"),
    ({"kind": "classify", "txt": SECRET, "labels": ["a", "b"]}, "txt",
     "is not a field of classify; did you mean text?"),
    ({"kind": "extract", "text": "x", "shema": {SECRET: 1}}, "shema",
     "is not a field of extract; did you mean schema?"),
    ({"kind": "extract", "text": "x", "schema": [SECRET]}, "schema", OBJECT),
    ({"kind": "embed", "texts": [SECRET, ""]}, "texts.1", "must have at least 1 character"),
    ({"kind": "embed", "zzz": SECRET}, "zzz", "is not a field of embed; its fields are kind"),
]  # fmt: skip


@pytest.mark.parametrize(("request_data", "field", "message"), MISTAKES)
def test_a_wrong_field_keeps_its_path_from_the_request_on(request_data, field, message):
    """The path is the same in a request, in a job, and in a job's JSON."""
    for read in (
        lambda: parse_request(request_data),
        lambda: parse_job({"request": request_data}),
        lambda: parse_job(json.dumps({"request": request_data})),
    ):
        with pytest.raises(InvalidJob) as caught:
            read()
        assert (caught.value.field, caught.value.message[: len(message)]) == (field, message)
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None


JOB_MISTAKES = [
    ({"tenant": "Support"}, "tenant", "must be lower-case letters, digits, - and _, at most 63"),
    ({"id": SECRET}, "id", "must be a tenant's name, a dot and 32 hexadecimal digits"),
    ({"metadata": [SECRET]}, "metadata", OBJECT),
    ({"cache": SECRET}, "cache", "must be true or false"),
    ({"max_cost_usd": SECRET}, "max_cost_usd", "must be a number"),
    (
        {"idempotency": SECRET},
        "idempotency",
        "is not a field of job; did you mean idempotency_key?",
    ),
    ({"request": SECRET}, "request", OBJECT),
    ({"request": None}, "request", OBJECT),
]


@pytest.mark.parametrize(("fields", "field", "message"), JOB_MISTAKES)
def test_a_wrong_field_of_a_job_is_told_in_words(fields, field, message):
    with pytest.raises(InvalidJob) as caught:
        parse_job({"request": CLASSIFY, **fields})
    assert (caught.value.field, caught.value.message[: len(message)]) == (field, message)
    assert SECRET not in str(caught.value)


JARGON = re.compile("instance|tuple|valid|pattern|Sequence|Input|Value error|after validation")
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.just(SECRET) | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "role", "content", "type", SECRET]), inner)
    ),
    max_leaves=5,
)
FIELDS = ["text", "labels", "messages", "texts", "schema", "stop", "regex", "max_words", "txt"]


@given(
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(FIELDS), JUNK, max_size=4),
    st.dictionaries(st.sampled_from(["tenant", "egress", "deadline", "metadata", "id"]), JUNK),
)
def test_no_junk_is_repeated_or_explained_in_jargon(kind, request_data, job):
    words = ""
    try:
        parse_job({"request": {"kind": kind, **request_data}, **job})
    except ForebayError as error:
        words = str(error)
    assert SECRET not in words
    assert not JARGON.search(words), words


def test_an_error_is_explained_as_the_callers():
    assert isinstance(explain(failed(Required, {})), InvalidJob)


def chain_of_items(levels):
    schema: dict = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "limit"),
    [
        ({"properties": {"a": {"enum": list(range(MAX_SCHEMA_LIST + 1))}}}, MAX_SCHEMA_LIST),
        ({"anyOf": [True] * (MAX_SCHEMA_LIST + 1)}, MAX_SCHEMA_LIST),
        ({"properties": {f"p{n}": {} for n in range(MAX_SCHEMA_NODES)}}, MAX_SCHEMA_NODES),
        (chain_of_items(MAX_SCHEMA_DEPTH), MAX_SCHEMA_DEPTH),
    ],
    ids=["options", "alternatives", "parts", "levels"],
)
def test_a_schema_that_no_lane_should_take_is_refused_with_the_limit(schema, limit):
    with pytest.raises(InvalidJob, match=str(limit)) as caught:
        Extract(text="t", schema={"type": "object", **schema})
    assert caught.value.field == "schema"


def test_a_schema_at_the_limits_is_accepted():
    enum = {"enum": [f"{n:03x}" for n in range(MAX_SCHEMA_LIST)]}
    Extract(text="t", schema={"type": "object", "properties": {"a": enum, "b": enum}})
    Extract(text="t", schema=chain_of_items(MAX_SCHEMA_DEPTH - 2))


def test_a_schema_whose_parts_are_shared_is_refused_before_it_is_written_out():
    schema: dict = {"type": "object"}
    for _ in range(40):
        schema = {"type": "object", "allOf": [schema, schema]}
    with pytest.raises(TooLong, match="bytes of JSON"):
        Extract(text="t", schema=schema)


def test_a_changed_copy_is_that_of_pydantic_and_leaves_the_original_alone():
    class Model(BaseModel):
        model_config = ConfigDict(frozen=True)
        name: str
        others: tuple[str, ...] = ()
        _hidden: int = PrivateAttr(default=7)

    model = Model(name="a")
    copy = changed(model, others=("b",))
    expected = model.model_copy(update={"others": ("b",)})
    assert (copy, copy.model_dump(exclude_unset=True)) == (
        expected,
        expected.model_dump(exclude_unset=True),
    )
    assert copy._hidden == 7
    assert (model.others, model.model_fields_set) == ((), {"name"})


def test_a_model_made_of_valid_values_is_that_of_its_constructor():
    values = {"label": "a", "probability": 0.5, "scores": {"a": 0.5, "b": 0.5}}
    model, expected = made(Classification, **values), Classification(**values)
    assert model == expected
    assert model.model_dump_json() == expected.model_dump_json()
    assert model.model_fields_set == expected.model_fields_set


def test_a_model_without_one_of_its_fields_is_that_of_the_other_class():
    class Outer(BaseModel):
        name: str
        size: int = 1

    class Whole(Outer):
        content: str

    whole = Whole(name="a", content="secret")
    rest = without("content", whole, Outer)
    assert (rest, rest.model_fields_set) == (Outer(name="a"), {"name"})
    assert rest.model_dump_json() == Outer(name="a").model_dump_json()
    assert whole.content == "secret"
