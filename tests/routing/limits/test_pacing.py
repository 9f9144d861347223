"""Pacing: the target is met whatever the scores do, and the hardest jobs go first.

The traffic is simulated; the controller is the real script in Redis.
"""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from forebay.routing.base import NANO
from forebay.routing.learning.audits import PURPOSE
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.pacing import Pacer, hourly
from forebay.routing.policy.policy_file import Policy
from traffic import SCORES, Scores, Traffic, job, rules


@pytest.fixture
def traffic(redis) -> Traffic:
    return Traffic(redis)


# --- a share of the jobs -------------------------------------------------------------------------


@pytest.mark.parametrize("scores", SCORES)
def test_after_500_jobs_the_share_is_within_a_point_of_its_target(traffic, scores):
    target = 0.1 if "easier" in scores or "easy" in scores or "same" in scores else 0.2
    assert traffic.send(rules(share=target), 500, SCORES[scores]) == pytest.approx(target, abs=0.01)


def test_the_hardest_jobs_go(redis):
    late = Traffic(redis, behind=0)
    late.send(rules(share=0.2, before=0.0), 400, SCORES["even"])
    went = [score for score, gone in zip(late.scores, late.went, strict=True) if gone]
    assert sum(went) / len(went) > 0.86  # 0.9 with perfect foresight, 0.5 by chance
    assert sum(score > 0.5 for score in went) / len(went) > 0.95


def test_most_of_the_target_is_kept_for_after_the_answer(redis):
    traffic = Traffic(redis, behind=0)
    policy = rules(share=0.2, before=0.25)
    offers = [traffic.pacer.offer(job(traffic.rng), policy, "before", 0.5) for _ in range(400)]
    before = sum(offer.go for offer in offers)
    assert before / 400 == pytest.approx(0.05, abs=0.01)


def test_answers_that_fail_their_checks_count_against_the_target(traffic):
    share = traffic.send(rules(share=0.2), 500, SCORES["even"], hard=0.1)
    assert share == pytest.approx(0.2, abs=0.01)


def test_if_failed_answers_exceed_the_target_no_other_job_goes(traffic):
    policy = rules(share=0.05)
    traffic.send(policy, 300, SCORES["even"], hard=0.2)
    late = traffic.send(policy, 300, SCORES["even"], hard=0.2)
    assert late == pytest.approx(0.2, abs=0.05)
    assert not traffic.pacer.offer(job(traffic.rng), policy, "before", 2.0).go


def test_two_kinds_share_a_target_and_are_each_ranked_by_their_own_scores(traffic):
    policy, parts = rules(share=0.2), []
    for i in range(60):  # the mix shifts; scores of one kind are a hundred times the other's
        summaries = 2 + i // 6
        traffic.send(policy, 12 - summaries, SCORES["even"], kind="classify")
        first = len(traffic.went)
        traffic.send(policy, summaries, lambda rng, _: 100 * rng.random(), kind="summarize")
        parts += traffic.went[first:]
    assert traffic.share(0, len(traffic.went)) == pytest.approx(0.2, abs=0.01)
    assert sum(parts) / len(parts) == pytest.approx(0.2, abs=0.04)


STEPS: dict[str, tuple[dict, Scores]] = {
    "the target doubles": ({"share": 0.4}, SCORES["even"]),
    "the target halves": ({"share": 0.1}, SCORES["even"]),
    "all are harder": ({"share": 0.2}, lambda rng, _: 5 + rng.random()),
    "all are easier": ({"share": 0.2}, lambda rng, _: rng.random() - 5),
    "all are the same": ({"share": 0.2}, SCORES["all the same"]),
}


@pytest.mark.parametrize("step", STEPS)
def test_after_a_step_the_share_settles_and_does_not_oscillate(traffic, step):
    target, scores = STEPS[step]
    traffic.send(rules(share=0.2), 200, SCORES["even"])
    traffic.send(rules(**target), 400, scores)
    wanted = target["share"]
    settled = [traffic.share(i, i + 100) for i in range(350, 501, 50)]
    assert all(share == pytest.approx(wanted, abs=0.07) for share in settled), settled
    assert traffic.share(350, 600) == pytest.approx(wanted, abs=0.025)
    # There are no long runs in which all jobs go, or none does.
    spells = "".join("x" if gone else "." for gone in traffic.went[200:])
    assert "x" * 25 not in spells
    assert "." * int(25 / wanted) not in spells


def test_a_burst_does_not_raise_the_share(redis):
    traffic = Traffic(redis, behind=400)  # local answers lag far behind the jobs that come in
    policy = rules(share=0.2)
    assert traffic.send(policy, 800, SCORES["even"]) == pytest.approx(0.2, abs=0.01)


def test_equal_scores_are_ordered_by_the_job_the_same_way_each_time(redis):
    policy, rng = rules(share=0.5), random.Random(3)
    jobs = [job(rng) for _ in range(40)]

    def run() -> list[bool]:
        redis.flushall()
        return [Pacer(redis).offer(each, policy, "before", 0.5).go for each in jobs]

    first = run()
    assert first == run()
    assert 0 < sum(first) < 40


def test_if_no_job_may_go_no_score_is_a_threshold(redis):
    pacer, rng = Pacer(redis), random.Random(2)
    for score in (0.1, 0.9, 0.5):
        pacer.offer(job(rng), rules(share=0.5), "before", score)
    offer = pacer.offer(job(rng), rules(share=0.0), "before", 2.0)
    assert (offer.go, offer.threshold) == (False, None)


