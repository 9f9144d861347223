"""Outcomes of public benchmarks, replayed through all lanes: the doubt learns from audits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer

from forebay.routing.jobs import Generate, Message
from forebay.routing.learning.agreement_rates import SHRINKAGE
from forebay.routing.learning.calibration import EVERYBODY, Calibration, Calibrations
from forebay.routing.learning.doubt_calibration import doubt_groups
from forebay.routing.scoring.doubt_model import DoubtModel, Evidence
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.commands import calibrate
from forebay.workers.engines.batching.echo import EchoEngine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.local import Local
from forebay.workers.training.calibration import fit_doubt_calibration as fitting
from forebay.workers.training.calibration.doubt_trial import try_parts
from local.fleet import ROOT

pytest_plugins = ["waterfall"]
pytestmark = [pytest.mark.slow, pytest.mark.no_cover]

OUTCOMES = json.loads((ROOT / "tests/support/replayed_outcomes.json").read_text())["outcomes"]
UNSEEN = "crux: Meta-Llama-3.1-8B-Instruct by gemma-2-9b-it"
AUDITS, LATER = 300, 500
MODEL = DoubtModel.load().version
RULES = "[tenants.acme.second_opinion]\ngenerate = 1.0\nstop_at_depth = 1000.0\n"


class OtherModel(EchoEngine):
    """Another model: it answers as `warm` says."""

    def info(self):
        return super().info().model_copy(update={"model": "other", "revision": "another"})

    def submit(self, prompt, *args):
        return super().submit(prompt.model_copy(update={"temperature": 1.0}), *args)


@pytest.fixture
def two_models(lanes):
    """Yield lanes whose local lane has another model give second opinions."""
    settings = EngineSettings(engine="echo", context_tokens=4096)
    first, other = EchoEngine(settings), OtherModel(settings)
    local = Local(lanes.ledger, lambda: Answerer(first, other))
    before = dict(lanes.workers)
    lanes.workers["local.default"] = local
    lanes.rules(RULES)
    yield lanes
    lanes.workers |= before
    local.close()


def replay(lanes, outcomes):
    """Answer a question for each outcome, in all lanes; return the jobs."""
    jobs = []
    for number, outcome in enumerate(outcomes):
        agrees, wrong = bool(int(outcome) & 2), bool(int(outcome) & 1)
        lanes.mock.answer = f"The answer is {number + 1 if wrong else number}."
        second = number if agrees else number + 2
        text = (
            f"Question {number}: how many? [[echo: say=The answer is {number}.]] "
            f"[[echo: warm=The answer is {second}.]]"
        )
        jobs.append(lanes.audited(Generate(messages=[Message(role="user", content=text)])))
    return jobs


def errors(rows, calibration):
    """Return how far the doubt is from the truth, on average over agreed and differing answers."""
    off = fitting.probabilities(rows, calibration) - [row.wrong for row in rows]
    agreed = np.array([row.agreement >= 0.5 for row in rows])
    return (abs(off[agreed].sum()) + abs(off[~agreed].sum())) / len(rows)


def later_rows(audited, outcomes):
    """Return later answers like the last audited one."""
    last = {row.agreement: row for row in audited}
    known = [last[float(int(outcome) & 2 > 0)] for outcome in outcomes]
    return [
        fitting.Doubted("", 0, row.base, row.agreement, row.groups, float(int(outcome) & 1))
        for row, outcome in zip(known, outcomes, strict=True)
    ]


def test_audits_of_an_unseen_source_calibrate_the_doubt(two_models, redis, capsys):
    lanes, outcomes = two_models, OUTCOMES[UNSEEN]
    jobs = replay(lanes, outcomes[:AUDITS])
    audits = list(lanes.audits.read())
    assert len(audits) == AUDITS
    assert {audit.how for audit in audits} == {"compared", "escalated"}
    assert [audit.gap for audit in audits] == [float(int(each) & 1) for each in outcomes[:AUDITS]]

    rows = fitting.doubted(audits, MODEL, second=True)
    later = later_rows(rows, outcomes[AUDITS:])
    assert errors(later, None) <= 0.1

    capsys.readouterr()
    args = ["--stand-in", "--json"]
    typer.main.get_command(calibrate.app).main(args=args, standalone_mode=False)
    report = json.loads(capsys.readouterr().out)
    assert "second" in report["accepted"]
    assert report["after"]["second_loss"] < report["before"]["second_loss"]
    learned = Calibrations(redis).current(EVERYBODY).doubt
    assert errors(later, learned) <= 0.05
    for limit in (0.05, 0.1, 0.2, 0.3):
        kept = [
            r.wrong for r in later if learned.probability(r.base, r.agreement, r.groups) <= limit
        ]
        assert not kept or np.mean(kept) <= limit + 0.02

    # The running worker follows, and says by which version.
    (job,) = replay(lanes, outcomes[AUDITS])
    doubt = lanes.ledger.record(job.id).to_receipt().doubt
    assert doubt.version == f"{DoubtModel.load().version}+1"
    assert doubt.probability != doubt.base
    before = lanes.ledger.record(jobs[-1].id).to_receipt().doubt
    assert before.base is None
    typer.main.get_command(calibrate.app).main(args=["--rollback", "0"], standalone_mode=False)
    (job,) = replay(lanes, outcomes[AUDITS])
    assert lanes.ledger.record(job.id).to_receipt().doubt.version == DoubtModel.load().version


@pytest.mark.parametrize("name", OUTCOMES)
def test_300_audits_of_any_source_calibrate_the_doubt(name, two_models, redis):
    """The lanes make an audit of each outcome; 300 like these are fitted to, in three orders.

    The mean over the orders counts: on 500 later answers, a perfect probability has an error of
    .02, and chance in 300 audits makes it .03 to .04. One order in four exceeds .05 by chance.
    """
    replay(two_models, "0123")
    made = {audit.agreement + audit.outcome / 2: audit for audit in two_models.audits.read()}
    assert sorted(made) == [0.0, 0.5, 1.0, 1.5]
    outcomes, draw, found = list(OUTCOMES[name]), np.random.default_rng(0), []
    for tenant in ("one", "two", "three"):
        draw.shuffle(outcomes)
        rows = rows_of(outcomes[: AUDITS + LATER], bounded=name.startswith("mmlu"))
        for row in rows[:AUDITS]:
            audit = made[row.agreement + (1 - row.wrong) / 2].model_copy(
                update={"job": f"{tenant}.{int(row.job):032x}", "tenant": tenant, "type": "type"}
                | {"base_doubt": row.base, "answered_by": "a", "second": "b"}
            )
            redis.xadd("fb:audits", {"audit": audit.model_dump_json()})
        kept = list(two_models.audits.read(tenant))
        tried = try_parts(kept, Calibration(model=kept[0].model), MODEL)
        found.append(errors(rows[AUDITS:], tried.update.get("doubt")))
    assert np.mean(found) <= 0.05


def test_doubts_are_near_the_truth_before_audits_and_nearer_after_300():
    """The packaged weights know the questions of MMLU-Pro, not those of CRUX."""
    before, after = zip(*(shuffled_errors(name) for name in OUTCOMES), strict=True)
    assert np.mean(before) <= 0.07
    assert max(before) <= 0.1
    assert np.mean(after) <= 0.035
    assert max(after) <= 0.05


def shuffled_errors(name):
    """Return the mean errors of a pair of models before and after audits, over five orders."""
    outcomes, draw = list(OUTCOMES[name]), np.random.default_rng(0)
    found = []
    for _ in range(5):
        draw.shuffle(outcomes)
        rows = rows_of(outcomes, bounded=name.startswith("mmlu"))
        fitted = fitting.fit_doubt(rows[:AUDITS], MODEL)
        found.append((errors(rows[AUDITS:], None), errors(rows[AUDITS:], fitted)))
    return np.mean(found, axis=0)


def rows_of(outcomes, *, bounded):
    """Return the outcomes as a worker sees them that counts how often the models agree."""
    model, rows, agreed = DoubtModel.load(), [], 0.0
    for number, outcome in enumerate(outcomes):
        agreement = float(int(outcome) & 2 > 0)
        rate = (agreed + SHRINKAGE * model.usual_rate) / (number + SHRINKAGE)
        known = Evidence("generate", 0.5, agreements=(agreement,), rates=(rate,), bounded=bounded)
        groups = doubt_groups("generate", "a", "b", "type")
        base, wrong = model.probability(known), float(int(outcome) & 1)
        rows.append(fitting.Doubted(str(number), 0, base, agreement, groups, wrong))
        agreed += agreement
    return rows
