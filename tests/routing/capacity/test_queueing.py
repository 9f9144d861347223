"""The formulas against exact values, and against a queue that is played through."""

from __future__ import annotations

import heapq
import math
import random
from fractions import Fraction
from statistics import fmean, quantiles

import pytest
import simpy

from forebay.routing.capacity.queueing import SlotQueue, erlang_c
from forebay.routing.capacity.sizing import Load, Target, most_rate, sizes

JOBS, SEEDS = 25_000, range(6)


@pytest.mark.parametrize(("slots", "load"), [(1, 0.7), (2, 1.0), (3, 2.0), (5, 4.5), (300, 280.0)])
def test_erlang_c_is_what_its_definition_says(slots, load):
    a = Fraction(load)
    terms = [a**n / math.factorial(n) for n in range(slots + 1)]
    all_busy = terms[-1] / (1 - a / slots)
    assert erlang_c(slots, load) == pytest.approx(float(all_busy / (sum(terms[:-1]) + all_busy)))


def waits(queue, draw, seed):
    """Return the waits of jobs that simpy plays through, without those of the start."""
    arrivals, times = random.Random(seed), random.Random(seed + 1)
    env, found = simpy.Environment(), []
    slots = simpy.Resource(env, queue.slots)

    def job():
        came = env.now
        with slots.request() as request:
            yield request
            found.append(env.now - came)
            yield env.timeout(draw(times))

    def source():
        for _ in range(JOBS):
            yield env.timeout(arrivals.expovariate(queue.rate))
            env.process(job())

    env.process(source())
    env.run()
    return found[JOBS // 10 :]


def played(queue, draw, seed):
    """Return the waits that `waits` returns, by the recursion of Kiefer and Wolfowitz (1955)."""
    arrivals, times = random.Random(seed), random.Random(seed + 1)
    free, now, found = [0.0] * queue.slots, 0.0, []
    for _ in range(JOBS):
        now += arrivals.expovariate(queue.rate)
        begins = max(now, heapq.heappop(free))
        heapq.heappush(free, begins + draw(times))
        found.append(begins - now)
    return found[JOBS // 10 :]


def lognormal(cv2):
    sigma = math.sqrt(math.log(1 + cv2))
    return lambda dice: dice.lognormvariate(-sigma * sigma / 2, sigma)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slots", "busy", "draw", "cv2"),
    [
        (1, 0.7, lambda dice: dice.expovariate(1), 1.0),
        (4, 0.75, lambda dice: dice.expovariate(1), 1.0),
        (16, 0.8, lambda dice: dice.expovariate(1), 1.0),
        (4, 0.8, lambda _dice: 1.0, 0.0),
        (16, 0.8, lognormal(0.4), 0.4),
        (4, 0.75, lognormal(1.5), 1.5),
    ],
)
def test_the_waits_are_those_of_a_simulation_to_ten_per_cent(slots, busy, draw, cv2):
    queue = SlotQueue(busy * slots, 1.0, slots, cv2)
    runs = [played(queue, draw, seed) for seed in SEEDS]
    mean = fmean(map(fmean, runs))
    late = fmean(quantiles(run, n=20)[-1] for run in runs)
    assert queue.mean_wait_s == pytest.approx(mean, rel=0.1)
    assert queue.wait_s(0.95) == pytest.approx(late, rel=0.1)


def test_the_simulation_is_what_simpy_plays_through():
    queue, draw = SlotQueue(3.2, 1.0, 4, 0.4), lognormal(0.4)
    assert played(queue, draw, 7) == pytest.approx(waits(queue, draw, 7), abs=1e-6)


def test_more_slots_and_less_load_never_make_jobs_wait_longer():
    for slots in range(1, 40):
        waits_s = [SlotQueue(rate, 1.0, slots).wait_s(0.95) for rate in (0.1, 0.5, 0.9, 1.5, 30.0)]
        assert waits_s == sorted(waits_s)
        assert SlotQueue(20.0, 1.0, slots).wait_s(0.95) >= SlotQueue(20.0, 1.0, slots + 1).wait_s(
            0.95
        )


def test_a_queue_with_too_few_slots_grows_without_bound():
    queue = SlotQueue(rate=2.0, service_s=1.0, slots=2)
    assert (queue.busy, queue.waits) == (1.0, 1.0)
    assert queue.mean_wait_s == queue.wait_s(0.5) == math.inf


def test_sizes_begin_where_the_queue_keeps_up_and_end_past_the_target():
    found = list(sizes(Load(12.0, 1.8, 0.81), slots=8, target=Target(2.0)))
    assert [(size.workers, size.meets) for size in found] == [
        (2, False), (3, True), (4, True), (5, True)
    ]  # fmt: skip
    rates = [size.most_rate for size in found]
    assert rates == sorted(rates)
    assert rates[0] < 12.0 < rates[1]


def test_the_most_jobs_just_meet_the_target():
    target = Target(0.5, 0.9)
    rate = most_rate(SlotQueue(1.0, 0.7, 6, 0.5), target)
    assert target.met_by(SlotQueue(rate * 0.999, 0.7, 6, 0.5))
    assert not target.met_by(SlotQueue(rate * 1.001, 0.7, 6, 0.5))


def test_a_load_of_measured_times_has_their_mean_and_spread():
    load = Load.of(3.0, [1.0, 3.0])
    assert (load.service_s, load.service_cv2) == (2.0, 0.25)
