"""Converse through real boto3 against the mock: how a call can end, and whether it is billed."""

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
from botocore.exceptions import ClientError
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
from forebay.workers.frontier.bedrock.converse import Converse
from forebay.workers.frontier.bedrock.converse_errors import from_response as _from_response
from forebay.workers.frontier.bedrock.converse_request import (
    REASONING_TOKENS,
    bounds,
    converse_request,
)
from forebay.workers.frontier.provider import (
    AccountFault,
    Malformed,
    ModelFault,
    ModelNotReady,
    OutcomeUnknown,
    Refused,
    billed,
)
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
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mock")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mock")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    sample = {"request": {"kind": "summarize", "text": f"Read {CANARY}."}, "reference": "It is so."}
    samples = tmp_path_factory.mktemp("mock") / "samples.jsonl"
    samples.write_text(json.dumps(sample))
    with MockBedrock(samples) as mock:
        yield mock


@pytest.fixture
def mock(running):
    running.calls.clear()
    running.faults.plan()
    return running


@cache  # boto3 takes 0.2 s to make a client
def provider_at(url, **settings):
    return Converse(BedrockSettings(bedrock_endpoint=url, **settings))


def provider(mock, **settings):
    return provider_at(mock.url, **settings)


def prompt(*texts, **fields):
    texts = texts or (f"Summarize: Read {CANARY}.",)
    turns = [
        Turn(role="system", content="Be brief."),
        *(Turn(role="user", content=t) for t in texts),
    ]
    return Prompt(id="p", messages=tuple(turns), **({"max_tokens": 100} | fields))


def request_body(mock):
    return json.loads(mock.calls[-1].text)


def test_a_reply_has_the_usage_the_tier_and_the_mark_of_the_mock(mock):
    reply = provider(mock).call(prompt(), MODEL, call_id="c1")
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


def test_the_call_id_is_the_only_metadata_sent(mock):
    provider(mock).call(prompt(), MODEL, call_id="job.1-2")
    assert request_body(mock)["requestMetadata"] == {"forebay-call": "job.1-2"}
    assert mock.calls[-1].call_id == "job.1-2"


def test_an_answer_that_reached_its_limit_says_so(mock):
    reply = provider(mock).call(prompt(max_tokens=1), MODEL, call_id="c")
    assert (reply.text, reply.finish, reply.usage.output) == ("It i", "length", 1)


def test_a_stop_sequence_ends_the_answer(mock):
    reply = provider(mock).call(prompt(stop=(" so",)), MODEL, call_id="c")
    assert (reply.text, reply.finish) == ("It is", "stop")


def test_a_stop_sequence_of_white_space_ends_the_answer_although_bedrock_takes_none(mock):
    reply = provider(mock).call(prompt(stop=("\n", " ", "\u200b", "zz", "zz")), MODEL, call_id="c")
    assert (reply.text, reply.finish) == ("It", "stop")
    assert request_body(mock)["inferenceConfig"]["stopSequences"] == ["zz"]
    whole = provider(mock).call(prompt(stop=("\n",)), MODEL, call_id="c")
    assert whole.text == "It is so."
    assert "stopSequences" not in request_body(mock)["inferenceConfig"]


@pytest.mark.parametrize(
    ("turns", "roles"),
    [
        ([("assistant", "hi"), ("user", "hello")], ["user", "assistant", "user"]),
        ([("user", "a"), ("assistant", "\n"), ("user", "hello")], ["user"]),
        (
            [("system", " "), ("user", " "), ("assistant", "b"), ("user", "c")],
            ["user", "assistant", "user"],
        ),
        ([("system", "be kind"), ("user", "c")], ["user"]),
        (
            [("system", "\ufeff"), ("user", "\u200b"), ("assistant", "\u2060"), ("user", "c")],
            ["user"],
        ),
    ],
)
def test_a_chat_keeps_bedrocks_rules_by_construction(mock, turns, roles):
    messages = tuple(Turn(role=role, content=content) for role, content in turns)
    question = prompt().model_copy(update={"messages": messages})
    assert provider(mock).call(question, MODEL, call_id="c").text
    body = request_body(mock)
    assert [turn["role"] for turn in body["messages"]] == roles
    assert all(block["text"].strip() for block in body.get("system", [{"text": "x"}]))


