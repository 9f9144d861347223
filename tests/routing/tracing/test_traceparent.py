"""A traceparent is taken as it is if it has the form of W3C, or made of the job's id."""

from __future__ import annotations

import subprocess
import sys

import pytest

from forebay.routing.jobs import Job, Summarize, new_id
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.routing.tracing import spans
from forebay.routing.tracing.traceparent import checked, current, of_job
from ledger_jobs import BELL

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "value",
    [
        None, "", "00", GIVEN.upper(), GIVEN + "0", GIVEN.replace("00-", "01-", 1), f" {GIVEN}",
        f"00-{'0' * 32}-b7ad6b7169203331-01", f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        "00-0af7651916cd43dd8448eb211c80319c-secret0000000000-01", f"{GIVEN}\n",
    ],
)  # fmt: skip
def test_what_is_no_traceparent_is_not_taken(value):
    assert checked(value) is None


def test_a_job_has_the_traceparent_that_its_producer_gave_or_one_made_of_its_id():
    job_id = new_id("acme")
    assert of_job(job_id, GIVEN) == GIVEN
    made = of_job(job_id, "forged")
    assert made == of_job(job_id, None) == checked(made)
    assert made.split("-")[1] == job_id.partition(".")[2]
    assert checked(of_job(f"acme.{'0' * 32}", None))


def test_the_record_keeps_a_traceparent_and_nothing_else_in_its_place(redis, monkeypatch):
    ledger = Ledger(redis, Settings(), BELL)
    for given, kept in ((GIVEN, GIVEN), ("", None), ("my content", None), (GIVEN + "ff", None)):
        monkeypatch.setattr(
            "forebay.routing.tracing.traceparent.current", lambda given=given: given
        )
        (job_id,) = ledger.create([Job(tenant="acme", request=Summarize(text="t"))])
        assert ledger.record(job_id).traceparent == kept
        assert (redis.hget(f"fb:job:{job_id}", "traceparent") or b"").decode() == (kept or "")


def test_without_a_provider_nothing_is_recorded_and_no_job_has_a_traceparent():
    assert not spans.tracing()
    with spans.span("x", job="acme.1") as span:
        span.set(code="y")
        span.rename("z")
        span.fail("w")
        assert current() == ""
    spans.record("x", 0)


def test_a_producers_own_provider_is_used_and_its_span_is_the_parent():
    program = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
kept = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
from forebay.routing.errors import TooLong
from forebay.routing.tracing import spans
from forebay.routing.tracing.traceparent import current
with trace.get_tracer("theirs").start_as_current_span("request"):
    outer = current()
    try:
        with spans.span("forebay.submit", forebay__jobs=2):
            raise TooLong("a secret text")
    except TooLong:
        pass
    spans.record("past", 1, error="internal")
done = {span.name: span for span in kept.get_finished_spans()}
ours = done["forebay.submit"]
assert f"{ours.parent.span_id:016x}" == outer.split("-")[2]
assert (dict(ours.attributes), ours.status.description) == (
    {"forebay.jobs": 2, "error.type": "too_long"}, "too_long")
assert ours.events == () and "secret" not in ours.to_json()
assert done["past"].status.description == "internal" and done["past"].start_time == 1
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], check=False, text=True, timeout=60,
        capture_output=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_collector_that_is_named_without_the_extra_is_one_clear_error():
    program = """
import sys
sys.modules["opentelemetry.sdk"] = None
from forebay.producers.cli.main import run
sys.exit(run(["version"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], text=True, timeout=60, check=False, capture_output=True,
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
    )  # fmt: skip
    assert done.returncode == 2
    assert "OTEL_EXPORTER_OTLP_ENDPOINT: needs OpenTelemetry's SDK" in done.stderr
    assert "the extra `otel`" in done.stderr
