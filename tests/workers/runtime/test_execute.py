"""One doorbell answered: by one job, or by several quick ones, each with a result of its own."""

import time

import pytest

from forebay.routing.errors import Expired, Lost, Unavailable
from forebay.routing.jobs import (
    Answer,
    Extraction,
    Generate,
    Generation,
    Job,
    Message,
    Verdict,
)
from forebay.workers.runtime import execute, recording
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.execute import Executor, at_once
from forebay.workers.runtime.outcomes import Answered, Dropped, Escalated, Retry, Routed
from working import work_next


@pytest.fixture
def in_flight():
    return InFlight(4)


@pytest.fixture
def patient(monkeypatch):
    """However busy the machine is, these jobs are quick."""
    monkeypatch.setattr(execute, "QUICK_S", 60)


def create(ledger, count: int) -> list[str]:
    request = Generate(messages=[Message(role="user", content="hello")])
    return ledger.create([Job(request=request) for _ in range(count)])


def route(_claim) -> Routed:
    return Routed("local.default", "deny", "no_verdict", Verdict(probability=0.5, version="none"))


def test_quick_jobs_share_one_doorbell_and_take_their_own_along(ledger, redis, in_flight, patient):
    ids = create(ledger, 5)
    redis.rpop("route")  # the doorbell that Celery took
    results = Executor(ledger, route, in_flight).answer_doorbell("route")
    assert sorted(recorded.id for recorded in results) == sorted(ids)
    assert redis.llen("route") == 0
    assert redis.llen("local.default") == 2, "a few doorbells stand for all five"
    assert Executor(ledger, route, in_flight).answer_doorbell("route") == []


def test_after_a_claim_that_left_no_job_there_is_no_second(ledger, redis, in_flight, patient):
    ids = create(ledger, 3)
    redis.rpop("route")
    claims, claim = [], ledger.claim_many

    def count(*args, **options):
        claims.append(claim(*args, **options))
        return claims[-1]

    ledger.claim_many = count
    late = []

    def route_late(claimed):
        late.extend(create(ledger, 1) if not late else ())  # it rings
        return route(claimed)

    turn = at_once(3)
    results = Executor(ledger, route_late, in_flight, turn=turn).answer_doorbell("route")
    assert [len(each) for each in claims] == [3, 1]
    assert sorted(one.id for one in results) == sorted([*ids, *late])
    create(ledger, 1)
    claims.clear()
    assert len(Executor(ledger, route, in_flight, turn=turn).answer_doorbell("route")) == 1
    assert [len(each) for each in claims] == [1]


def test_a_job_that_takes_longer_has_a_task_to_itself(ledger, redis, in_flight):
    create(ledger, 2)
    redis.rpop("route")

    def route_slowly(claim):
        time.sleep(execute.QUICK_S)
        return route(claim)

    (recorded,) = Executor(ledger, route_slowly, in_flight).answer_doorbell("route")
    assert recorded.outcome.queue == "local.default"
    assert redis.llen("route") == 1
    assert ledger.depths()["route"] == 1


def test_a_job_that_goes_back_is_no_job_of_the_last_minute(ledger, in_flight):
    create(ledger, 2)
    busy = Retry("engine_busy", counted=False, delay_s=60)
    work_next(ledger, "route", lambda _: busy, in_flight=in_flight)
    assert (in_flight.last_minute.rate()[0], in_flight.retries.rate()[0]) == (0, 1)
    work_next(ledger, "route", route, in_flight=in_flight)
    assert (in_flight.last_minute.rate()[0], in_flight.retries.rate()[0]) == (1, 1)


def test_a_draining_worker_takes_no_second_job(ledger, redis, in_flight, patient):
    create(ledger, 2)
    redis.rpop("route")

    def route_and_drain(claim):
        in_flight.closed = True
        return route(claim)

    (recorded,) = Executor(ledger, route_and_drain, in_flight).answer_doorbell("route")
    assert recorded.outcome.queue == "local.default"
    assert ledger.depths()["route"] == 1


