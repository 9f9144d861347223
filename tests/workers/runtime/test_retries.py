"""Retries: which errors are retried, whether the attempt counts, and after how long."""

from __future__ import annotations

import pytest
from redis import exceptions as redis_errors

from forebay.routing.errors import (
    BadAnswer,
    EngineBusy,
    EngineDied,
    InvalidJob,
    Throttled,
    Unavailable,
)
from forebay.routing.jobs import Job, Summarize
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.routing.store.connection import reaching_redis
from forebay.workers.runtime import retries
from forebay.workers.runtime.outcomes import Failed, Retry


@pytest.fixture
def claim_after(redis):
    """Claim a job once more, after an attempt that ended with each of these error codes."""
    ledger = Ledger(redis, Settings(max_attempts=50), "{}")

    def claim(*codes: str):
        ledger.create([Job(request=Summarize(text="We met at noon."))])
        for code in codes:
            ledger.retry(ledger.claim("route"), code, note=f"it was {code}")
        return ledger.claim("route")

    return claim


def test_a_busy_engine_costs_no_attempt_and_keeps_the_last_error(claim_after):
    busy = EngineBusy("full")
    fresh = retries.outcome_of(busy, claim_after())
    delay_s = retries.ENGINE_BUSY_DELAY_S
    assert fresh == Retry("engine_busy", note="full", delay_s=delay_s, counted=False)
    later = retries.outcome_of(busy, claim_after("engine_died"))
    assert (later.code, later.counted) == ("engine_died", False)
    assert later.note == "it was engine_died"


@pytest.mark.parametrize("error", [EngineBusy, Throttled, Unavailable])
def test_an_error_that_names_a_time_is_retried_after_it(claim_after, error):
    assert retries.outcome_of(error("wait", retry_after=17), claim_after()).delay_s == 17


@pytest.mark.parametrize(
    "error",
    [Throttled("slow down"), Unavailable("is away", field="FOREBAY_REDIS_URL"), EngineDied("gone")],
)
def test_an_error_that_passes_costs_an_attempt(claim_after, error):
    outcome = retries.outcome_of(error, claim_after())
    assert (outcome.code, outcome.note, outcome.counted) == (error.code, str(error), True)
    assert 0.5 <= outcome.delay_s <= 1.0


@pytest.mark.parametrize(
    ("broken", "delay_s"),
    [(redis_errors.ConnectionError("cut"), 1), (redis_errors.TimeoutError("slow"), 1),
     (redis_errors.OutOfMemoryError("full"), 5)],
)  # fmt: skip
def test_a_redis_that_is_away_or_full_costs_no_attempt(claim_after, broken, delay_s):
    with pytest.raises(Unavailable) as caught, reaching_redis():
        raise broken
    outcome = retries.outcome_of(caught.value, claim_after())
    assert (outcome.code, outcome.counted) == ("unavailable", False)
    assert delay_s / 2 <= outcome.delay_s <= delay_s


def test_a_command_that_redis_refuses_costs_an_attempt(claim_after):
    with pytest.raises(Unavailable) as caught, reaching_redis():
        raise redis_errors.ResponseError("WRONGTYPE")
    assert retries.outcome_of(caught.value, claim_after()).counted


@pytest.mark.parametrize("error", [InvalidJob("wrong", field="text"), BadAnswer("none")])
def test_an_error_that_lasts_is_a_failure(claim_after, error):
    assert retries.outcome_of(error, claim_after()) == Failed(error)


def test_an_unexpected_exception_is_retried_and_logged_without_its_message(claim_after, caplog):
    with pytest.raises(ValueError, match="a secret text") as caught:
        int_of("a secret text")
    outcome = retries.outcome_of_defect(caught.value, claim_after())
    assert (outcome.code, outcome.counted) == ("internal", True)
    assert "ValueError broke on" in caplog.text
    assert "test_retries.py" in caplog.text
    assert "a secret text" not in caplog.text
    assert outcome.note == "an error inside the worker (ValueError), whose log says where"


def int_of(text):
    raise ValueError(text)


@pytest.mark.parametrize(("attempts", "longest_s"), [(1, 1), (2, 2), (4, 8), (7, 60), (30, 60)])
def test_delays_double_up_to_a_minute(claim_after, attempts, longest_s):
    claim = claim_after(*["unavailable"] * (attempts - 1))
    delays = [retries.delay_s(claim) for _ in range(50)]
    assert longest_s / 2 <= min(delays) <= max(delays) <= longest_s
