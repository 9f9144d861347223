"""A job that the local engine cannot do goes up if it may leave; if not, the failure says why."""

from __future__ import annotations

import base64
import json
import random
import re

import pytest

from forebay.producers.explain import explanation, explanation_lines
from forebay.producers.results import failure
from forebay.routing.errors import BadAnswer, InvalidJob, TooLong
from forebay.routing.jobs import Job
from forebay.routing.limits.spillway import Spillway
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.engines.host.child import make_engine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.local import Local

pytest_plugins = ["waterfall"]

TEXT = "Invoice 17. Total due: 12.50 EUR."
LONG = {"kind": "summarize", "text": "the water rose " * 3_000, "max_words": 20}
REGEX = {"kind": "generate", "messages": [{"role": "user", "content": "a"}], "regex": "(yes)|no"}
FREE = {"type": "object", "properties": {"what": {"type": "string"}}}
#: The smallest value of the relaxed schema does not fit this one.
SECRETIVE = {
    "type": "object",
    "properties": {"my-secret-name": {"type": "array", "contains": {"type": "string"}}},
    "required": ["my-secret-name"],
}


def extract(schema):
    return {"kind": "extract", "text": TEXT, "schema": schema}


def ended(lanes, request, **options):
    """Return the receipt or answer of a job that was worked to its end."""
    job = Job(request=request, **{"egress": "allow", **options})
    assert lanes.ledger.create([job]) == [job.id]
    lanes.work()
    [result] = lanes.ledger.results([job.id])
    return result


@pytest.mark.parametrize(
    ("request_", "text"),
    [(LONG, "The water rose."), (REGEX, "yes"), (extract(SECRETIVE), '{"my-secret-name": ["17"]}')],
)
def test_a_job_that_may_leave_goes_up_and_is_answered_there(lanes, request_, text):
    lanes.mock.answer = text
    answer = ended(lanes, request_)
    assert (answer.status, answer.lane, answer.attempts) == ("done", "bedrock", 1)
    assert "local_cannot" in answer.reasons


@pytest.mark.parametrize("options", [{"egress": "deny"}, {"lane": "local"}])
def test_a_prompt_that_is_too_long_fails_with_both_numbers(lanes, options):
    long = {"kind": "extract", "text": LONG["text"], "schema": FREE}
    receipt = ended(lanes, long, **options)
    error = failure(receipt)
    assert type(error) is TooLong
    assert (receipt.error, receipt.error_field) == ("too_long", "text")
    assert "local_cannot" in receipt.reasons
    assert "context of 4096 tokens" in str(error)
    assert re.search(r"the prompt has 9\d\d\d tokens \(45\d\d\d characters\)", str(error))
    assert not lanes.mock.calls


def test_the_reason_is_in_the_receipt_the_error_and_the_explanation(lanes):
    receipt = ended(lanes, REGEX, egress="deny")
    record = lanes.ledger.record(receipt.id)
    note = receipt.error_note
    assert "cannot enforce a regular expression" in note
    assert note in str(failure(receipt))
    assert type(failure(receipt)) is InvalidJob
    assert note in next(explanation_lines(explanation(record, None)))


def test_a_job_that_stays_is_answered_under_as_much_of_its_schema_as_can_be_enforced(lanes):
    schema = {
        "type": "object",
        "properties": {
            "total": {"type": "array", "items": {"type": "number"}, "not": {"minItems": 3}}
        },
        "required": ["total"],
    }
    job = {"kind": "generate", "messages": [{"role": "user", "content": "a"}], "schema": schema}
    answer = ended(lanes, job, egress="deny")
    assert (answer.status, answer.lane) == ("done", "local")
    assert json.loads(answer.content.text) == {"total": []}


def test_a_job_that_stays_fails_on_the_keyword_without_a_word_of_content(lanes):
    receipt = ended(lanes, extract(SECRETIVE), egress="deny")
    error = failure(receipt)
    assert type(error) is BadAnswer
    assert "schema (contains)" in str(error)
    assert "secret" not in receipt.model_dump_json().replace(receipt.id, "")
    assert not lanes.mock.calls


def test_a_job_fails_if_bedrock_is_unavailable_and_the_policy_does_not_wait_for_it(lanes):
    lanes.rules('[tenants.default]\nwhen_shut = "degrade"\n')
    Spillway(lanes.redis).shut("throttled", 60)
    receipt = ended(lanes, REGEX)
    assert receipt.status == "failed"
    assert receipt.reasons[-3:] == ("local_cannot", "spillway_shut", "invalid_job")
    assert not lanes.mock.calls


@pytest.mark.parametrize("forbidden", [True, False])
def test_a_property_that_is_true_or_false_is_worked(lanes, forbidden):
    schema = {
        "type": "object",
        "properties": {"customer": {"type": "string"}, "legacy": forbidden},
        "required": ["customer"],
    }
    lanes.mock.answer = '{"customer": "Ada Byron"}'
    request = {"kind": "extract", "text": "Customer: Ada Byron.", "schema": schema}
    assert ended(lanes, request).content.data == {"customer": "Ada Byron"}


#: `Decimal` fields of pydantic: the pattern has a lookahead, which no grammar enforces.
DECIMAL = {
    "type": "object",
    "properties": {
        "total": {
            "anyOf": [
                {"type": "number"},
                {"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"},
            ]
        }
    },
    "required": ["total"],
}


@pytest.mark.parametrize("options", [{}, {"egress": "deny"}])
def test_a_decimal_of_pydantic_is_answered_wherever_the_job_may_go(lanes, options):
    lanes.mock.answer = '{"total": 12.5}'
    answer = ended(lanes, extract(DECIMAL), **options)
    assert answer.status == "done"
    assert "schema" not in {check.name for check in answer.checks if not check.passed}
    if not options:
        assert answer.content.data == {"total": 12.5}


@pytest.fixture
def embedded(lanes):
    """Return the lanes, of which the local one runs the packaged model."""
    model = Local(lanes.ledger, lambda: Answerer(make_engine(EngineSettings(engine="llamacpp"))))
    lanes.workers |= {"local.default": model, "embed": model}
    yield lanes
    model.close()


#: Texts of few characters and many tokens.
DENSE = {
    "no spaces": "水門が正午に開き、水位が上昇した。" * 100,
    "base64": base64.b64encode(random.Random(7).randbytes(6_000)).decode(),
    "emoji": "\U0001f30a\U0001f6a2\U0001f9a5" * 700,
}


@pytest.mark.slow
@pytest.mark.parametrize("text", DENSE.values(), ids=DENSE)
def test_a_short_text_of_many_tokens_goes_up_or_says_why_it_cannot(embedded, text):
    embedded.mock.answer = "The gate was opened at noon."
    embedded.rules("[tenants.default]\nmax_parts = 0\n")
    request = {"kind": "summarize", "text": text, "max_words": 20}
    answer = ended(embedded, request)
    assert (answer.status, answer.lane) == ("done", "bedrock")
    assert "local_cannot" in answer.reasons
    receipt = ended(embedded, request, egress="deny")
    assert (receipt.error, receipt.error_field) == ("too_long", "text")
    assert re.search(r"\d+ tokens", receipt.error_note)
