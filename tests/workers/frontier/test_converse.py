"""Real boto3 against the stand-in: how a call can end, and what that says of its bill."""

import io
import json
import logging
import socket
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import botocore.session
import pytest
from botocore.validate import ParamValidator

from forebay.routing.errors import (
    BadAnswer,
    InvalidJob,
    LastingError,
    Misconfigured,
    ModelRefused,
    Throttled,
    TooLong,
    Unavailable,
)
from forebay.routing.limits.prices import Prices, Usage
from forebay.workers.engines.engine import Choice, JsonSchema, Pattern, Prompt, Turn
from forebay.workers.frontier.billing import Malformed, OutcomeUnknown, Refused, billed
from forebay.workers.frontier.converse import Converse
from forebay.workers.frontier.converse_request import THINKING_ROOM, bounds, converse_request
from forebay.workers.frontier.settings import BedrockSettings
from mock_bedrock.server import MockBedrock

MODEL = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
CANARY = "canary-4711"
SHAPE = {
    "type": "object",
    "properties": {
        "total": {"type": "number", "minimum": 0},
        "lines": {
            "type": "array",
            "maxItems": 9,
            "items": {"type": "object", "properties": {"minimum": {"type": "string"}}},
        },
    },
    "required": ["total"],
}


@pytest.fixture(autouse=True)
def _keys(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stand-in")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "stand-in")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    sample = {"request": {"kind": "summarize", "text": f"Read {CANARY}."}, "reference": "It is so."}
    samples = tmp_path_factory.mktemp("stand-in") / "samples.jsonl"
    samples.write_text(json.dumps(sample))
    with MockBedrock(samples) as stand_in:
        yield stand_in


@pytest.fixture
def stand_in(running):
    running.calls.clear()
    running.faults.plan()
    return running


@cache  # boto3 takes 0.2 s to make a client
def caller_of(url, **settings):
    return Converse(BedrockSettings(bedrock_endpoint=url, **settings))


def converse(stand_in, **settings):
    return caller_of(stand_in.url, **settings)


def prompt(*texts, **fields):
    texts = texts or (f"Summarize: Read {CANARY}.",)
    turns = [
        Turn(role="system", content="Be brief."),
        *(Turn(role="user", content=t) for t in texts),
    ]
    return Prompt(id="p", messages=tuple(turns), **({"max_tokens": 100} | fields))


def sent(stand_in):
    return json.loads(stand_in.calls[-1].text)


def test_an_answer_says_what_it_took_and_that_the_stand_in_made_it(stand_in):
    reply = converse(stand_in).call(prompt(), MODEL, call_id="c1")
    assert (reply.text, reply.finish, reply.model, reply.tier) == (
        "It is so.",
        "stop",
        MODEL,
        "default",
    )
    assert reply.usage == Usage(input=10, output=3)
    assert reply.stand_in is True
    assert 0 < reply.latency_s < 5
    assert CANARY not in repr(reply)
    assert "It is so" not in repr(reply)


def test_the_call_id_goes_along_and_no_other_metadata(stand_in):
    converse(stand_in).call(prompt(), MODEL, call_id="job.1-2")
    assert sent(stand_in)["requestMetadata"] == {"forebay-call": "job.1-2"}
    assert stand_in.calls[-1].call_id == "job.1-2"


def test_an_answer_cut_at_its_limit_says_so(stand_in):
    reply = converse(stand_in).call(prompt(max_tokens=1), MODEL, call_id="c")
    assert (reply.text, reply.finish, reply.usage.output) == ("It i", "length", 1)


def test_a_stop_sequence_is_sent_and_ends_the_answer(stand_in):
    reply = converse(stand_in).call(prompt(stop=(" so",)), MODEL, call_id="c")
    assert (reply.text, reply.finish) == ("It is", "stop")


def test_a_json_shape_is_held_by_the_model(stand_in):
    reply = converse(stand_in).call(
        prompt("new text", constraint=JsonSchema(schema_=SHAPE)), MODEL, call_id="c"
    )
    assert json.loads(reply.text) == {"total": 0, "lines": []}
    output = sent(stand_in)["outputConfig"]["textFormat"]
    assert output["type"] == "json_schema"
    assert json.loads(output["structure"]["jsonSchema"]["schema"]) == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "total": {"type": "number"},
            "lines": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"minimum": {"type": "string"}},
                },
            },
        },
        "required": ["total"],
    }


@pytest.mark.parametrize(
    ("schema", "model"),
    [
        ({"type": "object"}, MODEL),
        ({"type": "object", "properties": {"tags": {"type": ["object", "null"]}}}, MODEL),
        (SHAPE | {"additionalProperties": {"type": "string"}}, MODEL),
        (SHAPE, "amazon.nova-pro-v1:0"),
    ],
)
def test_what_structured_output_cannot_hold_is_left_to_the_prompt(stand_in, schema, model):
    converse(stand_in).call(prompt(constraint=JsonSchema(schema_=schema)), model, call_id="c")
    assert "outputConfig" not in sent(stand_in)


