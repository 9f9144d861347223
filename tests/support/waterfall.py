"""The whole waterfall in one thread: a real ledger, all lanes, the local one on the echo engine.

Bedrock is the stand-in, which says what a test wants. A plugin: a test module that names it in
`pytest_plugins` has the fixture `lanes`.
"""

from __future__ import annotations

import os

import pytest
import redis as redis_py

from forebay.routing.jobs import Job
from forebay.routing.learning.audits import Audits
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.workers.bedrock import Bedrock
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.engines.host.child import make_engine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.local import Local
from forebay.workers.router import Router
from forebay.workers.runtime.execute import attempt, record
from mock_bedrock.server import MockBedrock

BELL = '{"id": "@RING@", "queue": "@QUEUE@", "task": "@TASK@"}'
KEEP_ALL = """
[defaults]
thresholds = { classify = 0.0, extract = 0.0, summarize = 0.0, generate = 0.0 }
[defaults.second_opinion]
extract = 0.0
generate = 0.0
[defaults.audit]
share = 1.0
"""


class Said(MockBedrock):
    """A stand-in that says what the test wants."""

    answer = "yes"

    def __init__(self) -> None:
        super().__init__()
        self.references = self

    def __enter__(self):
        super().__enter__()
        answer = lambda *_: self.answer  # noqa: E731
        self.references = type("Said", (), {"answer": staticmethod(answer)})()
        return self


class Waterfall:
    """All lanes of one fleet; `work` works what waits in them."""

    def __init__(self, redis, tmp_path, standin) -> None:
        self.policy = tmp_path / "policy.toml"
        self.written = 0
        self.rules()
        self.redis, self.standin = redis, standin
        settings = Settings(
            lease_s=1000, policy_file=self.policy, cache_key="sixteen bytes are enough"
        )
        self.ledger = Ledger(redis, settings, BELL)
        echo = EngineSettings(engine="echo", context_tokens=4096)
        self.local = Local(self.ledger, lambda: Answerer(make_engine(echo)))
        bedrock = BedrockSettings(bedrock_endpoint=standin.url, bedrock_timeout_s=5)
        self.workers = {
            "route": Router(self.ledger),
            "local.default": self.local,
            "embed": self.local,
            "bedrock": Bedrock(self.ledger, bedrock),
        }
        self.audits = Audits(self.ledger)

    def rules(self, more=""):
        self.policy.write_text(KEEP_ALL + more)
        self.written += 1  # two versions within one tick of the clock are two versions
        os.utime(self.policy, ns=(0, self.written * 1_000_000_000))

    def work(self, *queues):
        """Work what waits there, and what comes of it."""
        for queue in queues or self.workers:
            while claim := self.ledger.claim(queue):
                record(self.ledger, claim, attempt(self.workers[queue].work, claim))

    def ask(self, request, **options):
        """A job that was answered locally, whose audit waits for the router."""
        job = Job(request=request, **{"tenant": "acme", "egress": "allow", **options})
        assert self.ledger.create([job]) == [job.id]
        self.work("route")
        self.work("local.default")
        return job

    def audited(self, request, **options):
        """A job that was answered and audited."""
        job = self.ask(request, **options)
        self.work()
        return job

    def shadow(self, job):
        return self.ledger.record(job.id).audited_as

    def reasons(self, job):
        return self.ledger.record(self.shadow(job)).to_receipt().reasons


@pytest.fixture(scope="module")
def waterfall(redis_url, tmp_path_factory):
    """One for all tests of a module: it takes long to make. What changed is seen at once."""
    with (
        pytest.MonkeyPatch.context() as patch,
        Said() as standin,
        redis_py.Redis.from_url(redis_url) as client,
    ):
        patch.setenv("AWS_ACCESS_KEY_ID", "stand-in")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "stand-in")
        for module in (
            "forebay.routing.limits.spillway",
            "forebay.routing.learning.job_types",
            "forebay.routing.learning.calibration",
            "forebay.routing.limits.outlook",
        ):
            patch.setattr(f"{module}.LOOK_EVERY_S", 0)
        made = Waterfall(client, tmp_path_factory.mktemp("waterfall"), standin)
        yield made
        made.local.close()


@pytest.fixture
def lanes(waterfall, redis, redis_url, monkeypatch):
    """As it was when it was made, over an empty Redis, which commands find as well."""
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)
    waterfall.ledger.serve("test", ["bedrock"], 3600)
    waterfall.rules()
    waterfall.standin.calls.clear()
    waterfall.standin.faults.plan([])
    waterfall.standin.answer = "yes"
    return waterfall
