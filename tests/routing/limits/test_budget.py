"""Budgets: no race overruns one, no call is settled twice, no unknown cost is given back."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count

import pytest
import redis as redis_py
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from redis.backoff import NoBackoff
from redis.retry import Retry

from forebay.routing.errors import BudgetExceeded, Throttled, Unavailable
from forebay.routing.limits.allowances import Limit
from forebay.routing.limits.budget import KEEP_CLOSED_S, KEEP_DAYS, MAX_NUSD, Budget, Settlement
from forebay.routing.limits.windows import window

ids = count()


@pytest.fixture
def budget(redis):
    return Budget(redis)


def daily(tenant, of_tenant=None, fleet=None):
    """Return what gives the limits of a tenant and of the fleet for a day, UTC."""
    return lambda at_s: (
        Limit(tenant, "tenant", window("day", at_s), of_tenant),
        Limit("*", "fleet", window("day", at_s), fleet),
    )


def reserve(
    budget, call, nusd=10, *, job=None, tenant="acme", of_tenant=None, fleet=None, term=60.0
):
    limits = daily(tenant, of_tenant, fleet)
    budget.reserve(call, job or f"job-of-{call}", tenant, nusd, limits_at=limits, term_s=term)


def test_money_is_reserved_and_then_settled(budget):
    reserve(budget, "a", 100)
    assert budget.spent("acme") == budget.spent() == (0, 100)
    assert budget.settle("a", 70) == "closed"
    assert budget.spent("acme") == budget.spent() == (70, 0)


def test_money_is_passed_on_to_the_next_call_of_the_job_in_one_step(budget):
    limits, job = daily("acme", 100), {"job": "one", "of_tenant": 100}
    reserve(budget, "a", 100, **job)
    with pytest.raises(Throttled, match="may still be running"):
        reserve(budget, "b", 60, **job)
    budget._redis.script_flush()  # as a restart of Redis does
    for _ in range(2):  # as after an error of the connection
        budget.reserve(
            "b", "one", "acme", 60, limits_at=limits, term_s=60, settling=Settlement("a", 40)
        )
    assert budget.spent("acme") == (40, 60)
    with pytest.raises(BudgetExceeded):
        reserve(budget, "c", 1, of_tenant=100)


def test_a_call_is_settled_even_if_the_next_one_is_too_dear(budget):
    reserve(budget, "a", 100, job="one", of_tenant=100)
    limits, settling = daily("acme", 100), Settlement("a", 40, {"tier": "default"})
    with pytest.raises(BudgetExceeded):
        budget.reserve("b", "one", "acme", 61, limits_at=limits, term_s=60, settling=settling)
    assert budget.spent("acme") == (40, 0)
    assert budget.find("a").state == "settled"


@pytest.mark.parametrize("forged", ["x", "1.5", "9223372036854775807"])
def test_a_call_is_settled_once_whatever_its_tenant_writes_into_the_record(budget, redis, forged):
    reserve(budget, "a", 100, job="acme.1")
    redis.hset("fb:job:acme.1", mapping={"state": "running", "cost_nusd": forged})
    assert [budget.settle("a", 70), budget.settle("a", 70)] == ["closed", "again"]
    assert budget.spent("acme") == budget.spent() == (70, 0)
    assert redis.hget("fb:job:acme.1", "cost_nusd") == b"70"


def test_a_call_is_settled_once(budget):
    reserve(budget, "a", 100)
    assert [budget.settle("a", 70), budget.settle("a", 70), budget.settle("a", 9)] == [
        "closed", "again", "again",
    ]  # fmt: skip
    assert not budget.release("a")
    assert budget.spent() == (70, 0)


def test_a_cost_above_the_reservation_is_recorded_in_full(budget):
    reserve(budget, "a", 100, fleet=100)
    budget.settle("a", 150)
    assert budget.spent() == (150, 0)
    with pytest.raises(BudgetExceeded, match=r"has \$0\.000000 left"):
        reserve(budget, "b", 1, fleet=100)


def test_a_release_gives_back_the_whole_reservation_once(budget):
    reserve(budget, "a", 100)
    assert budget.release("a")
    assert not budget.release("a")
    assert budget.spent() == (0, 0)


def test_a_settle_after_a_release_is_recorded_because_the_money_is_spent(budget):
    reserve(budget, "a", 100)
    budget.release("a")
    assert budget.settle("a", 60) == "closed"
    assert budget.settle("a", 60) == "again"
    assert budget.spent("acme") == budget.spent() == (60, 0)


def test_a_settle_of_a_call_that_redis_forgot_is_charged_to_the_fleet(budget):
    assert budget.settle("lost", 60) == "unreserved"
    assert budget.settle("lost", 60) == "again"
    assert budget.spent("?") == budget.spent() == (60, 0)
    assert not budget.release("never")
    assert budget.find("lost").state == "settled"


@pytest.mark.parametrize("scope", ["tenant", "fleet"])
def test_a_budget_is_spent_to_the_last_billionth_and_no_further(budget, scope):
    limit = {"of_tenant" if scope == "tenant" else "fleet": 1_000}
    reserve(budget, "a", 600, **limit)
    with pytest.raises(BudgetExceeded, match=rf"the {scope}'s budget .* \$0\.000000 left") as error:
        reserve(budget, "b", 401, **limit)
    assert error.value.code == "budget_exceeded"
    reserve(budget, "b", 400, **limit)
    assert budget.spent() == (0, 1_000)


def test_one_tenant_does_not_spend_the_budget_of_another(budget):
    reserve(budget, "a", 1_000, of_tenant=1_000)
    reserve(budget, "b", 1_000, tenant="other", of_tenant=1_000)
    assert budget.spent("acme") == budget.spent("other") == (0, 1_000)


def test_repeating_a_reserve_changes_nothing(budget):
    reserve(budget, "a", 100, fleet=100)
    reserve(budget, "a", 100, fleet=100)
    assert budget.spent() == (0, 100)


def test_a_used_call_id_gets_no_second_reservation(budget):
    reserve(budget, "a", 100)
    with pytest.raises(ValueError, match="another reservation"):
        reserve(budget, "a", 101)
    budget.settle("a", 1)
    with pytest.raises(ValueError, match="a new call needs a new id"):
        reserve(budget, "a", 100)
    assert budget.spent() == (1, 0)


def test_a_job_does_not_call_again_while_its_call_may_still_run(budget):
    reserve(budget, "a", job="j", term=60)
    with pytest.raises(Throttled, match="may still be running") as error:
        reserve(budget, "b", job="j")
    assert 59 < error.value.retry_after <= 60
    reserve(budget, "c", job="another")
    assert budget.spent() == (0, 20)


@pytest.mark.parametrize("close", [Budget.release, lambda budget, call: budget.settle(call, 1)])
def test_a_job_calls_again_when_its_call_is_closed(budget, close):
    reserve(budget, "a", job="j")
    close(budget, "a")
    reserve(budget, "b", job="j")
    close(budget, "a")  # closes nothing of the second call
    with pytest.raises(Throttled):
        reserve(budget, "c", job="j")


def test_after_the_term_a_job_calls_again_and_an_unknown_cost_stays_reserved(budget):
    reserve(budget, "a", 10, job="j", term=0.05)
    time.sleep(0.08)
    with pytest.raises(ValueError, match="has ended"):
        reserve(budget, "a", 10, job="j")
    reserve(budget, "b", 20, job="j")
    assert budget.spent() == (0, 30)
    assert budget.settle("a", 4) == "closed"
    with pytest.raises(Throttled):
        reserve(budget, "c", job="j")
    assert budget.spent() == (4, 20)


def test_a_settle_on_the_next_day_charges_the_day_of_the_reservation(budget, redis):
    reserve(budget, "a", 100)
    today = budget.today()
    yesterday = today - timedelta(days=1)
    number = int(redis.hget("fb:spend:call:a", "day"))
    accounts = redis.hget("fb:spend:call:a", "accounts").decode()
    accounts = accounts.replace(str(number), str(number - 1))
    redis.hset("fb:spend:call:a", mapping={"day": number - 1, "accounts": accounts})
    for name in ("day", "open"):
        redis.rename(f"fb:spend:{name}:{number}", f"fb:spend:{name}:{number - 1}")
    assert [call.call_id for call in budget.open()] == ["a"]
    budget.settle("a", 60)
    assert budget.spent("acme", yesterday) == budget.spent(None, yesterday) == (60, 0)
    assert budget.spent() == (0, 0)
    assert budget.open() == []


def test_open_reservations_are_listed_oldest_first_with_their_age(budget):
    for call in ("a", "b", "c"):
        reserve(budget, call, tenant=f"of-{call}")
        time.sleep(0.002)
    budget.settle("b", 1)
    first, second = budget.open()
    assert (first.call_id, first.tenant, first.job_id) == ("a", "of-a", "job-of-a")
    assert (second.call_id, second.reserved_nusd, second.state) == ("c", 10, "open")
    assert 0 < second.age_s < first.age_s < 10
    assert [call.call_id for call in budget.open(limit=1)] == ["a"]


def test_every_key_expires_and_open_calls_expire_with_their_books(budget, redis):
    for call in ("open", "settled", "released"):
        reserve(budget, call)
    budget.settle("settled", 1)
    budget.release("released")
    budget.settle("lost", 1)
    left = {key.decode(): redis.ttl(key) for key in redis.scan_iter("*")}
    assert all(0 < ttl <= KEEP_DAYS * 86_400 for ttl in left.values())
    day = int(redis.hget("fb:spend:call:open", "day"))
    with_the_books = ("fb:spend:call:open", f"fb:spend:day:{day}", f"fb:spend:open:{day}")
    assert {redis.expiretime(key) for key in with_the_books} == {(day + KEEP_DAYS) * 86_400}


def test_a_settled_call_takes_little_memory_until_it_is_forgotten(budget, redis):
    """There may be millions of them, and all that it must say is that it was settled."""
    terms = dict.fromkeys(
        ("model", "base", "region", "tier", "prices"), "of some thirty letters at most"
    )
    for call in ("a", "b"):
        job = f"acme.{call * 32}"
        budget.reserve(
            call, job, "acme", 100, limits_at=daily("acme", 500, 500), term_s=60.0, terms=terms
        )
    open_bytes = redis.memory_usage("fb:spend:call:a")
    assert budget.settle("a", 70) == "closed"
    assert redis.object("encoding", "fb:spend:call:a") == b"listpack"
    assert redis.memory_usage("fb:spend:call:a") < open_bytes / 2
    assert 0 < redis.ttl("fb:spend:call:a") <= KEEP_CLOSED_S
    found = budget.find("a")
    assert (found.job_id, found.tenant, found.state) == (f"acme.{'a' * 32}", "acme", "settled")
    assert (found.reserved_nusd, found.settled_nusd) == (100, 70)
    assert found.age_s < 60
    assert budget.settle("a", 70) == "again"
    assert budget.release("b")
    assert budget.settle("b", 30) == "closed"  # as the release was a mistake
    assert budget.spent("acme") == (100, 0)


def test_books_that_begin_with_an_unknown_call_expire_too(budget, redis):
    budget.settle("lost", 1)
    assert all(redis.ttl(key) > 0 for key in redis.scan_iter("*"))


def test_a_call_that_costs_nothing_is_recorded_like_any_other(budget):
    reserve(budget, "a", 0, fleet=0)
    assert budget.settle("a", 0) == "closed"
    reserve(budget, "b", 0, fleet=0)
    assert budget.release("b")
    assert budget.spent() == (0, 0)


@pytest.mark.parametrize("nusd", [-1, MAX_NUSD + 1, 1.0, float("nan"), None])
def test_an_invalid_amount_is_refused_before_anything_is_written(budget, redis, nusd):
    with pytest.raises(ValueError, match="whole billionths"):
        reserve(budget, "a", nusd)
    with pytest.raises(ValueError, match="whole billionths"):
        budget.settle("a", nusd)
    assert redis.dbsize() == 0


def test_sums_stay_exact_up_to_the_largest_budget(budget):
    reserve(budget, "a", MAX_NUSD - 1)
    with pytest.raises(BudgetExceeded):
        reserve(budget, "b", 2)
    reserve(budget, "b", 1)
    assert budget.spent() == (0, MAX_NUSD)
    budget.settle("a", MAX_NUSD)
    assert budget.spent() == (MAX_NUSD, 1)


@pytest.mark.parametrize("name", ["call:a", "job:job-of-a", "day:{day}", "open:{day}"])
@pytest.mark.parametrize("verb", ["reserve", "settle", "release"])
def test_a_key_of_the_wrong_type_stops_a_script_before_it_writes(budget, redis, name, verb):
    if verb != "reserve":
        reserve(budget, "a")
    wrong = "fb:spend:" + name.format(day=int(redis.time()[0] // 86_400))
    redis.delete(wrong)
    redis.geoadd(wrong, (1, 1, "x")) if "open" not in name else redis.set(wrong, "x")
    if "job" in name:
        redis.delete(wrong)
        redis.lpush(wrong, "x")
    before = {key: redis.dump(key) for key in redis.scan_iter("*")}
    with pytest.raises(Unavailable):
        reserve(budget, "a") if verb == "reserve" else (
            budget.settle("a", 1) if verb == "settle" else budget.release("a")
        )
    assert {key: redis.dump(key) for key in redis.scan_iter("*")} == before


def test_out_of_memory_calls_are_reserved_and_closed_so_that_their_jobs_end(budget, redis):
    reserve(budget, "a", 100)
    redis.config_set("maxmemory", "1")
    try:
        reserve(budget, "b", 100)
        assert budget.spent() == (0, 200)
        assert budget.settle("a", 50) == "closed"
        assert budget.release("b")
    finally:
        redis.config_set("maxmemory", "512mb")
    assert budget.spent() == (50, 0)


def test_without_redis_nothing_is_reserved():
    budget = Budget(redis_py.Redis(port=1, retry=Retry(NoBackoff(), 0)))
    with pytest.raises(Unavailable):
        reserve(budget, "a")


# --- races --------------------------------------------------------------------------------------

RACER = """
import random, sys
from concurrent.futures import ThreadPoolExecutor
import redis
from forebay.routing.errors import BudgetExceeded, Throttled
from forebay.routing.limits.allowances import Limit
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.windows import window

