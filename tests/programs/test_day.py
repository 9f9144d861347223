"""A short day of simulated traffic meets its target, and no budget is passed, whatever is asked."""

from __future__ import annotations

import random
import time

import pytest
from tests.benchmarks import day

from forebay.routing.base import NANO
from forebay.routing.books.job_book import JobBook
from forebay.routing.limits.budget import Budget

pytestmark = pytest.mark.slow

MODEL = "anthropic.claude-sonnet-5-5"
JOBS = 2_000
YESTERDAY = (time.time() // day.DAY_S - 1) * day.DAY_S


@pytest.fixture(scope="module")
def jobs():
    return list(day.arrivals(JOBS, random.Random(7)))


def test_the_target_is_met_with_the_hardest_jobs(redis, jobs):
    played = day.Simulation(redis, MODEL, YESTERDAY).run(jobs)
    assert sum(played.went.values()) / JOBS == pytest.approx(0.1, abs=0.012)
    ours, best = day.found(jobs, played.went)
    assert ours > 0.75 * best > 0.3
    assert Budget(redis).spent() == (played.settled_nusd, 0)


def test_a_budget_that_is_too_small_is_never_passed(redis, jobs, monkeypatch):
    monkeypatch.setattr(day, "BUDGET_USD", 0.5)
    played = day.Simulation(redis, MODEL, YESTERDAY).run(jobs)
    assert played.refused > 0
    assert 0.4 * NANO < played.most_nusd <= 0.5 * NANO
    counts = list(JobBook(redis).read(YESTERDAY, YESTERDAY + day.DAY_S))
    assert sum(count.number for count in counts if count.of[-1] == "jobs") == JOBS
    assert sum(count.number for count in counts if count.of[-1] == "degraded") == played.refused
