"""Faults of the account or of a model: the jobs wait or degrade, and one job finds the recovery."""

import logging

import pytest

from forebay.routing.jobs import Answer, Summarize, Summary
from forebay.routing.limits import spillway as spillway_module
from forebay.routing.limits.spillway import Spillway
from forebay.workers.bedrock import Bedrock
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.runtime.outcomes import Answered, Retry, Routed
from mock_bedrock.protocol import FAILURES

pytestmark = pytest.mark.slow

HAIKU, SONNET = "anthropic.claude-haiku-5-5", "anthropic.claude-sonnet-5-5"
TWO = f'[defaults]\nmodels = ["{HAIKU}", "{SONNET}"]\n'
DEGRADE = '[defaults]\nwhen_shut = "degrade"\n'
ACCOUNT = ["expired", "unrecognized", "not_allowed", "payment"]
MODEL = ["denied", "not_ready", "not_found", "unknown_model", "profile"]


def let_probe(redis):
    """Have the pause of all faults pass."""
    redis.delete("fb:spillway", *redis.keys("fb:spillway:pause:*"))


def draft(job_id):
    heading = {"id": job_id, "kind": "summarize", "egress": "allow", "status": "done"}
    return Answer(**heading, lane="local", degraded=True, content=Summary(text="weak"))


@pytest.mark.parametrize("fault", ACCOUNT)
def test_a_fault_of_the_account_is_met_by_one_call_and_the_jobs_wait(lane, mock, redis, fault):
    mock.faults.plan([fault] * 9)
    for _ in range(4):
        outcome = lane.work(TWO)
        assert isinstance(outcome, Retry)
        assert not outcome.counted
        assert outcome.delay_s > 1
    assert len(mock.calls) == 1
    assert Spillway(redis).gate() == "shut"
    [found] = Spillway(redis).faults()
    assert found.scope == "*"
    assert found.code == "misconfigured"
    assert lane.budget.spent() == (0, 0)


