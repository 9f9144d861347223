"""`cancel_on_exit`: a caller that goes away takes its jobs along, and only its own."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from forebay.producers.async_client import AsyncClient
from forebay.producers.client import Client
from forebay.routing.errors import Cancelled, ResultTimeout, Unavailable
from working import ask, settle, until_waiting, working

pytestmark = pytest.mark.slow


@pytest.fixture
def caller(settings):
    """The client of the caller that goes away; another client looks at what becomes of its jobs."""
    return Client(tenant="acme", settings=settings)


@pytest.fixture
def states(client, redis):
    """Return the states of all jobs."""

    def states():
        ids = [key.decode().removeprefix("fb:job:") for key in redis.keys("fb:job:*")]
        return sorted(client.status(job_id).state for job_id in ids)

    return states


def on_loop(settings, main):
    async def with_client():
        async with AsyncClient(tenant="acme", settings=settings) as client:
            return await asyncio.wait_for(main(client), 60)

    return asyncio.run(with_client())


def test_a_run_that_takes_too_long_cancels_its_job(caller, states):
    with pytest.raises(ResultTimeout, match="it is cancelled"):
        caller.run(ask(), timeout=0.05, cancel_on_exit=True)
    assert states() == ["cancelled"]
    with pytest.raises(ResultTimeout, match="it goes on"):
        caller.run(ask(), timeout=0.05)
    assert states() == ["cancelled", "waiting"]


def test_a_result_cancels_only_if_it_is_told_to(caller, states):
    job_id = caller.submit(ask())
    with pytest.raises(ResultTimeout):
        caller.result(job_id, timeout=0.05)
    assert states() == ["waiting"]
    with pytest.raises(ResultTimeout):
        caller.result(job_id, timeout=0.05, cancel_on_exit=True)
    assert states() == ["cancelled"]


def test_a_client_that_is_closed_cancels_the_jobs_that_were_submitted_so(caller, states):
    ended = caller.submit(ask("ended"), cancel_on_exit=True)
    settle(caller._ledger, caller._ledger.claim("route"))
    assert caller.result(ended, timeout=10).content.text == "ENDED"
    with caller:
        caller.submit(ask(), cancel_on_exit=True)
        caller.submit_future(ask(), cancel_on_exit=True)
        caller.submit_with_future(caller.job(ask()), cancel_on_exit=True)
        caller.submit(ask())
    assert states() == ["cancelled"] * 3 + ["done", "waiting"]


def interrupt_once(monkeypatch, owner, name):
    """Have the first call of a method be interrupted, as by Ctrl-C."""
    calls, method = [], getattr(owner, name)

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return method(*args)

    monkeypatch.setattr(owner, name, interrupted)


def test_a_close_that_was_interrupted_does_what_is_left_when_it_is_called_again(
    caller, states, monkeypatch
):
    future = caller.submit_future(ask(), cancel_on_exit=True)
    untied = caller.submit_future(ask())
    interrupt_once(monkeypatch, caller._ledger, "cancel_all")
    with pytest.raises(KeyboardInterrupt):
        caller.close()
    caller.close()
    assert states() == ["cancelled", "waiting"]
    assert future.done()
    assert isinstance(untied.exception(5), Unavailable)


def test_a_map_whose_cancelling_was_interrupted_is_cancelled_by_the_close(
    caller, states, monkeypatch
):
    answers = caller.map([ask("a"), ask("b")], timeout=0.05, cancel_on_exit=True)
    interrupt_once(monkeypatch, caller._ledger, "cancel_all")
    with pytest.raises(KeyboardInterrupt):
        next(answers)
    caller.close()
    assert states() == ["cancelled", "cancelled"]


def test_an_asyncio_close_that_was_cancelled_does_what_is_left_when_it_is_called_again(
    settings, states, monkeypatch
):
    async def main():
        caller = AsyncClient(tenant="acme", settings=settings)
        await caller.submit(ask(), cancel_on_exit=True)
        ledger = (await caller._here())._ledger
        interrupt_once(monkeypatch, ledger, "cancel_all")
        with suppress(KeyboardInterrupt):
            await caller.close()
        await caller.close()

    asyncio.run(main())
    assert states() == ["cancelled"]


def test_an_error_in_the_with_statement_cancels_them_too(caller, states):
    with suppress(KeyError), caller:
        caller.submit(ask(), cancel_on_exit=True)
        raise KeyError
    assert states() == ["cancelled"]


def test_a_client_remembers_no_job_that_has_ended(caller, client):
    for _ in range(3):
        caller.submit_future(ask(), cancel_on_exit=True)
    futures = list(caller._ties._tied.values())
    assert len(futures) == 3
    with working(client._ledger):
        for future in futures:
            future.result(10)
    assert caller._ties._tied == {}


def test_a_wait_that_takes_too_long_leaves_a_tied_job_to_the_next_wait(caller, states):
    job_id = caller.submit(ask(), cancel_on_exit=True)
    with pytest.raises(ResultTimeout):
        caller.result(job_id, timeout=0.05)
    assert states() == ["waiting"]


def test_a_job_of_another_caller_under_the_same_key_goes_on(caller, client, states):
    client.submit(ask(), idempotency_key="k")
    with pytest.raises(ResultTimeout, match="it goes on"):
        caller.run(ask(), timeout=0.05, idempotency_key="k", cancel_on_exit=True)
    caller.submit(ask(), idempotency_key="k", cancel_on_exit=True)
    caller.close()
    assert states() == ["waiting"]


@pytest.mark.parametrize("method", ["map", "as_completed"])
def test_a_map_that_ends_early_cancels_all_its_jobs(caller, states, method):
    items = [ask("a"), caller.job(ask("b")), ask("c")]
    if method == "as_completed":
        items.append(caller.submit(ask("d")))
    answers = getattr(caller, method)(items, timeout=0.05, cancel_on_exit=True)
    with pytest.raises(ResultTimeout, match="it is cancelled") as caught:
        next(answers)
    assert len(caught.value.job_ids) == len(items)
    assert states() == ["cancelled"] * len(items)


def test_a_map_that_is_interrupted_while_it_submits_cancels_what_it_submitted(
    caller, states, monkeypatch
):
    create = caller._ledger.create

    def interrupted(jobs, watcher=""):
        create(jobs, watcher)
        raise KeyboardInterrupt

    monkeypatch.setattr(caller._ledger, "create", interrupted)
    whole = caller.job(ask("whole"))
    with pytest.raises(KeyboardInterrupt):
        next(caller.map([ask("a"), whole, ask("b")]))
    assert states() == ["cancelled", "cancelled", "waiting"]
    with pytest.raises(KeyboardInterrupt):
        next(caller.map([ask("a"), caller.job(ask("b"))], cancel_on_exit=True))
    assert states() == ["cancelled"] * 4 + ["waiting"]
    with pytest.raises(KeyboardInterrupt):
        caller.run(ask(), cancel_on_exit=True)
    assert states() == ["cancelled"] * 5 + ["waiting"]


def interrupted_loop(client, requests, **options):
    """Leave a map by an error of the caller's own, which keeps the generator alive."""
    with client:
        for _ in client.map(requests, timeout=20, **options):
            raise KeyError("the caller's own")


