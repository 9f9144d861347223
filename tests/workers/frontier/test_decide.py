"""Decisions on Bedrock: stated, repaired, and compared with a local answer in an audit."""

from __future__ import annotations

import json

import pytest

from forebay import Choice, Decide, Job, Predicate, Score
from forebay.workers.frontier.judge_prompt import can_be_compared
from replies import Replies

pytest_plugins = ["waterfall"]

REQUEST = Decide(
    state={"mail": "The parcel is late, yes."},
    questions=[
        Predicate(name="late", instructions="Is it late?"),
        Choice(name="part", instructions="Which?", choices=["invoice", "parcel"]),
        Score(name="hurry", instructions="How urgent?", minimum=1, maximum=5),
    ],
)


def said(late="yes", part="parcel", hurry="1"):
    """Return the text of a frontier model."""
    options = {"q1": late, "q2": part, "q3": hurry}
    return json.dumps(
        {name: [{"option": option, "probability": 1.0}] for name, option in options.items()}
    )


@pytest.fixture
def on_bedrock(lanes, monkeypatch):
    def ask(*texts):
        monkeypatch.setattr(lanes.mock, "references", Replies(*texts))
        job = Job(request=REQUEST, egress="allow", lane="bedrock")
        lanes.ledger.create([job])
        lanes.work("route", "bedrock")
        [result] = lanes.ledger.results([job.id])
        return result

    return ask


def test_a_frontier_model_is_asked_once_with_a_schema(on_bedrock, lanes):
    answer = on_bedrock(said())
    assert [each.chosen for each in answer.content.answers] == ["yes", "parcel", "1"]
    assert (answer.content.basis, answer.degraded) == ("stated", False)
    [call] = lanes.mock.calls
    assert "outputConfig" in json.loads(call.text)
    assert answer.cost_nusd > 0


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("I would say yes.", "the answer is not JSON"),
        (said(late="maybe"), "q1 names an option that is not one of its options, or twice"),
        ('{"q1": []}', "q1 is not a list of options with their probabilities"),
    ],
)
def test_what_a_frontier_model_says_wrong_is_told_without_content(on_bedrock, text, note):
    receipt = on_bedrock(text)
    assert (receipt.status, receipt.error, receipt.error_note) == ("failed", "bad_answer", note)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (said(), 1.0),
        (said(late="no"), 2 / 3),
        (said(late="no", part="invoice", hurry="5"), 0.1),
    ],
)
def test_an_audit_compares_question_by_question(lanes, text, outcome):
    lanes.mock.answer = text
    job = lanes.audited(REQUEST)
    answer = lanes.ledger.results([job.id])[0]
    assert (answer.lane, answer.content.basis) == ("local", "scored")
    assert can_be_compared(job, answer.content)
    [check] = lanes.ledger.record(lanes.shadow(job)).to_receipt().checks
    compared = float(check.note.split()[1].rstrip(","))
    assert check.note.endswith("compared")
    assert compared == pytest.approx(outcome, abs=0.1)


def test_audits_of_the_same_questions_are_of_one_type(lanes):
    lanes.mock.answer = said()
    lanes.audited(REQUEST)
    lanes.audited(REQUEST.model_copy(update={"state": "Another text"}))
    lanes.mock.answer = said(late="1", hurry="yes")
    lanes.audited(REQUEST.model_copy(update={"questions": REQUEST.questions[::-1]}))
    types = [audit.type for audit in lanes.audits.read()]
    assert (len(types), len(set(types))) == (3, 2)
