"""A worker that dies after it paid for an answer is not followed by one that pays again."""

import threading
import time

import pytest

from forebay.routing.errors import Lost
from forebay.routing.jobs import Check, Classify, Generate, Job, Message, Verdict
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.settings import Settings
from forebay.workers.bedrock import Bedrock
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.runtime.outcomes import Answered, Failed, Retry
from ledger_jobs import BELL
from mock_bedrock.server import MockBedrock
from patience import until

CHECK = "forebay.workers.frontier.answers.bounded_checks.check"


@pytest.fixture
def mock():
    with MockBedrock() as mock:
        yield mock


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(lease_s=0.05), BELL)


@pytest.fixture
def bedrock(ledger, mock, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mock")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mock")
    return Bedrock(ledger, BedrockSettings(bedrock_endpoint=mock.url))


@pytest.fixture
def claim(ledger):
    chat = Generate(messages=[Message(role="user", content="hello")])
    ledger.create([Job(egress="allow", lane="bedrock", request=chat)])
    verdict = Verdict(probability=0.5, version="test")
    ledger.route(ledger.claim("route"), "bedrock", "allow", "pinned", verdict)
    return ledger.claim("bedrock")


def next_claim(ledger, claim):
    """Return the next worker's claim, after the worker of this claim has died."""
    ledger.retry(claim, "engine_died")
    return ledger.claim("bedrock")


def test_the_next_worker_gives_the_answer_that_was_paid_for(ledger, bedrock, mock, claim):
    paid = bedrock.work(claim)  # and dies before the outcome is recorded
    again = bedrock.work(next_claim(ledger, claim))
    assert isinstance(again, Answered)
    assert again.answer == paid.answer
    assert again.answer.cost_nusd > 0
    assert len(mock.calls) == 1
    assert Budget(ledger.redis).spent()[1] == 0


def during_the_call(bedrock, monkeypatch, interrupt):
    """Have something happen while Bedrock works on its answer."""
    call = bedrock._calls._providers._default.call

    def interrupted(*args, **options):
        interrupt()
        return call(*args, **options)

    monkeypatch.setattr(bedrock._calls._providers._default, "call", interrupted)


def test_a_worker_that_lost_its_claim_makes_no_call(ledger, bedrock, mock, claim):
    later = next_claim(ledger, claim)
    with pytest.raises(Lost):
        bedrock.work(claim)  # it was only slow, and its claim is lost
    assert not mock.calls
    answered = bedrock.work(later)
    ledger.settle(later, answered.answer)
    with pytest.raises(Lost):
        bedrock.work(claim)
    assert len(mock.calls) == 1
    assert Budget(ledger.redis).spent() == (answered.answer.cost_nusd, 0)


def test_the_answer_of_a_worker_that_lost_its_claim_is_kept_too(
    ledger, bedrock, mock, claim, monkeypatch
):
    later = []
    during_the_call(bedrock, monkeypatch, lambda: later.append(next_claim(ledger, claim)))
    bedrock.work(claim)
    newest = next_claim(ledger, later[0])
    assert isinstance(bedrock.work(newest), Answered)
    assert len(mock.calls) == 1


def test_a_worker_that_claimed_the_job_before_another_had_paid_makes_no_second_call(
    ledger, bedrock, mock, claim, monkeypatch
):
    """Its record shows neither cost nor answer; the other call ends before it makes its own."""
    later = []
    during_the_call(bedrock, monkeypatch, lambda: later.append(next_claim(ledger, claim)))
    paid = bedrock.work(claim)
    again = bedrock.work(later[0])
    assert isinstance(again, Retry)
    assert not again.counted
    answered = bedrock.work(next_claim(ledger, later[0]))
    assert answered.answer == paid.answer
    assert len(mock.calls) == 1


def test_no_draft_is_left_of_a_job_that_ended_during_the_call(ledger, bedrock, claim, monkeypatch):
    during_the_call(bedrock, monkeypatch, lambda: ledger.cancel(claim.id))
    bedrock.work(claim)
    assert not ledger.redis.exists(f"fb:draft:{claim.id}")


def test_no_draft_is_left_when_the_job_ends(ledger, bedrock, claim):
    answer = bedrock.work(claim).answer
    assert ledger.redis.exists(f"fb:draft:{claim.id}")
    ledger.settle(claim, answer)
    assert not ledger.redis.exists(f"fb:draft:{claim.id}")


def test_a_paid_call_without_a_useful_answer_is_not_made_again(ledger, bedrock, mock):
    # The mock does not know the text, and names neither label.
    ask = Classify(text="the sky", labels=["red", "blue"])
    ledger.create([Job(egress="allow", lane="bedrock", request=ask)])
    verdict = Verdict(probability=0.5, version="test")
    ledger.route(ledger.claim("route"), "bedrock", "allow", "pinned", verdict)
    claim = ledger.claim("bedrock")
    assert isinstance(bedrock.work(claim), Failed)  # and dies before the outcome is recorded
    again = bedrock.work(next_claim(ledger, claim))
    assert isinstance(again, Failed)
    assert again.error.code == "bad_answer"
    assert len(mock.calls) == 1


