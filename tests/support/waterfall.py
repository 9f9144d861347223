"""All lanes of a fleet in one thread, over a real ledger; the local lane runs the echo engine.

The mock of Bedrock answers as a test wants. A test module that names this plugin in
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
from forebay.workers.runtime.execute import attempt
from forebay.workers.runtime.recording import record
from ledger_jobs import BELL
from mock_bedrock.canned_answers import References
from mock_bedrock.server import MockBedrock

KEEP_ALL = """
[defaults]
thresholds = { classify = 0.0, extract = 0.0, summarize = 0.0, generate = 0.0, decide = 0.0 }
[defaults.second_opinion]
extract = 0.0
generate = 0.0
[defaults.audit]
share = 1.0
"""


class ScriptedAnswers(References):
    """Gives the same answer to every prompt.

    Attributes:
        text: the answer.
    """

    text = "yes"

    def answer(self, prompt, schema):
        return self.text


class ScriptedBedrock(MockBedrock):
    """A mock of Bedrock that gives the answer of the test.

    Attributes:
        answer: the text of every answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.references = ScriptedAnswers()

    @property
    def answer(self) -> str:
        return self.references.text

    @answer.setter
    def answer(self, text: str) -> None:
        self.references.text = text


class Waterfall:
    """All lanes of one fleet; `work` carries out the jobs that wait in them.

    Attributes:
        policy: the policy file.
        mock: the mock of Bedrock.
        workers: the worker of each queue.
    """

    def __init__(self, redis, tmp_path, mock) -> None:
        self.policy = tmp_path / "policy.toml"
        self.written = 0
        self.rules()
        self.redis, self.mock = redis, mock
        settings = Settings(
            lease_s=1000, policy_file=self.policy, cache_key="sixteen bytes are enough"
        )
        self.ledger = Ledger(redis, settings, BELL)
        echo = EngineSettings(engine="echo", context_tokens=4096)
        self.local = Local(self.ledger, lambda: Answerer(make_engine(echo)))
        bedrock = BedrockSettings(bedrock_endpoint=mock.url, bedrock_timeout_s=5)
        self.workers = {
            "route": Router(self.ledger),
            "local.default": self.local,
            "embed": self.local,
            "bedrock": Bedrock(self.ledger, bedrock),
        }
        self.audits = Audits(self.ledger)

    def rules(self, more=""):
        """Write the policy file: everything stays local and is audited, and `more`."""
        self.policy.write_text(KEEP_ALL + more)
        self.written += 1  # a new time for each version, even within one tick of the clock
        os.utime(self.policy, ns=(0, self.written * 1_000_000_000))

    def work(self, *queues):
        """Carry out the jobs in these queues (all by default) until the queues are empty."""
        for queue in queues or self.workers:
            while claim := self.ledger.claim(queue):
                record(self.ledger, claim, attempt(self.workers[queue].work, claim))

    def ask(self, request, **options):
        """Return a job that was answered locally; its audit waits for the router."""
        job = Job(request=request, **{"tenant": "acme", "egress": "allow", **options})
        assert self.ledger.create([job]) == [job.id]
        self.work("route")
        self.work("local.default")
        return job

    def audited(self, request, **options):
        """Return a job that was answered and audited."""
        job = self.ask(request, **options)
        self.work()
        return job

    def shadow(self, job):
        """Return the id of the job's audit."""
        return self.ledger.record(job.id).audited_as

    def reasons(self, job):
        """Return the reasons in the receipt of the job's audit."""
        return self.ledger.record(self.shadow(job)).to_receipt().reasons


@pytest.fixture(scope="module")
def waterfall(redis_url, tmp_path_factory):
    """Yield one waterfall for all tests of a module, since it takes long to build.

    Caches are off, so that its parts see every change at once.
    """
    with (
        pytest.MonkeyPatch.context() as patch,
        ScriptedBedrock() as mock,
        redis_py.Redis.from_url(redis_url) as client,
    ):
        patch.setenv("AWS_ACCESS_KEY_ID", "mock")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "mock")
        for module in (
            "forebay.routing.limits.spillway",
            "forebay.routing.learning.job_types",
            "forebay.routing.learning.calibration",
            "forebay.routing.learning.versions",
            "forebay.routing.learning.agreement_rates",
            "forebay.routing.limits.frontier_status",
        ):
            patch.setattr(f"{module}.LOOK_EVERY_S", 0)
        built = Waterfall(client, tmp_path_factory.mktemp("waterfall"), mock)
        yield built
        built.local.close()
        built.workers["bedrock"].close()


@pytest.fixture
def lanes(waterfall, redis, redis_url, monkeypatch):
    """Return the waterfall in its first state over an empty Redis, which commands find too."""
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)
    waterfall.ledger.serve("test", ["bedrock"], 3600)
    waterfall.rules()
    waterfall.mock.calls.clear()
    waterfall.mock.faults.plan([])
    waterfall.mock.answer = "yes"
    return waterfall
