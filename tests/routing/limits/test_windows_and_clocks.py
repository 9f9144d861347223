"""Budgets of hours, days and months in several time zones, while Redis' clock jumps to and fro."""

from __future__ import annotations

import time
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from forebay.routing.base import NANO
from forebay.routing.errors import BudgetExceeded
from forebay.routing.limits.allowances import limits
from forebay.routing.limits.budget import Budget
from forebay.routing.policy.policy_file import Policy
from forebay.routing.store import scripts

CLOCK = "return time[1] * 1000000 + time[2]"
NOW = "test:now"  # by which the scripts go, in microseconds
MODELS = ("anthropic.claude-haiku-5-5", "anthropic.claude-sonnet-5-5")
POLICY = f"""
[tenants.acme]
time_zone = "Asia/Kolkata"
hourly_budget_usd = 5
daily_budget_usd = 9
monthly_budget_usd = 14
[tenants.globex]
time_zone = "America/New_York"
hourly_budget_usd = 4
monthly_budget_usd = 20
[fleet]
hourly_budget_usd = 7
daily_budget_usd = 15
monthly_budget_usd = 24
[fleet.models."{MODELS[0]}"]
daily_budget_usd = 8
"""
HOUR_S = 3_600
#: Half hours from now on, among them ends of hours, days and months of each zone. The books of days
#: that are long over are gone.
JUMPS = st.integers(-600, 1_500).map(lambda halves: halves * HOUR_S // 2)


@pytest.fixture
def clock_of_the_test(monkeypatch):
    """Have the scripts go by a clock that stands still until the test moves it."""
    original = scripts.transition
    frozen = f"return tonumber(redis.call('GET', '{NOW}'))"
    monkeypatch.setattr(scripts, "transition", lambda name: original(name).replace(CLOCK, frozen))
    assert CLOCK in original("reserve")
    scripts.digest.cache_clear()
    yield
    scripts.digest.cache_clear()


class Clocks(RuleBasedStateMachine):
    """Calls that are reserved and closed at any time, compared with a model."""

    redis, policy = None, None

    def __init__(self):
        super().__init__()
        self.redis.flushall()
        self.budget, self.begun = Budget(self.redis), time.time() // HOUR_S * HOUR_S + 7
        self.calls = []  # [id, accounts, state, reserved, settled]
        self.jumps(0)

    @rule(seconds=JUMPS)
    def jumps(self, seconds):
        self.now = self.begun + seconds
        self.redis.set(NOW, f"{self.now * 1e6:.0f}")

    @rule(seconds=st.sampled_from([HOUR_S // 2, HOUR_S, -HOUR_S // 2]))
    def goes_a_little(self, seconds):
        self.jumps(self.now + seconds - self.begun)

    @rule(
        tenant=st.sampled_from(["acme", "globex"]), model=st.sampled_from(MODELS),
        usd=st.integers(1, 4), another=st.booleans(),
    )  # fmt: skip
    def reserves(self, tenant, model, usd, another):
        if another:  # a worker that has not met this clock yet
            self.budget = Budget(self.redis)
        call, nusd = f"call-{len(self.calls)}", usd * NANO
        rules, spent = limits(self.policy, tenant, model, self.now), self.sums()
        short = any(
            limit.hard_nusd is not None
            and nusd + sum(spent[limit.owner, limit.window.book]) > limit.hard_nusd
            for limit in rules
        )
        try:
            self.budget.reserve(
                call, f"{tenant}.{call}", tenant, nusd, term_s=60,
                limits_at=lambda at_s: limits(self.policy, tenant, model, at_s),
            )  # fmt: skip
        except BudgetExceeded:
            assert short
        else:
            assert not short
            accounts = {(limit.owner, limit.window.book) for limit in rules}
            self.calls.append([call, accounts, "open", nusd, 0])

    @rule(which=st.integers(0, 30), usd=st.integers(0, 4))
    def settles(self, which, usd):
        if which < len(self.calls):
            call = self.calls[which]
            expected = "again" if call[2] == "settled" else "closed"
            assert self.budget.settle(call[0], usd * NANO) == expected
            if expected == "closed":
                call[2:] = ["settled", 0, usd * NANO]

    @rule(which=st.integers(0, 30))
    def releases(self, which):
        if which < len(self.calls):
            call = self.calls[which]
            assert self.budget.release(call[0]) == (call[2] == "open")
            if call[2] == "open":
                call[2:] = ["released", 0, 0]

    def sums(self):
        """Return what is settled and reserved of each owner in each book, as the model has it."""
        found = defaultdict(lambda: (0, 0))
        for _, accounts, _, reserved, settled in self.calls:
            for account in accounts:
                before = found[account]
                found[account] = before[0] + settled, before[1] + reserved
        return found

    @invariant()
    def the_books_agree_in_every_window(self):
        for (owner, book), sums in self.sums().items():
            stored = self.redis.hmget(f"fb:spend:{book}", f"{owner}:settled", f"{owner}:reserved")
            assert tuple(int(each or 0) for each in stored) == sums


@pytest.mark.no_cover
@pytest.mark.usefixtures("clock_of_the_test")
def test_budgets_hold_in_every_window_however_the_clock_jumps(redis, tmp_path):
    (tmp_path / "policy.toml").write_text(POLICY)
    Clocks.redis, Clocks.policy = redis, Policy.load(tmp_path / "policy.toml")
    few = settings(max_examples=40, stateful_step_count=25, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Clocks, settings=few)
