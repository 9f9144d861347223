"""Budgets by hour, day and month, of tenants, models and the fleet: hard ones and alerts."""

import json
import logging
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.routing.base import NANO
from forebay.routing.errors import BudgetExceeded, Misconfigured
from forebay.routing.limits.allowances import Limit, limits
from forebay.routing.limits.budget import MAX_NUSD, Budget
from forebay.routing.limits.windows import Window, window
from forebay.routing.policy.policy_file import Policy

MODEL = "anthropic.claude-haiku-5-5"


@pytest.fixture
def budget(redis):
    return Budget(redis)


def policy(tmp_path, text):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return Policy.load(path)


def reserve(budget, rules, call, usd, *, tenant="acme", model=MODEL):
    budget.reserve(
        call, f"job-of-{call}", tenant, int(usd * NANO), term_s=60,
        limits_at=lambda at_s: limits(rules, tenant, model, at_s),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "scope", "span"),
    [
        ("[defaults]\nhourly_budget_usd = 1.0", "tenant", "hour"),
        ("[tenants.acme]\ndaily_budget_usd = 1.0", "tenant", "day"),
        ("[defaults]\nmonthly_budget_usd = 1.0", "tenant", "month"),
        ("[fleet]\nhourly_budget_usd = 1.0", "fleet", "hour"),
        ("[fleet]\ndaily_budget_usd = 1.0\ntime_zone = 'Asia/Tokyo'", "fleet", "day"),
        ("[fleet]\nmonthly_budget_usd = 1.0", "fleet", "month"),
        (f"[fleet.models.'{MODEL}']\nhourly_budget_usd = 1.0", "model", "hour"),
        (f"[fleet.models.'{MODEL}']\ndaily_budget_usd = 1.0", "model", "day"),
        (f"[fleet.models.'{MODEL}']\nmonthly_budget_usd = 1.0", "model", "month"),
        (
            "[tenants.acme]\nmonthly_budget_usd = 1.0\ntime_zone = 'Europe/Berlin'",
            "tenant",
            "month",
        ),
    ],
)
def test_each_budget_holds_to_the_last_billionth(budget, tmp_path, caplog, rules, scope, span):
    rules = policy(tmp_path, rules)
    reserve(budget, rules, "a", 0.6)
    budget.settle("a", int(0.5 * NANO))
    for _ in range(2):
        with pytest.raises(BudgetExceeded, match=rf"the {scope}'s budget of the {span} has \$0\.5"):
            reserve(budget, rules, "b", 0.500000001)
    reserve(budget, rules, "b", 0.5)
    refused = [one for one in caplog.records if one.event == "budget.spent"]
    assert len(refused) == 1  # once in a window, however many calls are refused


def test_the_budget_of_a_model_does_not_count_other_models(budget, tmp_path):
    rules = policy(tmp_path, f"[fleet.models.'{MODEL}']\ndaily_budget_usd = 1.0")
    reserve(budget, rules, "a", 1.0, model="amazon.nova-micro-v1:0")
    reserve(budget, rules, "b", 1.0)
    with pytest.raises(BudgetExceeded, match="model"):
        reserve(budget, rules, "c", 0.1)


def test_a_budget_that_is_set_later_knows_what_was_spent(budget, tmp_path):
    reserve(budget, Policy(), "a", 1.0)
    budget.settle("a", NANO)
    with pytest.raises(BudgetExceeded, match="month"):
        reserve(budget, policy(tmp_path, "[fleet]\nmonthly_budget_usd = 1.0"), "b", 0.1)


def test_an_alert_is_logged_once_in_a_window_and_refuses_nothing(budget, tmp_path, caplog):
    rules = policy(
        tmp_path, "[defaults]\ndaily_alert_usd = 1.0\n[fleet]\nmonthly_alert_usd = 1.5\n"
    )
    caplog.set_level(logging.WARNING)
    for number in range(5):
        reserve(budget, rules, str(number), 0.5)
        budget.settle(str(number), NANO // 2)
    alerts = [(one.fields["owner"], one.fields["span"]) for one in caplog.records]
    assert alerts == [("acme", "day"), ("*", "month")]


def test_what_is_left_is_the_least_of_all_budgets(budget, tmp_path):
    rules = policy(
        tmp_path, "[defaults]\nmonthly_budget_usd = 4.0\n[fleet]\nhourly_budget_usd = 3.0"
    )
    reserve(budget, rules, "a", 1.0)
    left = [budget.left(lambda at_s, name=name: limits(rules, name, None, at_s)) for name in "ab"]
    assert left == [2 * NANO, 2 * NANO]
    assert budget.left(lambda _: ()) is None


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "/etc/localtime"])
def test_a_time_zone_that_is_not_known_is_one_error(tmp_path, zone):
    with pytest.raises(Misconfigured, match="must be the name of a time zone") as error:
        policy(tmp_path, f"[tenants.acme]\ntime_zone = '{zone}'")
    assert error.value.field == "[tenants.acme] time_zone"


