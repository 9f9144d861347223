"""A bedrock lane with batches as tests see it: a real ledger, the mock, and moto's S3."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from forebay.routing.bedrock_batches.batches import BedrockBatches
from forebay.routing.jobs import Generate, Job, Message, Verdict
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.settings import Settings
from forebay.workers.bedrock import Bedrock
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.execute import Executor
from ledger_jobs import BELL

BUCKET = "forebay-batches"
HAIKU, NOVA = "anthropic.claude-haiku-5-5", "amazon.nova-micro-v1:0"
ROLE = "arn:aws:iam::123456789012:role/forebay-batch"
KMS_KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
RULES = f"""
[defaults]
models = ["{HAIKU}"]
daily_budget_usd = 50.0

[batch]
bucket = "{BUCKET}"
role_arn = "{ROLE}"
kms_key = "{KMS_KEY}"
models = ["{HAIKU}", "{NOVA}"]
min_records = 3
max_wait_s = 0.001
"""


#: Dollars per million tokens in and out, and the factor of a region, as the price list has them.
LISTED = {
    HAIKU: (Fraction(1, 10), Fraction(1, 2), Fraction(11, 10)),
    NOVA: (Fraction(35, 1000), Fraction(14, 100), Fraction(1)),
}


def bill(call):
    """Return what the mock bills for a call or a record, a part of a billionth as a whole one."""
    of_input, of_output, factor = LISTED[call.model]
    batch = Fraction(1, 2) if call.operation == "batch" else Fraction(1)
    exact = (call.tokens_in * of_input + call.tokens_out * of_output) * factor * batch * 1_000
    return -(-exact.numerator // exact.denominator)


def billed(calls):
    """Return the calls and records that the mock has billed."""
    return [call for call in calls if call.tokens_in and call.operation in {"batch", "converse"}]


@dataclass
class Spillway:
    """A ledger, a bedrock worker, and its batcher, which makes a round when the test says so."""

    redis: object
    mock_url: str
    s3_url: str
    policy: object
    connections: dict

    def __post_init__(self):
        self.settings = BedrockSettings(
            bedrock_endpoint=self.mock_url,
            bedrock_control_endpoint=self.mock_url,
            bedrock_s3_endpoint=self.s3_url,
            bedrock_batch_poll_s=3_600,
            bedrock_timeout_s=2,
        )
        self.rules()
        self.ledger = Ledger(self.redis, Settings(policy_file=self.policy), BELL)
        self.budget, self.batches = Budget(self.redis), BedrockBatches(self.redis)
        self.restart()

    def rules(self, *changes, base=RULES):
        """Write the policy, with pairs of texts replaced."""
        text = base
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        self.policy.write_text(text)

    def restart(self):
        """Have another process take over."""
        self.redis.delete("fb:lease:bedrock-batches")
        if hasattr(self, "worker"):
            self.close()
        self.worker = Bedrock(self.ledger, self.settings)
        self.batcher = self.worker.start_batches()
        for part in self._connected():
            part._connection = self.connections.get(type(part))

    def close(self):
        for part in self._connected():
            self.connections[type(part)] = part._connection
        self.worker.close()

    def _connected(self):
        return self.worker._provider, self.batcher._service, self.batcher._writer._bucket

    def submit(self, count, *, text="Word {}.", **options):
        """Put bulk jobs before the bedrock lane; return their ids."""
        jobs = [
            Job(**{
                "egress": "allow", "priority": "bulk",
                "request": Generate(
                    messages=[Message(role="user", content=text.format(i))], max_tokens=40
                ),
            } | options)
            for i in range(count)
        ]  # fmt: skip
        self.ledger.create(jobs)
        verdict = Verdict(probability=0.5, version="test")
        for _ in jobs:
            claim = self.ledger.claim("route")
            self.ledger.route(claim, "bedrock", "allow", "verdict_hard", verdict)
        return [job.id for job in jobs]

    def work(self, most=1_000):
        """Have the worker work what waits for the lane; return the outcomes' names."""
        done = []
        executor = Executor(self.ledger, self.worker.work, InFlight(4))
        while recorded := executor.answer_doorbell("bedrock", unrung=True):
            done += recorded
            assert len(done) <= most
        return [type(one.outcome).__name__ for one in done]

    def rounds(self, count=6):
        """Have the batcher make rounds: a batch of the mock takes about five to end."""
        for _ in range(count):
            self.batcher.round()

    def rounds_until(self, done, most=60):
        """Have the batcher make rounds until this is so; a round may move nothing."""
        for _ in range(most):
            if done():
                return
            self.batcher.round()
        raise AssertionError(f"not so after {most} rounds")

    def answers(self, job_ids):
        return self.ledger.results(job_ids)

    def sweep(self):
        self.ledger.sweep(1_000)