def test_a_claim_that_a_doorbell_called_for_leaves_the_other_doorbells(ledger, redis):
    create(ledger, 3)
    redis.rpop("route")
    ledger.claim("route")
    assert redis.llen("route") == 2
    ledger.claim("route", unrung=True)
    assert redis.llen("route") == 1
    ledger.claim("route", unrung=True)
    assert ledger.claim("route", unrung=True) is None
    assert redis.llen("route") == 0


def test_one_failure_among_quick_jobs_does_not_touch_the_others(ledger, in_flight, patient, caplog):
    ids = create(ledger, 3)

    def fail_once(claim):
        if claim.id == ids[1]:
            raise ValueError("a secret text")
        return route(claim)

    results = Executor(ledger, fail_once, in_flight).answer_doorbell("route")
    by_id = {recorded.id: recorded for recorded in results}
    failed = by_id[ids[1]]
    assert (failed.outcome.code, failed.state, failed.receipt) == ("internal", "waiting", None)
    assert by_id[ids[0]].outcome.queue == by_id[ids[2]].outcome.queue == "local.default"
    assert "ValueError broke on" in caplog.text
    assert "a secret text" not in caplog.text


def test_a_lost_job_is_dropped_while_it_is_worked_or_when_it_is_recorded(ledger, in_flight):
    ids = create(ledger, 2)

    def lose(_claim):
        raise Lost

    def cancel(claim):
        ledger.cancel(claim.id)
        return route(claim)

    for work, state in ((lose, "lost"), (cancel, "cancelled")):
        recorded = work_next(ledger, "route", work, in_flight=in_flight)
        assert (recorded.outcome, recorded.state) == (Dropped(), state)
    assert [ledger.record(one).queue for one in ids] == ["route", "route"]
    assert in_flight.claims() == []


def test_an_outcome_is_recorded_as_soon_as_redis_is_back(ledger, in_flight, monkeypatch, caplog):
    (job_id,) = create(ledger, 1)
    claim = ledger.claim("route")
    record, failures = recording.record, [Unavailable("no Redis"), Unavailable("no Redis")]

    def flaky(*args):
        if failures:
            raise failures.pop()
        return record(*args)

    monkeypatch.setattr(recording, "record", flaky)
    monkeypatch.setattr("forebay.routing.store.backoff.time.sleep", lambda _seconds: None)
    recorded = recording.record_patiently(ledger, claim, route(claim))
    assert (recorded.id, recorded.outcome.queue) == (job_id, "local.default")
    assert caplog.text.count(f"cannot record the outcome of {job_id} yet: no Redis") == 2


def test_the_patience_with_redis_ends(ledger, monkeypatch):
    create(ledger, 1)
    claim = ledger.claim("route")

    def down(*_args):
        raise Unavailable("no Redis")

    monkeypatch.setattr(recording, "record", down)
    monkeypatch.setattr(recording, "PATIENCE_S", -1)
    with pytest.raises(Unavailable):
        recording.record_patiently(ledger, claim, Dropped())


def answer(claim, content) -> Answer:
    return Answer(**claim.record.heading(), status="done", lane="local", content=content)


@pytest.mark.parametrize("move", [Answered, lambda draft: Escalated("doubtful", draft)])
def test_an_outcome_that_cannot_be_written_costs_an_attempt(ledger, in_flight, caplog, move):
    half_a_character = Extraction(data={"a secret name": "\ud83d"})
    (job_id,) = create(ledger, 1)
    recorded = work_next(
        ledger, "route", lambda claim: move(answer(claim, half_a_character)), in_flight=in_flight
    )
    assert (recorded.outcome.code, recorded.state) == ("internal", "waiting")
    assert (ledger.record(job_id).state, ledger.record(job_id).error) == ("waiting", "internal")
    assert f"PydanticSerializationError broke on {job_id}" in caplog.text
    assert "a secret name" not in caplog.text


