"""Mistakes in a script of `forebay.testing` are errors of the test, not answers of the fleet."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, Field

from forebay import (
    BadAnswer,
    Cancelled,
    Classification,
    Classify,
    Embed,
    Extract,
    ForebayError,
    Generate,
    InvalidJob,
    Message,
    ModelRefused,
    Summarize,
    Summary,
    TooLong,
    testing,
)
from forebay.routing.errors import LastingError, PassingError

pytestmark = pytest.mark.slow

REQUEST = Classify(text="where is login", labels=["billing", "login"])
LANES = [{"lane": "auto"}, {"lane": "bedrock", "egress": "allow"}]


class Numbers(BaseModel):
    values: set[int]


class Bytes(BaseModel):
    values: bytes


class Patterned(BaseModel):
    number: str = Field(pattern="^[A-Z]-[0-9]+$")


class Paired(BaseModel):
    pair: tuple[int, str]


@pytest.fixture
def fleet():
    with testing.fleet() as fleet:
        yield fleet


def in_fleet(test):
    """Run a test with a fleet of its own."""
    with testing.fleet() as fleet:
        test(fleet)


def run_with(reply, request=REQUEST, **options):
    """Run a request in a fleet with this script for its kind."""
    with testing.fleet() as fleet:
        fleet.answer(type(request), reply)
        fleet.client().run(request, timeout=10, **options)


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        (lambda fleet: fleet.answer(dict, text="x"), TypeError, "is not a class of requests"),
        (lambda fleet: fleet.fail(Classification, ModelRefused), TypeError, "not a class of req"),
        (lambda fleet: fleet.requests(Classification), TypeError, "is not a class of requests"),
        (lambda fleet: fleet.answer(Classify, text="x"), InvalidJob, "label"),
        (lambda fleet: fleet.answer(Classify, {"text": "x"}), InvalidJob, "label"),
        (
            lambda fleet: fleet.answer(Classify, Classification(label="a"), label="b"),
            TypeError,
            "not both",
        ),
        (lambda fleet: fleet.answer(Summarize, "text"), TypeError, "with a Summary, not 'text'"),
        (lambda fleet: fleet.answer(Summarize, 7), TypeError, "with a Summary, not 7"),
        (lambda fleet: fleet.answer(Classify, Summary(text="x")), TypeError, "with a Classific"),
        (lambda fleet: fleet.answer(Classify, Classification), TypeError, "with a Classificat"),
        (lambda fleet: fleet.answer(Classify, ModelRefused), TypeError, "fleet.fail"),
        (lambda fleet: fleet.answer(Classify, ModelRefused("x")), TypeError, "fleet.fail"),
        (lambda fleet: fleet.answer(Extract, data={"a": object()}), TypeError, "as JSON"),
        (lambda fleet: fleet.answer(Classify, label="a", times=0), ValueError, "times: "),
    ],
)
def test_a_wrong_script_is_refused_where_it_stands(fleet, script, error, words):
    with pytest.raises(error, match=words):
        script(fleet)


def test_an_async_function_is_refused_where_it_stands(fleet):
    async def reply(request):
        return {"label": request.labels[0]}

    with pytest.raises(TypeError, match="async def"):
        fleet.answer(Classify, reply)
    with pytest.raises(TypeError, match="async def"):
        fleet.answer(Classify, label="a", when=reply)


@pytest.mark.parametrize(
    "error",
    [ValueError, ValueError("x"), "throttled", Cancelled, ForebayError, PassingError, LastingError],
)
def test_an_error_that_ends_no_job_is_refused_with_the_list_of_those_that_do(fleet, error):
    with pytest.raises(TypeError, match=r"give one of ModelRefused, .*Throttled.*EngineBusy"):
        fleet.fail(Classify, error)


@pytest.mark.parametrize("options", LANES)
def test_what_a_function_of_the_script_raises_is_raised_from_the_block(options):
    with pytest.raises(ZeroDivisionError) as raised:
        run_with(lambda _: 1 / 0, **options)
    assert isinstance(raised.value.__cause__, BadAnswer), "chained to what the block raised"


def test_it_is_raised_too_if_the_block_raises_nothing():
    def test(fleet):
        fleet.answer(Classify, lambda _: 1 / 0)
        with pytest.raises(BadAnswer):
            fleet.client().run(REQUEST, timeout=10)

    with pytest.raises(ZeroDivisionError):
        in_fleet(test)


def test_the_first_mistake_is_raised_whatever_the_block_makes_of_the_job():
    def reply(request):
        assert request.text == "y"

    def test(fleet):
        fleet.answer(Classify, reply)
        fleet.answer(Summarize, lambda _: {}["x"])
        client = fleet.client()
        list(client.map([REQUEST, REQUEST], timeout=10))
        list(client.map([Summarize(text="x")], timeout=10))
        pytest.fail("the service did not answer")

    with pytest.raises(AssertionError, match="where is login"):
        in_fleet(test)


def test_what_pytest_raises_in_a_function_of_the_script_is_raised_too():
    with pytest.raises(pytest.fail.Exception, match="never asked"):
        run_with(lambda _: pytest.fail("never asked"))


def test_a_condition_that_raises_is_a_mistake_too():
    def test(fleet):
        fleet.answer(Classify, label="login", when=lambda request: request.txt == "y")
        fleet.client().run(REQUEST, timeout=10)

    with pytest.raises(AttributeError):
        in_fleet(test)


@pytest.mark.parametrize("options", LANES)
@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("billing", "must answer classify with a Classification, not 'billing'"),
        (None, "must answer classify with a Classification, not None"),
        (Summary(text="x"), "must answer classify with a Classification"),
        ({"text": "x"}, "the script's answer to classify: text: is not a field"),
    ],
)
def test_a_wrong_reply_is_raised_from_the_block(reply, words, options):
    with pytest.raises(TypeError, match=words):
        run_with(lambda _: reply, **options)


def test_a_content_that_cannot_be_made_is_a_mistake_and_no_failed_job():
    with pytest.raises(TypeError, match="answer to classify: ") as raised:
        run_with(lambda _: Classification(name="a"))
    assert isinstance(raised.value.__cause__, InvalidJob)


def test_an_object_that_is_no_json_is_a_mistake():
    request = Extract(text="x", schema={"type": "object"})
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        run_with(lambda _: {"data": {"a": object()}}, request)


@pytest.mark.parametrize("error", [TooLong("x"), ModelRefused("x")])
def test_an_error_of_forebay_is_a_reply_however_it_is_given(error):
    def raising(_):
        raise error

    for reply in (lambda _: error, lambda _: type(error), raising):
        with pytest.raises(type(error)):
            run_with(reply)


def test_reset_raises_the_mistake_of_the_test_before():
    with testing.fleet() as fleet:
        fleet.answer(Classify, lambda _: 1 / 0)
        with pytest.raises(BadAnswer):
            fleet.client().run(REQUEST, timeout=10)
        with pytest.raises(ZeroDivisionError):
            fleet.reset()
        fleet.reset()
        assert fleet.client().run(REQUEST, timeout=10).content.label == "login"


def test_an_interrupt_is_not_replaced():
    def test(fleet):
        fleet.answer(Classify, lambda _: 1 / 0)
        with pytest.raises(BadAnswer):
            fleet.client().run(REQUEST, timeout=10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_fleet(test)


@pytest.mark.parametrize("options", LANES)
@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Extract(text="A-17", schema=Patterned), r"script an answer with fleet\.answer\(Extract"),
        (Extract(text="1 a", schema=Paired), r"script an answer with fleet\.answer\(Extract"),
        (
            Generate(messages=[Message(role="user", content="x")], regex="a+"),
            r"script an answer with fleet\.answer\(Generate, text",
        ),
    ],
)
def test_a_request_without_a_simple_answer_has_to_be_scripted(request_, words, options):
    with pytest.raises(testing.NotScripted, match=words), testing.fleet() as fleet:
        fleet.client().run(request_, timeout=10, **options)


def test_scripted_it_is_answered(fleet):
    fleet.answer(Extract, data={"number": "A-17"})
    answer = fleet.client().run(Extract(text="No. A-17", schema=Patterned), timeout=10)
    assert answer.content.data == Patterned(number="A-17")
    fleet.answer(Extract, data=Paired(pair=(1, "one")))
    answer = fleet.client().run(Extract(text="1 one", schema=Paired), timeout=10)
    assert answer.content.data == Paired(pair=(1, "one"))


@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.parametrize("model", [Numbers, Bytes])
def test_a_schema_that_no_local_engine_enforces_is_refused_as_live(fleet, model, scripted):
    if scripted:
        fleet.answer(Extract, data={"values": [1]} if model is Numbers else {"values": "1"})
    with pytest.raises(InvalidJob) as raised:
        fleet.client().run(Extract(text="1", schema=model), timeout=10)
    assert raised.value.field == "schema"


def test_vectors_that_do_not_fit_the_texts_are_a_bad_answer(fleet):
    fleet.answer(Embed, vectors=[[1.0, 0.0]])
    with pytest.raises(BadAnswer):
        fleet.client().run(Embed(texts=["x", "y"]), timeout=10)
