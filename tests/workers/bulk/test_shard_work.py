"""A shard in the local lane: what becomes of its rows, and what it survives."""

import threading
import time
from unittest.mock import Mock

import pytest

from forebay.routing.bulk.bulks import Bulks
from forebay.routing.bulk.row_result import RowResult
from forebay.routing.bulk.shards import Shards, kept_results
from forebay.routing.errors import EngineDied, InvalidJob, Lost, Misconfigured, Unavailable
from forebay.routing.jobs import Answer, new_id
from forebay.workers.bulk.row_steps import RowSteps
from forebay.workers.bulk.shard_work import ShardWork
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.cascade.check import check
from forebay.workers.engines.host.supervisor import open_engine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.runtime.execute import attempt
from forebay.workers.runtime.outcomes import Retry
from forebay.workers.runtime.recording import record
from shards import LABELS, counters, put, rows_of, shard, work_shards

pytest_plugins = ["waterfall"]

WRONG = "what is it [[echo: say=nonsense]]"


def test_each_row_gets_its_own_answer_in_its_place(lanes):
    made = shard("a billing question", "no login here", "else")
    put(lanes.ledger, made)
    work_shards(lanes)
    rows = rows_of(lanes.ledger, made)
    assert [row.content["label"] for row in rows] == ["billing", "login", "billing"]
    assert {(row.status, row.model, row.checks) for row in rows} == {("done", "echo", ("label",))}
    assert counters(lanes.ledger, made) == {
        "rows_done": 3, "rows_local": 3, "tokens_in": sum(row.tokens_in for row in rows),
        "tokens_out": 3,
    }  # fmt: skip
    receipt = lanes.ledger.record(made.id).to_receipt()
    assert (receipt.status, receipt.lane, receipt.reasons) == ("done", "local", ("bulk",))


@pytest.mark.parametrize("kind", ["embed", "summarize", "generate", "extract"])
def test_a_shard_of_any_kind_is_answered(lanes, kind):
    chat = {"messages": [{"role": "user", "content": "say hello"}]}
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    varying = {"embed": {"texts": ["a", "b"]}, "generate": chat}.get(kind, {"text": "a text"})
    common = {"schema": schema} if kind == "extract" else {}
    made = shard(kind=kind, common=common, rows=[varying, varying])
    put(lanes.ledger, made)
    work_shards(lanes)
    rows = rows_of(lanes.ledger, made)
    assert [row.status for row in rows] == ["done", "done"]
    assert rows[0].content == rows[1].content
    assert rows[0].content


def test_a_wrong_row_fails_alone_and_names_its_field(lanes):
    made = shard("a billing question", "", "no login here")
    put(lanes.ledger, made)
    work_shards(lanes)
    good, bad, other = rows_of(lanes.ledger, made)
    assert (good.status, other.status) == ("done", "done")
    assert (bad.status, bad.error, bad.error_field) == ("failed", "invalid_job", "text")
    assert counters(lanes.ledger, made)["rows_failed"] == 1


def test_a_row_that_may_not_leave_never_goes_up(lanes):
    made = shard(WRONG, "a billing question")
    put(lanes.ledger, made)
    work_shards(lanes)
    bad, good = rows_of(lanes.ledger, made)
    assert (bad.status, bad.error, good.status) == ("failed", "bad_answer", "done")
    assert "egress_denied" in bad.reasons
    assert lanes.ledger.claim("bedrock") is None


def test_a_row_that_may_leave_goes_up_as_a_job_and_counts_once(lanes):
    made = shard(WRONG, "a billing question", egress="allow")
    put(lanes.ledger, made)
    work_shards(lanes)
    up, good = rows_of(lanes.ledger, made)
    assert (up.status, good.status) == ("up", "done")
    assert counters(lanes.ledger, made)["rows_up"] == 1
    lanes.mock.answer = "other"
    lanes.work("bedrock")
    (answer,) = lanes.ledger.results([up.job])
    assert isinstance(answer, Answer)
    assert (answer.content.label, answer.lane) == ("other", "bedrock")
    counted = counters(lanes.ledger, made)
    assert (counted["rows_done"], counted["rows_up"]) == (2, 0)
    assert (counted["rows_local"], counted["rows_bedrock"]) == (1, 1)
    record = Bulks(lanes.ledger).get(made.bulk)
    assert record.settled_nusd == answer.cost_nusd > 0
    assert record.reserved_nusd == 0


