"""A worker that dies after it paid for an answer is not followed by one that pays again."""

import pytest

from forebay.routing.errors import Lost
from forebay.routing.jobs import Classify, Generate, Job, Message, Verdict
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.settings import Settings
from forebay.workers.bedrock import Bedrock
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.runtime.execute import Answered, Failed, Retry
from mock_bedrock.server import MockBedrock

BELL = '{"id": "@RING@", "queue": "@QUEUE@", "task": "@TASK@"}'


@pytest.fixture
def standin():
    with MockBedrock() as standin:
        yield standin


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(lease_s=0.05), BELL)


@pytest.fixture
def bedrock(ledger, standin, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stand-in")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "stand-in")
    return Bedrock(ledger, BedrockSettings(bedrock_endpoint=standin.url))


@pytest.fixture
def claim(ledger):
    chat = Generate(messages=[Message(role="user", content="hello")])
    ledger.create([Job(egress="allow", lane="bedrock", request=chat)])
    verdict = Verdict(probability=0.5, version="test")
    ledger.route(ledger.claim("route"), "bedrock", "allow", "pinned", verdict)
    return ledger.claim("bedrock")


def found_again(ledger, claim):
    """The claim of the next worker, after this one's died."""
    ledger.retry(claim, "engine_died")
    return ledger.claim("bedrock")


def test_the_next_worker_gives_the_answer_that_was_paid_for(ledger, bedrock, standin, claim):
    paid = bedrock.work(claim)  # and dies before it has told the ledger
    again = bedrock.work(found_again(ledger, claim))
    assert isinstance(again, Answered)
    assert again.answer == paid.answer
    assert again.answer.cost_nusd > 0
    assert len(standin.calls) == 1
    assert Budget(ledger.redis).spent()[1] == 0


def during_the_call(bedrock, monkeypatch, happens):
    """Have something happen while Bedrock works on its answer."""
    call = bedrock._calls._converse.call

    def and_meanwhile(*args, **options):
        happens()
        return call(*args, **options)

    monkeypatch.setattr(bedrock._calls._converse, "call", and_meanwhile)


def test_a_worker_that_was_given_up_does_not_call_any_more(ledger, bedrock, standin, claim):
    later = found_again(ledger, claim)
    with pytest.raises(Lost):
        bedrock.work(claim)  # it was only slow; its claim is worth nothing any more
    assert not standin.calls
    answered = bedrock.work(later)
    ledger.settle(later, answered.answer)
    with pytest.raises(Lost):
        bedrock.work(claim)
    assert len(standin.calls) == 1
    assert Budget(ledger.redis).spent() == (answered.answer.cost_nusd, 0)


def test_the_answer_of_a_worker_that_was_given_up_is_kept_too(
    ledger, bedrock, standin, claim, monkeypatch
):
    later = []
    during_the_call(bedrock, monkeypatch, lambda: later.append(found_again(ledger, claim)))
    bedrock.work(claim)
    newest = found_again(ledger, later[0])
    assert isinstance(bedrock.work(newest), Answered)
    assert len(standin.calls) == 1


def test_one_that_took_the_job_before_another_had_paid_looks_again(
    ledger, bedrock, standin, claim, monkeypatch
):
    """It read of no cost and no answer, and the call is over when it comes to its own."""
    later = []
    during_the_call(bedrock, monkeypatch, lambda: later.append(found_again(ledger, claim)))
    paid = bedrock.work(claim)
    again = bedrock.work(later[0])
    assert isinstance(again, Retry)
    assert not again.counted
    answered = bedrock.work(found_again(ledger, later[0]))
    assert answered.answer == paid.answer
    assert len(standin.calls) == 1


def test_nothing_of_it_is_left_behind_by_a_job_that_ended_meanwhile(
    ledger, bedrock, claim, monkeypatch
):
    during_the_call(bedrock, monkeypatch, lambda: ledger.cancel(claim.id))
    bedrock.work(claim)
    assert not ledger.redis.exists(f"fb:draft:{claim.id}")


def test_nothing_of_it_is_left_behind_when_the_job_ends(ledger, bedrock, claim):
    answer = bedrock.work(claim).answer
    assert ledger.redis.exists(f"fb:draft:{claim.id}")
    ledger.settle(claim, answer)
    assert not ledger.redis.exists(f"fb:draft:{claim.id}")


def test_a_call_that_was_paid_and_gave_nothing_of_use_is_not_made_again(ledger, bedrock, standin):
    # The stand-in does not know the text, and names neither label.
    ask = Classify(text="the sky", labels=["red", "blue"])
    ledger.create([Job(egress="allow", lane="bedrock", request=ask)])
    verdict = Verdict(probability=0.5, version="test")
    ledger.route(ledger.claim("route"), "bedrock", "allow", "pinned", verdict)
    claim = ledger.claim("bedrock")
    assert isinstance(bedrock.work(claim), Failed)  # and dies before it has told the ledger
    again = bedrock.work(found_again(ledger, claim))
    assert isinstance(again, Failed)
    assert again.error.code == "bad_answer"
    assert len(standin.calls) == 1
