"""Before content leaves, the egress log has its entry; without one, nothing leaves."""

import json

import pytest

from forebay.routing.books.call_book import CallBook
from forebay.routing.books.egress_log import EgressLog
from forebay.routing.books.invocations import read_invocations
from forebay.routing.books.verification import of_calls, of_chain, of_denied, of_invocations
from forebay.routing.jobs import Extract
from forebay.routing.limits.budget import Budget
from forebay.routing.policy.policy_file import Policy
from forebay.routing.reasons import Reason
from forebay.workers.runtime.outcomes import Answered, Retry

CANARY = "the-canary-sings"


@pytest.fixture
def log(redis):
    return EgressLog(redis)


def test_a_call_is_written_down_before_it_is_made(lane, mock, log, redis):
    outcome = lane.work("[fleet]\nmodel_prefixes = []\n", metadata={"note": CANARY})
    assert isinstance(outcome, Answered)
    (entry,) = log.read()
    (call,) = mock.calls
    assert entry.at_ms / 1_000 <= call.at + 0.01
    leaving = entry.leaving
    assert (leaving.call, leaving.job, leaving.model) == (call.call_id, lane.claim.id, call.model)
    assert (leaving.said, leaving.why, leaving.purpose) == ("allow", "verdict_hard", "answer")
    assert leaving.region.startswith("us-east-1 at 127.0.0.1:")
    assert leaving.policy == Policy.load(lane.ledger.settings.policy_file).version
    assert outcome.answer.tokens_in <= leaving.tokens


def test_no_entry_holds_content(lane, log, redis):
    text = f"It rains. {CANARY}"
    lane.work(request={"kind": "summarize", "text": text})
    entry = redis.xrange("fb:egress:log")
    assert CANARY not in str(entry)
    assert CANARY not in str([redis.hgetall(key) for key in redis.scan_iter("fb:egress:[hd]*")])


def test_a_call_whose_entry_cannot_be_written_is_not_made(lane, mock, redis, caplog):
    redis.set("fb:egress:log", "x")
    outcome = lane.work()
    assert isinstance(outcome, Retry)
    assert not mock.calls
    assert Budget(redis).spent() == (0, 0)
    assert [one.event for one in caplog.records] == ["egress.unwritten"]
    redis.delete("fb:egress:log")
    assert isinstance(lane.again(), Answered)


def test_a_job_that_degrades_says_that_nothing_left(lane, redis, mock):
    redis.set("fb:egress:head", "x")
    outcome = lane.work('[defaults]\nwhen_shut = "degrade"\n')
    assert not mock.calls
    assert Reason.EGRESS_UNWRITTEN.value in outcome.reason


def test_a_repair_is_an_entry_of_its_own(lane, mock, log):
    schema = {
        "type": "object",
        "properties": {"n": {"type": ["integer", "null"], "enum": [1, None]}},
    }
    lane.work(request=Extract(text="n is 1", schema=schema))
    purposes = [entry.leaving.purpose for entry in log.read()]
    assert len(purposes) == len(mock.calls)


def test_the_books_agree_with_each_other_and_with_bedrocks_log(lane, mock, log, redis, tmp_path):
    for _ in range(3):
        lane.work()
    mock.faults.plan(["throttle"])
    lane.work()
    entries, calls = list(log.read()), CallBook(redis).calls()
    assert {call.state for call in calls} == {"settled", "released"}
    file = tmp_path / "invocations.jsonl"
    file.write_text("".join(json.dumps(logged(call)) + "\n" for call in mock.calls))
    faults = [
        *of_chain(entries, log.heads(), log.head()), *of_denied(entries), *of_calls(entries, calls),
        *of_invocations(entries, read_invocations(file)),
    ]  # fmt: skip
    assert faults == []
    redis.xdel("fb:egress:log", redis.xrange("fb:egress:log")[1][0])
    entries = list(log.read())
    lost = mock.calls[1].call_id
    assert [(one.code, one.about) for one in of_calls(entries, calls)] == [("entry_missing", lost)]
    assert ("entry_missing", lost) in [
        (one.code, one.about) for one in of_invocations(entries, read_invocations(file))
    ]


def logged(call):
    """Return a call as Bedrock's invocation log has it."""
    from datetime import UTC, datetime  # noqa: PLC0415 - beside its only use

    return {
        "schemaType": "ModelInvocationLog", "schemaVersion": "1.0", "operation": call.operation,
        "timestamp": datetime.fromtimestamp(call.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "accountId": "123456789012", "region": "us-east-1", "requestId": f"request-{call.call_id}",
        "modelId": call.model, "requestMetadata": {"forebay-call": call.call_id},
        "input": {"inputContentType": "application/json", "inputTokenCount": call.tokens_in},
        "output": {"outputContentType": "application/json", "outputTokenCount": call.tokens_out},
        **({"errorCode": "ThrottlingException"} if call.status != 200 else {}),
    }  # fmt: skip