def test_a_clock_that_runs_apart_is_corrected_by_redis(budget, monkeypatch):
    ahead = time.time
    monkeypatch.setattr(time, "time", lambda: ahead() + 7_200)
    reserve(budget, Policy(), "a", 0.1)
    at_ms = int(budget._redis.hget("fb:spend:call:a", "at"))
    hour = window("hour", at_ms / 1_000)
    assert budget._redis.hget(f"fb:spend:{hour.book}", "acme:reserved") == b"100000000"


# --- at the edge of what Lua can count ----------------------------------------------------------

FOREVER = Window("month", 0, 4_000_000_000)
EDGE = st.sampled_from([0, 1, 2, MAX_NUSD // 2, MAX_NUSD - 1, MAX_NUSD, 2**53, 2**53 + 1, 2**60])
AMOUNT = st.one_of(st.integers(0, MAX_NUSD), st.sampled_from([0, 1, MAX_NUSD - 1, MAX_NUSD]))


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(settled=EDGE, reserved=EDGE, amount=AMOUNT, hard=st.none() | AMOUNT, soft=st.none() | AMOUNT)
def test_no_sum_is_compared_inexactly(redis, settled, reserved, amount, hard, soft):
    """What Redis decides is what exact integers say, whatever stands in the books."""
    key = f"fb:spend:{FOREVER.book}"
    redis.delete(key, "fb:spend:call:c", "fb:spend:job:j", *redis.keys("fb:spend:day:*"))
    redis.hset(key, mapping={"acme:settled": settled, "acme:reserved": reserved})
    limit = Limit("acme", "tenant", FOREVER, hard, soft)
    fits = not amount or settled + reserved + amount <= (MAX_NUSD if hard is None else hard)
    try:
        Budget(redis).reserve("c", "j", "acme", amount, term_s=60, limits_at=lambda _: [limit])
        done = True
    except BudgetExceeded:
        done = False
    assert done == fits
    alerted = redis.hget(key, "acme:alerted") == b"1"
    assert alerted == (done and soft is not None and settled + reserved + amount >= soft)


# --- races --------------------------------------------------------------------------------------

RACER = """
import json, multiprocessing, random, sys, time
import redis
from forebay.routing.errors import BudgetExceeded, Throttled, Unavailable
from forebay.routing.limits.allowances import Limit
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.windows import Window

url, limit = sys.argv[1], int(sys.argv[2])

def limits(at_s):
    second = Window("hour", int(at_s), int(at_s) + 1)  # "hours" that last a second
    some = Window("day", int(at_s) // 3 * 3, int(at_s) // 3 * 3 + 3)
    return [Limit("*", "fleet", second, limit), Limit("acme", "tenant", some, 2 * limit),
            Limit("*:m", "model", second, limit - 7)]

def race(name):
    budget, dice = Budget(redis.Redis.from_url(url)), random.Random(name)
    unknown, reserved, number, until = [], 0, 0, time.time() + 4
    while time.time() < until:
        number += 1
        call = f"{name}.{number}"
        price = 1 + int(time.time() * 2) % 5  # the prices change twice a second
        try:
            budget.reserve(call, f"job.{dice.randint(0, 300)}", "acme", 10 * price,
                limits_at=limits, term_s=0.2)
        except (BudgetExceeded, Throttled, Unavailable):
            continue
        reserved += 1
        fate = dice.random()
        if fate < 0.2:
            budget.release(call)
        elif fate < 0.8:
            budget.settle(call, dice.randint(0, 10 * price))
        else:
            unknown.append(call)
    return reserved, unknown

with multiprocessing.get_context("fork").Pool(64) as pool:
    print(json.dumps(pool.map(race, range(64), chunksize=1)))
"""


@pytest.mark.slow
def test_sixty_four_processes_overrun_no_budget_while_windows_roll_over(budget, redis_url, redis):
    limit, peaks = 500, {}
    argv = [sys.executable, "-c", RACER, redis_url, str(limit)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as racers:
        while racers.poll() is None:
            for key, owner, sums in books(redis):
                peaks[key, owner] = max(peaks.get((key, owner), 0), sum(sums))
            time.sleep(0.02)
        results = json.loads(racers.stdout.read())
    caps = {"*": limit, "acme": 2 * limit, "*:m": limit - 7}
    assert peaks
    assert {key: peak for key, peak in peaks.items() if peak > caps[key[1]]} == {}
    assert any(peak > 0.9 * caps[key[1]] for key, peak in peaks.items())  # they did compete
    assert sum(reserved for reserved, _ in results) > 100
    unknown = [call for _, calls in results for call in calls]
    assert {call.call_id for call in budget.open(limit=100_000)} == set(unknown)
    for number, call in enumerate(unknown):
        budget.settle(call, 1) if number % 2 else budget.release(call)
    assert budget.spent()[1] == 0
    assert {key: sums[1] for key, _, sums in books(redis) if sums[1]} == {}


def books(redis):
    """Yield each book of a window, each owner in it, and what is settled and reserved there."""
    for key in redis.scan_iter("fb:spend:from:*"):
        fields = redis.hgetall(key)
        for owner in ("*", "acme", "*:m"):
            sums = [
                int(fields.get(f"{owner}:{what}".encode(), 0)) for what in ("settled", "reserved")
            ]
            yield key, owner, sums
