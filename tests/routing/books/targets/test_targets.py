"""A target that was missed says why: which budgets refused calls, and when."""

import time
from datetime import UTC, datetime

import pytest

from forebay.routing.base import NANO
from forebay.routing.books.job_book import Count
from forebay.routing.books.job_counts import JobGroup
from forebay.routing.books.targets.refusals import Refusals, refusals
from forebay.routing.books.targets.targets import Target, targets
from forebay.routing.books.usage_report import Paced, usage_report
from forebay.routing.errors import BudgetExceeded
from forebay.routing.limits.allowances import limits
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.prices import Prices
from forebay.routing.limits.windows import window
from forebay.routing.policy.policy_file import Policy

MODEL = "anthropic.claude-haiku-5-5"


@pytest.fixture
def ask(redis):
    """Ask for calls of a dollar; return how many were refused."""
    budget = Budget(redis)

    def reserve(policy, tenant, *calls):
        refused = 0
        for call in calls:
            try:
                budget.reserve(
                    call, f"{tenant}.{call}", tenant, NANO, term_s=60,
                    limits_at=lambda at_s: limits(policy, tenant, MODEL, at_s),
                )  # fmt: skip
            except BudgetExceeded:
                refused += 1
        return refused

    return reserve


def policy(**tables):
    return Policy.model_validate({"defaults": {"models": (MODEL,)}} | tables)


def told(redis, rules, tenant="acme"):
    now = time.time()
    found = refusals(redis, rules, tenant, now - 3_600, now + 1)
    return {(one.scope, one.owner, one.span): (one.calls, one.windows) for one in found}


@pytest.mark.parametrize(
    ("tables", "name"),
    [
        ({"defaults": {"daily_budget_usd": 2.0}}, ("tenant", "acme", "day")),
        (
            {"tenants": {"acme": {"monthly_budget_usd": 2.0, "time_zone": "Asia/Tokyo"}}},
            ("tenant", "acme", "month"),
        ),
        ({"fleet": {"hourly_budget_usd": 2.0}}, ("fleet", "*", "hour")),
        ({"fleet": {"models": {MODEL: {"daily_budget_usd": 2.0}}}}, ("model", f"*:{MODEL}", "day")),
    ],
)
def test_the_budget_that_refused_calls_is_told_with_its_times(redis, ask, tables, name):
    rules, began = policy(**tables), time.time()
    assert told(redis, rules) == {}
    assert ask(rules, "acme", "a", "b", "c", "d", "e") == 3
    assert told(redis, rules) == {name: (3, 1)}
    (found,) = refusals(redis, rules, "acme", began - 60, began + 60)
    assert began - 1 < found.first_s <= found.last_s < time.time() + 1


def test_a_budget_of_another_tenant_is_not_told(redis, ask):
    rules = policy(defaults={"daily_budget_usd": 1.0})
    ask(rules, "other", "a", "b")
    assert told(redis, rules) == {}


def test_the_refusals_of_several_windows_are_added_up_and_older_notes_are_read(redis):
    noon = 1_795_867_200  # 2026-11-28, 12:00
    hours = [window("hour", noon - ago * 3_600).book for ago in (0, 2, 3)]
    for number, book in enumerate(hours[:2]):
        at_ms = (noon - number * 7_200 + 90) * 1_000
        values = {"*:refused": at_ms, "*:last_refused": at_ms + 1_000, "*:refusals": 4}
        redis.hset(f"fb:spend:{book}", mapping=values)
    redis.hset(f"fb:spend:{hours[2]}", "*:refused", "1")
    (one,) = refusals(redis, policy(), "acme", noon - 86_400, noon + 100)
    assert (one.calls, one.windows, one.first_s) == (9, 3, noon - 3 * 3_600)
    assert one.text == (
        "the fleet's budget of the hour refused 9 calls from 2026-11-28 09:00 to 12:01 UTC, "
        "in 3 hours"
    )


def test_one_refusal_is_told_in_words():
    at_s = datetime(2026, 11, 27, 17, 10, tzinfo=UTC).timestamp()
    one = Refusals("fleet", "*", "day", 1, 683, at_s, at_s + 6 * 3_600 + 40 * 60)
    assert one.text == (
        "the fleet's budget of the day refused 683 calls from 2026-11-27 17:10 to 23:50 UTC"
    )


def target(went_up, share=0.1, usd=None, refused=()):
    return Target("acme", share, usd, Paced(1_000, went_up), refused)


REFUSED = Refusals("fleet", "*", "day", 1, 1, 0, 0)


@pytest.mark.parametrize(
    ("one", "missed", "why"),
    [
        (target(100), False, []),
        (target(91), False, []),
        (target(80), True, ["no budget refused a call: see `forebay router status`"]),
        (target(140), True, ["no budget refused a call: see `forebay router status`"]),
        (target(80, usd=5.0), True, ["its target of $5.00 a day holds as well"]),
        (target(80, refused=(REFUSED,)), True, [REFUSED.text]),
        (target(100, refused=(REFUSED,)), False, [REFUSED.text]),
        (target(100, share=None, usd=5.0), False, []),
    ],
)
def test_a_missed_target_says_why(one, missed, why):
    assert (one.is_missed, list(one.why())) == (missed, why)
    assert len(list(one.lines())) == 1 + len(why)


def test_a_report_has_the_targets_of_its_tenants(redis):
    def jobs(tenant, egress, lane, number, kind="classify"):
        group = JobGroup(tenant, kind, egress, "done" if lane else "failed", lane, MODEL)
        return Count(0, "job", (*group, "jobs"), number)

    counts = [
        jobs("acme", "allow", "local", 90), jobs("acme", "allow", "bedrock", 10),
        jobs("acme", "deny", "local", 500), jobs("acme", "allow", "local", 7, "embed"),
        jobs("acme", "allow", "", 3), jobs("beta", "allow", "local", 5),
    ]  # fmt: skip
    report = usage_report(counts, [], Prices.load(), MODEL, (0, 3_600))
    rules = policy(tenants={"acme": {"pace": {"share": 0.1}}})
    (one,) = targets([redis], rules, report)
    assert (one.paced, one.is_missed) == (Paced(100, 10), False)
    assert list(one.lines()) == [
        "acme: target 10.0% of its jobs; 10.00% of 100 jobs were answered there"
    ]
