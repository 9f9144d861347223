"""No schema, text or answer holds a thread for longer than the budget of a check."""

import random
import time

import pytest
from tests.support.stopwatch import within

from forebay.routing.jobs import (
    Classification,
    Classify,
    Extract,
    Extraction,
    Generate,
    Generation,
    Job,
    Message,
    Summarize,
    Summary,
)
from forebay.workers.checks import answer_checks, bounded
from forebay.workers.isolation.limits import CPU_S
from short_budget import shorten

pytestmark = pytest.mark.slow

MAX_COMPUTED_S = 2.0 * CPU_S + 4  # of one check, with a process that is started for it


def nested(keyword, levels, unevaluated="unevaluatedProperties"):
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, unevaluated: False}
    for _ in range(levels):
        inner = {"x": schema} if keyword == "dependentSchemas" else [schema]
        inner = schema if keyword in {"if", "not"} else inner
        schema = {"type": "object", keyword: inner, unevaluated: False}
    return schema


def chain(links, width=2):
    """Return a chain of references of which each link follows the next one several times."""
    defs = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * width} for n in range(links)}
    return {"type": "object", "$ref": "#/$defs/d0", "$defs": {**defs, f"d{links}": True}}


def with_items(keywords):
    return {"type": "object", "properties": {"a": {"type": "array", **keywords}}}


SCHEMAS = {
    "unevaluatedProperties in allOf": (nested("allOf", 20), {"a": "x"}),
    "unevaluatedProperties in anyOf": (nested("anyOf", 20), {"a": "x"}),
    "unevaluatedProperties in oneOf": (nested("oneOf", 20), {"a": "x"}),
    "unevaluatedProperties in if": (nested("if", 20), {"a": "x"}),
    "unevaluatedProperties in dependentSchemas": (nested("dependentSchemas", 20), {"x": "x"}),
    "a chain of $ref": (chain(30), {"a": 1}),
    "$ref to itself": ({"type": "object", "allOf": [{"$ref": "#"}]}, {"a": 1}),
    "patternProperties": (
        {"type": "object", "patternProperties": {"^(a+)+$": True}}, {"a" * 60 + "b": 1},
    ),
    "pattern": (with_items({"items": {"pattern": "^(a|aa)+$"}}), {"a": ["a" * 90 + "b"]}),
    "propertyNames": (
        {"type": "object", "propertyNames": {"pattern": "^(a+)+$"}}, {"a" * 60 + "b": 1},
    ),
    "uniqueItems": (with_items({"uniqueItems": True}), {"a": [{"n": n} for n in range(9_000)]}),
    "a huge anyOf": (
        {"type": "object", "properties": {"a": {"anyOf": [{"const": n} for n in range(240)]}}},
        {"a": "x" * 3_000_000},
    ),
    "contains": (
        with_items({"contains": {"enum": list(range(500))}, "minContains": 9}),
        {"a": list(range(500, 30_500))},
    ),
}  # fmt: skip


def timed(request, content):
    with within(MAX_COMPUTED_S, AssertionError):
        checks = bounded.check(Job(request=request), content)
    assert checks
    return {check.name: check.passed for check in checks}


#: None of these checks ends by itself.
ENDLESS = {"unevaluatedProperties in allOf", "a chain of $ref", "patternProperties", "pattern"}


@pytest.fixture
def short(monkeypatch):
    """Stop checks sooner than a worker does."""
    shorten(monkeypatch)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_check_is_stopped_at_its_budget_and_says_that_the_answer_is_unchecked(name, short):
    schema, data = SCHEMAS[name]
    checks = timed(Extract(text="a x", schema=schema), Extraction(data=data))
    assert name not in ENDLESS or checks == {"unchecked": False}


def test_a_check_is_stopped_at_the_budget_of_a_worker():
    schema = {**SCHEMAS["pattern"][0], "title": "stopped by a worker"}
    checks = timed(Extract(text="a x", schema=schema), Extraction(data=SCHEMAS["pattern"][1]))
    assert checks == {"unchecked": False}


