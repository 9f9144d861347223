"""The stand-in speaks Bedrock's protocol to a stock boto3 client, and fails as it is told to."""

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

from mock_bedrock.canned_answers import UNKNOWN, References, instance
from mock_bedrock.protocol import FAILURES
from mock_bedrock.server import MockBedrock

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
def stand_in(tmp_path):
    samples = tmp_path / "samples.jsonl"
    samples.write_text("".join(json.dumps(sample) + "\n" for sample in SAMPLES))
    with MockBedrock(samples) as stand_in:
        yield stand_in


@pytest.fixture
def client(stand_in):
    return connect(stand_in)


def connect(stand_in, key="stand-in", secret="stand-in", region="us-east-1", token=None):
    return boto3.client(
        "bedrock-runtime", endpoint_url=stand_in.url, region_name=region,
        aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=1),
    )  # fmt: skip


def said(client, text, **fields):
    fields = {
        "modelId": MODEL,
        "messages": [{"role": "user", "content": [{"text": text}]}],
    } | fields
    return client.converse(**fields)


def text_of(answer):
    return answer["output"]["message"]["content"][0]["text"]


def asking_for(schema):
    structure = {"jsonSchema": {"schema": json.dumps(schema)}}
    return {"textFormat": {"type": "json_schema", "structure": structure}}


def admin(stand_in, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"{stand_in.url}/_stand-in/{path}", data, timeout=5) as answer:
        return json.load(answer)


def test_converse_answers_in_bedrocks_shape(client):
    answer = said(client, f"Sum up: {TEXT} Twice.", serviceTier={"type": "flex"})
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


def test_a_stream_cut_in_the_middle_breaks_for_the_reader(stand_in, client):
    stand_in.faults.plan(["half"])
    messages = [{"role": "user", "content": [{"text": f"{TEXT} Twice."}]}]
    answer = client.converse_stream(modelId=MODEL, messages=messages)
    with pytest.raises(Exception, match=r"(?i)broken|incomplete|ended prematurely"):
        list(answer["stream"])


def test_invoke_model_answers_in_the_shape_of_anthropics_models(client):
    body = {"max_tokens": 50, "messages": [{"role": "user", "content": "So: Why?"}]}
    answer = client.invoke_model(modelId=MODEL, body=json.dumps(body))
    told = json.loads(answer["body"].read())
    assert told["content"] == [{"type": "text", "text": "Because."}]
    assert told["usage"] == {"input_tokens": 2, "output_tokens": 2}
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-bedrock-input-token-count"] == "2"


def test_tokens_are_counted(client):
    messages = [{"role": "user", "content": [{"text": "x" * 41}]}]
    assert client.count_tokens(modelId=MODEL, input={"converse": {"messages": messages}})[
        "inputTokens"
    ] == 11  # fmt: skip


def test_the_same_text_is_answered_by_the_kind_that_is_asked_for(client):
    shape = {"type": "object", "properties": {}, "additionalProperties": False}
    assert text_of(said(client, f"label: {TEXT}")) == "a"
    answer = said(client, f"fill: {TEXT}", outputConfig=asking_for(shape))
    assert json.loads(text_of(answer)) == {"what": "parcel"}


def test_an_unknown_text_is_answered_with_the_shape_or_with_a_disclaimer(client):
    assert text_of(said(client, "something else")) == UNKNOWN
    shape = {"type": "object", "properties": {"n": {"type": "integer"}}}
    answer = said(client, "else", outputConfig=asking_for(shape | {"additionalProperties": False}))
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
    ],
)
def test_a_minimal_value_has_the_shape_of_its_schema(schema, value):
    assert instance(schema, schema) == value


def test_a_schema_that_refers_to_itself_has_a_value():
    node = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    assert set(instance(node, node)) == {"next"}


def test_the_demos_own_texts_are_all_known():
    samples = ROOT / "deploy" / "local" / "samples.jsonl"
    references = References(samples)
    for line in samples.read_text().splitlines():
        sample = json.loads(line)
        request, reference = sample["request"], sample.get("reference")
        if reference is None or request["kind"] == "embed":
            continue
        text = request.get("text") or request["messages"][-1]["content"]
        told = references.answer(f"Do it.\n\n{text}\n", request.get("schema"))
        assert told == reference or json.loads(told) == reference


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"secret": "wrong"}, "InvalidSignatureException"),
        ({"key": "wrong"}, "UnrecognizedClientException"),
        ({"region": "eu-west-1"}, "InvalidSignatureException"),
    ],
)
def test_a_wrong_signature_is_refused_as_aws_does(stand_in, wrong, code):
    with pytest.raises(ClientError) as error:
        said(connect(stand_in, **wrong), TEXT)
    assert error.value.response["Error"]["Code"] == code
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_signature_of_another_time_is_refused(stand_in, monkeypatch):
    late = datetime.now(UTC) - timedelta(minutes=6)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: late)
    with pytest.raises(ClientError, match="InvalidSignatureException"):
        said(connect(stand_in), TEXT)


def test_a_session_token_is_part_of_the_signature(stand_in):
    assert said(connect(stand_in, token="a-token"), TEXT)


