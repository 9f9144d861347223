"""Label probabilities: what is corrected, what stays, and that workers follow."""

from __future__ import annotations

import json
import random

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.jobs import Classification, Classify, Decide, Job
from forebay.routing.learning.audit_maker import label_outcomes
from forebay.routing.learning.audits import Audit, LabelOutcome
from forebay.routing.learning.job_types import question_digests
from forebay.routing.learning.label_calibration import (
    LabelCalibration,
    at_temperature,
    label_groups,
    raw_shares,
    tempered,
)
from forebay.routing.questions.decisions import Decisions, answer_to
from forebay.routing.scoring.router_model import RouterModel
from forebay.workers.commands import calibrate
from forebay.workers.training.calibration.fit_label_calibration import Labelled, fit_labels

pytest_plugins = ["waterfall"]

QUESTIONS = [
    {"type": "predicate", "name": "open", "instructions": "Is it open?"},
    {
        "type": "choice",
        "name": "colour",
        "instructions": "Which?",
        "choices": ["red", "blue", "green"],
    },
    {
        "type": "score",
        "name": "heat",
        "instructions": "How hot?",
        "levels": ["cold", "warm", "hot"],
    },
]
CLASSIFY = Job(request=Classify(text="a", labels=["a", "b", "c"]))
SURE = Classification(label="a", probability=0.8, scores={"a": 0.8, "b": 0.15, "c": 0.05})

shares = st.lists(st.floats(0.01, 1), min_size=2, max_size=6)


@given(shares, st.floats(0.2, 5))
def test_a_temperature_keeps_the_order_and_the_sum(values, temperature):
    before = {str(at): value / sum(values) for at, value in enumerate(values)}
    after = tempered(before, temperature)
    assert sum(after.values()) == pytest.approx(1)
    assert max(after, key=after.get) in {n for n, v in before.items() if v >= max(before.values())}
    back = tempered(after, 1 / temperature)
    assert all(back[name] == pytest.approx(before[name], abs=1e-6) for name in before)


def test_what_was_chosen_stays_and_its_probability_is_corrected():
    warm = at_temperature(CLASSIFY, SURE, 2.0)
    assert (warm.label, warm.temperature) == ("a", 2.0)
    assert warm.probability == warm.scores["a"] < 0.8
    ((name, raw),) = raw_shares(warm)
    assert (name, raw["a"]) == ("a", pytest.approx(0.8))


def test_each_question_of_a_decision_is_corrected_and_its_score_with_it():
    job = Job(request=Decide(state="a door", questions=QUESTIONS))
    weights = [
        {"yes": 8, "no": 2},
        {"red": 1, "blue": 8, "green": 1},
        {"cold": 0, "warm": 1, "hot": 9},
    ]
    answers = tuple(
        answer_to(question, given)
        for question, given in zip(job.request.questions, weights, strict=True)
    )
    before = Decisions(answers=answers)
    after = at_temperature(job, before, 2.0)
    assert [a.chosen for a in after.answers] == ["yes", "blue", "hot"]
    assert after["open"].probability < before["open"].probability
    assert after["heat"].score < before["heat"].score
    assert after.probability < before.probability
    assert [name for name, _ in raw_shares(after)] == ["yes", "blue"]
    outcomes = label_outcomes(before, after, {"open": "a1", "colour": "b2"})
    assert [(each.right, each.question) for each in outcomes] == [(1.0, "a1"), (1.0, "b2")]


def test_a_question_of_its_own_temperature_is_corrected_by_it_and_can_be_undone():
    job = Job(request=Decide(state="a door", questions=QUESTIONS[:2]))
    before = Decisions(
        answers=(
            answer_to(job.request.questions[0], {"yes": 8, "no": 2}),
            answer_to(job.request.questions[1], {"red": 1, "blue": 8, "green": 1}),
        )
    )
    after = at_temperature(job, before, 2.0, {"open": 1.5})
    alone = at_temperature(job, before, 2.0)
    assert after["open"].probability < alone["open"].probability
    assert after["colour"] == alone["colour"]
    assert [share["yes"] for _, share in raw_shares(after)[:1]] == [pytest.approx(0.8, abs=1e-4)]
    assert "temperature" not in after["colour"].model_dump()