url, name, tries, limit = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
budget = Budget(redis.Redis.from_url(url))

def race(thread):
    dice = random.Random(f"{name}{thread}")
    for number in range(tries):
        call, nusd = f"{name}.{thread}.{number}", dice.randint(1, 9)
        try:
            budget.reserve(call, f"job.{dice.randint(0, 400)}", f"t{thread % 3}", nusd,
                limits_at=lambda at_s: (
                    Limit(f"t{thread % 3}", "tenant", window("day", at_s), limit // 2),
                    Limit("*", "fleet", window("day", at_s), limit),
                ), term_s=60)
        except (BudgetExceeded, Throttled):
            continue
        fate = dice.random()
        if fate < 0.3:
            budget.release(call)
        elif fate < 0.8:
            budget.settle(call, dice.randint(0, nusd))

with ThreadPoolExecutor(16) as pool:
    list(pool.map(race, range(16)))
"""


def test_sixty_four_threads_of_four_processes_never_overrun_a_budget(budget, redis_url):
    limit = 1_000
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, redis_url, str(n), "15", str(limit)])
        for n in range(4)
    ]
    peak = 0
    while any(racer.poll() is None for racer in racers):
        peak = max(peak, sum(budget.spent()))
    assert [racer.returncode for racer in racers] == [0, 0, 0, 0]
    assert 0.9 * limit < peak <= limit  # the racers did compete for the last of it
    assert all(sum(budget.spent(f"t{n}")) <= limit // 2 for n in range(3))
    assert budget.spent()[1] == sum(call.reserved_nusd for call in budget.open(limit=10_000))


def test_only_one_of_many_calls_of_a_job_gets_the_reservation(budget):
    def attempt(number):
        try:
            reserve(budget, f"call-{number}", job="j")
        except Throttled:
            return 0
        return 1

    with ThreadPoolExecutor(64) as pool:
        assert sum(pool.map(attempt, range(64))) == 1
    assert budget.spent() == (0, 10)


def test_only_one_of_many_settles_is_recorded(budget):
    reserve(budget, "a", 100)
    with ThreadPoolExecutor(32) as pool:
        results = list(pool.map(lambda nusd: budget.settle("a", nusd), range(1, 33)))
    assert sorted(results) == ["again"] * 31 + ["closed"]
    assert budget.spent() == (results.index("closed") + 1, 0)


# --- against a model ------------------------------------------------------------------------------

JOBS = st.sampled_from(["j1", "j2", "j3"])
TENANTS = st.sampled_from(["t1", "t2"])
MONEY = st.integers(0, 60)
BUDGETS = {"t1": 100, "t2": 70, "*": 130}


class Books(RuleBasedStateMachine):
    """The scripts, compared with a model of them in Python."""

    client: redis_py.Redis

    def __init__(self):
        super().__init__()
        self.client.flushall()
        self.budget = Budget(self.client)
        self.calls = {}  # id -> [state, job, tenant, reserved, settled]
        self.running = {}  # job -> the call that may be running

    def sums(self, owner):
        own = [call for call in self.calls.values() if owner in ("*", call[2])]
        return sum(call[4] for call in own), sum(call[3] for call in own if call[0] == "open")

    def expected(self, call, job, tenant, nusd):
        if call in self.calls:
            state, *first = self.calls[call][:4]
            if first != [job, tenant, nusd]:
                return "other"
            return "ok" if state == "open" and self.running.get(job) == call else "ended"
        if job in self.running:
            return "busy"
        short = any(sum(self.sums(owner)) + nusd > BUDGETS[owner] for owner in (tenant, "*"))
        return "over" if short else "ok"

    @rule(call=st.integers(0, 11), job=JOBS, tenant=TENANTS, nusd=MONEY)
    def reserves(self, call, job, tenant, nusd):
        call = f"c{call}"
        expected = self.expected(call, job, tenant, nusd)
        assert self.outcome(call, job, tenant, nusd) == expected
        if expected == "ok" and call not in self.calls:
            self.calls[call] = ["open", job, tenant, nusd, 0]
            self.running[job] = call

    @rule(call=st.integers(0, 11))
    def reserves_again(self, call):
        if f"c{call}" in self.calls:
            _, job, tenant, nusd, _ = self.calls[f"c{call}"]
            if tenant != "?":
                assert self.outcome(f"c{call}", job, tenant, nusd) == self.expected(
                    f"c{call}", job, tenant, nusd
                )

    def outcome(self, call, job, tenant, nusd):
        try:
            reserve(
                self.budget, call, nusd,
                job=job, tenant=tenant, of_tenant=BUDGETS[tenant], fleet=BUDGETS["*"],
            )  # fmt: skip
        except BudgetExceeded:
            return "over"
        except Throttled:
            return "busy"
        except ValueError as error:
            return "ended" if "ended" in str(error) else "other"
        return "ok"

    @rule(call=st.integers(0, 11), nusd=MONEY)
    def settles(self, call, nusd):
        call = f"c{call}"
        state = self.calls[call][0] if call in self.calls else None
        expected = {None: "unreserved", "settled": "again"}.get(state, "closed")
        assert self.budget.settle(call, nusd) == expected
        if expected == "unreserved":
            self.calls[call] = ["settled", None, "?", 0, nusd]
        elif expected == "closed":
            self.calls[call][0], self.calls[call][4] = "settled", nusd
        self.stops(call)

    @rule(call=st.integers(0, 11))
    def releases(self, call):
        call = f"c{call}"
        was_open = call in self.calls and self.calls[call][0] == "open"
        assert self.budget.release(call) == was_open
        if was_open:
            self.calls[call][0] = "released"
            self.stops(call)

    @rule(job=JOBS)
    def the_term_of_a_call_ends(self, job):
        self.client.delete(f"fb:spend:job:{job}")
        self.running.pop(job, None)

    def stops(self, call):
        self.running = {job: other for job, other in self.running.items() if other != call}

    @invariant()
    def the_books_agree(self):
        for owner in ("t1", "t2", "?", "*"):
            tenant = None if owner == "*" else owner
            assert self.budget.spent(tenant) == self.sums(owner)

    @invariant()
    def the_open_calls_agree(self):
        expected = {call for call, (state, *_) in self.calls.items() if state == "open"}
        assert {call.call_id for call in self.budget.open()} == expected


@pytest.mark.no_cover
def test_the_scripts_do_what_the_model_says(redis):
    Books.client = redis
    run_state_machine_as_test(
        Books,
        settings=settings(
            max_examples=40, stateful_step_count=30, suppress_health_check=list(HealthCheck)
        ),
    )
