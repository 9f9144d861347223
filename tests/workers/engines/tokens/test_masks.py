"""Token masks: they allow what the constraint allows, and then the end of the text."""

from __future__ import annotations

import json
import random
import re
import threading

import numpy as np
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from forebay.routing.errors import InvalidJob
from forebay.workers.engines.engine import Choice, JsonSchema, Pattern
from forebay.workers.engines.tokens.masks import Masks, allowed
from forebay.workers.engines.tokens.tokenizer import Tokenizer
from tinymodel import write_folder

FORMATS = FormatChecker()
SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["a", "bb"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 30},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2},
    },
    "required": ["kind", "count", "tags"],
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return Tokenizer(write_folder(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def masks(tokenizer):
    return Masks(tokenizer)


def walk(tokenizer, matcher, choose):
    """Return the text of one walk through the grammar, up to an end."""
    chosen = []
    while len(chosen) < 300:
        tokens = np.flatnonzero(allowed(matcher.mask(), tokenizer.size)).tolist()
        token = choose(tokens)
        matcher.take(token)
        if token in tokenizer.ends:
            return tokenizer.decode(chosen)
        chosen.append(token)
    raise AssertionError("no end")


@pytest.mark.parametrize("seed", range(20))
def test_any_walk_gives_json_that_validates(tokenizer, masks, seed):
    matcher = masks.matcher(JsonSchema(schema_=SCHEMA), 200)
    text = walk(tokenizer, matcher, random.Random(seed).choice)
    Draft202012Validator(SCHEMA).validate(json.loads(text))
    assert not matcher.failed


#: Keywords of schemas that some libraries silently ignore.
SCHEMAS = [
    {"type": "object", "minProperties": 2, "additionalProperties": {"type": "null"}},
    {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "null"}},
    {"type": "object", "propertyNames": {"maxLength": 1}, "additionalProperties": {"type": "null"}},
    {"type": "object", "patternProperties": {"^a": {"const": 1}}, "additionalProperties": False},
    {"type": "object", "dependentRequired": {"a": ["b"]}, "properties": {"a": {}, "b": {}}},
    {"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 3},
    {"type": "array", "prefixItems": [{"const": 1}], "items": {"const": 2}, "maxItems": 3},
    {"type": "array", "items": {"enum": [1, 2]}, "contains": {"const": 2}, "maxItems": 3},
    {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True, "maxItems": 3},
    {"type": "string", "minLength": 2, "maxLength": 4},
    {"type": "string", "pattern": "^[ab]{2}$"},
    {"type": "string", "format": "date"},
    {"type": "string", "maxLength": 3, "not": {"const": "abc"}},
    {"type": "integer", "minimum": 3, "maximum": 12},
    {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
    {"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 60},
    {"type": "number", "minimum": 0.5, "maximum": 0.75},
    {"oneOf": [{"type": "integer", "minimum": 0}, {"type": "integer", "maximum": 9}]},
    {"anyOf": [{"const": "x"}, {"const": None}]},
    {"allOf": [{"type": "integer", "minimum": 2}, {"maximum": 4}]},
    {"if": {"const": 1}, "then": {"const": 1}, "else": {"const": 2}},
    {"$ref": "#/$defs/a", "$defs": {"a": {"enum": ["x", 2]}}},
    {"type": ["string", "null"], "maxLength": 2},
    {"const": {"a": [1, None, "x"]}},
    {"type": "object", "unevaluatedProperties": False, "properties": {"a": {"const": 1}}},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_a_schema_is_enforced_as_a_whole_or_refused(tokenizer, masks, schema):
    for seed in range(6):
        try:
            matcher = masks.matcher(JsonSchema(schema_=schema), 60)
        except InvalidJob:
            return
        pick = random.Random(seed).choice
        text = walk(tokenizer, matcher, lambda tokens: _ending(tokenizer, tokens, pick))  # noqa: B023 - used at once
        Draft202012Validator(schema, format_checker=FORMATS).validate(json.loads(text))


def _ending(tokenizer, tokens, pick):
    """Choose an end of the text or a closing bracket half of the time, so that walks end."""
    ends = [token for token in tokens if token in tokenizer.ends]
    closing = ends or [token for token in tokens if tokenizer.decode([token])[:1] in '"}]']
    return closing[0] if closing and pick((True, False)) else pick(tokens)


@pytest.mark.parametrize("name", ["duration", "date-time", "time", "email", "hostname"])
@pytest.mark.parametrize("kind", ["string", ["string", "null"]])
def test_a_format_comes_to_an_end_even_if_the_model_wants_none(tokenizer, masks, name, kind):
    """A small model may write digit after digit, until its tokens are used up."""
    schema = {"type": kind, "format": name}

    def never_end(tokens):
        going_on = [token for token in tokens if token not in tokenizer.ends]
        texts = {token: tokenizer.decode([token]) for token in going_on}
        endless = [token for token, text in texts.items() if text.isalnum()]
        quotes = [token for token, text in texts.items() if text.startswith('"')]
        return (endless or quotes or going_on or tokens)[0]

    text = walk(tokenizer, masks.matcher(JsonSchema(schema_=schema), 2_000), never_end)
    assert len(text) <= 102


@pytest.mark.parametrize("seed", range(5))
def test_any_walk_matches_a_pattern_as_a_whole(tokenizer, masks, seed):
    regex = r"(ab|é)+-\d{2}/x?"
    text = walk(tokenizer, masks.matcher(Pattern(regex=regex), 50), random.Random(seed).choice)
    assert re.fullmatch(regex, text)


def test_every_option_can_be_reached_and_nothing_else(tokenizer, masks):
    choice = Choice(options=("pay", "pay back", "é"))
    pick = random.Random(1).choice
    reached = {walk(tokenizer, masks.matcher(choice, 9), pick) for _ in range(80)}
    assert reached == set(choice.options)


def test_a_complete_text_allows_only_the_ends(tokenizer, masks):
    matcher = masks.matcher(Choice(options=("red",)), 9)
    for token in tokenizer.encode("red"):
        assert not matcher.complete
        matcher.take(token)
    assert matcher.complete
    assert tuple(np.flatnonzero(allowed(matcher.mask(), tokenizer.size))) == tokenizer.ends


def test_a_token_that_is_not_allowed_fails_the_matcher_and_ends_the_text(tokenizer, masks):
    matcher = masks.matcher(Choice(options=("red",)), 9)
    matcher.take(tokenizer.encode("Q")[0])
    assert matcher.failed
    assert not matcher.complete
    assert tuple(np.flatnonzero(allowed(matcher.mask(), tokenizer.size))) == tokenizer.ends


@pytest.mark.parametrize(
    ("constraint", "field"),
    [
        (JsonSchema(schema_={"type": "array", "uniqueItems": True}), "schema"),
        (Pattern(regex=r"(zebrafinch)\1"), "regex"),
        (Pattern(regex="(?=zebrafinch)"), "regex"),
        (Choice(options=()), "labels"),
    ],
)
def test_a_constraint_that_cannot_be_enforced_is_refused_without_quoting_it(
    masks, capfd, constraint, field
):
    with pytest.raises(InvalidJob) as caught:
        masks.matcher(constraint, 20)
    assert caught.value.field == field
    assert "zebrafinch" not in f"{caught.value}{capfd.readouterr()}"


def test_texts_of_one_grammar_do_not_disturb_each_other(tokenizer, masks):
    choice = Choice(options=("red", "blue"))
    first, second = masks.matcher(choice, 9), masks.matcher(choice, 9)
    first.take(tokenizer.encode("red")[0])
    reachable = np.flatnonzero(allowed(second.mask(), tokenizer.size))
    assert tokenizer.encode("blue")[0] in reachable
    assert not np.array_equal(first.mask(), second.mask())


def test_a_mask_may_be_computed_while_the_text_ends(tokenizer, masks):
    matcher = masks.matcher(JsonSchema(schema_=SCHEMA), 50)
    errors = []

    def compute_masks():
        try:
            for _ in range(300):
                matcher.mask()
        except RuntimeError as error:
            errors.append(error)

    threads = [threading.Thread(target=compute_masks) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        assert not matcher.failed
    for thread in threads:
        thread.join()
    assert not errors


def test_logits_wider_or_narrower_than_the_vocabulary_are_masked_too(tokenizer, masks):
    bits = masks.matcher(Choice(options=("red",)), 9).mask()
    width = tokenizer.size
    assert not allowed(bits, width + 99)[width:].any()
    assert np.array_equal(allowed(bits, width + 99)[:width], allowed(bits, width))
    assert len(allowed(bits, 100)) == 100
