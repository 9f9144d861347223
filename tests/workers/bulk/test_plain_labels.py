"""Plain labels become the same results as by the steps of a row, and only where those keep them."""

import pytest

from forebay.routing.errors import EngineBusy
from forebay.workers.bulk import row_steps
from forebay.workers.bulk.plain_labels import PlainLabels
from forebay.workers.bulk.row_steps import RowSteps
from forebay.workers.cascade.answerer import Ended
from forebay.workers.engines.engine import Completion, EngineInfo
from shards import put, rows_of, shard, work_shards

pytest_plugins = ["waterfall"]

TEXTS = (
    "a billing question", "[[echo: confidence=0.4]] no login here", "what [[echo: say=nonsense]]",
    "else [[echo: say=Login]]", "", "another billing question [[echo: confidence=0.99]]",
)  # fmt: skip
INFO = EngineInfo(engine="echo", model="m", revision="r", context_tokens=2_048, slots=1)
PLAIN = PlainLabels(("a", "b"), 0.5)


def ended(**fields):
    known = {
        "id": "1", "text": "a", "tokens_in": 7, "tokens_out": 1, "finish": "stop",
        "option_logprobs": {"a": -0.1, "b": -3.0},
    }  # fmt: skip
    return Ended(INFO, 0, Completion(**known | fields))


@pytest.mark.parametrize(
    ("rules", "egress", "checked"),
    [
        ("", "deny", 3),
        ("\n[tenants.acme.min_probability]\nclassify = 0.95\n", "deny", 4),
        ("\n[tenants.acme.second_opinion]\nclassify = 1.0\ndeny_too = true\n", "deny", None),
        ("", "allow", 5),
    ],
)
def test_results_are_those_of_the_steps(lanes, monkeypatch, rules, egress, checked):
    lanes.rules(rules)
    calls = []
    real = row_steps.check
    monkeypatch.setattr(row_steps, "check", lambda *of: calls.append(of) or real(*of))
    rows = []
    for steps in (False, True):
        if steps:
            monkeypatch.setattr(RowSteps, "plain_labels", lambda *_: None)
        made = shard(*TEXTS, egress=egress)
        put(lanes.ledger, made)
        work_shards(lanes)
        rows.append([row._replace(job=None, doubt=None) for row in rows_of(lanes.ledger, made)])
        assert steps or checked in {None, len(calls)}
    for one, other in zip(*rows, strict=True):
        assert one._asdict() == other._asdict()


def test_a_plain_answer_has_its_checks_and_its_rounded_probabilities():
    result = PLAIN.result(ended())
    assert (result.status, result.model, result.revision) == ("done", "m", "r")
    assert (result.checks, result.tokens_in, result.tokens_out) == (("label",), 7, 1)
    scores = {"a": 0.9478, "b": 0.0522}
    assert result.content == {"label": "a", "probability": 0.9478, "scores": scores}


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "A"}, {"text": "a "}, {"finish": "cancelled"}, {"finish": "deadline"},
        {"option_logprobs": None}, {"option_logprobs": {"a": -0.1}}, {"text": "b"},
    ],
)  # fmt: skip
def test_an_answer_that_is_not_plain_takes_the_steps(fields):
    assert PLAIN.result(ended(**fields)) is None


def test_an_error_of_the_engine_takes_the_steps():
    assert PLAIN.result(Ended(INFO, 0, EngineBusy("full"))) is None


def test_a_row_takes_the_steps_if_its_answer_breaks_what_reads_plain_ones(lanes, monkeypatch):
    monkeypatch.setattr(PlainLabels, "result", lambda *_: 1 / 0)
    made = shard("a billing question")
    put(lanes.ledger, made)
    work_shards(lanes)
    (row,) = rows_of(lanes.ledger, made)
    assert (row.status, row.content["label"]) == ("done", "billing")