@pytest.mark.parametrize(
    "message",
    [
        "Schemas contains too many parameters with union types (limit: 16)",
        "The compiled grammar is too large",
        "Enum value 'low' does not match declared type",
        "output_config.format.schema: no",
    ],
)
def test_what_bedrock_says_of_a_schema_is_recognised(message):
    response = {
        "Error": {"Code": "ValidationException", "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": 400},
    }
    error = _from_response(ClientError(response, "Converse"), MODEL)
    assert isinstance(error, InvalidJob)
    assert error.field == "schema"


def test_a_json_shape_is_sent_as_structured_output(mock):
    reply = provider(mock).call(
        prompt("new text", constraint=JsonSchema(schema_=SHAPE)), MODEL, call_id="c"
    )
    assert json.loads(reply.text) == {"total": 0}
    output = request_body(mock)["outputConfig"]["textFormat"]
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


def test_keywords_that_structured_output_lacks_are_left_to_the_checks(mock):
    rest = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    more = {"if": {"required": ["b"]}, "then": {"required": ["a"]}, "not": {"required": ["c"]},
            "dependentRequired": {"a": ["a"]}, "propertyNames": {"maxLength": 9}}  # fmt: skip
    provider(mock).call(prompt(constraint=JsonSchema(schema_=rest | more)), MODEL, call_id="c")
    sent = request_body(mock)["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"]
    assert json.loads(sent) == rest | {"additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "model"),
    [
        ({"type": "object"}, MODEL),
        ({"type": "object", "properties": {"tags": {"type": ["object", "null"]}}}, MODEL),
        (SHAPE | {"additionalProperties": {"type": "string"}}, MODEL),
        (SHAPE | {"patternProperties": {"^x-": {"type": "string"}}}, MODEL),
        (SHAPE | {"required": ["total", "unnamed"]}, MODEL),
        (SHAPE, "amazon.nova-pro-v1:0"),
    ],
)
def test_a_schema_that_structured_output_cannot_enforce_is_not_sent(mock, schema, model):
    provider(mock).call(prompt(constraint=JsonSchema(schema_=schema)), model, call_id="c")
    assert "outputConfig" not in request_body(mock)


@pytest.mark.parametrize("constraint", [Choice(options=("a", "b")), Pattern(regex="a+")])
def test_other_constraints_are_left_to_the_prompt(mock, constraint):
    assert provider(mock).call(prompt(constraint=constraint), MODEL, call_id="c").text


@pytest.mark.parametrize(
    ("model", "always_reasons"),
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
    ],
)
def test_a_model_that_always_reasons_gets_more_tokens_and_no_temperature(
    mock, model, always_reasons
):
    provider(mock).call(prompt(temperature=1.5, top_p=0.5), model, call_id="c")
    limits = request_body(mock)["inferenceConfig"]
    assert limits["maxTokens"] == (100 + REASONING_TOKENS if always_reasons else 100)
    assert limits.get("temperature") == (None if always_reasons else 1.0)
    assert ("topP" in limits) == ("openai" in model)


def test_consecutive_turns_of_one_role_are_one_message(mock):
    provider(mock).call(prompt("one", "two"), MODEL, call_id="c")
    [message] = request_body(mock)["messages"]
    assert message == {"role": "user", "content": [{"text": "one"}, {"text": "two"}]}
    assert request_body(mock)["system"] == [{"text": "Be brief."}]


@pytest.mark.parametrize("text", ["short", "äöü€ " * 500, "{}" * 5_000])
def test_the_bounds_cover_the_billed_tokens(mock, text):
    question = prompt(text, constraint=JsonSchema(schema_=SHAPE))
    usage = provider(mock).call(question, MODEL, call_id="c").usage
    tokens_in, tokens_out = bounds(question, MODEL)
    assert usage.prompt <= tokens_in
    assert usage.output <= tokens_out
    prices = Prices.load()
    assert prices.cost(MODEL, usage) <= prices.worst_case(MODEL, tokens_in, tokens_out)