def test_what_is_owed_is_booked_before_the_answer_is_checked(ledger, bedrock, claim, monkeypatch):
    spent = []

    def check(*_, **__):
        spent.append(Budget(ledger.redis).spent())
        return ()

    monkeypatch.setattr(CHECK, check)
    bedrock.work(claim)
    ((settled, reserved),) = spent
    assert settled > 0
    assert reserved == 0


class Death(BaseException):
    """The end of the worker's process."""


def dying(*_, **__):
    raise Death


def test_a_worker_that_dies_while_it_checks_leaves_its_answer_to_the_next_one(
    ledger, bedrock, mock, claim, monkeypatch
):
    with monkeypatch.context() as context:
        context.setattr(CHECK, dying)
        with pytest.raises(Death):
            bedrock.work(claim)
    again = bedrock.work(next_claim(ledger, claim))
    assert isinstance(again, Answered)
    assert {check.name for check in again.answer.checks} >= {"present", "whole"}
    assert "unchecked" not in again.answer.reasons
    assert not again.answer.degraded
    assert len(mock.calls) == 1


def test_an_answer_that_was_never_checked_is_not_given_if_it_fails_its_checks(
    ledger, bedrock, mock, claim, monkeypatch
):
    with monkeypatch.context() as context:
        context.setattr(CHECK, dying)
        with pytest.raises(Death):
            bedrock.work(claim)
    later = next_claim(ledger, claim)
    bad = (Check(name="present", passed=False, note="no words"),)
    monkeypatch.setattr(CHECK, lambda *_, **__: bad)
    failed = bedrock.work(later)
    assert isinstance(failed, Failed)
    assert failed.error.code == "bad_answer"
    assert len(mock.calls) == 1


def test_an_answer_whose_check_is_stopped_is_given_as_degraded(bedrock, claim, monkeypatch):
    stopped = (Check(name="unchecked", passed=False, note="takes too long to check"),)
    monkeypatch.setattr(CHECK, lambda *_, **__: stopped)
    answer = bedrock.work(claim).answer
    assert answer.degraded
    assert answer.reasons[-1] == "unchecked"
    assert answer.checks == stopped


#: The mock's answer to it takes the whole budget to check; see `hangs`.
HANGING = Generate(messages=[Message(role="user", content="hello")], regex="(.|.)*\\d{9}")


@pytest.fixture
def hanging_claim(ledger, bedrock, monkeypatch):
    """The claim of a job whose answer takes the whole budget of a check."""
    ledger.create([Job(egress="allow", lane="bedrock", request=HANGING)])
    verdict = Verdict(probability=0.5, version="test")
    ledger.route(ledger.claim("route"), "bedrock", "allow", "pinned", verdict)
    return ledger.claim("bedrock")


def outcome_if_cancelled(ledger, bedrock, claim, *, when):
    """Work the claim in a thread, cancel its job when that is due; return what `work` raised."""
    raised = []

    def work():
        try:
            bedrock.work(claim)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until(when, 10)
    ledger.cancel(claim.id)
    thread.join(20)
    assert not thread.is_alive()
    return raised


@pytest.mark.slow
def test_a_job_that_is_cancelled_while_its_answer_is_checked_frees_its_thread(
    ledger, bedrock, mock, hanging_claim
):
    def is_booked():
        return Budget(ledger.redis).spent()[0] > 0

    raised = outcome_if_cancelled(ledger, bedrock, hanging_claim, when=is_booked)
    assert [type(error) for error in raised] == [Lost]
    assert len(mock.calls) == 1
    assert Budget(ledger.redis).spent()[1] == 0


@pytest.mark.slow
def test_a_job_that_is_cancelled_during_the_call_is_booked_and_not_checked(
    ledger, bedrock, mock, hanging_claim, monkeypatch
):
    during_the_call(bedrock, monkeypatch, lambda: cancel_and_wait(ledger, hanging_claim))
    with pytest.raises(Lost):
        bedrock.work(hanging_claim)
    settled, reserved = Budget(ledger.redis).spent()
    assert settled > 0
    assert reserved == 0


def cancel_and_wait(ledger, claim):
    ledger.cancel(claim.id)
    time.sleep(10 * ledger.settings.lease_s)


@pytest.mark.slow
def test_a_long_answer_is_read_and_kept_though_the_claim_is_lost_meanwhile(
    ledger, bedrock, mock, claim, monkeypatch
):
    """Only checks are cancelled: what was paid for is kept for the next worker."""
    monkeypatch.setattr(mock.references, "answer", lambda *_: " ".join(map(str, range(30_000))))
    later = []
    during_the_call(bedrock, monkeypatch, lambda: later.append(lost(ledger, claim)))
    with pytest.raises(Lost):
        bedrock.work(claim)
    newest = next_claim(ledger, later[0])
    assert newest.drafted().content.text.startswith("0 1 2 ")
    assert isinstance(bedrock.work(newest), Answered)
    assert len(mock.calls) == 1


def lost(ledger, claim):
    """Give the job to the next worker, and wait until the worker of this claim knows."""
    later = next_claim(ledger, claim)
    time.sleep(10 * ledger.settings.lease_s)
    return later
