"""Arguments of a caller are checked at the door: one clear error of ours, whatever they are."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import pickle
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import redis as redis_py
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from forebay.producers.async_client import AsyncClient
from forebay.producers.client import Client
from forebay.routing.errors import (
    BadAnswer,
    Cancelled,
    ForebayError,
    InvalidJob,
    Misconfigured,
    ResultTimeout,
    Unavailable,
    UnknownJob,
)
from forebay.routing.jobs import Embed, Job, new_id
from forebay.routing.settings import Settings
from working import ask, working

pytestmark = pytest.mark.slow

ODD = [None, 3, 2.5, b"x", "", "text", ["x"], {"a": 1}, object(), Embed, timedelta(1), math.nan]


@pytest.mark.parametrize("make", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("arguments", "field", "words"),
    [
        ({"tenant": "Support"}, "tenant", "must be lower-case letters, digits, - and _"),
        ({"tenant": ""}, "tenant", "must be lower-case letters"),
        ({"tenant": "a" * 64}, "tenant", "at most 63"),
        ({"tenant": None}, "tenant", "must be text"),
        ({"patience": "5"}, "patience", "must be a number of seconds"),
        ({"patience": timedelta(5)}, "patience", "must be a number of seconds"),
        ({"patience": -1}, "patience", "must be a number of seconds"),
        ({"patience": math.nan}, "patience", "must be a number of seconds"),
        ({"patience": math.inf}, "patience", "must be a number of seconds"),
        ({"patience": True}, "patience", "must be a number of seconds"),
        ({"patience": None}, "patience", "must be a number of seconds"),
        ({"redis": "redis://127.0.0.1:6379/0"}, "redis", r"Settings\(redis_url="),
        ({"settings": "redis://127.0.0.1:6379/0"}, "settings", "must be a forebay.Settings"),
        ({"settings": {}}, "settings", "must be a forebay.Settings"),
    ],
)
def test_a_wrong_argument_fails_when_the_client_is_made(make, arguments, field, words):
    with pytest.raises(Misconfigured, match=words) as caught:
        make(**arguments)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("make", "lent", "words"),
    [
        (Client, redis_py.asyncio.Redis(), r"must be a redis\.Redis"),
        (Client, redis_py.Redis(decode_responses=True), "decode_responses"),
        (AsyncClient, redis_py.Redis(), r"must be a redis\.asyncio\.Redis"),
        (AsyncClient, redis_py.asyncio.Redis(decode_responses=True), "decode_responses"),
    ],
)
def test_a_lent_redis_client_must_be_of_the_right_half_of_redis_py(make, lent, words):
    with pytest.raises(Misconfigured, match=words) as caught:
        make(redis=lent)
    assert caught.value.field == "redis"


def test_a_patience_may_be_long(settings):
    with Client(tenant="acme", settings=settings, patience=10**400) as client:
        assert client.submit(ask())


def by_id(client):
    """Return every method that takes the id of a job."""
    return [
        getattr(client, name)
        for name, method in inspect.getmembers(Client, inspect.isfunction)
        if not name.startswith("_") and "job_id" in inspect.signature(method).parameters
    ]


@pytest.mark.parametrize("odd", ODD, ids=lambda value: type(value).__name__)
def test_what_is_no_job_id_is_an_unknown_job(client, odd):
    methods = by_id(client)
    assert len(methods) >= 10
    for method in methods:
        with pytest.raises(UnknownJob, match="is not a job id"):
            method(odd)


@pytest.mark.parametrize("odd", ["5", timedelta(seconds=5), math.nan, True, [], Decimal(1)])
def test_a_timeout_that_is_no_number_is_refused_before_anything_is_submitted(client, redis, odd):
    job_id = client.submit(ask())
    keys = set(redis.keys())
    for call in (
        lambda: client.run(ask(), timeout=odd),
        lambda: client.result(job_id, timeout=odd),
        lambda: client.map([ask()], timeout=odd),
        lambda: client.as_completed([ask()], timeout=odd),
    ):
        with pytest.raises(InvalidJob, match="must be a number of seconds") as caught:
            call()
        assert caught.value.field == "timeout"
    assert set(redis.keys()) == keys


@pytest.mark.parametrize("timeout", [None, math.inf, 10, 1e300, 10**400])
def test_a_timeout_may_be_long(client, timeout):
    with working(client._ledger):
        assert client.run(ask(), timeout=timeout).content.text == "HELLO"


@pytest.mark.parametrize("timeout", [0, -1, -math.inf])
def test_no_time_at_all_is_a_timeout(client, timeout):
    with pytest.raises(ResultTimeout):
        client.run(ask(), timeout=timeout)


@pytest.mark.parametrize("odd", ODD, ids=lambda value: type(value).__name__)
def test_what_is_no_request_is_refused(client, odd):
    for submit in (client.submit, client.run, client.submit_future, client.job):
        with pytest.raises(InvalidJob):
            submit(odd)


@pytest.mark.parametrize("limit", [0, -1, "5", None, 2.5, True, 10**30])
def test_a_limit_that_is_no_number_above_zero_is_refused(client, limit):
    with pytest.raises(InvalidJob) as caught:
        client.dead(limit)
    assert caught.value.field == "limit"


# --- deadlines -----------------------------------------------------------------------------------

NAIVE = datetime(2100, 1, 1, tzinfo=UTC).replace(tzinfo=None)
NO_TIMES = [30, 30.0, "500", "4102444800", b"500", Decimal(30), True, "soon", "2100-01-01",
            "2100-01-01T00:00:00", NAIVE, [], math.nan]  # fmt: skip


@pytest.mark.parametrize("deadline", NO_TIMES, ids=lambda value: type(value).__name__)
def test_a_deadline_without_a_clear_meaning_is_refused_with_the_forms(client, deadline):
    for make in (
        lambda: client.submit(ask(), deadline=deadline),
        lambda: Job(tenant="acme", request=ask(), deadline=deadline),
    ):
        with pytest.raises(InvalidJob, match="must be a time with a time zone like") as caught:
            make()
        assert caught.value.field == "deadline"


@pytest.mark.parametrize("days", [10**7, 999_999_999])
def test_a_deadline_that_no_calendar_holds_is_refused(client, days):
    with pytest.raises(InvalidJob, match=r"must be at most \d+ days from now"):
        client.submit(ask(), deadline=timedelta(days=days))


@pytest.mark.parametrize(
    "deadline",
    [datetime(2020, 1, 2, tzinfo=UTC), "2020-01-02T00:00:00Z", timedelta(0), timedelta(days=-9)],
)
def test_a_deadline_that_has_passed_is_refused_and_repeated(client, redis, deadline):
    keys = set(redis.keys())
    for submit in (client.submit, client.run, client.submit_future):
        with pytest.raises(InvalidJob, match=r"20\d\d-\d\d-\d\dT.* has passed") as caught:
            submit(ask(), deadline=deadline)
        assert caught.value.field == "deadline"
    jobs = [client.job(ask(), deadline=deadline) for _ in range(2)]
    for error, job in zip(client.map(jobs), jobs, strict=True):
        assert isinstance(error, InvalidJob)
        assert (error.field, error.job_id) == ("deadline", job.id)
    assert set(redis.keys()) == keys
    with working(client._ledger):
        _, answer = client.map([jobs[0], ask()], timeout=10)
    assert answer.content.text == "HELLO"


def test_a_span_is_a_deadline_of_a_job_too():
    job = Job(request=ask(), deadline=timedelta(hours=1))
    assert timedelta(minutes=59) < job.deadline - datetime.now(UTC) <= timedelta(hours=1)


@hypothesis_settings(max_examples=200)
@given(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(),
        st.timedeltas(), st.datetimes(), st.dates(), st.times(), st.decimals(),
        st.datetimes(timezones=st.timezones()), st.lists(st.integers(), max_size=2),
    )
)  # fmt: skip
def test_whatever_the_deadline_is_the_error_is_ours(deadline):
    client = Client(settings=Settings(redis_url="redis://127.0.0.1:1/0"))
    with client, contextlib.suppress(InvalidJob, Unavailable):
        client.submit(ask(), deadline=deadline)


# --- after close ---------------------------------------------------------------------------------


def calls(client):
    """Return calls of every public method that talks to Redis, by name."""
    job_id, job = new_id("acme"), client.job(ask())
    return {
        **{method.__name__: (lambda m=method: m(job_id)) for method in by_id(client)},
        "submit": lambda: client.submit(ask()),
        "run": lambda: client.run(ask()),
        "map": lambda: client.map([ask()]),
        "submit_all": lambda: client.submit_all([ask()]),
        "as_completed": lambda: client.as_completed([ask()]),
        "submit_future": lambda: client.submit_future(ask()),
        "submit_with_future": lambda: client.submit_with_future(ask()),
        "submit_with_futures": lambda: client.submit_with_futures([job]),
        "dead": client.dead,
        "bulk": lambda: client.bulk([{"text": "x"}], kind="summarize"),
        "bulks": client.bulks,
        "bulk_progress": lambda: client.bulk_progress(new_id("acme")),
        "resume_bulk": lambda: client.resume_bulk(new_id("acme")),
        "retry_bulk": lambda: client.retry_bulk(new_id("acme")),
        "sample_bulk": lambda: client.sample_bulk([{"text": "x"}], 1, kind="summarize"),
        "set_bulk_state": lambda: client.set_bulk_state(new_id("acme"), "paused"),
        "validate_bulk": lambda: client.validate_bulk([{"text": "x"}], kind="summarize"),
    }


PUBLIC = {
    name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")
}


def test_every_method_of_a_closed_client_raises_the_same_error(settings):
    client = Client(tenant="acme", settings=settings)
    methods = calls(client)
    assert set(methods) == PUBLIC - {"job", "close"}
    client.close()
    client.close()
    for call in methods.values():
        with pytest.raises(Unavailable, match=r"^the client is closed$"):
            call()
    with pytest.raises(Unavailable, match="the client is closed"), client:
        pass


def test_every_method_of_a_closed_asyncio_client_does_so_too(settings):
    async def main():
        client = AsyncClient(tenant="acme", settings=settings)
        await client.close()
        job_id = new_id("acme")
        for coroutine in (client.status(job_id), client.run(ask()), client.dead(),
                          anext(client.map([ask()])), client.__aenter__()):  # fmt: skip
            with pytest.raises(Unavailable, match=r"^the client is closed$"):
                await coroutine

    asyncio.run(main())


# --- errors name the job -------------------------------------------------------------------------


def test_an_error_of_an_ended_job_has_its_id_and_its_receipt(client):
    failing, cancelled = client.submit(ask("bad")), client.submit(ask())
    client.cancel(cancelled)
    with working(client._ledger):
        for job_id, kind in ((failing, BadAnswer), (cancelled, Cancelled)):
            with pytest.raises(kind) as caught:
                client.result(job_id, timeout=5)
            assert (caught.value.job_id, caught.value.receipt.id) == (job_id, job_id)
            assert caught.value.receipt == client.status(job_id).receipt
            again = pickle.loads(pickle.dumps(caught.value))
            assert (again.job_id, again.receipt, str(again)) == (
                job_id, caught.value.receipt, str(caught.value),
            )  # fmt: skip
        with pytest.raises(BadAnswer) as caught:
            client.run(ask("bad"), timeout=5)
    assert caught.value.job_id == caught.value.receipt.id


def test_an_error_about_a_job_has_its_id(client):
    unknown = new_id("acme")
    for call in (client.result, client.status, client.cancel, client.explain, client.replay):
        with pytest.raises(UnknownJob) as caught:
            call(unknown)
        assert (caught.value.job_id, caught.value.receipt) == (unknown, None)
    with pytest.raises(ForebayError) as caught:
        client.submit(ask(), lane="bedrock")
    assert caught.value.job_id is None, "no job was made"


def test_a_timeout_has_the_id(client):
    job = client.job(ask())
    with pytest.raises(ResultTimeout, match=job.id) as caught:
        client.run(job, timeout=0.01)
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.job_id, caught.value.job_ids) == (job.id, (job.id,))
    assert pickle.loads(pickle.dumps(caught.value)).job_id == job.id


def test_a_job_that_may_have_been_taken_in_is_named():
    with Client(settings=Settings(redis_url="redis://127.0.0.1:1/0")) as client:
        job = client.job(ask())
        for submit in (client.submit, client.submit_future):
            with pytest.raises(Unavailable) as caught:
                submit(job)
            assert caught.value.job_id == job.id


def test_a_conflicting_idempotency_key_names_the_first_job(client):
    first = client.submit(ask("one"), idempotency_key="k")
    for submit in (client.submit, client.submit_future, client.run):
        with pytest.raises(InvalidJob, match=first) as caught:
            submit(ask("two"), idempotency_key="k")
        assert (caught.value.field, caught.value.job_id) == ("idempotency_key", first)
