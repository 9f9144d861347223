"""The client against a real ledger; the test itself plays the workers, through the ledger."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from forebay.producers.client import Client
from forebay.routing.errors import (
    BadAnswer,
    Cancelled,
    EgressDenied,
    Expired,
    InvalidJob,
    KeyReused,
    Misconfigured,
    TooLong,
    Unavailable,
    UnknownJob,
)
from forebay.routing.jobs import Answer, Classify, Job, Summary, new_id
from forebay.routing.settings import Settings
from patience import slowdown
from working import ask, settle, working


def test_run_gives_the_answer(client):
    with working(client._ledger):
        answer = client.run(ask(), timeout=10, metadata={"order": "17"})
    assert answer.content == Summary(text="HELLO")
    assert answer.lane == "local"
    assert answer.total_s > 0


def test_an_answer_can_be_fetched_by_its_id_at_any_time_after(client):
    job_id = client.submit(ask())
    with pytest.raises(TimeoutError, match=job_id):
        client.result(job_id, timeout=0.05)
    settle(client._ledger, client._ledger.claim("route"))
    assert client.result(job_id, timeout=5).content == Summary(text="HELLO")
    assert client.result(job_id, timeout=5).content == Summary(text="HELLO")
    assert client.status(job_id).state == "done"


def test_a_failure_is_raised_as_the_error_it_stands_for(client):
    failing, cancelled = client.submit(ask("bad")), client.submit(ask())
    expired = client.submit(ask(), deadline=timedelta(seconds=0.05))
    client.cancel(cancelled)
    time.sleep(0.06)
    with working(client._ledger):
        for job_id, error in ((failing, BadAnswer), (cancelled, Cancelled), (expired, Expired)):
            with pytest.raises(error):
                client.result(job_id, timeout=5)


def test_any_number_of_clients_wake_for_one_idempotent_job(client, settings):
    with Client(tenant="acme", settings=settings) as other:
        first = client.submit_future(ask(), idempotency_key="k")
        second = other.submit_future(ask(), idempotency_key="k")
        third = other.submit_future(ask(), idempotency_key="k")
        settle(client._ledger, client._ledger.claim("route"))
        ids = {future.result(5).id for future in (first, second, third)}
    assert len(ids) == 1
    assert client._ledger.claim("route") is None


def test_an_idempotency_key_used_for_another_job_is_an_error(client):
    client.submit(ask("one"), idempotency_key="k")
    with pytest.raises(KeyReused) as caught:
        client.submit(ask("two"), idempotency_key="k")
    assert caught.value.field == "idempotency_key"


def test_map_gives_answers_in_order_and_errors_in_their_place(client):
    texts = [f"t{i}" if i % 7 else "bad" for i in range(3000)]
    with working(client._ledger):
        answers = list(client.map((ask(text) for text in texts), timeout=30))
    outcomes = [a.content.text if isinstance(a, Answer) else a.code for a in answers]
    assert outcomes == [text.upper() if text != "bad" else "bad_answer" for text in texts]


def test_map_takes_at_most_two_thousand_requests_ahead(client):
    taken = []

    def requests():
        for i in range(100_000):
            taken.append(i)
            yield ask(str(i))

    answers = client.map(requests(), timeout=10)
    with working(client._ledger):
        next(answers)
    assert len(taken) <= 2_000


def test_a_tenant_cannot_see_cancel_or_forget_another_tenants_job(client, settings):
    job_id = client.submit(ask())
    with Client(tenant="globex", settings=settings) as other:
        for method in (other.result, other.status, other.cancel, other.forget):
            with pytest.raises(UnknownJob):
                method(job_id)
        with pytest.raises(InvalidJob) as caught:
            other.submit(Job(tenant="acme", request=ask()))
        assert caught.value.field == "tenant"
    assert client.status(job_id).state == "waiting"


def test_unknown_and_forgotten_jobs_are_told_apart_from_waiting_ones(client):
    job_id = client.submit(ask())
    assert client.forget(job_id)
    assert not client.forget(job_id)
    for unknown in (job_id, new_id("acme")):
        with pytest.raises(UnknownJob):
            client.result(unknown, timeout=1)
        with pytest.raises(UnknownJob):
            client.cancel(unknown)


def test_status_says_if_nobody_serves_the_queue(client):
    job_id = client.submit(ask())
    assert not client.status(job_id).served
    client._ledger.serve("worker-1", ["route"], for_s=10)
    assert client.status(job_id).served


@pytest.mark.parametrize(
    ("make", "error", "field"),
    [
        (lambda c: c.submit(ask(), lane="bedrock"), EgressDenied, "egress"),
        (lambda c: c.submit(ask(), egress="maybe"), InvalidJob, "egress"),
        (lambda c: c.submit(ask(), max_cost_usd=-1), InvalidJob, "max_cost_usd"),
        (lambda c: c.submit(ask(), metadata={"k": "v" * 2000}), TooLong, "metadata"),
        (lambda c: c.submit(ask(), nonsense=1), InvalidJob, "nonsense"),
        (lambda c: c.submit(c.job(ask()), egress="allow"), InvalidJob, "egress"),
        (lambda c: c.submit(ask("x" * 600_000)), TooLong, "text"),
        (lambda c: c.submit(Classify(text="x", labels=["a", "a"])), InvalidJob, "labels"),
    ],
)
def test_a_wrong_job_is_refused_by_name_and_nothing_is_stored(client, redis, make, error, field):
    keys = set(redis.keys())
    with pytest.raises(error) as caught:
        make(client)
    assert caught.value.field == field
    assert set(redis.keys()) == keys


def test_a_redis_that_is_away_is_one_clear_error():
    with (
        Client(settings=Settings(redis_url="redis://127.0.0.1:1/0")) as client,
        pytest.raises(Unavailable),
    ):
        client.submit(ask())
    with pytest.raises(Misconfigured):
        Client(settings=Settings(redis_url="http://nowhere"))


@pytest.fixture
def away(fleet):
    """A client of a Redis that was killed, and a function that starts Redis again after a while."""
    server = fleet.start_redis()
    settings = Settings(redis_url=fleet.url)

    def back(after_s: float) -> None:
        time.sleep(after_s)
        server.restart()

    with Client(tenant="acme", settings=settings, patience=30) as client:
        client.submit(ask())
        fleet.kill(server)
        yield client, back


def test_a_patient_submit_waits_for_a_redis_that_is_away(away):
    client, back = away
    with ThreadPoolExecutor(4) as pool:
        submits = [pool.submit(client.submit, ask(str(i))) for i in range(4)]
        back(after_s=1.5)
        ids = {submit.result(30) for submit in submits}
    claimed = [client._ledger.claim("route").id for _ in range(5)]
    assert ids < set(claimed), "a job was lost"
    assert client._ledger.claim("route") is None, "a job was doubled"


def test_a_patient_map_goes_on_after_redis_was_away(away):
    client, back = away
    with ThreadPoolExecutor(1) as pool:
        mapped = pool.submit(list, client.map([ask("a"), ask("b")], timeout=30))
        back(after_s=1.0)
        with working(client._ledger):
            assert [answer.content.text for answer in mapped.result(30)] == ["A", "B"]


def test_a_lost_reply_makes_no_second_job(client, monkeypatch):
    client = Client(tenant="acme", settings=client._ledger.settings, patience=10)
    create, calls = client._ledger.create, []

    def losing_the_reply(jobs, watcher=""):
        made = create(jobs, watcher)
        calls.append(made)
        if len(calls) == 1:
            raise Unavailable("Redis cannot be reached")
        return made

    monkeypatch.setattr(client._ledger, "create", losing_the_reply)
    with client:
        job_id = client.submit(ask())
        assert calls == [[job_id], [job_id]]
        assert client._ledger.depths() == {"route": 1}


def test_a_patient_submit_waits_for_room_and_then_gives_up(settings):
    tight = settings.model_copy(update={"max_waiting": 1})
    with Client(tenant="acme", settings=tight, patience=20) as client:
        client.submit(ask())
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(client.submit, ask())
            time.sleep(0.3)
            assert not second.done()
            settle(client._ledger, client._ledger.claim("route"))
            assert client.status(second.result(10)).state == "waiting"
    with Client(tenant="acme", settings=tight, patience=0.5) as client:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="1 jobs are waiting"):
            client.submit(ask())
        assert 0.5 <= time.monotonic() - began < 5 * slowdown()
    with Client(tenant="acme", settings=tight) as client:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            client.submit(ask())
        assert time.monotonic() - began < 0.5 * slowdown()


def test_a_job_submitted_again_after_its_end_wakes_the_caller(client):
    job = client.job(ask())
    client.submit(job)
    settle(client._ledger, client._ledger.claim("route"))
    assert client.submit_future(job).result(10).content == Summary(text="HELLO")


def test_a_forged_record_spoils_no_other_jobs_answer(client, redis):
    jobs = [client.job(ask()), client.job(ask())]
    forged, fine = (client.submit_future(job) for job in jobs)
    claims = [client._ledger.claim("route") for _ in jobs]
    for field in ("kind", "hop", "created"):
        redis.hset(f"fb:job:{jobs[0].id}", field, b"\xff")
    for claim in claims:
        settle(client._ledger, claim)
    assert fine.result(10).content == Summary(text="HELLO")
    with pytest.raises(InvalidJob):
        forged.result(10)


def test_callers_wake_after_their_connection_was_cut(client, redis):
    future = client.submit_future(ask())
    time.sleep(0.1)
    redis.client_kill_filter(skipme=True, _type="normal")
    redis.delete(client._wakeups.stream)
    settle(client._ledger, client._ledger.claim("route"))
    assert future.result(10).content == Summary(text="HELLO")


def test_looking_again_spares_jobs_that_are_being_submitted(client, monkeypatch):
    created = client._submitter.create

    def slowly(jobs, watcher=""):
        client._wakeups._look_again()  # as after a lost connection, in the middle of a create
        return created(jobs, watcher)

    monkeypatch.setattr(client._submitter, "create", slowly)
    future = client.submit_future(ask())
    settle(client._ledger, client._ledger.claim("route"))
    assert future.result(5).content == Summary(text="HELLO")


def test_a_caller_that_gives_up_waiting_is_forgotten(client):
    job_id = client.submit(ask())
    for _ in range(3):
        with pytest.raises(TimeoutError):
            client.result(job_id, timeout=0.01)
    again = client.job(ask(), idempotency_key="k")
    first = client.submit(ask(), idempotency_key="k")
    for request in (ask("two"), again):
        with pytest.raises(TimeoutError, match=r"job acme\.") as caught:
            client.run(request, timeout=0.01)
    assert first in str(caught.value), "the job that goes on is the first one under the key"
    assert client._wakeups._expected == {}


def test_a_timeout_of_map_names_the_job(client):
    job = client.job(ask())
    with pytest.raises(TimeoutError, match=job.id):
        next(client.map([job], timeout=0.01))


def test_forgetting_a_job_wakes_its_callers(client):
    future = client.submit_future(ask())
    job_id = next(iter(client._wakeups._expected))
    client.forget(job_id)
    with pytest.raises(UnknownJob):
        future.result(5)


def test_closing_a_client_ends_all_waits_and_refuses_new_jobs(settings):
    client = Client(tenant="acme", settings=settings)
    future = client.submit_future(ask())
    client.close()
    with pytest.raises(Unavailable):
        future.result(5)
    with pytest.raises(Unavailable):
        client.run(ask())


def test_a_client_does_not_close_a_redis_client_that_it_was_given(redis, settings):
    with Client(tenant="acme", settings=settings, redis=redis) as client:
        client.submit(ask())
    assert redis.ping()


def test_waiting_in_a_queue_that_nobody_serves_is_logged(client, caplog):
    client.submit_future(ask())
    client._wakeups._look_again()
    assert "which no worker serves" in caplog.text
