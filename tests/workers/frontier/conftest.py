"""The bedrock lane as its tests see it: real boto3 over HTTP to the mock, a real ledger."""

from __future__ import annotations

import pytest

from forebay.routing.jobs import Generate, Job, Message, Verdict
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.settings import Settings
from forebay.workers.bedrock import Bedrock
from forebay.workers.frontier.settings import BedrockSettings
from ledger_jobs import BELL
from mock_bedrock.server import MockBedrock

ASK = Generate(messages=[Message(role="user", content="hello")])


@pytest.fixture
def mock(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mock")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mock")
    with MockBedrock() as mock:
        yield mock


@pytest.fixture
def lane(redis, mock, tmp_path):
    """A ledger and a bedrock worker whose policy the test can write."""
    policy = tmp_path / "policy.toml"

    class Lane:
        def __init__(self):
            self.ledger = Ledger(redis, Settings(policy_file=policy), BELL)
            self.budget = Budget(redis)

        def worker(self):
            if not policy.exists():
                policy.write_text("[fleet]\n")
            settings = BedrockSettings(bedrock_endpoint=mock.url, bedrock_timeout_s=2)
            return Bedrock(self.ledger, settings)

        def work(self, rules="", *, draft=None, reasons=("verdict_hard",), worker=None, **options):
            """Work one job, which reaches the lane as a real job would; return its outcome."""
            policy.write_text(rules or "[fleet]\n")
            job = Job(egress="allow", **{"request": ASK, **options})
            self.ledger.create([job])
            verdict = Verdict(probability=0.5, version="test")
            claim = self.ledger.claim("route")
            if draft is None:
                self.ledger.route(claim, "bedrock", "allow", ",".join(reasons), verdict)
            else:
                self.ledger.route(claim, "local.default", "allow", "verdict_easy", verdict)
                claim = self.ledger.claim("local.default")
                self.ledger.escalate(claim, "check_failed:length", draft(job.id))
            self.claim = self.ledger.claim("bedrock")
            return (worker or self.worker()).work(self.claim)

        def again(self):
            """Have another worker work the job that was worked last."""
            self.ledger.retry(self.claim, "unavailable", counted=False)
            self.claim = self.ledger.claim("bedrock")
            return self.worker().work(self.claim)

    return Lane()
