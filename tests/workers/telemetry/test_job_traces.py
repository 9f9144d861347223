"""One trace leads from the producer's submit through all workers to the answer, without content."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request

import pytest

from collector import Collector
from forebay.producers.client import Client
from forebay.routing.jobs import Generate, Message
from forebay.routing.ledger.reader import LedgerReader
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect
from local.fleet import ROOT, Fleet
from patience import until

pytestmark = pytest.mark.slow

CANARY = "kanarie"
POLICY = "[defaults]\nthresholds.generate = 0.0\n[defaults.second_opinion]\ngenerate = 0.0\n"
CALLERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UP = f"[[echo: say=]] {CANARY}"  # the local answer is empty, so the job goes up
TOO_LONG = f"{CANARY} " * 5_000


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """Run jobs through a fleet that sends its spans to a collector; return the two."""
    folder = tmp_path_factory.mktemp("traced")
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    with Collector() as collector:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_TRACES_SAMPLER": "parentbased_always_on",
            "FOREBAY_POLICY_FILE": str(policy), "FOREBAY_MAX_ATTEMPTS": "1",
            "FOREBAY_SWEEP_S": "0.2", "no_proxy": "127.0.0.1",
        }  # fmt: skip
        with Fleet(folder, env) as fleet:
            fleet.start_redis()
            for part in ("mock_bedrock", "router", "sweeper", "bedrock"):
                fleet.start(part)
            fleet.start("local", FOREBAY_ENGINE="echo")
            fleet.start("gateway", FOREBAY_GATEWAY_TENANT="acme")
            fleet.wait_ready()
            yield collector, fleet, env


def submit(fleet, env, text, *options) -> str:
    """Submit by the command line, in a process of its own, which sends its spans too."""
    words = ["submit", "generate", "--text", text, *options]
    done = subprocess.run(
        [sys.executable, "-m", "forebay.producers.cli.main", *words],
        env=os.environ | env | {
            "FOREBAY_REDIS_URL": fleet.url, "FOREBAY_TENANT": "acme",
            "PYTHONPATH": str(ROOT / "src"),
        },
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def wait_for(collector, job_id, name="forebay.job"):
    until(lambda: any(s.name == name for s in about(collector, job_id)), 20)


def about(collector, job_id):
    return [span for span in collector.spans if span.attributes.get("forebay.job") == job_id]


def traces(collector, trace):
    return [span for span in collector.spans if span.trace == trace]


def until_traced(collector, trace, *names):
    """Wait until a trace has spans of these names."""
    until(lambda: set(names) <= {span.name for span in traces(collector, trace)}, 20)


def test_one_trace_leads_from_the_submit_to_the_answer_of_bedrock(traced):
    collector, fleet, env = traced
    job_id = submit(fleet, env, UP, "--egress", "allow")
    wait_for(collector, job_id)
    (trace,) = {span.trace for span in about(collector, job_id)}
    until(lambda: len(traces(collector, trace)) >= 7, 10)
    by_name = {span.name: span for span in traces(collector, trace)}
    submitted = by_name["forebay.submit"]
    assert (submitted.service, submitted.parent) == ("forebay-cli", "")
    for name in ("forebay.route", "forebay.local", "forebay.bedrock", "forebay.job"):
        assert by_name[name].parent == submitted.id
        assert by_name[name].service == "forebay-worker"
    assert by_name["forebay.engine"].parent == by_name["forebay.local"].id
    (call,) = [span for name, span in by_name.items() if name.startswith("chat ")]
    assert call.parent == by_name["forebay.bedrock"].id
    assert call.attributes["gen_ai.usage.output_tokens"] > 0
    instances = {by_name[f"forebay.{hop}"].instance for hop in ("route", "local", "bedrock")}
    assert {name.partition("@")[0] for name in instances} == {"router1", "local1", "bedrock1"}
    ended = by_name["forebay.job"].attributes
    assert (ended["forebay.state"], ended["forebay.answered_by"]) == ("done", "bedrock")
    assert ended["forebay.cost_usd"] > 0
    assert ended["forebay.stand_in"] is True, "the mock answered, so its cost is no money"


def test_a_request_to_the_gateway_continues_its_callers_trace(traced):
    collector, fleet, _ = traced
    body = {"model": "auto", "messages": [{"role": "user", "content": CANARY}]}
    request = urllib.request.Request(
        f"{fleet.gateway_url}/v1/chat/completions", json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": "Bearer x", "traceparent": CALLERS},
    )  # fmt: skip
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as response:
        assert response.status == 200
    _, trace, caller, _ = CALLERS.split("-")
    route = "POST /v1/chat/completions"
    until_traced(collector, trace, route, "forebay.submit", "forebay.local", "forebay.job")
    by_name = {span.name: span for span in traces(collector, trace)}
    served = by_name[route]
    assert (served.parent, served.service) == (caller, "forebay-gateway")
    assert served.attributes["http.response.status_code"] == 200
    assert by_name["forebay.submit"].parent == served.id
    assert by_name["forebay.local"].parent == by_name["forebay.submit"].id


def test_the_trace_of_a_job_whose_producer_does_not_trace_is_found_by_the_jobs_id(traced):
    collector, fleet, _ = traced
    request = Generate(messages=[Message(role="user", content=TOO_LONG)])
    with Client(settings=Settings(redis_url=fleet.url), tenant="acme") as client:
        job_id = str(client.submit(request))
        wait_for(collector, job_id)
        settings = Settings(redis_url=fleet.url)
        assert LedgerReader(connect(settings), settings).record(job_id).traceparent is None
    trace = job_id.partition(".")[2]
    until_traced(collector, trace, "forebay.local", "forebay.job")
    spans = traces(collector, trace)
    assert {span.error for span in spans if span.name == "forebay.job"} == {"too_long"}


def test_of_jobs_that_are_not_sampled_no_worker_makes_a_span():
    """A batch of the router is worked in one thread: no span of one job is below another's."""
    program = """
import os
from types import SimpleNamespace
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
kept = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
from forebay.routing.jobs import new_id
from forebay.routing.ledger.record import Record
from forebay.routing.tracing import spans
from forebay.routing.tracing.sampling import sampling
from forebay.routing.tracing.traceparent import current
from forebay.workers.runtime.outcomes import Dropped, Recorded
from forebay.workers.telemetry.job_traces import JobTraces
hook = JobTraces()

def claim(token, traceparent=""):
    fields = {"kind": "embed", "state": "running", "hop": "route", "queue": "route",
              "egress": "deny", "traceparent": traceparent}
    record = Record.from_hash(new_id("acme"), fields)
    return SimpleNamespace(id=record.id, token=token, record=record)

def work(*claims):
    for each in claims:
        hook.started(each)
    with spans.span("inside"):
        spans.record("past", 1)
    for each in claims:
        hook.finished(each, Recorded(each.id, Dropped(), "lost"))
    names = sorted(span.name for span in kept.get_finished_spans())
    kept.clear()
    assert current() == "", current()
    return names

work(claim("0"))  # so the worker's thread has worked a job before
os.environ["OTEL_TRACES_SAMPLER_ARG"] = "0"
sampling.cache_clear()
assert work(claim("1")) == []
given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
assert work(claim("2", given + "0")) == []
assert work(claim("3", given + "1")) == ["forebay.route", "inside", "past"]
assert work(claim("4", given + "1"), claim("5", given + "1"), claim("6")) == ["forebay.route"] * 2
assert work(claim("7")) == []
os.environ["OTEL_TRACES_SAMPLER_ARG"] = "1"
sampling.cache_clear()
assert work(claim("8")) == ["forebay.route", "inside", "past"]
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], check=False, text=True, timeout=60,
        capture_output=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_no_span_holds_content(traced):
    collector, _, _ = traced
    assert len(collector.raw) > 3
    assert collector.scopes == {"forebay"}
    assert [body for body in collector.raw if CANARY.encode() in body] == []
