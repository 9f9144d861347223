"""Requests: what they take, what they refuse, and what type their answer has."""

from __future__ import annotations

import copy
from collections.abc import Callable
from enum import StrEnum

import pytest
from pydantic import BaseModel, Field

from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import (
    Answer,
    Classification,
    Classify,
    Embed,
    Embedding,
    Extract,
    Extraction,
    Generate,
    Generation,
    Job,
    Label,
    Message,
    Summarize,
    Summary,
    parse_job,
    parse_request,
)
from forebay.routing.receipts import Answerable

BASE = {"id": "acme." + "0" * 32, "egress": "deny", "status": "done"}


class Currency(StrEnum):
    EUR = "EUR"
    USD = "USD"


class Invoice(BaseModel):
    number: str = Field(alias="invoiceNumber")
    currency: Currency = Currency.EUR


class Tree(BaseModel):
    name: str
    branches: list[Tree] = []


def test_a_model_class_travels_as_its_json_schema():
    request = Extract(text="x", schema=Invoice)
    assert request.schema_ == Invoice.model_json_schema()
    assert request.answer_model is Invoice
    job = Job(request=request)
    assert job.request is request
    again = parse_job(job.model_dump_json(by_alias=True)).request
    assert again.schema_ == request.schema_
    assert again.answer_model is None
    assert again == request
    assert again != Extract(text="x", schema=Tree)
    assert again != "x"


def test_a_copy_knows_the_model_class():
    request = Extract(text="x", schema=Invoice)
    for same in (copy.deepcopy(request), request.model_copy()):
        assert same.answer_model is Invoice
        assert same == request


def test_a_schema_by_its_attributes_name_is_taken_too():
    assert Extract(text="x", schema_=Invoice).answer_model is Invoice
    assert Extract(text="x", schema_={"type": "object"}).answer_model is None


def test_a_recursive_model_describes_an_object():
    schema = Extract(text="x", schema=Tree).schema_
    assert schema["type"] == "object"
    assert schema["properties"]["branches"]["items"] == {"$ref": "#/$defs/Tree"}
    assert "Tree" in schema["$defs"]


class NoJson(BaseModel):
    callback: Callable[[], None]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (int, "must be a JSON Schema or a pydantic model class"),
        (NoJson, "must be a model whose fields JSON can hold"),
        ("x", "must be an object"),
        ({"type": "array"}, "must describe an object"),
        (None, "must be an object"),
    ],
)
def test_what_is_no_schema_of_an_object_is_refused(schema, words):
    with pytest.raises(InvalidJob, match=words) as caught:
        Extract(text="x", schema=schema)
    assert caught.value.field == "schema"


@pytest.mark.parametrize("content", ["+", "\U0001f44d", "\U0001fae9", "\ue000", "\u200bx"])
def test_a_chat_may_end_with_any_character_that_is_shown(content):
    """Also one that this Python does not know yet."""
    assert Generate(messages=[Message(role="user", content=content)])


@pytest.mark.parametrize("blank", [" ", "\n\t", "\u3000", "\u200b", "\ufeff \u2060", "\x00"])
def test_a_chat_whose_last_message_is_blank_is_refused(blank):
    with pytest.raises(InvalidJob, match="must not be blank") as caught:
        Generate(messages=[Message(role="user", content=blank)])
    assert caught.value.field == "messages"


def with_property(part, **more):
    return {"type": "object", "properties": {"my-secret": part}, **more}


@pytest.mark.parametrize(
    ("part", "translated"),
    [
        ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, {"exclusiveMinimum": 0}),
        ({"type": "number", "maximum": 9, "exclusiveMaximum": False}, {"maximum": 9}),
        ({"type": "number", "exclusiveMaximum": True}, {}),
        ({"items": [{"type": "string"}]}, {"prefixItems": [{"type": "string"}]}),
        ({"items": [True], "additionalItems": False}, {"prefixItems": [True], "items": False}),
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": ["string", "null"], "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "nullable": False}, {"type": "string"}),
        (
            {"type": "string", "enum": ["a"], "nullable": True},
            {"type": ["string", "null"], "enum": ["a", None]},
        ),
        ({"$ref": "#", "nullable": True}, {"anyOf": [{"$ref": "#"}, {"type": "null"}]}),
        (
            {"type": "string", "const": "a", "nullable": True},
            {"anyOf": [{"type": "string", "const": "a"}, {"type": "null"}]},
        ),
        (True, True),
        (False, False),
        ({"const": {"nullable": True, "items": []}}, {"const": {"nullable": True, "items": []}}),
    ],
)
def test_older_dialects_of_json_schema_are_translated(part, translated):
    request = Extract(text="x", schema=with_property(part))
    wanted = translated
    if isinstance(part, dict) and part.get("type") == "number":
        wanted = {"type": "number", **translated}
    assert request.schema_ == with_property(wanted)
    assert parse_request(request.model_dump(by_alias=True)) == request


def test_properties_that_are_named_like_keywords_are_left_alone():
    schema = {"type": "object", "properties": {"nullable": {"type": "boolean"}, "$ref": {}}}
    assert Extract(text="x", schema=schema).schema_ == schema


