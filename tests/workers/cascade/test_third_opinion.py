"""Two further answers: of another model, and of the same model in other words."""

from __future__ import annotations

import pytest

from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import Extract
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.cascade.check import check
from forebay.workers.cascade.doubting.doubt import Doubter
from forebay.workers.cascade.second_opinion import SecondOpinion
from forebay.workers.engines.batching.echo import EchoEngine
from forebay.workers.engines.settings import EngineSettings, LocalSettings
from ledger_jobs import BELL
from locallane import BILL, TOTAL, attempt_of

pytestmark = pytest.mark.slow


class Other(EchoEngine):
    """Another model: it answers as `say` says, whatever it is asked."""

    def info(self):
        return super().info().model_copy(update={"model": "other", "revision": "another"})

    def submit(self, prompt):
        return super().submit(prompt.model_copy(update={"temperature": 0.0}))


@pytest.fixture(scope="module")
def answerer():
    settings = EngineSettings(engine="echo", slots=4)
    answerer = Answerer(EchoEngine(settings), Other(settings))
    yield answerer
    answerer.close()


def compared(answerer, redis, first, reworded):
    """Take two opinions: the other model says the same, other words give what is told."""
    text = f'{BILL} [[echo: say={{"total": {first}}}]] [[echo: warm={{"total": {reworded}}}]]'
    attempt = attempt_of(Ledger(redis, Settings(), BELL), request=Extract(text=text, schema=TOTAL))
    with SecondOpinion(answerer, attempt, lambda *, prose: not prose, third=True) as second:
        raw = answerer.begin(attempt.job, attempt.prompt_id)()
        return second.compare(check(attempt.job, raw))


def test_two_further_answers_are_compared_with_the_first_and_with_each_other(answerer, redis):
    answer = compared(answerer, redis, 10, 9)
    other, own = answer.opinion.all
    assert [(each.raw.model, each.agreement) for each in (other, own)] == [
        ("other", 1.0), ("echo", 0.0),
    ]  # fmt: skip
    assert answer.opinion.together == 0.0
    assert [check.passed for check in answer.opinion.checks] == [True, False]
    assert compared(answerer, redis, 10, 10).opinion.together == 1.0


def test_the_doubt_counts_another_models_agreement_for_more_than_the_models_own(answerer, redis):
    doubter = Doubter(redis, b"key")
    same = doubter.doubt(compared(answerer, redis, 10, 10)).doubt
    differs = doubter.doubt(compared(answerer, redis, 10, 9)).doubt
    assert (same.agreements, same.second) == ((1.0, 1.0), "other and echo")
    assert (differs.agreement, differs.agreements) == (0.5, (1.0, 0.0))
    assert same.probability < differs.probability < 0.6
    assert not Doubter(redis, b"key").doubt(compared(answerer, redis, 10, 10)).doubt.cascade


def test_two_opinions_need_a_second_model():
    with pytest.raises(Misconfigured, match="FOREBAY_SECOND_OPINIONS: needs a second model"):
        LocalSettings(second_opinions=2)
    assert LocalSettings(second_opinions=2, second_engine="echo").second_opinions == 2