def test_a_shard_whose_record_forbids_egress_stays_although_its_content_allows_it(lanes):
    made = shard(WRONG, egress="allow")
    put(lanes.ledger, made)
    lanes.redis.hset(f"fb:job:{made.id}", "egress", "deny")
    work_shards(lanes)
    (row,) = rows_of(lanes.ledger, made)
    assert row.status == "failed"
    assert lanes.ledger.claim("bedrock") is None


def test_a_tenant_that_is_forced_to_deny_keeps_its_rows(lanes):
    lanes.rules("\n[tenants.acme]\nforce_deny = true\n")
    made = shard(WRONG, egress="allow")
    put(lanes.ledger, made)
    work_shards(lanes)
    (row,) = rows_of(lanes.ledger, made)
    assert row.status == "failed"
    assert "tenant_forced_deny" in row.reasons or "egress_denied" in row.reasons


def test_a_bulk_never_costs_more_than_its_budget(lanes):
    made = shard(*[WRONG] * 6, egress="allow")
    put(lanes.ledger, made, max_nusd=9_000_000)
    Bulks(lanes.ledger).update(made.bulk, total=6, sent=6)
    work_shards(lanes)
    rows = rows_of(lanes.ledger, made)
    going = [row for row in rows if row.status == "up"]
    assert 0 < len(going) < len(rows)
    kept = [row for row in rows if row.status == "failed"]
    assert all(row.reasons[-2:] == ("budget_spent", "budget_exceeded") for row in kept)
    lanes.mock.answer = "other"
    lanes.work("bedrock")
    record = Bulks(lanes.ledger).get(made.bulk)
    assert record.settled_nusd <= 9_000_000


def test_a_call_that_the_budget_of_the_bulk_does_not_cover_is_not_made(lanes):
    made = shard(WRONG, egress="allow")
    put(lanes.ledger, made, max_nusd=10**12)
    work_shards(lanes)
    (row,) = rows_of(lanes.ledger, made)
    Bulks(lanes.ledger).update(made.bulk, max_nusd=1)
    lanes.work("bedrock")
    (ended,) = lanes.ledger.results([row.job])
    assert "budget_spent" in ended.reasons
    assert not lanes.mock.calls


def test_the_rows_of_a_paused_bulk_wait_and_those_of_a_cancelled_one_end(lanes):
    paused, cancelled = shard("a billing question"), shard("a billing question", "another")
    put(lanes.ledger, paused, cancelled)
    bulks = Bulks(lanes.ledger)
    bulks.set_state(paused.bulk, "paused")
    bulks.set_state(cancelled.bulk, "cancelled")
    work_shards(lanes)
    assert lanes.ledger.record(paused.id).state == "waiting"
    assert lanes.redis.zscore("fb:later", paused.id) is not None
    assert lanes.ledger.record(cancelled.id).state == "cancelled"
    assert counters(lanes.ledger, cancelled) == {"rows_cancelled": 2}
    bulks.set_state(paused.bulk, "running")
    lanes.redis.zadd("fb:later", {paused.id: 0})
    lanes.ledger.sweep()
    work_shards(lanes)
    assert rows_of(lanes.ledger, paused)[0].status == "done"


def test_a_bulk_that_is_cancelled_while_a_shard_is_worked_ends_it(lanes, monkeypatch):
    monkeypatch.setattr("forebay.workers.bulk.shard_work.LOOK_EVERY_S", 0)
    made = shard("a billing question", "no login here")
    put(lanes.ledger, made)
    work_shards(lanes, "route")
    claim = lanes.ledger.claim("local.default", shards=True)
    Bulks(lanes.ledger).set_state(made.bulk, "cancelled")
    record(lanes.ledger, claim, attempt(lanes.local.work, claim))
    assert lanes.ledger.record(made.id).state == "waiting"
    work_shards(lanes)
    assert lanes.ledger.record(made.id).state == "cancelled"


