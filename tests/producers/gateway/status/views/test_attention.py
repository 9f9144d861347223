"""What needs attention is said in words, the worst first; a fleet that is well says nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from forebay.producers.gateway.status.views.attention import problems
from forebay.producers.gateway.status.views.dead_letters import DeadLetters
from forebay.producers.gateway.status.views.fleet_view import (
    BudgetLine,
    FleetView,
    LastHour,
    WorkerLine,
)
from forebay.routing.base import NANO
from forebay.routing.books.targets.refusals import Refusals
from forebay.routing.ledger.worker_status import WorkerStatus
from forebay.routing.limits.pauses import Pause
from forebay.routing.overview.snapshot import QueueLine, Snapshot
from forebay.routing.overview.workers import SeenWorker

SWEEP = QueueLine("sweep", {"interactive": 0, "bulk": 0}, 0.0, 0, ("sweeper1@vm",))
LOCAL = QueueLine("local.default", {"interactive": 3, "bulk": 0}, 4.0, 1, ("local1@vm",))
FLEET = Snapshot(
    at_ms=1_000, queues=(LOCAL, SWEEP), delayed=0, recovered=0, memory=0.2, spent={},
    shut="", paused=(), dead=Counter(), failures=(),
    workers=(), budgets={},
)  # fmt: skip
LOCAL_STATUS = {"name": "local1@vm", "queues": ("local.default",), "slots": 4}
NO_DEAD = DeadLetters((), 0, Counter())
VIEW = FleetView(
    at_ms=1_000, tenant=None, fleet=FLEET, workers=(), hour=LastHour(Counter()), has_history=True,
    budgets=(BudgetLine("*", 0, 0, 50 * NANO),), refused=(), dead=NO_DEAD, bulks=(), pauses=(),
)  # fmt: skip


def words(**changes) -> list[tuple[str, str]]:
    return [(each.level, each.words) for each in problems(replace(VIEW, **changes))]


def fleet(**changes) -> list[tuple[str, str]]:
    return words(fleet=replace(FLEET, **changes))


def test_a_fleet_that_is_well_needs_nothing():
    assert words() == []


def test_each_fault_of_the_fleet_is_named():
    unserved = replace(LOCAL, workers=())
    late = replace(LOCAL, oldest_s=1_200.0)
    one = replace(unserved, waiting={"interactive": 1, "bulk": 0})
    cases = {
        "No sweeper runs": fleet(queues=(LOCAL,)),
        "Bedrock is shut: throttled": fleet(shut="throttled"),
        "No worker serves local.default, where 3 jobs wait": fleet(queues=(unserved, SWEEP)),
        "No worker serves local.default, where 1 job waits": fleet(queues=(one, SWEEP)),
        "Redis uses 90% of its memory": fleet(memory=0.9),
    }
    for expected, ((level, found),) in cases.items():
        assert level == "bad"
        assert found.startswith(expected)
    assert fleet(queues=(late, SWEEP)) == [
        ("warn", "The oldest job in local.default has waited 20 min")
    ]
    assert fleet(budgets=None) == [
        ("warn", "The policy file of this gateway is wrong, or not that of the workers")
    ]
    (recovered,) = fleet(recovered=1)
    assert recovered == ("warn", "1 lease ran out in the last hour: workers died or stalled")


@pytest.mark.parametrize(
    ("changes", "seen_s", "expected"),
    [
        ({}, 1.0, []),
        ({"drained": True}, 1.0, []),
        ({"well": False}, 1.0, [("bad", "The worker local1@vm takes no jobs, though it runs")]),
        ({}, 40.0, [("warn", "The worker local1@vm is gone: it was last seen 40 s ago")]),
    ],
)
def test_a_worker_that_is_stuck_or_gone_is_named(changes, seen_s, expected):
    status = WorkerStatus(**LOCAL_STATUS, **changes)
    assert words(workers=(WorkerLine(SeenWorker(status, seen_s, 60.0), ""),)) == expected


def test_slots_are_those_of_the_workers_that_take_jobs():
    kinds = ({}, {"drained": True}, {"well": False}, {"queues": ("sweep",)})
    lines = [
        WorkerLine(SeenWorker(WorkerStatus(**{**LOCAL_STATUS, **kind}), 1.0, 60.0), "")
        for kind in kinds
    ]
    view = replace(VIEW, workers=tuple(lines))
    assert (view.slots, len(view.live_workers)) == (4, 1)


def test_a_pause_says_how_to_resume():
    pause = Pause("tenant:acme", "audit", 0.0)
    (problem,) = problems(replace(VIEW, pauses=(pause,)))
    assert problem.words == "Paused: tenant:acme: audit"
    assert problem.hint == "forebay resume tenant:acme"


@pytest.mark.parametrize(("spent", "told"), [(39, False), (40, True), (60, True)])
def test_a_budget_is_named_once_four_fifths_are_used(spent, told):
    lines = (BudgetLine("*", spent * NANO, 0, 50 * NANO), BudgetLine("acme", 9, 0, None))
    assert bool(words(budgets=lines)) is told


def test_a_budget_that_refused_calls_is_named_with_what_to_do():
    of_fleet = Refusals("fleet", "*", "day", 1, 2, 0.0, 60.0)
    of_tenant = replace(of_fleet, scope="tenant", owner="acme", span="hour", calls=1)
    first, second = problems(replace(VIEW, refused=(of_fleet, of_tenant)))
    assert first.words.startswith("The fleet's budget of the day refused 2 calls from 1970-01-01")
    assert first.hint == "raise it in the policy file, or wait for the next day"
    assert second.words.startswith("acme: the tenant's budget of the hour refused 1 call from")
    assert (second.level, second.section) == ("warn", "budgets")


def test_dead_jobs_come_after_what_holds_jobs_up():
    dead = DeadLetters((), 2, Counter({("acme", "classify", "bad_answer"): 2}))
    found = problems(replace(VIEW, dead=dead, fleet=replace(FLEET, shut="auth")))
    assert [problem.section for problem in found] == ["budgets", "dead"]
    assert found[1].words == "2 jobs have failed"


def test_a_tenants_part_names_nothing_of_the_fleet():
    assert words(fleet=None, tenant="acme") == []