@pytest.mark.parametrize("tied", [True, False])
def test_an_error_in_the_body_of_a_loop_cancels_the_jobs_though_the_client_closes_first(
    caller, client, states, tied
):
    requests = [ask("a"), ask("b"), caller.job(ask("c"))]
    with ThreadPoolExecutor(1) as pool:
        loop = pool.submit(interrupted_loop, caller, requests, cancel_on_exit=tied)
        asyncio.run(until_waiting(client._ledger, 3))
        settle(client._ledger, client._ledger.claim("route"))
        error = loop.exception(20)
    assert isinstance(error, KeyError)
    assert states() == ["cancelled", "cancelled" if tied else "done", "done" if tied else "waiting"]


PROGRAM = """
import sys
from forebay.producers.client import Client
from forebay.routing.jobs import Summarize
from forebay.routing.settings import Settings

ask = [Summarize(text=text) for text in "abc"]
with Client(tenant="acme", settings=Settings(redis_url=sys.argv[1])) as client:
    client.submit(ask[0], cancel_on_exit=True)
    if sys.argv[2] == "run":
        client.run(ask[0], cancel_on_exit=True)
    elif sys.argv[2] == "result":
        client.result(client.submit(ask[0], cancel_on_exit=True))
    else:
        list(client.map(ask, cancel_on_exit=True))
"""


