"""The mock of Bedrock speaks the real protocol to an unchanged boto3, and fails as planned."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from forebay.routing.errors import BadAnswer
from forebay.routing.jobs import Extract, Generate, Job, Message, Summarize
from forebay.routing.questions.state import state_text
from forebay.routing.requests import Classify, Label
from forebay.workers.checks import answer_checks
from forebay.workers.frontier.judge_prompt import prompt_to_judge
from forebay.workers.prompts import parsing, prompts
from mock_bedrock.canned_answers import ECHO, UNKNOWN, References
from mock_bedrock.protocol import FAILURES
from mock_bedrock.server import MockBedrock

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MODEL = "anthropic.claude-haiku-4-5-20251001-v1:0"
TEXT = "The parcel never came."
SAMPLES = [
    {"request": {"kind": "classify", "text": TEXT, "labels": ["a", "b"]}, "reference": "a"},
    {"request": {"kind": "extract", "text": TEXT, "schema": {}}, "reference": {"what": "parcel"}},
    {"request": {"kind": "summarize", "text": f"{TEXT} Twice."}, "reference": "No parcel."},
    {"request": {"kind": "generate", "messages": [{"content": "Hi"}, {"content": "Why?"}]},
     "reference": "Because."},
    {"request": {"kind": "embed", "texts": [TEXT]}, "reference": None},
]  # fmt: skip


@pytest.fixture
def mock(tmp_path):
    samples = tmp_path / "samples.jsonl"
    samples.write_text("".join(json.dumps(sample) + "\n" for sample in SAMPLES))
    with MockBedrock(samples) as mock:
        yield mock


@pytest.fixture
def client(mock):
    return connect(mock)


def connect(mock, key="mock", secret="mock", region="us-east-1", token=None):
    return boto3.client(
        "bedrock-runtime", endpoint_url=mock.url, region_name=region,
        aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=3),
    )  # fmt: skip


def converse(client, text, **fields):
    fields = {
        "modelId": MODEL,
        "messages": [{"role": "user", "content": [{"text": text}]}],
    } | fields
    return client.converse(**fields)


def text_of(answer):
    return answer["output"]["message"]["content"][0]["text"]


def output_config(schema):
    structure = {"jsonSchema": {"schema": json.dumps(schema)}}
    return {"textFormat": {"type": "json_schema", "structure": structure}}


def admin(mock, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"{mock.url}/_mock/{path}", data, timeout=5) as answer:
        return json.load(answer)


def test_converse_answers_as_bedrock_does(client):
    tier = {"type": "flex"}
    model = "openai.gpt-oss-20b-1:0"
    answer = converse(client, f"Sum up: {TEXT} Twice.", modelId=model, serviceTier=tier)
    assert text_of(answer) == "No parcel."
    assert answer["stopReason"] == "end_turn"
    assert answer["usage"]["inputTokens"] == 10
    assert answer["usage"]["totalTokens"] == answer["usage"]["inputTokens"] + 3
    assert answer["metrics"]["latencyMs"] >= 0
    assert answer["serviceTier"] == {"type": "flex"}
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-forebay-stand-in"] == "1"
    assert answer["ResponseMetadata"]["RequestId"]


def test_a_stream_has_the_framing_that_boto3_checks(client):
    messages = [{"role": "user", "content": [{"text": f"Sum up: {TEXT} Twice."}]}]
    answer = client.converse_stream(modelId=MODEL, messages=messages)
    events = [next(iter(event.items())) for event in answer["stream"]]
    pieces = [body["delta"]["text"] for name, body in events if name == "contentBlockDelta"]
    assert "".join(pieces) == "No parcel."
    assert [name for name, _ in events if name != "contentBlockDelta"] == [
        "messageStart", "contentBlockStop", "messageStop", "metadata",
    ]  # fmt: skip
    assert events[-1][1]["usage"]["outputTokens"] == 3


def test_a_stream_that_is_cut_raises_at_the_reader(mock, client):
    mock.faults.plan(["half"])
    messages = [{"role": "user", "content": [{"text": f"{TEXT} Twice."}]}]
    answer = client.converse_stream(modelId=MODEL, messages=messages)
    with pytest.raises(Exception, match=r"(?i)broken|incomplete|ended prematurely"):
        list(answer["stream"])


def test_invoke_model_answers_as_anthropics_models_do(client):
    request = {"max_tokens": 50, "messages": [{"role": "user", "content": "So: Why?"}]}
    answer = client.invoke_model(modelId=MODEL, body=json.dumps(request))
    body = json.loads(answer["body"].read())
    assert body["content"] == [{"type": "text", "text": "Because."}]
    assert body["usage"] == {"input_tokens": 2, "output_tokens": 2}
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-bedrock-input-token-count"] == "2"


def test_count_tokens_counts_the_tokens(client):
    messages = [{"role": "user", "content": [{"text": "x" * 41}]}]
    assert client.count_tokens(modelId=MODEL, input={"converse": {"messages": messages}})[
        "inputTokens"
    ] == 11  # fmt: skip


def test_a_text_with_two_references_is_answered_in_the_requested_form(client):
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    assert text_of(converse(client, f"label: {TEXT}")) == "a"
    answer = converse(client, f"fill: {TEXT}", outputConfig=output_config(schema))
    assert json.loads(text_of(answer)) == {"what": "parcel"}


def test_an_unknown_text_is_answered_with_an_instance_or_an_echo(client):
    assert text_of(converse(client, "something else")) == ECHO.format("something else")
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    answer = converse(client, "else", outputConfig=output_config(schema))
    assert json.loads(text_of(answer)) == {"n": 0}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": ["string", "null"]}, ""),
        ({"enum": ["x", "y"]}, "x"),
        ({"const": 5}, 5),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, False),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "number"}}}, 0),
        ({"type": "array", "items": {"type": "string"}}, []),
        ({"type": "object", "properties": {"next": {"$ref": "#"}}}, {}),
    ],
)
def test_an_unknown_text_is_answered_with_a_minimal_instance_of_the_schema(schema, value):
    assert json.loads(References().answer("something else", schema)) == value


def test_a_schema_without_a_simple_instance_is_answered_with_the_disclaimer():
    assert References().answer("something else", {"type": "string", "pattern": "^a+$"}) == UNKNOWN


def answered(request):
    """Return the content that the mock's answer to a job is read as, and its failed checks."""
    job = Job(request=request)
    prompt = prompts.frontier(job, prompt_id="p")
    joined = "\n".join(turn.content for turn in prompt.messages)
    content = parsing.parse_answer(job, References().answer(joined, None))
    return content, [check.name for check in answer_checks.check(job, content) if not check.passed]