ENDINGS = [
    ("throttle", Throttled, "no"),
    ("not_ready", ModelNotReady, "no"),
    ("quota", Throttled, "no"),
    ("unavailable", Unavailable, "no"),
    ("internal", Unavailable, "no"),
    ("gateway", OutcomeUnknown, "unknown"),
    ("model_timeout", OutcomeUnknown, "unknown"),
    ("model_error", OutcomeUnknown, "unknown"),
    ("hang:9", OutcomeUnknown, "unknown"),
    ("half", OutcomeUnknown, "unknown"),
    ("drop", OutcomeUnknown, "unknown"),
    ("denied", ModelFault, "no"),
    ("not_found", ModelFault, "no"),
    ("unknown_model", ModelFault, "no"),
    ("profile", ModelFault, "no"),
    ("expired", AccountFault, "no"),
    ("unrecognized", AccountFault, "no"),
    ("not_allowed", AccountFault, "no"),
    ("payment", AccountFault, "no"),
    ("invalid", InvalidJob, "no"),
    ("too_long", TooLong, "no"),
    ("refuse", ModelRefused, "yes"),
    ("guardrail", ModelRefused, "yes"),
    ("malformed", BadAnswer, "yes"),
]


@pytest.mark.parametrize(("fault", "error_class", "bill"), ENDINGS)
def test_each_ending_raises_its_error_which_tells_the_bill(mock, fault, error_class, bill):
    mock.faults.plan([fault])
    shared = provider(mock, bedrock_timeout_s=0.3)
    began = time.monotonic()
    with pytest.raises(error_class) as caught:
        shared.call(prompt(), MODEL, call_id="c")
    assert time.monotonic() - began < 5
    assert type(caught.value) is error_class or bill == "yes"
    assert billed(caught.value) == bill
    assert len(mock.calls) == 1  # called once, whatever happened
    # No content is in the error, nor in any error that can be reached from it.
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    assert CANARY not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert shared.call(prompt(), MODEL, call_id="d").text == "It is so."


@pytest.mark.parametrize(("fault", "kind"), [("refuse", Refused), ("malformed", Malformed)])
def test_a_billed_failure_has_its_usage(mock, fault, kind):
    mock.faults.plan([fault])
    with pytest.raises(kind) as caught:
        provider(mock).call(prompt(), MODEL, call_id="c")
    assert caught.value.usage == Usage(input=10, output=3)


def test_an_answer_at_the_end_of_the_context_is_cut_off(mock):
    mock.faults.plan(["overflow"])
    assert provider(mock).call(prompt(), MODEL, call_id="c").finish == "length"


def test_the_wait_that_bedrock_asks_for_is_passed_on(mock):
    mock.faults.plan(["throttle:7.5", "throttle"])
    shared = provider(mock)
    waits = []
    for _ in range(2):
        with pytest.raises(Throttled) as caught:
            shared.call(prompt(), MODEL, call_id="c")
        waits.append(caught.value.retry_after)
    assert waits == [7.5, None]


def test_a_slow_answer_is_waited_for(mock):
    mock.faults.plan(["slow:0.2"])
    assert provider(mock, bedrock_timeout_s=2).call(prompt(), MODEL, call_id="c").latency_s > 0.2


def test_a_call_without_a_connection_is_not_billed():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(Unavailable, match="no connection") as caught:
        Converse(BedrockSettings(bedrock_endpoint=url)).call(prompt(), MODEL, call_id="c")
    assert billed(caught.value) == "no"
    assert type(caught.value) is Unavailable


