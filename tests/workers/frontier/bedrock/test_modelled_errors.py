"""Every error that botocore's service models list, raised by the mock through real boto3.

The table is complete by construction: each pair of an operation and an error that the installed
service models know has to be in it.
"""

from __future__ import annotations

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from forebay.routing.errors import InvalidJob, Throttled, Unavailable
from forebay.workers.engines.engine import Prompt, Turn
from forebay.workers.frontier.bedrock.converse import Converse
from forebay.workers.frontier.bedrock.converse_errors import from_response
from forebay.workers.frontier.bedrock.converse_reply import FINISHES, REFUSALS
from forebay.workers.frontier.provider import (
    Malformed,
    ModelFault,
    ModelNotReady,
    OutcomeUnknown,
    Refused,
    billed,
)
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.runtime.outcomes import Answered, Failed, Retry
from mock_bedrock.server import MockBedrock

pytestmark = pytest.mark.slow

MODEL = "anthropic.claude-haiku-4-5-20251001-v1:0"
CALLED = {
    "bedrock-runtime": ("Converse", "ConverseStream", "CountTokens"),
    "bedrock": (
        "CreateModelInvocationJob", "GetModelInvocationJob", "ListModelInvocationJobs",
        "StopModelInvocationJob",
    ),
}  # fmt: skip

#: What an error response means: our error, whether it is billed, and what becomes of the job.
#: An error in the place of the first event of a stream means the same.
MEANING = {
    "AccessDeniedException": (ModelFault, "no", Retry),
    "ConflictException": (Unavailable, "no", Retry),
    "InternalServerException": (Unavailable, "no", Retry),
    "ModelErrorException": (OutcomeUnknown, "unknown", Retry),
    "ModelNotReadyException": (ModelNotReady, "no", Retry),
    "ModelStreamErrorException": (OutcomeUnknown, "unknown", Retry),
    "ModelTimeoutException": (OutcomeUnknown, "unknown", Retry),
    "ResourceNotFoundException": (ModelFault, "no", Retry),
    "ServiceQuotaExceededException": (Throttled, "no", Retry),
    "ServiceUnavailableException": (Unavailable, "no", Retry),
    "ThrottlingException": (Throttled, "no", Retry),
    "ValidationException": (InvalidJob, "no", Failed),
}
SESSION = botocore.session.Session()


def operation(service, name):
    return SESSION.get_service_model(service).operation_model(name)


def modelled():
    """Yield each operation that is called, with each error that its model lists."""
    for service, names in CALLED.items():
        for name in names:
            for shape in operation(service, name).error_shapes:
                yield service, name, shape.name


def stream_events():
    return operation("bedrock-runtime", "ConverseStream").output_shape.members["stream"].members


MODELLED = sorted(modelled())
IN_STREAM = sorted(
    name for name, shape in stream_events().items() if shape.metadata.get("exception")
)


@pytest.fixture(scope="module")
def bedrock():
    with MockBedrock(key_pair=("test", "test")) as mock:
        yield mock


@pytest.fixture(scope="module")
def provider(bedrock):
    return Converse(BedrockSettings(bedrock_endpoint=bedrock.url, bedrock_timeout_s=5))


@pytest.fixture(scope="module")
def clients(bedrock):
    config = Config(retries={"total_max_attempts": 1})
    return {
        service: boto3.client(
            service, endpoint_url=bedrock.url, region_name="us-east-1", config=config
        )
        for service in CALLED
    }


def ask(clients, service, name):
    """Call an operation through boto3 with parameters that it takes; return the error."""
    messages = [{"role": "user", "content": [{"text": "hello"}]}]
    batch = {
        "jobName": "one", "roleArn": "arn:aws:iam::123456789012:role/batch", "modelId": MODEL,
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://bucket/in"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/out"}},
    }  # fmt: skip
    job = {"jobIdentifier": "abcdefghijkl"}
    parameters = {
        "CountTokens": {"modelId": MODEL, "input": {"converse": {"messages": messages}}},
        "CreateModelInvocationJob": batch,
        "GetModelInvocationJob": job,
        "StopModelInvocationJob": job,
        "ListModelInvocationJobs": {},
    }.get(name, {"modelId": MODEL, "messages": messages})
    method = botocore.xform_name(name)
    with pytest.raises(ClientError) as caught:
        getattr(clients[service], method)(**parameters)
    return caught.value


