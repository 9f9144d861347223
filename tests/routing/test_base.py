"""What pydantic finds wrong, in words that name the field and repeat nothing of its content."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from forebay.routing.base import (
    KINDS,
    MAX_SCHEMA_DEPTH,
    MAX_SCHEMA_LIST,
    MAX_SCHEMA_NODES,
    FieldError,
    FrozenModel,
    explain,
    first_error,
)
from forebay.routing.errors import InvalidJob, TooLong
from forebay.routing.jobs import Extract, parse_job

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
        (Outer, {"by_name": {"a": SECRET}}, "by_name.a", "must be a valid integer"),
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
    with pytest.raises(InvalidJob, match=r"is not a known field, .* \(`forebay schema`") as caught:
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