def test_tenants_do_not_share_an_account(redis):
    policy, pacer, rng = rules(share=0.5), Pacer(redis), random.Random(1)
    for _ in range(30):
        pacer.hard(job(rng, tenant="globex"), policy)
    offers = [pacer.offer(job(rng), policy, "before", 0.5).go for _ in range(100)]
    assert sum(offers) == pytest.approx(15, abs=4)


# --- dollars a day -------------------------------------------------------------------------------

CALL = 2_000_000  # what a call costs in these tests, in billionths of a dollar
OFFICE = (0.0,) * 8 + (1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 1.0) + (0.0,) * 8


class Day:
    """A day of the fleet: each job that goes to Bedrock is paid for at once."""

    def __init__(self, redis) -> None:
        self.budget = Budget(redis)
        start = redis.time()[0] // 86_400 * 86_400
        self.at = 0.0
        self.traffic = Traffic(redis, behind=0, now=lambda: start + self.at * 3_600)
        self._calls = 0

    def hour(self, policy: Policy, jobs: int) -> float:
        """Send jobs evenly over an hour; return the dollars spent in it."""
        before = self.spent
        for _ in range(jobs):
            if self.traffic.send(policy, 1, SCORES["even"]):
                self._pay()
            self.at += 1 / jobs
        return self.spent - before

    @property
    def spent(self) -> float:
        return self.budget.spent("acme")[0] / NANO

    def _pay(self, nusd: int = CALL, purpose: str = "") -> None:
        self._calls += 1
        call = f"call{self._calls}"
        self.budget.reserve(call, call, "acme", nusd, term_s=60.0, purpose=purpose)
        self.budget.settle(call, nusd)


@pytest.fixture
def day(redis) -> Day:
    """A simulated day; fails near midnight, when the books would move on to the next day."""
    seconds = redis.time()[0] % 86_400
    if seconds > timedelta(days=1).total_seconds() - 60:
        pytest.fail("run this test again after midnight, UTC")
    return Day(redis)


def test_the_dollars_are_spent_by_the_shape_of_the_day(day):
    policy = rules(usd_per_day=0.24, day_shape=OFFICE)
    hours = [day.hour(policy, 40) for _ in range(24)]
    assert sum(hours[:8]) == sum(hours[16:]) == 0
    assert day.spent == pytest.approx(0.24, abs=0.012)
    for hour, weight in zip(hours[8:16], OFFICE[8:16], strict=True):
        assert hour == pytest.approx(0.02 * weight, abs=0.012)


def test_money_that_quiet_hours_leave_is_spent_in_the_rest_of_the_day(day):
    policy = rules(usd_per_day=0.24)
    quiet = sum(day.hour(policy, 1) for _ in range(12))
    busy = [day.hour(policy, 40) for _ in range(12)]
    assert quiet <= 0.024
    assert day.spent == pytest.approx(0.24, abs=0.012)
    assert max(busy) < 0.06
    assert min(busy) > 0.006


def test_a_burst_does_not_spend_the_whole_day(day):
    policy = rules(usd_per_day=0.48)
    for _ in range(3):
        day.hour(policy, 40)
    burst = day.hour(policy, 300)
    assert burst < 0.1
    rest = [day.hour(policy, 25) for _ in range(20)]
    assert min(rest) > 0
    assert day.spent == pytest.approx(0.48, abs=0.024)


def test_without_money_left_no_job_goes(day):
    policy = rules(usd_per_day=0.02)
    for _ in range(10):
        day._pay()
    assert day.hour(policy, 100) == 0


def test_cheap_audits_do_not_lower_the_mean_cost_of_a_call(day):
    policy, hours = rules(usd_per_day=0.24), []
    for _ in range(6):
        for _ in range(20):
            day._pay(CALL // 20, PURPOSE)
        hours.append(day.hour(policy, 40))
    assert sum(hours) == pytest.approx(6 * 0.01, abs=0.015)


def test_if_both_targets_are_set_the_tighter_target_holds(day):
    assert day.hour(rules(usd_per_day=1_000.0, share=0.1), 300) == pytest.approx(0.06, abs=0.01)
    assert day.hour(rules(usd_per_day=0.0, share=0.1), 50) == 0


def test_jobs_on_their_way_to_bedrock_count_as_spent(day, redis):
    policy = rules(usd_per_day=0.1)
    redis.zadd("fb:waiting:bedrock:bulk:acme", {f"acme.{i:032x}": i for i in range(100)})
    assert day.hour(policy, 30) == 0


@pytest.mark.parametrize(
    ("shape", "at", "part"),
    [
        ((1.0,) * 24, 0.0, 1 / 24),
        ((1.0,) * 24, 0.5, 1 / 12),
        ((1.0,) * 24, 47 / 48, 2.0),
        (OFFICE, 8 / 24, 1 / 12),
        (OFFICE, 9 / 24, 2 / 11),
        (OFFICE, 0.0, 0.0),
        (OFFICE, 0.9, 0.0),
    ],
)
def test_an_hour_gets_its_part_of_the_remaining_day(shape, at, part):
    assert hourly(shape, at) == pytest.approx(part)