def test_the_same_question_in_another_job_has_the_same_digest_and_its_text_is_not_in_it():
    one, both = (
        question_digests(Job(request=Decide(state="a door", questions=chosen)), b"key")
        for chosen in (QUESTIONS[:1], QUESTIONS[:2])
    )
    assert one["open"] == both["open"] != both["colour"]
    assert question_digests(CLASSIFY, b"key") == {}


def test_each_question_is_calibrated_by_what_audits_showed_of_it():
    """Two questions of one job: the first is right as often as it says, the second is not."""
    draw = random.Random(4)
    rows = []
    for number in range(400):
        for question, chance in (("good", 0.9), ("bad", 0.5)):
            groups = label_groups("decide", "m", "t", question)
            right = float(draw.random() < chance)
            rows.append(Labelled(f"acme.{number:032x}", 0.0, (0.9, 0.1), groups, right))
    learned = fit_labels(rows)
    good, bad = (
        tempered({"a": 0.9, "b": 0.1}, learned.temperature(label_groups("decide", "m", "t", name)))
        for name in ("good", "bad")
    )
    assert good["a"] == pytest.approx(0.9, abs=0.04)
    assert bad["a"] < 0.6


def test_an_audit_keeps_probabilities_without_names():
    other = Classification(label="b")
    (outcome,) = label_outcomes(SURE, other, {})
    assert outcome == LabelOutcome(shares=(0.8, 0.15, 0.05), right=0.0)
    assert label_outcomes(Classification(label="a"), other, {}) == ()


def test_a_group_that_is_not_known_changes_nothing():
    calibration = LabelCalibration(groups={"classify": 0.5, "type x": 0.2})
    assert calibration.temperature(["decide"]) == 1.0
    assert calibration.temperature(["classify", "type x"]) == pytest.approx(2.718281828**0.7)


def overconfident(redis, count):
    """Store audits of labels of 95 %, of which three in ten are wrong."""
    draw, model = random.Random(2), RouterModel.load().version
    for _ in range(count):
        right = float(draw.random() < 0.7)
        audit = Audit(
            job=f"acme.{draw.getrandbits(128):032x}", tenant="acme", kind="classify", type="t",
            version=model, score=0.3, probability=0.7, model=model, base_score=0.3,
            base_probability=0.7, answered_by="echo", outcome=right, how="compared",
            labels=(LabelOutcome(shares=(0.9, 0.1), right=right),),
        )  # fmt: skip
        redis.xadd("fb:audits", {"audit": audit.model_dump_json()})


def test_a_running_worker_gives_calibrated_probabilities(lanes, redis, capsys):
    request = Classify(text="[[echo: confidence=0.9]] a bill", labels=["bill", "memo"])
    before = lanes.ledger.results([lanes.ask(request).id])[0].content
    overconfident(redis, 300)
    capsys.readouterr()
    typer.main.get_command(calibrate.app).main(args=["--json"], standalone_mode=False)
    report = json.loads(capsys.readouterr().out)
    assert report["accepted"] == ["labels"]
    assert report["after"]["labels_ece"] < 0.1
    assert report["before"]["labels_ece"] > 0.15
    after = lanes.ledger.results([lanes.ask(request).id])[0].content
    assert after.label == before.label
    assert 0.65 < after.probability < 0.75 < before.probability
    assert after.temperature > 1 == before.temperature
    typer.main.get_command(calibrate.app).main(args=["--rollback", "0"], standalone_mode=False)
    again = lanes.ledger.results([lanes.ask(request).id])[0].content
    assert again.probability == before.probability
