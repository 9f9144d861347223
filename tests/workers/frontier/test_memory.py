"""The bedrock worker keeps nothing of a job that has ended."""

from __future__ import annotations

import gc
from collections import Counter

from forebay.routing.broker.doorbell import packaged_template
from forebay.routing.jobs import Generate, Job, Message, Verdict
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.workers.bedrock import Bedrock
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.runtime.recording import record

ASK = Generate(messages=[Message(role="user", content="hello")])
VERDICT = Verdict(probability=0.5, version="test")
JOBS = 20
#: Whose objects are counted. Of Python's own, coverage keeps some for each thread.
WHOSE = ("forebay.", "boto3.", "botocore.", "urllib3.", "pydantic")


def test_no_object_is_left_of_a_job_that_has_ended(redis, mock):
    ledger = Ledger(redis, Settings(), packaged_template())
    worker = Bedrock(ledger, BedrockSettings(bedrock_endpoint=mock.url, bedrock_timeout_s=30))

    def answer():
        ledger.create([Job(egress="allow", request=ASK)])
        ledger.route(ledger.claim("route"), "bedrock", "allow", "verdict_hard", VERDICT)
        claim = ledger.claim("bedrock")
        recorded = record(ledger, claim, worker.work(claim))
        assert recorded.state == "done", recorded

    def objects_after(jobs):
        for _ in range(jobs):
            answer()
        mock.calls.clear()
        gc.collect()
        kept = Counter(f"{type(e).__module__}.{type(e).__qualname__}" for e in gc.get_objects())
        return Counter({name: kept[name] for name in kept if name.startswith(WHOSE)})

    objects_after(JOBS)  # clients, connections and caches are made by the first jobs
    before = objects_after(1)
    left = objects_after(JOBS) - before
    assert max(left.values(), default=0) < JOBS // 2, left