@pytest.mark.parametrize("max_words", [5, 12, 60])
@pytest.mark.parametrize(
    "text",
    [
        "My parcel came wet and torn.",
        "Nobody has answered for two weeks! I am still waiting, and I paid 20 EUR.",
        "The text stands between <text> and </text>. It came late. " * 3,
        "a line without an end\nand another",
    ],
)
def test_an_unknown_text_is_summed_up_by_its_first_sentence_within_the_length(text, max_words):
    content, failed = answered(Summarize(text=text, max_words=max_words))
    assert content.text.startswith("In short: ")
    assert len(content.text.split()) <= max_words
    assert failed == []


def test_a_long_sentence_is_cut_and_fails_the_check_that_forbids_copying():
    text = " ".join(f"word{number}" for number in range(200))
    content, failed = answered(Summarize(text=text, max_words=12))
    assert content.text == f"In short: {' '.join(text.split()[:10])}."
    assert failed == ["own_words"]


@pytest.mark.parametrize(
    ("text", "label"),
    [("I cannot LOGIN", "login"), ("Billing or login", "billing"), ("- login: x\n\n", "login")],
)
@pytest.mark.parametrize("described", [False, True])
def test_an_unknown_text_has_the_first_label_that_it_names(text, label, described):
    labels = ["billing", "login"]
    if described:
        labels = [Label(name=name, description="a, b: c", examples=["d"]) for name in labels]
    content, failed = answered(Classify(text=text, labels=labels))
    assert (content.label, failed) == (label, [])


def test_a_text_that_names_no_label_gets_none():
    with pytest.raises(BadAnswer):
        answered(Classify(text="The door is open", labels=["billing", "login"]))


def test_a_schema_in_words_is_filled_too():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    assert answered(Extract(text="x", schema=schema))[0].data == {"n": 0}
    chat = [Message(role="user", content="Fill it.")]
    content, _ = answered(Generate(messages=chat, schema=schema))
    assert json.loads(content.text) == {"n": 0}