@pytest.mark.parametrize("state", ["paused", "cancelled"])
def test_answers_that_take_long_hold_no_thread_once_their_bulk_is(lanes, monkeypatch, state):
    monkeypatch.setattr("forebay.workers.bulk.shard_work.LOOK_EVERY_S", 0)
    monkeypatch.setattr("forebay.workers.bulk.shard_work.WAIT_S", 0.05)
    made = shard("[[echo: delay=100]] a billing question", "[[echo: delay=100]] no login here")
    put(lanes.ledger, made)
    work_shards(lanes, "route")
    claim = lanes.ledger.claim("local.default", shards=True)
    Bulks(lanes.ledger).set_state(made.bulk, state)
    began = time.monotonic()
    assert attempt(lanes.local.work, claim) == Retry(state, counted=False)
    assert time.monotonic() - began < 50


def test_answers_that_take_long_hold_no_thread_once_their_shard_is_lost(lanes, monkeypatch):
    monkeypatch.setattr("forebay.workers.bulk.shard_work.WAIT_S", 0.05)
    made = shard("[[echo: delay=100]] a billing question", "[[echo: delay=100]] no login here")
    put(lanes.ledger, made)
    work_shards(lanes, "route")
    claim, lost = lanes.ledger.claim("local.default", shards=True), threading.Event()
    threading.Timer(0.2, lost.set).start()
    began = time.monotonic()
    with pytest.raises(Lost):
        lanes.local._shard_work.work(claim, lost)
    assert time.monotonic() - began < 50


def test_a_worker_goes_on_with_the_results_of_one_that_died(lanes):
    made = shard("a billing question", "no login here")
    put(lanes.ledger, made)
    work_shards(lanes, "route")
    claim = lanes.ledger.claim("local.default", shards=True)
    known = RowResult(status="done", content={"label": "other"}, model="an earlier worker's")
    Shards(lanes.ledger).keep(claim, [None, known])
    lanes.ledger.retry(claim, "engine_busy", counted=False)
    work_shards(lanes)
    first, second = rows_of(lanes.ledger, made)
    assert (first.model, second.model) == ("echo", "an earlier worker's")
    assert second.content == {"label": "other"}


def test_rows_of_a_shard_that_goes_on_are_told(lanes, redis):
    made = shard("a billing question", "no login here", "else")
    put(lanes.ledger, made)
    work_shards(lanes, "route")
    shards, claim = Shards(lanes.ledger), lanes.ledger.claim("local.default", shards=True)
    assert shards.rows_over([made.id, new_id("acme")]) == [0, 0]
    known = RowResult(status="done", content={"label": "other"})
    shards.keep(claim, [None, known, known])
    assert shards.rows_over([made.id]) == [2]
    for forged in ("-1", "9" * 5_000, "two"):
        redis.hset(f"fb:job:{made.id}", "rows_over", forged)
        assert shards.rows_over([made.id]) == [0]
    lanes.ledger.retry(claim, "engine_busy", counted=False)
    work_shards(lanes)
    assert shards.rows_over([made.id]) == [0], "it has ended, and its bulk counts it"


def test_a_deadline_that_passes_ends_the_rows_as_expired(lanes):
    made = shard("a billing question", "another")
    put(lanes.ledger, made)
    lanes.redis.hset(f"fb:job:{made.id}", "deadline", 1)
    work_shards(lanes)
    assert lanes.ledger.record(made.id).state == "expired"
    assert counters(lanes.ledger, made) == {"rows_expired": 2}


