"""`submit_all`: many jobs without waiting for answers, and nothing lost in silence."""

from __future__ import annotations

import asyncio
import time

import pytest

from forebay.producers.async_client import AsyncClient
from forebay.producers.client import Client
from forebay.producers.handles import JobHandle
from forebay.routing.errors import InvalidJob, RedisUnavailable, Unavailable
from forebay.routing.jobs import Job
from forebay.routing.settings import Settings
from working import ask, working

pytestmark = pytest.mark.slow


def stored_ids(redis):
    return {key.decode().removeprefix("fb:job:") for key in redis.keys("fb:job:*")}


def test_every_job_is_submitted_once_and_its_handle_comes_in_order(client, redis):
    jobs = [client.job(ask(str(i))) for i in range(1100)]
    handles = list(client.submit_all(iter(jobs)))
    assert handles == [job.id for job in jobs]
    assert all(isinstance(handle, JobHandle) for handle in handles)
    assert stored_ids(redis) == set(handles)
    assert client._wakeups._expected == {}
    with working(client._ledger):
        assert len(list(client.as_completed(handles, timeout=60))) == 1100


def test_errors_come_in_their_place(client):
    first = client.submit(ask("k"), idempotency_key="k")
    items = [
        ask("a"), 3, Job(tenant="globex", request=ask("b")), {"kind": "summarize", "text": ""},
        Job(tenant="acme", request=ask("k"), idempotency_key="k"),
        Job(tenant="acme", request=ask("other"), idempotency_key="k"),
    ]  # fmt: skip
    found = list(client.submit_all(items, priority="interactive"))
    assert [isinstance(one, JobHandle) for one in found] == [True] + [False] * 5
    found = list(client.submit_all(items))
    assert [getattr(one, "field", None) for one in found] == [
        None, "request", "tenant", "text", None, "idempotency_key",
    ]  # fmt: skip
    assert found[4] == first
    assert found[5].job_id == first


def test_a_generator_that_raises_raises_after_all_handles_before(client, redis):
    def requests():
        yield from (ask(str(i)) for i in range(700))
        raise KeyError("the caller's own")

    handles, error = [], None
    try:
        handles.extend(client.submit_all(requests()))
    except KeyError as raised:
        error = raised
    assert error.args == ("the caller's own",)
    assert len(stored_ids(redis)) == 700


def test_an_iteration_that_ends_early_leaves_no_submit_behind(client, redis):
    handles = client.submit_all(ask(str(i)) for i in range(10_000))
    first = next(handles)
    handles.close()
    submitted = stored_ids(redis)
    assert first in submitted
    assert len(submitted) <= 750
    time.sleep(0.2)
    assert stored_ids(redis) == submitted


def test_a_redis_that_is_away_names_each_job_and_ends_the_iteration(settings):
    nowhere = Settings(redis_url="redis://127.0.0.1:1/0")
    with Client(tenant="acme", settings=nowhere) as client:
        handles = client.submit_all(ask(str(i)) for i in range(100_000))
        found = []
        with pytest.raises(Unavailable):
            found.extend(handles)
    assert {type(one) for one in found} == {RedisUnavailable}
    assert 0 < len({one.job_id for one in found}) == len(found) <= 500


@pytest.mark.parametrize("wrong", [None, 3, "text", ask()])
def test_what_is_no_list_of_requests_is_refused_at_once(client, wrong):
    with pytest.raises(InvalidJob, match="`submit` takes a single one") as caught:
        client.submit_all(wrong)
    assert caught.value.field == "requests"


def test_asyncios_form_does_the_same(client, settings, redis):
    async def main():
        async def requests():
            for i in range(120):
                await asyncio.sleep(0)
                yield ask(str(i))

        async with AsyncClient(tenant="acme", settings=settings) as other:
            return [handle async for handle in other.submit_all(requests())]

    handles = asyncio.run(main())
    assert len(handles) == 120
    assert stored_ids(redis) == set(handles)