def test_a_signature_for_another_region_names_the_setting(mock):
    shared = provider(mock, bedrock_region="eu-west-1")
    with pytest.raises(Misconfigured, match="FOREBAY_BEDROCK_REGION") as caught:
        shared.call(prompt(), MODEL, call_id="c")
    assert billed(caught.value) == "no"


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_a_wrong_key_is_rejected(mock, monkeypatch, name):
    monkeypatch.setenv(name, "another")
    with pytest.raises(Misconfigured, match="AWS credentials: rejected"):
        Converse(BedrockSettings(bedrock_endpoint=mock.url)).call(prompt(), MODEL, call_id="c")
    assert mock.calls[-1].status == 403


@pytest.mark.parametrize("left", [(), ("AWS_ACCESS_KEY_ID",)])
def test_without_credentials_the_error_says_what_to_set(mock, monkeypatch, left):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if name not in left:
            monkeypatch.delenv(name)
    with pytest.raises(Misconfigured, match="AWS_ACCESS_KEY_ID") as caught:
        Converse(BedrockSettings(bedrock_endpoint=mock.url)).call(prompt(), MODEL, call_id="c")
    assert billed(caught.value) == "no"
    assert not mock.calls


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


def test_a_model_id_that_boto3_cannot_send_is_named(mock):
    with pytest.raises(Misconfigured) as caught:
        provider(mock).call(prompt(), "", call_id="c")
    assert caught.value.field == "model"
    assert caught.value.__context__ is None


def test_a_schema_that_bedrock_rejects_is_an_invalid_job(mock):
    odd = {"type": "object", "properties": {"a": {"default": {"type": "object"}}}}
    with pytest.raises(InvalidJob) as caught:
        provider(mock).call(prompt(constraint=JsonSchema(schema_=odd)), MODEL, call_id="c")
    assert caught.value.field == "schema"


@pytest.mark.parametrize("body", [{}, [], None, "text", 7, {"message": "hello"}])
def test_a_response_that_cannot_be_read_has_an_unknown_bill(mock, monkeypatch, body):
    monkeypatch.setattr("mock_bedrock.protocol.Response.converse", lambda self, latency_ms: body)
    with pytest.raises(OutcomeUnknown):
        provider(mock).call(prompt(), MODEL, call_id="c")


@pytest.mark.parametrize("body", [{"usage": {}}, {"usage": None}, {"output": {}}])
def test_a_whole_response_without_an_answer_is_billed(mock, monkeypatch, body):
    monkeypatch.setattr("mock_bedrock.protocol.Response.converse", lambda self, latency_ms: body)
    with pytest.raises(Malformed) as caught:
        provider(mock).call(prompt(), MODEL, call_id="c")
    assert (billed(caught.value), caught.value.usage) == ("yes", None)


@pytest.mark.parametrize(
    ("error", "bill"),
    [(KeyError("x"), "unknown"), (Unavailable("x"), "no"), (LastingError("x"), "no")],
)
def test_only_an_error_outside_the_tree_has_an_unknown_bill(error, bill):
    assert billed(error) == bill


def test_a_debug_log_holds_no_content(mock):
    log = io.StringIO()
    root, handler = logging.getLogger(), logging.StreamHandler(log)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        Converse(BedrockSettings(bedrock_endpoint=mock.url)).call(prompt(), MODEL, call_id="c")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert "POST /model/" in log.getvalue()  # the log is not just off
    assert CANARY not in log.getvalue()


def test_calls_run_concurrently_on_one_client(mock, caplog):
    shared = provider(mock, bedrock_concurrency=16)
    mock.faults.plan(rates={"slow:0.3": 1.0})
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda n: shared.call(prompt(), MODEL, call_id=f"c{n}"), range(16)))
    assert {reply.text for reply in replies} == {"It is so."}
    starts = [call.at for call in mock.calls]
    assert max(starts) - min(starts) < 2
    assert {call.call_id for call in mock.calls} == {f"c{n}" for n in range(16)}
    assert "pool is full" not in caplog.text


def test_the_request_is_valid_for_botocores_service_model():
    question = prompt(constraint=JsonSchema(schema_=SHAPE), stop=("x",), top_p=0.5)
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    shape = model.operation_model("Converse").input_shape
    report = ParamValidator().validate(converse_request(question, MODEL, "c"), shape)
    assert not report.has_errors(), report.generate_report()
