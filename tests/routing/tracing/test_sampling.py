"""A share of the traces is recorded, the same by every process, as OTEL_TRACES_SAMPLER says."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import new_id
from forebay.routing.tracing.sampling import DEFAULT_RATIO, Sampling, sampling
from forebay.routing.tracing.traceparent import of_job

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}"


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"):
        monkeypatch.delenv(name, raising=False)
    sampling.cache_clear()
    yield
    sampling.cache_clear()


@pytest.mark.parametrize(
    ("sampler", "argument", "said"),
    [
        ("", "", Sampling(DEFAULT_RATIO)), ("", "0.5", Sampling(0.5)), ("", " 1 ", Sampling(1.0)),
        ("traceidratio", "0.25", Sampling(0.25, follows_parent=False)),
        ("parentbased_traceidratio", "", Sampling(1.0)),
        ("always_on", "", Sampling(1.0, follows_parent=False)),
        ("parentbased_always_on", "0.1", Sampling(1.0)),
        ("ParentBased_Always_Off", "", Sampling(0.0)),
        ("always_off", "", Sampling(0.0, follows_parent=False)),
        ("jaeger_remote", "endpoint=http://x", Sampling(1.0, follows_parent=False)),
    ],
)  # fmt: skip
def test_the_variables_of_opentelemetry_choose(monkeypatch, sampler, argument, said):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    assert sampling() == said


@pytest.mark.parametrize("argument", ["half", "1.1", "-0.1", "nan", "5%"])
def test_a_share_that_is_none_is_one_clear_error(monkeypatch, argument):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    with pytest.raises(Misconfigured, match=r"ARG: must be a number from 0 to 1"):
        sampling()


def test_a_producer_that_traces_decides_for_its_jobs():
    for ratio in (0.0, 1.0):
        wants = Sampling(ratio).wants
        job_id = new_id("acme")
        assert wants(job_id, GIVEN.format(flags="01"))
        assert wants(job_id, GIVEN.format(flags="03"))
        assert not wants(job_id, GIVEN.format(flags="00"))
        assert not wants(job_id, GIVEN.format(flags="02"))
        assert wants(job_id, None) == bool(ratio)


def test_jobs_are_chosen_by_their_ids_as_opentelemetry_chooses_traces():
    ours, theirs, chosen = Sampling(0.3, follows_parent=False), TraceIdRatioBased(0.3), 0
    for _ in range(500):
        job_id = new_id("acme")
        traceparent = of_job(job_id, None)
        verdict = theirs.should_sample(None, int(traceparent.split("-")[1], 16), "x")
        sampled = verdict.decision.is_sampled()
        assert ours.wants(job_id, None) == ours.wants("acme.0", traceparent) == sampled
        chosen += verdict.decision.is_sampled()
    assert 80 < chosen < 220