def test_a_question_is_echoed():
    chat = [Message(role="user", content="Hello."), Message(role="assistant", content="Yes?"),
            Message(role="user", content="Why is the sky\nblue at noon?")]  # fmt: skip
    content, failed = answered(Generate(messages=chat))
    assert content.text == ECHO.format("blue at noon?")
    assert failed == []
    long = [Message(role="user", content="why " * 500)]
    assert len(answered(Generate(messages=long))[0].text.split()) < 60


def test_what_takes_a_model_is_answered_with_the_disclaimer():
    request = Generate(messages=[Message(role="user", content="x")], regex="a+")
    job = Job(request=request)
    joined = [
        "\n".join(turn.content for turn in prompt.messages)
        for prompt in (
            prompts.frontier(job, prompt_id="p"),
            prompt_to_judge(job, answered(Summarize(text="It is."))[0], prompt_id="p"),
        )
    ]
    assert [References().answer(prompt, None) for prompt in joined] == [UNKNOWN, UNKNOWN]


def test_the_mock_answers_every_text_of_the_demo_with_its_reference():
    samples = ROOT / "deploy" / "local" / "samples.jsonl"
    references = References(samples)
    for line in samples.read_text().splitlines():
        sample = json.loads(line)
        request, reference = sample["request"], sample.get("reference")
        if reference is None or request["kind"] == "embed":
            continue
        turns = request.get("messages") or [{"content": ""}]
        text = request.get("text") or turns[-1]["content"] or state_text(request["state"])
        answer = references.answer(f"Do it.\n\n{text}\n", request.get("schema"))
        assert answer == reference or json.loads(answer) == reference


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"secret": "wrong"}, "InvalidSignatureException"),
        ({"key": "wrong"}, "UnrecognizedClientException"),
        ({"region": "eu-west-1"}, "InvalidSignatureException"),
    ],
)
def test_a_wrong_signature_is_rejected_as_by_aws(mock, wrong, code):
    with pytest.raises(ClientError) as error:
        converse(connect(mock, **wrong), TEXT)
    assert error.value.response["Error"]["Code"] == code
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_an_old_signature_is_rejected(mock, monkeypatch):
    late = datetime.now(UTC) - timedelta(minutes=6)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: late)
    with pytest.raises(ClientError, match="InvalidSignatureException"):
        converse(connect(mock), TEXT)


def test_a_session_token_is_part_of_the_signature(mock):
    assert converse(connect(mock, token="a-token"), TEXT)


@pytest.mark.parametrize(
    "model",
    ["a.b-v1:0", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.a.b-v1:0"],
)
def test_any_model_id_is_accepted_and_recorded(mock, client, model):
    assert converse(client, TEXT, modelId=model)
    assert mock.calls[-1].model == model


@pytest.mark.parametrize("change", ["body", "path", "date", "none"])
def test_a_request_that_was_changed_in_transit_is_rejected(mock, client, change):
    def change_request(request, **_):
        if change == "body":
            request.body = request.body.replace(b"parcel", b"barrel")
        elif change == "path":
            request.url = request.url.replace("haiku", "opus")
        elif change == "date":
            request.headers["X-Amz-Date"] = "20200101T000000Z"
        else:
            del request.headers["Authorization"]

    client.meta.events.register("before-send.bedrock-runtime.Converse", change_request)
    with pytest.raises(ClientError) as error:
        converse(client, TEXT)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


#: Errors that AWS gives for any operation, so that the model of Converse does not list them.
UNMODELLED = {
    "ServiceQuotaExceededException", "ExpiredTokenException", "UnrecognizedClientException",
}  # fmt: skip


@pytest.mark.parametrize("fault", [name for name in FAILURES if name != "gateway"])
def test_a_planned_failure_raises_bedrocks_own_exception(mock, client, fault):
    mock.faults.plan([fault])
    with pytest.raises(ClientError) as error:
        converse(client, TEXT)
    status, code, _ = FAILURES[fault]
    assert error.value.response["Error"]["Code"] == code
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert code in UNMODELLED or hasattr(client.exceptions, code)


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": []},
        {"messages": [{"role": "assistant", "content": [{"text": "x"}]}]},
        {"messages": [{"role": "user", "content": [{"text": " "}]}]},
        {"messages": [{"role": "user", "content": [{"text": "x"}]}] * 2},
        {"modelId": "anthropic.claude-sonnet-5", "inferenceConfig": {"temperature": 0.0}},
        {
            "outputConfig": output_config(
                {"type": "object", "properties": {"a": {"type": "string"}}}
            )
        },
    ],
)
def test_a_request_that_bedrock_rejects_is_rejected(client, wrong):
    with pytest.raises(ClientError) as error:
        converse(client, TEXT, **wrong)
    assert error.value.response["Error"]["Code"] == "ValidationException"