@pytest.mark.parametrize("constraint", [Choice(options=("a", "b")), Pattern(regex="a+")])
def test_other_constraints_are_left_to_the_prompt(stand_in, constraint):
    assert converse(stand_in).call(prompt(constraint=constraint), MODEL, call_id="c").text


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", False),
        ("us.anthropic.claude-haiku-5-5", True),
        ("global.anthropic.claude-sonnet-5", True),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", False),
        ("anthropic.claude-opus-4-20250514-v1:0", False),
        ("anthropic.claude-opus-4-6", False),
        ("anthropic.claude-opus-4-7", True),
        ("anthropic.claude-opus-5", True),
        ("anthropic.claude-fable-5-1", True),
        ("openai.gpt-oss-20b-1:0", False),
    ],
)
def test_a_model_that_thinks_always_gets_room_for_it_and_no_temperature(stand_in, model, thinks):
    converse(stand_in).call(prompt(temperature=1.5, top_p=0.5), model, call_id="c")
    limits = sent(stand_in)["inferenceConfig"]
    assert limits["maxTokens"] == (100 + THINKING_ROOM if thinks else 100)
    assert limits.get("temperature") == (None if thinks else 1.0)
    assert ("topP" in limits) == ("openai" in model)


def test_turns_of_one_role_in_a_row_are_one_message(stand_in):
    converse(stand_in).call(prompt("one", "two"), MODEL, call_id="c")
    [message] = sent(stand_in)["messages"]
    assert message == {"role": "user", "content": [{"text": "one"}, {"text": "two"}]}
    assert sent(stand_in)["system"] == [{"text": "Be brief."}]


@pytest.mark.parametrize("text", ["short", "äöü€ " * 500, "{}" * 5_000])
def test_the_bounds_cover_what_is_billed(stand_in, text):
    asked = prompt(text, constraint=JsonSchema(schema_=SHAPE))
    usage = converse(stand_in).call(asked, MODEL, call_id="c").usage
    tokens_in, tokens_out = bounds(asked, MODEL)
    assert usage.prompt <= tokens_in
    assert usage.output <= tokens_out
    prices = Prices.load()
    assert prices.cost(MODEL, usage) <= prices.worst_case(MODEL, tokens_in, tokens_out)


ENDINGS = [
    ("throttle", Throttled, "no"),
    ("not_ready", Throttled, "no"),
    ("quota", Throttled, "no"),
    ("unavailable", Unavailable, "no"),
    ("internal", Unavailable, "no"),
    ("gateway", OutcomeUnknown, "unknown"),
    ("model_timeout", OutcomeUnknown, "unknown"),
    ("model_error", OutcomeUnknown, "unknown"),
    ("hang:9", OutcomeUnknown, "unknown"),
    ("half", OutcomeUnknown, "unknown"),
    ("drop", OutcomeUnknown, "unknown"),
    ("denied", Misconfigured, "no"),
    ("not_found", Misconfigured, "no"),
    ("profile", Misconfigured, "no"),
    ("invalid", InvalidJob, "no"),
    ("too_long", TooLong, "no"),
    ("refuse", ModelRefused, "yes"),
    ("guardrail", ModelRefused, "yes"),
    ("malformed", BadAnswer, "yes"),
]


@pytest.mark.parametrize(("fault", "error_class", "bill"), ENDINGS)
def test_each_ending_has_its_error_which_tells_of_the_bill(stand_in, fault, error_class, bill):
    stand_in.faults.plan([fault])
    caller = converse(stand_in, bedrock_timeout_s=0.3)
    began = time.monotonic()
    with pytest.raises(error_class) as caught:
        caller.call(prompt(), MODEL, call_id="c")
    assert time.monotonic() - began < 5
    assert type(caught.value) is error_class or bill == "yes"
    assert billed(caught.value) == bill
    assert len(stand_in.calls) == 1  # asked once, whatever happened
    # Nothing of the job is in the error, nor in any error that can be reached from it.
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    assert CANARY not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert caller.call(prompt(), MODEL, call_id="d").text == "It is so."


@pytest.mark.parametrize(("fault", "kind"), [("refuse", Refused), ("malformed", Malformed)])
def test_a_billed_failure_says_how_much(stand_in, fault, kind):
    stand_in.faults.plan([fault])
    with pytest.raises(kind) as caught:
        converse(stand_in).call(prompt(), MODEL, call_id="c")
    assert caught.value.usage == Usage(input=10, output=3)


def test_an_answer_at_the_end_of_the_context_is_a_cut_one(stand_in):
    stand_in.faults.plan(["overflow"])
    assert converse(stand_in).call(prompt(), MODEL, call_id="c").finish == "length"


def test_the_wait_that_bedrock_asks_for_is_passed_on(stand_in):
    stand_in.faults.plan(["throttle:7.5", "throttle"])
    caller = converse(stand_in)
    waits = []
    for _ in range(2):
        with pytest.raises(Throttled) as caught:
            caller.call(prompt(), MODEL, call_id="c")
        waits.append(caught.value.retry_after)
    assert waits == [7.5, None]