@pytest.mark.parametrize("definitions", ["$defs", "definitions"])
def test_a_root_that_is_a_reference_is_written_out(definitions):
    parts = {"A": {"$ref": f"#/{definitions}/B"}, "B": {"type": "object", "title": "b"}}
    schema = {"$ref": f"#/{definitions}/A", definitions: parts}
    assert Extract(text="x", schema=schema).schema_ == {
        definitions: parts, "type": "object", "title": "b",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"$ref": "#/$defs/gone"}, r"\$ref that points to nothing, at /properties/\*/\$ref$"),
        ({"$ref": "#gone"}, r"\$ref that points to nothing"),
        ({"items": {"$ref": "#/properties/x/0"}}, "points to nothing, at /properties/\\*/items"),
        ({"$ref": "#/properties/my-secret"}, "leads back to itself"),
        ({"pattern": r"^\p{L}+$"}, r"Python cannot read, at /properties/\*/pattern$"),
        ({"pattern": "("}, r"Python cannot read, at /properties/\*/pattern$"),
        ({"patternProperties": {"(": {}}}, r"at /properties/\*/patternProperties$"),
        ({"type": "strin"}, r"is not a JSON Schema .*, at /properties/\*/type$"),
    ],
)
def test_a_broken_schema_is_refused_with_the_place(part, words):
    for make in (
        lambda schema: Extract(text="x", schema=schema),
        lambda schema: Generate(messages=[Message(role="user", content="x")], schema=schema),
    ):
        with pytest.raises(InvalidJob, match=words) as caught:
            make(with_property(part))
        assert caught.value.field == "schema"
        assert "secret" not in str(caught.value)


def test_references_to_anchors_and_encoded_names_are_followed():
    parts = {"a/b c": {"$anchor": "x", "type": "string"}, "c": {"$dynamicAnchor": "y"}}
    for reference in ("#x", "#y", "#/$defs/a~1b%20c", "#"):
        assert Extract(text="x", schema=with_property({"$ref": reference}, **{"$defs": parts}))


@pytest.mark.parametrize(
    ("request_class", "content"),
    [
        (Classify, Classification),
        (Extract, Extraction),
        (Summarize, Summary),
        (Generate, Generation),
        (Embed, Embedding),
    ],
)
def test_a_request_names_the_content_that_answers_it(request_class, content):
    assert issubclass(request_class, Answerable)
    kind = request_class.model_fields["kind"].default
    assert kind == content.model_fields["kind"].default


@pytest.mark.parametrize(
    "content",
    [
        Classification(label="a", probability=0.5, scores={"a": 0.5, "b": 0.5}),
        Extraction(data={"a": [1, {"b": None}]}),
        Summary(text="x"),
        Generation(text="x", finish="length"),
        Embedding(vectors=((0.0, 1.0),)),
    ],
)
def test_a_stored_answer_has_the_content_class_of_its_kind(content):
    answer = Answer(**BASE, kind=content.kind, content=content)
    again = Answer.model_validate_json(answer.model_dump_json())
    assert type(again) is Answer
    assert type(again.content) is type(content)
    assert again == answer
    assert type(Answer.model_validate(answer.model_dump()).content) is type(content)


def test_an_answer_of_a_named_content_refuses_another():
    summary = Answer(**BASE, kind="summarize", content=Summary(text="x")).model_dump_json()
    assert Answer[Summary].model_validate_json(summary).content == Summary(text="x")
    with pytest.raises(InvalidJob):
        Answer[Classification].model_validate_json(summary)


def test_sequences_become_tuples_that_nobody_changes():
    stop, texts = ["."], ["a", "b"]
    chat = Generate(messages=[Message(role="user", content="x")], stop=stop)
    embed, label = Embed(texts=texts), Label(name="a", examples=["b"])
    stop.append("!")
    texts.clear()
    assert chat.stop == (".",)
    assert isinstance(chat.messages, tuple)
    assert embed.texts == ("a", "b")
    assert label.examples == ("b",)
    assert parse_request(embed.model_dump()) == embed


@pytest.mark.parametrize("texts", ["abc", 3, None])
def test_a_string_is_no_sequence_of_texts(texts):
    with pytest.raises(InvalidJob) as caught:
        Embed(texts=texts)
    assert caught.value.field == "texts"


def test_a_request_is_frozen_and_shows_no_content():
    request = Classify(text="kanarie", labels=["kanarie", "b"])
    with pytest.raises(Exception, match="frozen"):
        request.text = "other"
    assert "kanarie" not in repr(request)
    assert [option.name for option in request.options] == ["kanarie", "b"]


@pytest.mark.parametrize("schema", [Invoice, Tree, int])
def test_generate_says_in_one_error_why_it_takes_no_model_class(schema):
    messages = [Message(role="user", content="x")]
    with pytest.raises(InvalidJob, match=r"`Extract` takes a model class") as caught:
        Generate(messages=messages, schema=schema)
    assert caught.value.field == "schema"
    assert Generate(messages=messages, schema=Invoice.model_json_schema()).schema_


def test_a_model_whose_own_code_fails_is_one_error_of_ours():
    class Broken(BaseModel):
        @classmethod
        def model_json_schema(cls, *_, **__):
            raise KeyError("kanarie")

    with pytest.raises(InvalidJob, match="must be a model whose fields JSON can hold") as caught:
        Extract(text="x", schema=Broken)
    assert "kanarie" not in str(caught.value)