def test_the_table_has_every_modelled_error_and_no_other():
    in_streams = {name[:1].upper() + name[1:] for name in IN_STREAM}
    assert MEANING.keys() == {code for _, _, code in MODELLED} | in_streams
    assert len(MODELLED) > 40
    assert len(IN_STREAM) >= 5


@pytest.mark.parametrize(("service", "name", "code"), MODELLED)
def test_a_modelled_error_means_what_the_table_says(bedrock, clients, service, name, code):
    bedrock.faults.plan([code])
    foreign = ask(clients, service, name)
    assert foreign.response["Error"]["Code"] == code
    ours = from_response(foreign, MODEL)
    assert (type(ours), billed(ours)) == MEANING[code][:2]


def question(text="hello"):
    return Prompt(id="p", messages=(Turn(role="user", content=text),), max_tokens=50)


def streamed(provider, heard):
    return provider.call(question("a b c d e f"), MODEL, call_id="c", on_text=heard.append)


@pytest.mark.parametrize("name", IN_STREAM)
def test_an_error_in_place_of_the_first_event_of_a_stream_means_the_same(bedrock, provider, name):
    bedrock.faults.plan([name])
    heard = []
    error_class, is_billed, _ = MEANING[name[:1].upper() + name[1:]]
    with pytest.raises(error_class) as caught:
        streamed(provider, heard)
    assert billed(caught.value) == is_billed
    assert heard == []


@pytest.mark.parametrize("name", IN_STREAM)
@pytest.mark.parametrize("events", [1, 4])
def test_an_error_in_a_stream_that_had_begun_has_an_unknown_bill(bedrock, provider, name, events):
    bedrock.faults.plan([f"{name}:{events}"])
    heard = []
    with pytest.raises(OutcomeUnknown) as caught:
        streamed(provider, heard)
    assert billed(caught.value) == "unknown"
    assert len(heard) == events - 1


@pytest.mark.parametrize(
    "code", sorted({code for service, _, code in MODELLED if service == "bedrock-runtime"})
)
def test_a_job_that_meets_a_modelled_error_ends_as_its_class_says(lane, mock, redis, code):
    mock.faults.plan([code])
    error_class, is_billed, outcome_class = MEANING[code]
    outcome = lane.work(lane="bedrock")
    assert isinstance(outcome, outcome_class)
    settled, reserved = lane.budget.spent()
    assert settled == 0
    assert (reserved > 0) == (is_billed == "unknown")
    redis.delete(*redis.keys("fb:spillway*"))
    if isinstance(outcome, Retry):
        assert outcome.counted == (is_billed == "unknown")
        again = lane.again()  # nobody pays twice: an unknown call is waited for
        assert isinstance(again, Retry if error_class is OutcomeUnknown else Answered)


def test_every_stop_reason_of_the_model_is_mapped():
    reasons = operation("bedrock-runtime", "Converse").output_shape.members["stopReason"].enum
    broken_off = {"tool_use", "malformed_model_output", "malformed_tool_use"}
    assert set(reasons) <= {*FINISHES, *REFUSALS, *broken_off}
    assert broken_off.isdisjoint({*FINISHES, *REFUSALS})


@pytest.mark.parametrize(
    ("fault", "error_class"),
    [("refuse", Refused), ("guardrail", Refused), ("malformed", Malformed)],
)
def test_a_stream_without_a_usable_answer_is_billed_by_its_usage(
    bedrock, provider, fault, error_class
):
    bedrock.faults.plan([fault])
    with pytest.raises(error_class) as caught:
        streamed(provider, [])
    assert billed(caught.value) == "yes"
    assert caught.value.usage.prompt > 0
