"""The ledger: what each transition does, and a state machine that tries them in any order."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from forebay.routing.errors import (
    EgressDenied,
    InvalidJob,
    KeyReused,
    Lost,
    Unavailable,
    UnknownJob,
)
from forebay.routing.jobs import Job, Receipt, Summarize, Summary, new_id
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.dead_letters import DeadLetters
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.record import ENDED
from forebay.routing.settings import Settings
from forebay.routing.store.answer_cache import AnswerCache
from ledger_jobs import BELL, SURE, answer, failure, job, put


def dead_ids(ledger: Ledger, job_id: str) -> set[str]:
    return {dead.id for dead in DeadLetters(ledger, job_id.partition(".")[0]).list(1_000)}


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(lease_s=0.2, max_attempts=3), BELL)


def test_a_job_and_its_doorbell_are_created_together(ledger, redis):
    (job_id,) = put(ledger, job())
    assert ledger.status(job_id).state == "waiting"
    assert redis.lrange("route", 0, -1) == [b'{"id": "route.1", "queue": "route", "task": "route"}']


def test_the_same_job_twice_is_one_job_with_one_doorbell(ledger, redis):
    one = job()
    assert put(ledger, one, one) == [one.id, one.id]
    assert redis.llen("route") == 1
    assert ledger.depths() == {"route": 1}


def test_a_repeated_idempotency_key_gives_the_first_job_and_other_content_is_an_error(ledger):
    first, again = job(idempotency_key="k"), job(idempotency_key="k")
    other = Job(tenant="acme", idempotency_key="k", request=Summarize(text="something else"))
    elsewhere = job("globex", idempotency_key="k")
    made = ledger.create([first, again, other, elsewhere])
    assert made[:2] == [first.id, first.id]
    assert isinstance(made[2], KeyReused)
    assert (made[2].field, made[2].job_id) == ("idempotency_key", first.id)
    assert made[3] == elsewhere.id


def test_a_full_queue_refuses_a_job_and_stores_nothing_of_it(redis):
    ledger = Ledger(redis, Settings(max_waiting=1), BELL)
    put(ledger, job())
    keys = set(redis.keys())
    (made,) = ledger.create([job()])
    assert isinstance(made, Unavailable)
    assert made.retry_after
    assert set(redis.keys()) == keys


def test_a_redis_out_of_memory_refuses_new_jobs_and_lets_running_jobs_settle(ledger, redis):
    put(ledger, job())
    claim = ledger.claim("route")
    keys = set(redis.keys())
    redis.config_set("maxmemory", 1)
    try:
        (made,) = ledger.create([job()])
        assert isinstance(made, Unavailable)
        assert set(redis.keys()) == keys
        ledger.settle(claim, answer(claim))
    finally:
        redis.config_set("maxmemory", 0)
    assert ledger.status(claim.id).state == "done"


def test_a_claim_holds_the_job_and_the_next_claim_finds_none(ledger):
    one = job(metadata={"order": "17"})
    put(ledger, one)
    claim = ledger.claim("route")
    assert claim.job() == one
    assert ledger.claim("route") is None


def test_a_job_that_would_fail_is_answered_by_its_draft_instead(ledger):
    (job_id,) = put(ledger, job(egress="allow"))
    ledger.route(ledger.claim("route"), "local.default", "allow", "verdict_easy", SURE)
    claim = ledger.claim("local.default")
    ledger.escalate(claim, "check_failed:length", answer(claim, "a weak one"))
    while ledger.retry(ledger.claim("bedrock"), "throttled") == "waiting":
        pass
    (outcome,) = ledger.results([job_id])
    assert outcome.content == Summary(text="a weak one")
    assert (outcome.status, outcome.degraded, outcome.error) == ("done", True, None)
    assert outcome.reasons == ("verdict_easy", "check_failed:length", "throttled")
    assert not ledger.redis.exists(f"fb:draft:{job_id}")
    assert ledger.redis.pttl(f"fb:answer:{job_id}") > 0


def test_the_route_script_itself_refuses_deny_to_bedrock(ledger):
    put(ledger, job(egress="deny"))
    claim = ledger.claim("route")
    with pytest.raises(EgressDenied):
        ledger.route(claim, "bedrock", "allow", "verdict_hard", SURE)
    assert ledger.status(claim.id).hop == "route"


def test_a_forced_deny_sticks_to_the_record_and_stops_a_later_escalation(ledger):
    put(ledger, job(egress="allow"))
    claim = ledger.claim("route")
    ledger.route(claim, "local.default", "deny", "tenant_forced_deny", SURE)
    claim = ledger.claim("local.default")
    assert claim.record.egress == "deny"
    with pytest.raises(EgressDenied):
        ledger.escalate(claim, "check_failed:schema", None)


def test_an_escalated_job_brings_its_local_answer_along(ledger):
    put(ledger, job(egress="allow"))
    ledger.route(ledger.claim("route"), "local.default", "allow", "verdict_easy", SURE)
    claim = ledger.claim("local.default")
    ledger.escalate(claim, "check_failed:empty", answer(claim, "a weak one"))
    claim = ledger.claim("bedrock")
    assert claim.drafted().content == Summary(text="a weak one")
    assert claim.record.reasons == ("verdict_easy", "check_failed:empty")
    assert claim.record.attempts == 1


def test_the_stored_receipt_is_that_of_the_answer(ledger, redis):
    put(ledger, job())
    claim = ledger.claim("route")
    settled = answer(claim, model="local", cost_nusd=7, reasons=("easy",), verdict=SURE)
    ledger.settle(claim, settled)
    stored = redis.hget(f"fb:job:{claim.id}", "receipt").decode()
    assert stored == settled.receipt.model_dump_json()


def test_the_second_of_two_holders_settles_and_the_first_is_fenced_off(ledger):
    put(ledger, job())
    slow = ledger.claim("route")
    time.sleep(0.25)
    assert ledger.sweep().back == 1
    fast = ledger.claim("route")
    assert fast.id == slow.id
    with pytest.raises(Lost):
        ledger.settle(slow, answer(slow, "from the slow one"))
    assert ledger.renew([slow, fast]) == [slow]
    ledger.settle(fast, answer(fast, "from the fast one"))
    with pytest.raises(Lost):
        ledger.settle(fast, answer(fast, "again"))
    (outcome,) = ledger.results([fast.id])
    assert outcome.content == Summary(text="from the fast one")


def test_retries_wait_and_are_counted_unless_the_attempt_never_began(ledger):
    (job_id,) = put(ledger, job())
    assert ledger.retry(ledger.claim("route"), "engine_busy", counted=False) == "waiting"
    for attempt in (1, 2):
        assert ledger.status(job_id).attempts == attempt - 1
        assert ledger.retry(ledger.claim("route"), "unavailable", delay_s=0.05) == "waiting"
        assert ledger.claim("route") is None
        time.sleep(0.06)
        assert ledger.sweep().due == 1
    assert ledger.retry(ledger.claim("route"), "unavailable") == "failed"
    assert ledger.status(job_id).receipt.error == "unavailable"


def test_a_job_past_its_deadline_is_never_worked(ledger):
    (job_id,) = put(ledger, job(deadline=datetime.now(UTC) + timedelta(seconds=0.05)))
    time.sleep(0.06)
    assert ledger.claim("route") is None
    assert ledger.status(job_id).state == "expired"


def test_cancel_ends_a_job_in_any_state_and_returns_whether_it_did(ledger):
    waiting, running, later, done = put(ledger, *(job() for _ in range(4)))
    claims = {claim.id: claim for claim in (ledger.claim("route") for _ in range(4))}
    ledger.retry(claims[waiting], "unavailable")
    ledger.retry(claims[later], "unavailable", delay_s=60)
    ledger.settle(claims[done], answer(claims[done]))
    assert [ledger.cancel(one) for one in (waiting, running, later, done)] == [True] * 3 + [False]
    assert ledger.renew([claims[running]]) == [claims[running]]
    assert ledger.claim("route") is None
    with pytest.raises(UnknownJob):
        ledger.cancel(new_id("acme"))


def test_all_that_an_ended_job_leaves_behind_expires(ledger, redis):
    put(ledger, *(job(idempotency_key=str(i)) for i in range(4)))
    claims = [ledger.claim("route") for _ in range(3)]
    ledger.settle(claims[0], answer(claims[0]))
    failed = Receipt(id=claims[1].id, kind="summarize", egress="deny", status="failed", error="x")
    ledger.settle(claims[1], failed)
    ledger.cancel(claims[2].id)
    ledger.cancel(ledger.claim("route").id)
    of_jobs = [key for key in redis.keys() if b"acme" in key and key != b"fb:held:acme"]
    assert (
        len(of_jobs) == 4 + 4 + 1 + 2
    )  # records, idempotency keys, an answer; a content, its index
    assert all(redis.pttl(key) > 0 for key in of_jobs)


def test_forget_leaves_nothing_of_a_job_in_any_state(ledger, redis):
    ids = put(ledger, *(job(idempotency_key=str(i)) for i in range(3)))
    claim = ledger.claim("route")
    ledger.settle(claim, answer(claim))
    ledger.claim("route")
    assert all(ledger.forget(one) for one in ids)
    assert not [key for key in redis.keys() if b"acme" in key]
    assert not ledger.forget(ids[0])


def test_forget_removes_the_answer_of_the_job_from_the_cache(ledger, redis):
    one = job(cache=True)
    put(ledger, one)
    claim = ledger.claim("route")
    made = answer(claim).model_copy(update={"model": "m", "revision": "r"})
    cache = AnswerCache(redis, b"0123456789abcdef", 60)
    assert cache.put(one, "deny", made)
    ledger.settle(claim, made)
    assert cache.get(one, "deny", "m", "r")
    ledger.forget(one.id)
    assert cache.get(one, "deny", "m", "r") is None
    assert not [key for key in redis.keys() if b"acme" in key]


def test_a_content_that_was_tampered_with_is_refused(ledger, redis):
    one, other = job(), job()
    put(ledger, one, other)
    redis.set(f"fb:content:{one.id}", redis.get(f"fb:content:{other.id}"))
    redis.set(f"fb:content:{other.id}", b"zjunk")
    for _ in range(2):
        with pytest.raises(InvalidJob):
            ledger.claim("route").job()


def test_a_key_of_the_wrong_type_stops_a_script_before_it_writes(ledger, redis):
    redis.set("route", "not a list")
    keys = set(redis.keys())
    (made,) = ledger.create([job()])
    assert isinstance(made, Unavailable)
    assert set(redis.keys()) == keys


VERBS = ["escalate", "fail", "settle", "up", "retry", "later", "route"]
MIN_JOBS = 4  # that are left alone, so that there is something to work


class LedgerMachine(RuleBasedStateMachine):
    """Random transitions in any order, by workers that may have been fenced off long ago."""

    redis = None

    @initialize()
    def clean(self):
        self.redis.flushdb()
        self.ledger = Ledger(self.redis, Settings(lease_s=1000, max_attempts=4), BELL)
        self.ids: list[str] = []
        self.claims: list[Claim] = []
        self.ended: dict[str, str] = {}
        self.egress: dict[str, str] = {}
        self.forgotten: set[str] = set()
        self.replayed: dict[str, str] = {}

    @rule(
        tenant=st.sampled_from(["a", "b"]),
        allow=st.booleans(),
        bulk=st.booleans(),
        deadline=st.booleans(),
        key=st.sampled_from([None, "k", "l"]),
    )
    def create(self, tenant, allow, bulk, deadline, key):
        one = job(
            tenant,
            egress="allow" if allow else "deny",
            priority="bulk" if bulk else "interactive",
            deadline=datetime.now(UTC) + timedelta(hours=1) if deadline else None,
            idempotency_key=key,
        )
        (made,) = self.ledger.create([one])
        if isinstance(made, InvalidJob):  # the key was used for a job on other terms
            assert key
        elif made == one.id:
            self.ids.append(made)
            self.egress[made] = one.egress
        else:
            assert made in self.ids

    @precondition(lambda self: any(self.ledger.depths().values()))
    @rule(data=st.data(), verb=st.sampled_from(["hold", *VERBS]))
    def claim(self, data, verb):
        depths = self.ledger.depths()
        queue = data.draw(st.sampled_from([queue for queue, depth in depths.items() if depth]))
        for empty in (one for one, depth in depths.items() if not depth):
            assert self.ledger.claim(empty) is None
        claim = self.ledger.claim(queue)
        assert not (queue == "bedrock" and self.egress[claim.id] == "deny")
        assert claim.job().egress == self.egress[claim.id]
        self.claims = [*self.claims[-4:], claim]
        if verb != "hold":
            self._act(claim, verb)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), verb=st.sampled_from(VERBS))
    def work(self, data, verb):
        self._act(data.draw(st.sampled_from(self.claims)), verb)

    def _act(self, claim, verb):
        before = self.known(claim.id)
        try:
            if verb == "settle":
                self.ledger.settle(claim, answer(claim))
            elif verb == "fail":
                self.ledger.settle(claim, failure(claim))
            elif verb == "route":
                self.ledger.route(claim, "local.default", "allow", "r", SURE)
            elif verb == "up":
                self.ledger.route(claim, "bedrock", "allow", "r", SURE)
            elif verb == "escalate":
                self.ledger.escalate(claim, "r", answer(claim))
            else:
                self.ledger.retry(claim, "unavailable", delay_s=0 if verb == "retry" else 1000)
        except Lost:
            assert self.known(claim.id) == before
        except EgressDenied:
            assert self.egress[claim.id] == "deny"
            assert self.known(claim.id) == before

    @precondition(lambda self: len(self.ids) > MIN_JOBS)
    @rule(data=st.data())
    def cancel(self, data):
        job_id = data.draw(st.sampled_from(self.ids))
        assert self.ledger.cancel(job_id) == (job_id not in self.ended)

    @precondition(lambda self: self.redis.exists("fb:waiting:bedrock:interactive:a"))
    @rule()
    def cancel_an_escalated_job(self):
        first = self.redis.zrange("fb:waiting:bedrock:interactive:a", 0, 0)[0].decode()
        assert self.ledger.cancel(first)

    @precondition(lambda self: len(self.ids) > MIN_JOBS)
    @rule(data=st.data())
    def forget(self, data):
        job_id = data.draw(st.sampled_from(self.ids))
        assert self.ledger.forget(job_id)
        self.ids.remove(job_id)
        self.ended.pop(job_id, None)
        self.forgotten.add(job_id)

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def replay(self, data):
        failed = [job_id for job_id, state in self.ended.items() if state == "failed"]
        job_id = data.draw(st.sampled_from(failed or self.ids))
        dead = DeadLetters(self.ledger, job_id.partition(".")[0])
        if self.ended.get(job_id) != "failed":
            with pytest.raises(InvalidJob):
                dead.replay(job_id)
            return
        count = len(self.redis.keys("fb:job:*"))
        new = dead.replay(job_id)
        assert dead.replay(job_id) == new
        if new in self.ids:
            assert len(self.redis.keys("fb:job:*")) == count
        else:
            self.ids.append(new)
            self.egress[new] = self.egress[job_id]
        assert new not in dead_ids(self.ledger, new)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def crash(self, data):
        self.redis.zadd("fb:leases", {data.draw(st.sampled_from(self.claims)).id: 1}, xx=True)
        self.ledger.sweep()

    @precondition(lambda self: len(self.ids) > MIN_JOBS)
    @rule(data=st.data())
    def pass_the_deadline(self, data):
        job_id = data.draw(st.sampled_from(self.ids))
        record = self.ledger.record(job_id)
        if record.deadline is None or record.state in ENDED:
            return
        self.redis.hset(f"fb:job:{job_id}", "deadline", 1)
        self.redis.zadd(f"fb:deadlines:{job_id.partition('.')[0]}", {job_id: 1})
        self.ledger.sweep()
        assert self.ledger.record(job_id).state == "expired"

    def known(self, job_id):
        return None if job_id in self.forgotten else self.ledger.record(job_id)

    @invariant()
    def ledger_agrees(self):
        if hasattr(self, "ids"):
            self._indexes_agree_with_the_records()
            self._only_jobs_that_have_not_ended_have_deadlines()
            self._keys_of_ended_jobs_expire_and_forgotten_jobs_have_none()
            self._dead_letters_are_the_failed_jobs_that_were_not_replayed()

    def _indexes_agree_with_the_records(self):
        records = {job_id: self.ledger.record(job_id) for job_id in self.ids}
        waiting = self.redis.zrange("fb:later", 0, -1)
        for key in self.redis.keys("fb:waiting:*"):
            waiting += self.redis.zrange(key, 0, -1)
        running = {job_id.decode() for job_id in self.redis.zrange("fb:leases", 0, -1)}
        assert sorted(job_id.decode() for job_id in waiting) == sorted(
            job_id for job_id, record in records.items() if record.state == "waiting"
        )
        assert running == {i for i, record in records.items() if record.state == "running"}
        assert sum(self.ledger.depths().values()) == len(waiting) - self.redis.zcard("fb:later")
        for job_id, state in self.ended.items():
            assert records[job_id].state == state
        self.ended = {i: record.state for i, record in records.items() if record.state in ENDED}

    def _only_jobs_that_have_not_ended_have_deadlines(self):
        records = map(self.ledger.record, self.ids)
        due = {record.id for record in records if record.deadline and record.state not in ENDED}
        keys = self.redis.keys("fb:deadlines:*")
        listed = [job_id for key in keys for job_id in self.redis.zrange(key, 0, -1)]
        assert {job_id.decode() for job_id in listed} == due

    def _keys_of_ended_jobs_expire_and_forgotten_jobs_have_none(self):
        for key in map(bytes.decode, self.redis.keys("fb:*:[ab].*")):
            job_id = key.rpartition(":")[2]
            assert job_id not in self.forgotten, key
            assert job_id in self.ids, key
            assert (self.redis.pttl(key) > 0) == (job_id in self.ended), key
        for key in self.redis.keys("fb:idempotency:*"):
            job_id = self.redis.get(key).split()[0].decode()
            assert (self.redis.pttl(key) > 0) == (job_id in self.ended), key

    def _dead_letters_are_the_failed_jobs_that_were_not_replayed(self):
        failed = {job_id for job_id, state in self.ended.items() if state == "failed"}
        for tenant in ("a", "b"):
            mine = {job_id for job_id in failed if job_id.startswith(f"{tenant}.")}
            unreplayed = {i for i in mine if self.ledger.record(i).replayed_as is None}
            assert dead_ids(self.ledger, f"{tenant}.") == unreplayed


@pytest.mark.no_cover
def test_the_ledger_agrees_with_its_model_after_any_transitions(redis):
    LedgerMachine.redis = redis
    LedgerMachine.TestCase.settings = hypothesis_settings(
        max_examples=45, stateful_step_count=40, deadline=None
    )
    machine = LedgerMachine.TestCase("runTest")
    machine.runTest()