def test_a_forged_shard_is_no_shard(lanes):
    lie = shard("a billing question", "another")
    put(lanes.ledger, lie)
    lanes.redis.hset(f"fb:job:{lie.id}", "rows", 1)  # it would count as one row, and take two
    foreign = shard("a billing question")
    put(lanes.ledger, foreign)
    lanes.redis.hset(f"fb:job:{foreign.id}", "bulk", new_id("globex"))
    work_shards(lanes)
    for made in (lie, foreign):
        assert lanes.ledger.record(made.id).to_receipt().error == "invalid_job"


def claimed(lanes, made):
    """Put a shard on the ledger, and return a claim of it in the local lane."""
    put(lanes.ledger, made)
    work_shards(lanes, "route")
    queue = "embed" if made.kind == "embed" else "local.default"
    return lanes.ledger.claim(queue, shards=True)


def failing_first(monkeypatch, method, error):
    """Make a method of `Bulks` raise `error` at its first call; return the calls."""
    real, calls = getattr(Bulks, method), []

    def call(*args):
        calls.append(args)
        if len(calls) == 1:
            raise error
        return real(*args)

    monkeypatch.setattr(Bulks, method, call)
    return calls


def test_a_look_at_the_bulk_that_fails_costs_no_row_and_no_attempt(lanes, monkeypatch):
    monkeypatch.setattr("forebay.workers.bulk.shard_work.LOOK_EVERY_S", 0)
    made = shard("a billing question", "no login here")
    claim = claimed(lanes, made)
    calls = failing_first(monkeypatch, "state", Unavailable("Redis is away"))
    record(lanes.ledger, claim, attempt(lanes.local.work, claim))
    assert calls
    assert [row.status for row in rows_of(lanes.ledger, made)] == ["done", "done"]


@pytest.mark.parametrize("budget", [None, 10**12])
def test_answers_outlast_redis_that_is_away_when_the_budget_is_read(lanes, monkeypatch, budget):
    made = shard(WRONG, "a billing question", egress="allow")
    claim = claimed(lanes, made)
    Bulks(lanes.ledger).create(made.bulk, {}, budget)
    calls = failing_first(monkeypatch, "get", Unavailable("Redis is away"))
    record(lanes.ledger, claim, attempt(lanes.local.work, claim))
    assert len(calls) > 1
    assert [row.status for row in rows_of(lanes.ledger, made)] == ["up", "done"]


@pytest.mark.parametrize("error", [ValueError("content"), Misconfigured("wrong", field="a file")])
@pytest.mark.parametrize("kind", ["classify", "embed"])
def test_a_row_that_breaks_the_worker_fails_alone(lanes, monkeypatch, caplog, kind, error):
    texts = ("a billing question", "poison [[echo: say=Billing]]", "no login here")
    rows = [{"texts": [text]} if kind == "embed" else {"text": text} for text in texts]
    made = shard(kind=kind, rows=rows, common={} if kind == "embed" else {"labels": LABELS})

    def broken(job, raw):
        if "poison" in str(job.request.model_dump()):
            raise error
        return check(job, raw)

    monkeypatch.setattr("forebay.workers.bulk.row_steps.check", broken)
    claim = claimed(lanes, made)
    record(lanes.ledger, claim, attempt(lanes.local.work, claim))
    good, bad, other = rows_of(lanes.ledger, made)
    assert (good.status, other.status) == ("done", "done")
    assert bad.status == "failed"
    assert bad.error == ("internal" if isinstance(error, ValueError) else "misconfigured")
    assert "content" not in caplog.text


def test_what_was_answered_is_kept_whatever_ends_the_work(lanes, monkeypatch):
    made = shard(*["what [[echo: say=Billing]]"] * 2)
    claim = claimed(lanes, made)
    real = RowSteps._answered
    done = []

    def answered(self, *args):
        if done:
            raise Unavailable("the checks cannot be reached")
        done.append(1)
        return real(self, *args)

    monkeypatch.setattr(RowSteps, "_answered", answered)
    record(lanes.ledger, claim, attempt(lanes.local.work, claim))
    lanes.redis.zadd("fb:later", {made.id: 0})
    lanes.ledger.sweep()
    kept = kept_results(lanes.ledger.claim("local.default", shards=True), 2)
    assert sorted(row is None for row in kept) == [False, True]