def test_a_slow_answer_is_waited_for(stand_in):
    stand_in.faults.plan(["slow:0.2"])
    assert (
        converse(stand_in, bedrock_timeout_s=2).call(prompt(), MODEL, call_id="c").latency_s > 0.2
    )


def test_nobody_listening_is_not_billed():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(Unavailable, match="no connection") as caught:
        Converse(BedrockSettings(bedrock_endpoint=url)).call(prompt(), MODEL, call_id="c")
    assert billed(caught.value) == "no"
    assert type(caught.value) is Unavailable


def test_another_regions_signature_is_refused_and_the_setting_named(stand_in):
    caller = converse(stand_in, bedrock_region="eu-west-1")
    with pytest.raises(Misconfigured, match="FOREBAY_BEDROCK_REGION") as caught:
        caller.call(prompt(), MODEL, call_id="c")
    assert billed(caught.value) == "no"


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_a_wrong_key_is_refused(stand_in, monkeypatch, name):
    monkeypatch.setenv(name, "another")
    with pytest.raises(Misconfigured, match="credentials: not accepted"):
        Converse(BedrockSettings(bedrock_endpoint=stand_in.url)).call(prompt(), MODEL, call_id="c")
    assert stand_in.calls[-1].status == 403


@pytest.mark.parametrize("left", [(), ("AWS_ACCESS_KEY_ID",)])
def test_without_credentials_the_error_says_what_to_set(stand_in, monkeypatch, left):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if name not in left:
            monkeypatch.delenv(name)
    with pytest.raises(Misconfigured, match="AWS_ACCESS_KEY_ID") as caught:
        Converse(BedrockSettings(bedrock_endpoint=stand_in.url)).call(prompt(), MODEL, call_id="c")
    assert billed(caught.value) == "no"
    assert not stand_in.calls


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"bedrock_endpoint": "no url"}, "FOREBAY_BEDROCK_ENDPOINT"),
        ({"bedrock_region": "not a region!"}, "FOREBAY_BEDROCK_REGION"),
    ],
)
def test_a_wrong_setting_is_named(settings, field):
    with pytest.raises(Misconfigured) as caught:
        Converse(BedrockSettings(**settings)).call(prompt(), MODEL, call_id="c")
    assert caught.value.field == field


def test_a_model_id_that_boto3_cannot_send_is_named(stand_in):
    with pytest.raises(Misconfigured) as caught:
        converse(stand_in).call(prompt(), "", call_id="c")
    assert caught.value.field == "model"
    assert caught.value.__context__ is None


def test_a_schema_that_bedrock_refuses_is_the_jobs_fault(stand_in):
    odd = {"type": "object", "properties": {"a": {"not": {"type": "object"}}}}
    with pytest.raises(InvalidJob) as caught:
        converse(stand_in).call(prompt(constraint=JsonSchema(schema_=odd)), MODEL, call_id="c")
    assert caught.value.field == "schema"


def test_what_is_no_answer_of_bedrock_has_an_unknown_bill(stand_in, monkeypatch):
    monkeypatch.setattr(
        "mock_bedrock.protocol.Said.converse", lambda self, latency_ms: {"usage": {}}
    )
    with pytest.raises(OutcomeUnknown):
        converse(stand_in).call(prompt(), MODEL, call_id="c")


@pytest.mark.parametrize(
    ("error", "bill"),
    [(KeyError("x"), "unknown"), (Unavailable("x"), "no"), (LastingError("x"), "no")],
)
def test_an_error_from_elsewhere_is_billed_as_unknown(error, bill):
    assert billed(error) == bill


def test_a_debug_log_holds_no_content(stand_in):
    log = io.StringIO()
    root, handler = logging.getLogger(), logging.StreamHandler(log)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        Converse(BedrockSettings(bedrock_endpoint=stand_in.url)).call(prompt(), MODEL, call_id="c")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert "POST /model/" in log.getvalue()  # the log is not just off
    assert CANARY not in log.getvalue()


def test_calls_run_side_by_side_on_one_client(stand_in, caplog):
    caller = converse(stand_in, bedrock_concurrency=16)
    stand_in.faults.plan(rates={"slow:0.3": 1.0})
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda n: caller.call(prompt(), MODEL, call_id=f"c{n}"), range(16)))
    assert {reply.text for reply in replies} == {"It is so."}
    starts = [call.at for call in stand_in.calls]
    assert max(starts) - min(starts) < 2
    assert {call.call_id for call in stand_in.calls} == {f"c{n}" for n in range(16)}
    assert "pool is full" not in caplog.text


def test_the_request_is_one_that_botocores_model_knows():
    asked = prompt(constraint=JsonSchema(schema_=SHAPE), stop=("x",), top_p=0.5)
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    shape = model.operation_model("Converse").input_shape
    report = ParamValidator().validate(converse_request(asked, MODEL, "c"), shape)
    assert not report.has_errors(), report.generate_report()
