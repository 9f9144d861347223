"""Calls that compute for long give way: to the worker, and to the calls of other tenants."""

import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from forebay.routing.errors import EngineBusy, Lost
from forebay.routing.jobs import Extract, Job
from forebay.workers.engines.engine import EngineInfo
from forebay.workers.isolation import process
from forebay.workers.isolation.frames import frame
from forebay.workers.isolation.limits import (
    LONG_NICENESS,
    MAX_OF_SLOW_TENANT,
    MAX_OF_TENANT,
    NICENESS,
    Crowded,
)
from forebay.workers.isolation.pool import Pool
from forebay.workers.prompts import bounded
from patience import until

pytestmark = pytest.mark.slow

HANGS = "(a+)+$", "a" * 60 + "b"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """Let a call count as long as soon as the kernel has counted any time for it."""
    monkeypatch.setattr(process, "LONG_CPU_S", 0.0)
    monkeypatch.setattr(process, "LOOK_EVERY_S", 0.01)


@pytest.fixture
def own():
    own = Pool()
    yield own
    own.close()


def hang(own: Pool, key: str) -> str:
    """Make a call that never ends; return how it was stopped."""
    with own.cancellable(key):
        try:
            own.run(re.fullmatch, frame((re.fullmatch, HANGS, {})), 60)
        except Crowded:
            return "crowded"
        except Lost:
            return "cancelled"
    return "returned"


def niceness(own: Pool) -> int:
    return os.getpriority(os.PRIO_PROCESS, own.run(os.getpid, frame((os.getpid, (), {})), 60))


def test_a_call_that_computes_long_gives_way_to_the_worker(own):
    quick = own.run(os.getpid, frame((os.getpid, (), {})), 60)
    usual = min(os.nice(0) + NICENESS, LONG_NICENESS)
    assert os.getpriority(os.PRIO_PROCESS, quick) == usual
    with ThreadPoolExecutor(1) as threads:
        end = threads.submit(hang, own, "hostile.1")
        until(lambda: os.getpriority(os.PRIO_PROCESS, quick) == LONG_NICENESS, 60)
        own.cancel("hostile.1")
        assert end.result() == "cancelled"
    assert niceness(own) == usual


def test_a_process_that_gave_way_is_not_used_again(own):
    quick = own.run(os.getpid, frame((os.getpid, (), {})), 60)
    numbers = range(8_000_000)
    assert own.run(sum, frame((sum, (numbers,), {})), 60) == sum(numbers)
    assert own.run(os.getpid, frame((os.getpid, (), {})), 60) != quick


def test_a_tenant_whose_calls_take_long_leaves_processes_and_threads_to_others(own):
    keys = [f"hostile.{number}" for number in range(12)]
    with ThreadPoolExecutor(len(keys)) as threads:
        ends = [threads.submit(hang, own, key) for key in keys]
        until(lambda: sum(end.done() for end in ends) >= len(keys) - MAX_OF_TENANT, 60)
        with own.cancellable("honest.1"):
            assert niceness(own) < LONG_NICENESS
        for key in keys:
            own.cancel(key)
        counts = Counter(end.result() for end in ends)
    assert counts == {"cancelled": MAX_OF_TENANT, "crowded": len(keys) - MAX_OF_TENANT}
    assert hang_again(own) == "crowded"


def hang_again(own: Pool) -> str:
    """Fill the share of a slow tenant, and make one call more."""
    keys = [f"hostile.{number}" for number in range(MAX_OF_SLOW_TENANT)]
    with ThreadPoolExecutor(len(keys)) as threads:
        ends = [threads.submit(hang, own, key) for key in keys]
        until(lambda: own._shares._used["hostile"] == MAX_OF_SLOW_TENANT, 60)
        one_more = hang(own, "hostile.more")
        until(lambda: all(own._scopes[key].process for key in keys), 60)
        for key in keys:
            own.cancel(key)
        assert {end.result() for end in ends} == {"cancelled"}
    return one_more


def test_calls_that_belong_to_no_job_are_not_limited(own):
    assert own._shares.is_free("")
    for _ in range(MAX_OF_TENANT):
        own._shares.use("acme")
    assert not own._shares.is_free("acme")
    assert own._shares.is_free("globex")
    own._shares.give_back("acme")
    assert own._shares.is_free("acme")


def test_a_prompt_is_built_later_while_other_jobs_of_the_tenant_take_too_long(monkeypatch):
    def crowded(*_args: object, **_kwargs: object) -> None:
        raise Crowded("other checks of this tenant take too long")

    monkeypatch.setattr(bounded, "call", crowded)
    info = EngineInfo(engine="echo", model="m", revision="r", context_tokens=4_096, slots=1)
    job = Job(request=Extract(text="word " * 5_000, schema={"type": "object"}))
    with pytest.raises(EngineBusy, match="take too long"):
        bounded.local(job, info, prompt_id="p")