@pytest.mark.parametrize("keys", [{}, {"AWS_ACCESS_KEY_ID": "other"}])
def test_missing_and_wrong_credentials_are_faults_of_the_account(
    lane, mock, redis, keys, monkeypatch
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if name in keys:
            monkeypatch.setenv(name, keys[name])
        elif not keys:
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert isinstance(lane.work(TWO), Retry)
    assert [fault.scope for fault in Spillway(redis).faults()] == ["*"]
    assert len(mock.calls) == len(keys)


def test_under_a_degrading_policy_the_jobs_are_answered_locally(lane, mock):
    mock.faults.plan(["expired"] * 9)
    for _ in range(2):
        outcome = lane.work(DEGRADE)
        assert isinstance(outcome, Routed)
        assert outcome.reason == "verdict_hard,spillway_shut"
        short = Summarize(text="We met at noon.", max_words=20)
        answered = lane.work(DEGRADE, request=short, draft=draft)
        assert answered.answer.reason == "spillway_shut"
        assert answered.answer.degraded
    assert len(mock.calls) == 1


def test_one_job_probes_and_its_success_opens_the_way(lane, mock, redis):
    mock.faults.plan(["expired"])
    lane.work()
    let_probe(redis)
    spillway = Spillway(redis)
    assert spillway.admit(HAIKU, "acme.1").fault.scope == "*"  # the probe
    assert spillway.admit(HAIKU, "acme.2").wait_s > 0  # nobody else
    outcome = lane.work()
    assert isinstance(outcome, Retry)
    assert outcome.delay_s <= 5, "the probe may end soon"
    assert len(mock.calls) == 1
    let_probe(redis)
    assert isinstance(lane.work(), Answered)
    assert spillway.faults() == []
    assert isinstance(lane.work(), Answered)
    assert spillway.admit(HAIKU, "acme.3").wait_s == 0


def test_a_worker_reads_new_credentials_without_a_restart(lane, mock, redis, monkeypatch, tmp_path):
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    worker = lane.worker()
    for key, outcome in ((None, Retry), ("wrong", Retry), ("mock", Answered)):
        if key:
            lines = ("[default]", f"aws_access_key_id = {key}", "aws_secret_access_key = mock", "")
            file.write_text("\n".join(lines))
        assert isinstance(lane.work(worker=worker), outcome)
        let_probe(redis)


def test_a_probe_that_fails_shuts_the_way_again(lane, mock, redis):
    mock.faults.plan(["expired", "expired"])
    lane.work()
    before = Spillway(redis).faults()
    let_probe(redis)
    lane.work()
    assert isinstance(lane.work(), Retry)
    assert len(mock.calls) == 2
    assert Spillway(redis).faults() == before  # it began when it was first seen


def test_a_fault_is_logged_once_and_its_end_too(lane, mock, redis, caplog):
    mock.faults.plan(["expired", "expired"])
    with caplog.at_level(logging.INFO, logger=spillway_module.__name__):
        for _ in range(3):
            lane.work()
            let_probe(redis)
        lane.work()
    records = [record for record in caplog.records if record.name == spillway_module.__name__]
    lines = [record.getMessage() for record in records]
    assert lines == [
        "Bedrock is shut for all models: AWS credentials: have expired",
        f"Bedrock answers again ({HAIKU})",
    ]


@pytest.mark.parametrize("fault", MODEL)
def test_a_fault_of_one_model_shuts_that_model_alone(lane, mock, redis, fault):
    mock.faults.plan([fault])
    for _ in range(3):
        assert lane.work(TWO).answer.model == SONNET
    assert [call.model for call in mock.calls] == [HAIKU, SONNET, SONNET, SONNET]
    assert [found.scope for found in Spillway(redis).faults()] == [HAIKU]
    assert Spillway(redis).shut_for_s() == 0
    let_probe(redis)
    assert lane.work(TWO).answer.model == HAIKU
    assert Spillway(redis).faults() == []


@pytest.mark.parametrize("fault", MODEL)
def test_a_fault_of_the_only_model_shuts_the_spillway_and_the_job_waits(lane, mock, redis, fault):
    mock.faults.plan([fault])
    outcome = lane.work()
    assert isinstance(outcome, Retry)
    assert not outcome.counted
    assert Spillway(redis).shut_for_s() > 1
    assert isinstance(lane.work(), Retry)
    assert len(mock.calls) == 1


def test_the_fault_of_a_model_that_the_policy_no_longer_names_is_forgotten(lane, mock, redis):
    worker = lane.worker()
    mock.faults.plan(["denied"])
    assert isinstance(lane.work(worker=worker), Retry)
    assert [fault.scope for fault in Spillway(redis).faults()] == [HAIKU]
    let_probe(redis)
    lane.work(f'[defaults]\nmodels = ["{SONNET}"]\n', worker=worker)
    assert Spillway(redis).faults() == []


def test_another_tenants_model_stays_open(lane, mock, redis):
    mock.faults.plan(["denied"])
    rules = f'[defaults]\nmodels = ["{HAIKU}"]\n[tenants.other]\nmodels = ["{SONNET}"]\n'
    assert isinstance(lane.work(rules), Retry)
    assert isinstance(lane.work(rules), Retry)
    assert lane.work(rules, tenant="other").answer.model == SONNET


def test_a_fault_of_a_job_is_no_fault_of_the_account(lane, mock, redis):
    for fault in ("invalid", "too_long"):
        mock.faults.plan([fault])
        lane.work()
    assert Spillway(redis).faults() == []


@pytest.mark.parametrize("name", ["account", "inference profile", "operation not allowed"])
def test_a_rejection_that_quotes_a_jobs_schema_shuts_nothing(lane, mock, redis, monkeypatch, name):
    answer = (400, "ValidationException", f"output_config.format.schema: '{name}' is not supported")
    monkeypatch.setitem(FAILURES, "invalid", answer)
    mock.faults.plan(["invalid"])
    lane.work()
    assert Spillway(redis).faults() == []
    assert Spillway(redis).shut_for_s() == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.replace("http://", "https://"), "TLS connection"),
        (lambda url: f"{url}/elsewhere", "is not Bedrock's runtime"),
    ],
    ids=["no TLS", "another path"],
)
def test_a_wrong_endpoint_shuts_the_spillway_with_its_reason(lane, redis, mock, change, words):
    settings = BedrockSettings(bedrock_endpoint=change(mock.url), bedrock_timeout_s=2)
    lane.worker()  # writes the policy
    worker = Bedrock(lane.ledger, settings)
    for _ in range(2):
        outcome = lane.work(worker=worker)
        assert isinstance(outcome, Retry)
        assert not outcome.counted
    [fault] = Spillway(redis).faults()
    assert (fault.scope, "FOREBAY_BEDROCK_ENDPOINT" in fault.reason) == ("*", True)
    assert words in fault.reason
    assert lane.budget.spent() == (0, 0)


def test_a_worker_whose_region_is_wrong_shuts_the_spillway_with_its_reason(lane, redis, mock):
    settings = BedrockSettings(bedrock_endpoint=mock.url, bedrock_region="not a region!")
    outcome = lane.work(worker=Bedrock(lane.ledger, settings)) if lane.work() else None
    assert isinstance(outcome, Retry)
    [fault] = Spillway(redis).faults()
    assert "FOREBAY_BEDROCK_REGION" in fault.reason