@pytest.mark.parametrize(
    "model",
    ["a.b-v1:0", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.a.b-v1:0"],
)
def test_any_model_id_is_signed_and_read_rightly(stand_in, client, model):
    assert said(client, TEXT, modelId=model)
    assert stand_in.calls[-1].model == model


@pytest.mark.parametrize("change", ["body", "path", "date", "none"])
def test_a_request_changed_on_its_way_is_refused(stand_in, client, change):
    def meddle(request, **_):
        if change == "body":
            request.body = request.body.replace(b"parcel", b"barrel")
        elif change == "path":
            request.url = request.url.replace("haiku", "opus")
        elif change == "date":
            request.headers["X-Amz-Date"] = "20200101T000000Z"
        else:
            del request.headers["Authorization"]

    client.meta.events.register("before-send.bedrock-runtime.Converse", meddle)
    with pytest.raises(ClientError) as error:
        said(client, TEXT)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize("fault", [name for name in FAILURES if name != "gateway"])
def test_a_failure_is_bedrocks_own_exception(stand_in, client, fault):
    stand_in.faults.plan([fault])
    with pytest.raises(ClientError) as error:
        said(client, TEXT)
    status, code, _ = FAILURES[fault]
    assert error.value.response["Error"]["Code"] == code
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    modelled = code == "ServiceQuotaExceededException" or hasattr(client.exceptions, code)
    assert modelled


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": []},
        {"messages": [{"role": "assistant", "content": [{"text": "x"}]}]},
        {"messages": [{"role": "user", "content": [{"text": " "}]}]},
        {"messages": [{"role": "user", "content": [{"text": "x"}]}] * 2},
        {"modelId": "anthropic.claude-sonnet-5", "inferenceConfig": {"temperature": 0.0}},
        {"outputConfig": asking_for({"type": "object", "properties": {"a": {"type": "string"}}})},
    ],
)
def test_what_bedrock_refuses_is_refused(client, wrong):
    with pytest.raises(ClientError) as error:
        said(client, TEXT, **wrong)
    assert error.value.response["Error"]["Code"] == "ValidationException"


def test_queued_faults_come_in_order_and_then_it_is_well(stand_in, client):
    admin(stand_in, "faults", ["throttle", None, "unavailable"])
    seen = []
    for _ in range(4):
        try:
            seen.append(text_of(said(client, TEXT)))
        except ClientError as error:
            seen.append(error.response["Error"]["Code"])
    assert seen == ["ThrottlingException", "a", "ServiceUnavailableException", "a"]


def test_faults_by_chance_are_the_same_for_the_same_seed(stand_in):
    rates = {"throttle": 0.3, "half": 0.2}
    runs = []
    for seed in (1, 1, 2):
        admin(stand_in, "faults", {"rates": rates, "seed": seed})
        runs.append([stand_in.faults.next() for _ in range(200)])
    assert runs[0] == runs[1] != runs[2]
    assert 30 < runs[0].count("throttle") < 90
    assert 20 < runs[0].count("half") < 65


@pytest.mark.parametrize("wrong", [["no such"], {"rates": {"half": 2}}, {"odd": 1}, 5])
def test_a_wrong_plan_is_refused_and_changes_nothing(stand_in, wrong):
    stand_in.faults.plan(["half"])
    with pytest.raises(urllib.error.HTTPError) as error:
        admin(stand_in, "faults", wrong)
    error.value.close()
    assert error.value.code == 400
    assert stand_in.faults.next() == "half"


def test_half_answers_and_silence_look_so_to_a_client(stand_in, client):
    stand_in.faults.plan(["half", "drop", "hang:5"])
    assert "output" not in said(client, TEXT)  # botocore takes half a body for all of it
    for error in (ConnectionClosedError, ReadTimeoutError):
        with pytest.raises(error):
            said(client, TEXT)
    assert [call.status for call in stand_in.calls] == [200, None, None]


def test_every_request_is_recorded_also_those_refused(stand_in, client):
    said(client, TEXT, requestMetadata={"forebay-call": "c1"})
    with pytest.raises(ClientError):
        said(connect(stand_in, secret="wrong"), "second text")
    first, second = admin(stand_in, "calls")
    assert (first["operation"], first["model"], first["call_id"]) == ("converse", MODEL, "c1")
    assert (first["status"], second["status"]) == (200, 403)
    assert TEXT in first["text"]
    assert "second text" in second["text"]
    assert first["at"] <= second["at"]


@pytest.mark.parametrize("path", ["/model/x/dance", "/", "/model/a/b/converse"])
def test_an_unknown_path_is_an_error(stand_in, path):
    for data in (b"{}", None):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(stand_in.url + path, data, timeout=5)
        assert error.value.code == 404
        error.value.close()


def test_as_a_process_it_says_where_it_is_logs_no_content_and_stops_when_asked(tmp_path):
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
        answer = said(connect(type("At", (), {"url": url})), TEXT)
        assert text_of(answer) == "a"
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0
    assert f"converse {MODEL} -> 200" in log
    assert "parcel" not in log