def together(claims):
    """Answer jobs together; the last answer cannot be written."""
    texts = ["good day"] * (len(claims) - 1) + ["\ud83d"]
    yield [
        (claim, Answered(answer(claim, Generation(text=text))))
        for claim, text in zip(claims, texts, strict=True)
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_answers_that_are_ready_together_are_recorded_each_as_it_is_alone(
    ledger, in_flight, monkeypatch, fails
):
    ids = create(ledger, 4)
    if fails:

        def away(_results):
            raise Unavailable("no Redis")

        settle_one = ledger.settle_many
        monkeypatch.setattr(
            ledger, "settle_many", lambda all_: away(all_) if len(all_) > 1 else settle_one(all_)
        )
    ledger.cancel(ids[0])
    executor = Executor(ledger, route, in_flight, turn=at_once(4), work_all=together)
    done = executor.answer_doorbell("route")
    assert [recorded.state for recorded in done] == ["done", "done", "waiting"]
    assert done[-1].outcome.code == "internal"
    assert in_flight.claims() == []
    assert [ledger.record(one).state for one in ids] == ["cancelled", "done", "done", "waiting"]


def test_a_thread_that_waited_until_the_worker_drained_passes_its_doorbell_on(
    ledger, redis, in_flight
):
    create(ledger, 2)
    redis.rpop("route")
    in_flight.closed = True
    closed = at_once(0)
    assert Executor(ledger, route, in_flight, turn=closed).answer_doorbell("route") == []
    assert redis.llen("route") == 2
    assert ledger.depths()["route"] == 2
    Executor(ledger, route, in_flight, turn=closed).answer_doorbell("route", unrung=True)
    assert redis.llen("route") == 2


@pytest.mark.parametrize("error", [ValueError("a secret text"), Unavailable("no Redis"), Lost()])
def test_what_follows_an_answer_cannot_take_it_back(ledger, in_flight, caplog, error):
    class Hook:
        def __init__(self):
            self.outcomes = []

        def started(self, _claim, /):
            pass

        def finished(self, _claim, recorded, /):
            self.outcomes.append(type(recorded.outcome))

    def share():
        raise error

    def work(claim):
        return Answered(answer(claim, Generation(text="good day")), share)

    (job_id,) = create(ledger, 1)
    hook = Hook()
    recorded = work_next(ledger, "route", work, hook, in_flight=in_flight)
    assert (recorded.id, recorded.state) == (job_id, "done")
    assert not hasattr(recorded.receipt, "content")
    assert ledger.record(job_id).state == "done"
    assert hook.outcomes == [Answered]
    assert f"{type(error).__name__} after the end of {job_id}" in caplog.text
    assert "a secret text" not in caplog.text


def test_a_job_that_the_engine_stops_at_its_deadline_is_expired_and_no_dead_letter(
    ledger, redis, in_flight
):
    (job_id,) = create(ledger, 1)

    def stop(_claim):
        raise Expired("the deadline passed while the job was worked")

    (recorded,) = Executor(ledger, stop, in_flight).answer_doorbell("route")
    assert recorded.state == recorded.receipt.status == "expired"
    record = ledger.record(job_id)
    assert (record.state, record.error) == ("expired", "expired")
    assert not redis.keys("fb:dead:*")
    assert not redis.exists(f"fb:content:{job_id}"), "no content is kept for a replay"


def test_a_job_of_the_reserve_is_worked_as_a_job_beside_others_is(ledger, in_flight):
    (job_id,) = create(ledger, 1)
    together = []

    def work_all(claims):
        together.extend(claims)
        yield [(claim, route(claim)) for claim in claims]

    claim = ledger.claim("route")
    assert Executor(ledger, route, in_flight, work_all=work_all).work_claim(claim).id == job_id
    assert together == [claim]
    assert ledger.record(job_id).queue == "local.default"