def test_many_jobs_with_one_slow_schema_do_not_take_the_whole_budget_each(short):
    schema, data = {"title": "slow", **chain(40)}, {"a": 1}
    timed(Extract(text="a x", schema=schema), Extraction(data=data))
    job = Job(request=Extract(text="a x", schema=schema))
    with within(4 * bounded.SHORT_WALL_S + 4, AssertionError):
        for _ in range(4):
            bounded.check(job, Extraction(data=data))


def test_a_regular_expression_of_a_caller_is_stopped(short):
    chat = [Message(role="user", content="hello")]
    request = Generate(messages=chat, regex="(a+)+$")
    assert timed(request, Generation(text="a" * 60 + "b")) == {"unchecked": False}
    assert timed(request, Generation(text="aaa"))["regex"]
    assert timed(request, Generation(text="b"))["regex"] is False


def words_at_random(count, seed):
    dice = random.Random(seed)
    return " ".join(dice.choice("ab") for _ in range(count))


TEXTS = {
    "two words at random": (words_at_random(8_000, 1), words_at_random(7_900, 2)),
    "one word": ("a " * 8_000, "a " * 7_900),
    "a long text of one word": ("word " * 100_000, "word " * 99_000),
    "no spaces": ("a" * 500_000, "a" * 400_000),
    "marks that combine": ("a" + "\u0301\u0316" * 200_000, "a" + "\u0301\u0316" * 100_000),
    "letters that unfold": ("\ufdfa" * 100_000, "\ufdfa" * 90_000),
    "dates": ("1/2/2024 " * 50_000, "3/4/2021 " * 50_000),
    "numbers": ("1.2" * 100_000, "1.3" * 100_000),
    "spaces": ("1 " + " " * 300_000 + "x", "1." + " " * 300_000 + "x"),
}


@pytest.mark.parametrize(("text", "answer"), TEXTS.values(), ids=TEXTS)
def test_no_text_holds_a_check_beyond_its_budget(text, answer, short):
    timed(Summarize(text=text), Summary(text=answer))


@pytest.mark.parametrize(("text", "answer"), TEXTS.values(), ids=TEXTS)
def test_what_is_checked_in_the_worker_itself_takes_moments(text, answer):
    half = bounded.MAX_CHARS // 2
    while not bounded.is_quick(
        job := Job(request=Summarize(text=text[:half])), summary := Summary(text=answer[:half])
    ):
        half //= 2  # a text that holds many numbers is checked elsewhere if it is longer
    assert half > 50
    began = time.process_time()
    answer_checks.check(job, summary)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(("one", "other"), TEXTS.values(), ids=TEXTS)
def test_no_comparison_goes_beyond_its_budget(one, other, short):
    with within(MAX_COMPUTED_S, AssertionError):
        assert 0 <= bounded.contents(Generation(text=one), Generation(text=other)) <= 1


def test_an_answer_of_five_megabytes_is_checked_or_unchecked():
    data = {"a": [{"n": n, "t": "x" * 40} for n in range(80_000)]}
    schema = with_items({"items": {"type": "object"}})
    timed(Extract(text="a x", schema=schema), Extraction(data=data))


def test_many_options_in_a_long_text_are_looked_up_in_time():
    options = [f"{n:04x}" for n in range(900)]
    schema = with_items({"items": {"enum": options}})
    request = Extract(text="qq " * 160_000, schema=schema)
    assert timed(request, Extraction(data={"a": options[:3]}))["schema"]


def test_an_ordinary_schema_with_references_is_checked():
    schema = {
        "type": "object", "properties": {"a": {"$ref": "#/$defs/name"}},
        "$defs": {"name": {"type": "string", "pattern": "^[a-z]+$"}},
    }  # fmt: skip
    request = Extract(text="a word", schema=schema)
    assert timed(request, Extraction(data={"a": "word"}))["schema"]
    assert timed(request, Extraction(data={"a": "Word"}))["schema"] is False


def test_the_checks_of_a_classification_cost_no_call():
    job, label = Job(request=Classify(text="t", labels=["a", "b"])), Classification(label="a")
    began = time.process_time()
    for _ in range(1_000):
        bounded.check(job, label)
    assert time.process_time() - began < 0.2  # 0.2 ms each