def test_a_row_that_breaks_a_call_for_many_fails_alone(lanes, monkeypatch):
    rows = [{"texts": [text]} for text in ("a", "poison", "c")]
    made = shard(kind="embed", rows=rows, common={})
    claim = claimed(lanes, made)
    real = Answerer.at_once

    def at_once(self, jobs):
        if any("poison" in job.request.texts for job in jobs):
            raise InvalidJob("is longer than the model reads", field="texts")
        return real(self, jobs)

    monkeypatch.setattr(Answerer, "at_once", at_once)
    record(lanes.ledger, claim, attempt(lanes.local.work, claim))
    good, bad, other = rows_of(lanes.ledger, made)
    assert (good.status, other.status) == ("done", "done")
    assert (bad.status, bad.error, bad.error_field) == ("failed", "invalid_job", "texts")


@pytest.mark.parametrize(("drained", "status"), [(True, "done"), (False, "failed")])
def test_a_row_is_blamed_for_the_death_of_its_worker_and_not_for_its_end(
    lanes, monkeypatch, drained, status
):
    made = shard("a billing question", "no login here")
    lanes.ledger.retry(claimed(lanes, made), EngineDied.code)
    claim = lanes.ledger.claim("local.default", shards=True)
    with monkeypatch.context() as patch:
        patch.setattr(RowSteps, "finish_all", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            lanes.local.work(claim)
    if drained:
        lanes.ledger.retry(claim, "unavailable", counted=False)
    else:
        lanes.redis.zadd("fb:leases", {made.id: 0})
        lanes.ledger.sweep()
    work_shards(lanes)
    first, second = rows_of(lanes.ledger, made)
    assert (first.status, second.status) == (status, "done")


@pytest.mark.slow
def test_a_row_that_kills_engines_fails_alone(lanes):
    made = shard("a billing question", "bad [[echo: crash]]", "no login here")
    put(lanes.ledger, made)
    work_shards(lanes, "route")
    engine = open_engine(EngineSettings(engine="echo", slots=4))
    local = lanes.local
    steps = RowSteps(
        Answerer(engine), local._labels, local._doubter, local._escalator, local._long_texts,
        local._shard_work._steps._opinions, local._conclusion._sampler,
    )  # fmt: skip
    work = ShardWork(lanes.ledger, Answerer(engine), steps)
    try:
        claim = lanes.ledger.claim("local.default", shards=True)
        with pytest.raises(EngineDied):
            work.work(claim, threading.Event())
        lanes.ledger.retry(claim, EngineDied.code)
        again = lanes.ledger.claim("local.default", shards=True)
        record(lanes.ledger, again, work.work(again, threading.Event()))
    finally:
        engine.close()
    good, killer, other = rows_of(lanes.ledger, made)
    assert (good.status, other.status) == ("done", "done")
    assert (killer.status, killer.error) == ("failed", "engine_died")


def test_a_row_that_is_worked_alone_holds_no_thread_once_its_bulk_is_cancelled(lanes, monkeypatch):
    for name, value in (("LOOK_EVERY_S", 0), ("WAIT_S", 0.05)):
        monkeypatch.setattr(f"forebay.workers.bulk.shard_work.{name}", value)
    made = shard("a billing question [[echo: delay=60]]")
    lanes.ledger.retry(claimed(lanes, made), EngineDied.code)
    lanes.redis.zadd("fb:later", {made.id: 0})
    lanes.ledger.sweep()
    claim = lanes.ledger.claim("local.default", shards=True)
    Bulks(lanes.ledger).set_state(made.bulk, "cancelled")
    began = time.monotonic()
    record(lanes.ledger, claim, attempt(lanes.local.work, claim))
    assert time.monotonic() - began < 30
    assert lanes.ledger.record(made.id).state == "waiting"
