"""Round trips that the threads of a process share."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import redis as redis_py
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import ResponseError
from redis.retry import Retry

from forebay.routing.errors import RedisUnavailable
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.transitions import MAX_COMMANDS, Line, SharedPipeline
from forebay.routing.settings import Settings
from ledger_jobs import BELL, answer, job, put

THREADS = 100


def together(call, threads: int = THREADS) -> list:
    """Return what each thread's call returned or raised; all threads begin at once."""
    start = threading.Barrier(threads)

    def run(number: int):
        start.wait()
        try:
            return call(number)
        except Exception as error:  # noqa: BLE001 - the tests look at it
            return error

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


def test_each_thread_gets_the_reply_to_its_own_command(redis):
    shared = SharedPipeline(redis)
    replies = together(lambda number: shared.execute("ECHO", str(number)))
    assert replies == [str(number).encode() for number in range(THREADS)]


def test_threads_that_come_during_a_round_trip_share_the_next(redis):
    shared = SharedPipeline(redis)
    shared.execute("ECHO", "connected")
    paused = threading.Thread(target=shared.execute, args=("BLPOP", "gate", 5))
    paused.start()
    while not shared._under_way:
        pass
    before = redis.info("stats")["total_reads_processed"]
    with ThreadPoolExecutor(THREADS) as pool:
        replies = [pool.submit(shared.execute, "INCR", "n") for _ in range(THREADS)]
        while len(shared._waiting) < THREADS:
            pass
        redis.lpush("gate", "open")
        assert sorted(reply.result() for reply in replies) == list(range(1, THREADS + 1))
    paused.join()
    reads = redis.info("stats")["total_reads_processed"] - before
    assert reads <= THREADS // MAX_COMMANDS + 1 + 5  # the test's own commands, and a large write


def test_an_error_of_one_command_is_no_error_of_the_others(redis):
    redis.set("text", "a")
    shared = SharedPipeline(redis)
    replies = together(lambda number: shared.execute("INCR", "text" if number % 2 else "number"))
    assert all(isinstance(reply, ResponseError) for reply in replies[1::2])
    assert sorted(replies[::2]) == list(range(1, THREADS // 2 + 1))


def test_without_redis_each_thread_gets_the_error_and_none_waits_for_ever(redis):
    nobody = redis_py.Redis(port=1, retry=Retry(NoBackoff(), 0))
    shared = SharedPipeline(nobody)
    for _ in range(2):
        assert all(isinstance(reply, NoConnection) for reply in together(shared.execute, 20))


@pytest.mark.parametrize("forgotten", [False, True])
def test_threads_of_one_ledger_claim_and_settle_each_job_once(redis, forgotten):
    ledger = Ledger(redis, Settings(), BELL)
    ledger.share_round_trips()
    ids = put(ledger, *(job() for _ in range(THREADS)))
    if forgotten:
        redis.script_flush()

    def work(_number: int):
        claim = ledger.claim("route")
        return claim.id, ledger.settle(claim, answer(claim))

    assert sorted(together(work)) == sorted((job_id, "done") for job_id in ids)


def test_a_connection_that_redis_closed_is_opened_again_without_an_error(redis):
    shared = SharedPipeline(redis)
    assert shared.execute("INCR", "n") == 1
    ours = shared._line._connection._sock.getsockname()
    redis.client_kill(f"{ours[0]}:{ours[1]}")
    assert shared.execute("INCR", "n") == 2
    assert shared.execute("INCR", "n") == 3


def test_threads_share_one_connection(redis):
    shared = SharedPipeline(redis)
    before = redis.info("stats")["total_connections_received"]
    together(lambda number: shared.execute("ECHO", str(number)))
    assert redis.info("stats")["total_connections_received"] - before <= 1


def test_a_redis_that_is_no_primary_any_more_is_asked_by_a_client_that_finds_the_new_one(redis):
    shared = SharedPipeline(redis)
    assert shared.execute("INCR", "n") == 1
    found = []

    def refuse(_commands):
        raise redis_py.ReadOnlyError("READONLY")

    shared._line.replies = refuse
    redis.set_response_callback("INCR", lambda reply: found.append(reply) or reply)
    assert shared.execute("INCR", "n") == 2
    assert found == [2]


def test_a_redis_that_does_not_answer_is_an_error_after_the_time_out_and_then_forgotten(redis_url):
    impatient = redis_py.Redis.from_url(redis_url, socket_timeout=0.2, retry=Retry(NoBackoff(), 0))
    shared = SharedPipeline(impatient)
    with pytest.raises(redis_py.TimeoutError):
        shared.execute("BLPOP", "nothing", 5)
    assert shared.execute("ECHO", "a") == b"a"


@pytest.mark.parametrize("error", [NoConnection, redis_py.TimeoutError])
def test_the_jobs_of_a_claim_whose_reply_is_lost_are_given_back_uncounted(
    redis, monkeypatch, error
):
    """They were attempts: four lost replies ended a job that no worker had seen."""
    ledger = Ledger(redis, Settings(lease_s=1_000, max_attempts=2), BELL)
    ledger.share_round_trips()
    made = put(ledger, *(job() for _ in range(3)))
    replies = Line.replies

    def lose(line, commands):
        replies(line, commands)
        raise error

    for _ in range(4):
        claims = []
        with monkeypatch.context() as patch, suppress(RedisUnavailable):
            patch.setattr(Line, "replies", lose)
            claims = ledger.claim_many("route", 2)
        give_back(ledger, claims)
        give_back(ledger, ledger.claim_many("route", 3))  # gives back what was lost before
        claims = ledger.claim_many("route", 3)
        give_back(ledger, claims)
        assert claims
    assert {ledger.record(job_id).state for job_id in made} == {"waiting"}
    assert {ledger.record(job_id).attempts for job_id in made} == {0}


def give_back(ledger, claims):
    for claim in claims:
        ledger.retry(claim, "unavailable", counted=False)
