"""Calls that compute for long give way: to the worker, and to the calls of other tenants."""

import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from forebay.routing.errors import EngineBusy
from forebay.routing.jobs import Extract, Job
from forebay.workers.engines.engine import EngineInfo
from forebay.workers.isolation import pool
from forebay.workers.isolation.frames import frame
from forebay.workers.isolation.limits import (
    LONG_NICENESS,
    MAX_OF_SLOW_TENANT,
    MAX_OF_TENANT,
    NICENESS,
    Crowded,
    OverBudget,
)
from forebay.workers.isolation.pool import Pool
from forebay.workers.prompts import bounded
from patience import until

pytestmark = pytest.mark.slow

HANGS = re.fullmatch, "(a+)+$", "a" * 60 + "b"


def test_a_call_that_computes_long_gives_way_to_the_worker():
    quick = pool.call(os.getpid)
    assert os.getpriority(os.PRIO_PROCESS, quick) == min(os.nice(0) + NICENESS, LONG_NICENESS)
    with ThreadPoolExecutor(1) as threads:
        long = threads.submit(pool.call, *HANGS)
        until(lambda: os.getpriority(os.PRIO_PROCESS, quick) == LONG_NICENESS, 20)
        with pytest.raises(OverBudget):
            long.result()


def test_a_process_that_gave_way_is_not_used_again():
    quick = pool.call(os.getpid)
    assert pool.call_within(60, sum, range(40_000_000)) == sum(range(40_000_000))
    assert pool.call(os.getpid) != quick


def test_a_tenant_whose_calls_take_long_leaves_processes_and_threads_to_others():
    own = Pool()

    def check(number: int) -> str:
        with own.cancellable(f"hostile.{number}"):
            try:
                own.run(re.fullmatch, frame((re.fullmatch, HANGS[1:], {})), 5)
            except Crowded:
                return "crowded"
            except OverBudget:
                return "stopped"
        return "checked"

    with ThreadPoolExecutor(16) as threads:
        ends = [threads.submit(check, number) for number in range(16)]
        until(lambda: any(end.done() and end.result() == "crowded" for end in ends), 30)
        with own.cancellable("honest.1"):
            assert own.run(os.getpid, frame((os.getpid, (), {})), 60) > 0
        assert own._count <= MAX_OF_TENANT + 1
        counts = Counter(end.result() for end in ends)
    own.close()
    assert counts["stopped"] <= MAX_OF_TENANT + MAX_OF_SLOW_TENANT
    assert counts["crowded"] == 16 - counts["stopped"]


def test_a_prompt_is_built_later_while_other_jobs_of_the_tenant_take_too_long(monkeypatch):
    def crowded(*_args: object, **_kwargs: object) -> None:
        raise Crowded("other checks of this tenant take too long")

    monkeypatch.setattr(bounded, "call", crowded)
    info = EngineInfo(engine="echo", model="m", revision="r", context_tokens=4_096, slots=1)
    job = Job(request=Extract(text="word " * 5_000, schema={"type": "object"}))
    with pytest.raises(EngineBusy, match="take too long"):
        bounded.local(job, info, prompt_id="p")