def test_planned_faults_come_in_order_and_then_calls_succeed(mock, client):
    admin(mock, "faults", ["throttle", None, "unavailable"])
    outcomes = []
    for _ in range(4):
        try:
            outcomes.append(text_of(converse(client, TEXT)))
        except ClientError as error:
            outcomes.append(error.response["Error"]["Code"])
    assert outcomes == ["ThrottlingException", "a", "ServiceUnavailableException", "a"]


def test_random_faults_are_the_same_for_the_same_seed(mock):
    rates = {"throttle": 0.3, "half": 0.2}
    runs = []
    for seed in (1, 1, 2):
        admin(mock, "faults", {"rates": rates, "seed": seed})
        runs.append([mock.faults.next() for _ in range(200)])
    assert runs[0] == runs[1] != runs[2]
    assert 30 < runs[0].count("throttle") < 90
    assert 20 < runs[0].count("half") < 65


@pytest.mark.parametrize("wrong", [["no such"], {"rates": {"half": 2}}, {"odd": 1}, 5])
def test_a_wrong_plan_is_rejected_and_changes_nothing(mock, wrong):
    mock.faults.plan(["half"])
    with pytest.raises(urllib.error.HTTPError) as error:
        admin(mock, "faults", wrong)
    error.value.close()
    assert error.value.code == 400
    assert mock.faults.next() == "half"


def test_the_client_sees_half_answers_dropped_connections_and_silence(mock, client):
    mock.faults.plan(["half", "drop", "hang:5"])
    assert "output" not in converse(client, TEXT)  # botocore accepts half a body
    for error in (ConnectionClosedError, ReadTimeoutError):
        with pytest.raises(error):
            converse(client, TEXT)
    assert [call.status for call in mock.calls] == [200, None, None]


def test_every_request_is_recorded_even_a_rejected_one(mock, client):
    converse(client, TEXT, requestMetadata={"forebay-call": "c1"})
    with pytest.raises(ClientError):
        converse(connect(mock, secret="wrong"), "second text")
    first, second = admin(mock, "calls")
    assert (first["operation"], first["model"], first["call_id"]) == ("converse", MODEL, "c1")
    assert (first["status"], second["status"]) == (200, 403)
    assert TEXT in first["text"]
    assert "second text" in second["text"]
    assert first["at"] <= second["at"]


@pytest.mark.parametrize("path", ["/model/x/dance", "/", "/model/a/b/converse"])
def test_an_unknown_path_is_an_error(mock, path):
    for data in (b"{}", None):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(mock.url + path, data, timeout=5)
        assert error.value.code == 404
        error.value.close()


def test_the_process_says_where_it_listens_logs_no_content_and_stops_on_sigterm(tmp_path):
    port_file = tmp_path / "port"
    samples = tmp_path / "samples.jsonl"
    samples.write_text(json.dumps(SAMPLES[0]))
    command = [sys.executable, "-m", "mock_bedrock.server", "--samples", samples]
    process = subprocess.Popen(
        [*command, "--port-file", port_file],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "deploy")},
    )
    try:
        assert "listening on" in process.stderr.readline()
        url = f"http://127.0.0.1:{port_file.read_text()}"
        answer = converse(connect(type("At", (), {"url": url})), TEXT)
        assert text_of(answer) == "a"
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0
    assert f"converse {MODEL} -> 200" in log
    assert "parcel" not in log


def test_a_malformed_answer_is_sent_as_planned(mock, client):
    mock.faults.plan(["output_huge", "usage_missing"])
    assert converse(client, TEXT)["usage"]["outputTokens"] == 10**15
    assert "usage" not in converse(client, TEXT)
