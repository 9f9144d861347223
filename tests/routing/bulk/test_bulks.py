"""The record of a bulk: its states, its money and its rows, whoever changes it at the same time."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from forebay.routing.bulk.bulks import ENDED, Bulks
from forebay.routing.bulk.row_result import RowResult, counts
from forebay.routing.bulk.shards import RisingRow, Shards
from forebay.routing.errors import BudgetExceeded, InvalidJob
from forebay.routing.jobs import Receipt, Verdict, new_id
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.settings import Settings
from ledger_jobs import BELL, answer, job
from shards import put, shard

SURE = Verdict(probability=0.5, version="none")
DONE = RowResult(status="done", content={"label": "billing"}, model="echo")
UP = RowResult(status="up")
ROWS = 3
TOLD = "fb:wake:acme:webhooks"


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(), BELL)


def ends_told(redis) -> list[tuple[str, str]]:
    """Return what webhooks are told: bulks and how they ended."""
    entries = [fields for _, fields in redis.xrange(TOLD) if fields[b"what"] == b"bulk"]
    return [(fields[b"id"].decode(), fields[b"state"].decode()) for fields in entries]


@pytest.mark.parametrize("late", ["running", "paused", "done", "incomplete"])
def test_a_bulk_that_somebody_cancels_meanwhile_stays_cancelled(ledger, redis, monkeypatch, late):
    bulks, bulk = Bulks(ledger), new_id("acme")
    bulks.create(bulk, {}, None)
    read = bulks.get

    def cancelled_after_it_was_read(bulk_id):
        record = read(bulk_id)
        monkeypatch.undo()
        Bulks(ledger).set_state(bulk, "cancelled")
        return record

    monkeypatch.setattr(bulks, "get", cancelled_after_it_was_read)
    with pytest.raises(InvalidJob, match="the bulk is cancelled"):
        bulks.set_state(bulk, late)
    bulks.update(bulk, state=late, sent=7)
    assert (bulks.get(bulk).state, bulks.get(bulk).sent) == ("cancelled", 7)


class Machine(RuleBasedStateMachine):
    """Bulks that are steered, worked and paid for, compared with a model."""

    bulks = Bundle("bulks")
    redis = None

    def __init__(self):
        super().__init__()
        self.redis.flushall()
        self.redis.set("fb:watchers:acme.:webhooks", "1")
        self.ledger = Ledger(self.redis, Settings(lease_s=1000), BELL)
        self.book, self.records = Budget(self.redis), Bulks(self.ledger)
        self.states, self.most, self.shards, self.told = {}, {}, {}, []
        self.paid, self.calls, self.rows = {}, 0, {}  # rows: the job of a row -> its bulk

    @rule(target=bulks, most=st.none() | st.integers(0, 100))
    def begins(self, most):
        made = shard(*"abc", egress="allow")
        put(self.ledger, made, max_nusd=most)
        self.states[made.bulk], self.most[made.bulk] = "running", most
        self.shards[made.bulk], self.paid[made.bulk] = [made.id], [0, 0]
        return made.bulk

    @rule(bulk=bulks)
    def goes_on_in_another_process(self, bulk):
        self.records.create(bulk, {"source": "again"}, None)
        if self.states[bulk] not in ENDED:
            more = shard(*"abc", bulk=bulk, egress="allow")
            Shards(self.ledger).create([more])
            self.shards[bulk].append(more.id)

    @rule(bulk=bulks, state=st.sampled_from(["running", "paused", "cancelled"]))
    def is_steered(self, bulk, state):
        now = self.states[bulk]
        if now in ENDED and state != now:
            with pytest.raises(InvalidJob, match=f"the bulk is {now}"):
                self.records.set_state(bulk, state)
        else:
            assert self.records.set_state(bulk, state).state == state
            self.becomes(bulk, state)

    @rule(bulk=bulks, state=st.sampled_from(["done", "incomplete"]))
    def ends(self, bulk, state):
        self.records.update(bulk, state=state)
        if self.states[bulk] != "cancelled":
            self.becomes(bulk, state)

    def becomes(self, bulk, state):
        if state in ENDED and state != self.states[bulk]:
            self.told.append((bulk, state))
        self.states[bulk] = state

    @rule()
    def a_shard_is_routed_or_worked(self):
        if claim := self.ledger.claim("route", shards=True):
            self.ledger.route(claim, "local.default", "allow", "bulk", SURE)
        if claim := self.ledger.claim("local.default", shards=True):
            assert self.states[claim.record.bulk] not in {"paused", "cancelled"}
            receipt = Receipt(**claim.record.heading(), status="done", lane="local")
            results, row = [DONE, UP, DONE], job(egress="allow", priority="bulk")
            self.rows[row.id] = claim.record.bulk
            up = RisingRow(row, ("doubtful",), None)
            Shards(self.ledger).settle(claim, receipt, results, counts(results), [up])

    @rule(
        nusd=st.integers(1, 60),
        cost=st.integers(0, 60),
        ending=st.sampled_from(["settled", "released", "open"]),
    )
    def a_row_is_answered(self, nusd, cost, ending):
        claim = self.ledger.claim("bedrock")
        if claim is None:
            return
        bulk, self.calls = self.rows[claim.id], self.calls + 1
        assert self.states[bulk] not in {"paused", "cancelled"}
        call, left = f"call-{self.calls}", self.left(bulk)
        try:
            self.book.reserve(call, claim.id, "acme", nusd, term_s=60, token=claim.token)
        except BudgetExceeded:
            assert left is not None
            assert nusd > left
        else:
            assert left is None or nusd <= left
            self.is_paid(bulk, call, nusd, min(cost, nusd), ending)
        self.ledger.settle(claim, answer(claim))

    def is_paid(self, bulk, call, nusd, cost, ending):
        paid = self.paid[bulk]
        if ending == "settled":
            self.book.settle(call, cost)
            paid[0] += cost
        elif ending == "released":
            self.book.release(call)
        else:
            paid[1] += nusd

    def left(self, bulk):
        most = self.most[bulk]
        return None if most is None else max(0, most - sum(self.paid[bulk]))

    @invariant()
    def the_records_are_as_the_model_says(self):
        for bulk, state in self.states.items():
            record = self.records.get(bulk)
            assert (record.state, record.max_nusd) == (state, self.most[bulk])
            assert [record.settled_nusd, record.reserved_nusd] == self.paid[bulk]
        assert {record.id for record in self.records.list("acme")} == set(self.states)

    @invariant()
    def each_end_is_told_once(self):
        assert ends_told(self.redis) == self.told

    @invariant()
    def no_row_is_lost_or_counted_twice(self):
        for bulk, shards in self.shards.items():
            counters = self.records.get(bulk).counters
            names = ("rows_done", "rows_cancelled", "rows_failed", "rows_expired", "rows_up")
            known = sum(counters.get(name, 0) for name in names)
            ended = sum(self.ledger.record(one).state in {"done", "cancelled"} for one in shards)
            assert known == ROWS * ended
            assert counters.get("rows_up", 0) >= 0


@pytest.mark.no_cover
def test_bulks_do_what_the_model_says(redis):
    Machine.redis = redis
    few = settings(max_examples=50, stateful_step_count=25, suppress_health_check=list(HealthCheck))
    run_machine(Machine, settings=few)