@pytest.mark.parametrize(("method", "jobs"), [("run", 2), ("result", 2), ("map", 4)])
def test_ctrl_c_cancels_the_jobs(client, redis_url, states, method, jobs):
    command = [sys.executable, "-c", PROGRAM, redis_url, method]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    asyncio.run(until_waiting(client._ledger, jobs))
    time.sleep(0.2)  # from the reply of the submit to the wait
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in errors
    assert states() == ["cancelled"] * jobs


# --- asyncio -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["run", "result", "map", "as_completed"])
def test_a_task_that_is_cancelled_cancels_its_jobs(client, settings, states, method):
    async def main(caller):
        async def call():
            if method == "run":
                await caller.run(ask(), cancel_on_exit=True)
            elif method == "result":
                await caller.result(await caller.submit(ask()), cancel_on_exit=True)
            else:
                async for _ in getattr(caller, method)([ask(), ask()], cancel_on_exit=True):
                    pass

        task = asyncio.create_task(call())
        await until_waiting(client._ledger, 1)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return (await caller._here())._wakeups._expected

    assert on_loop(settings, main) == {}
    assert set(states()) == {"cancelled"}


@pytest.mark.parametrize("after_s", [0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.03])
def test_no_job_survives_a_task_that_is_cancelled_at_any_moment(client, settings, states, after_s):
    async def main(caller):
        await caller.forget(await caller.submit(ask()))  # connected
        tasks = [asyncio.create_task(caller.run(ask(), cancel_on_exit=True)) for _ in range(20)]
        tasks += [
            asyncio.create_task(anext(caller.map([ask()] * 3, cancel_on_exit=True)))
            for _ in range(5)
        ]
        await asyncio.sleep(after_s)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}
        assert await caller.submit(ask("still works"))

    on_loop(settings, main)
    assert states().count("waiting") == 1
    assert set(states()) <= {"cancelled", "waiting"}


def test_an_error_in_the_body_of_an_asyncio_loop_cancels_the_jobs(client, settings, states):
    async def interrupted_loop():
        async with AsyncClient(tenant="acme", settings=settings) as caller:
            async for _ in caller.as_completed([ask()] * 3, cancel_on_exit=True):
                raise KeyError("the caller's own")

    async def main():
        loop = asyncio.create_task(interrupted_loop())
        await until_waiting(client._ledger, 3)
        settle(client._ledger, client._ledger.claim("route"))
        with pytest.raises(KeyError):
            await loop

    asyncio.run(main())
    assert states() == ["cancelled", "cancelled", "done"]


def test_an_asyncio_client_that_is_closed_cancels_the_jobs(settings, states):
    async def main(caller):
        await caller.submit(ask(), cancel_on_exit=True)
        await caller.submit_future(ask(), cancel_on_exit=True)
        await caller.submit(ask())

    on_loop(settings, main)
    assert states() == ["cancelled", "cancelled", "waiting"]


def test_a_job_that_was_cancelled_so_wakes_those_who_wait_for_it_elsewhere(caller, client):
    job_id = caller.submit(ask(), cancel_on_exit=True)
    future = client.future(job_id)
    threading.Thread(target=caller.close).start()
    assert future.result(10).status == "cancelled"
    with pytest.raises(Cancelled):
        client.result(job_id)
