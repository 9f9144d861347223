# ruff: noqa: PLC0415 - what is slow, or of the extra `router`, is imported where it is used
"""`forebay router eval`: measure routers on a file of outcomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.routing.errors import Misconfigured
from forebay.routing.scoring.cascade_model import CascadeModel
from forebay.routing.scoring.router_model import RouterModel
from forebay.routing.terminal.options import Json, option
from forebay.workers.commands.options import (
    Encoder,
    Folds,
    LabelCount,
    NoJobType,
    Outcomes,
    Preds,
    Prompts,
    Second,
    Seed,
    Strong,
    Weak,
    model_names,
    read_dataset,
    second_names,
)
from forebay.workers.training.evaluation.report_lines import lines
from forebay.workers.training.fitting.weights_folder import ROUTER_MODEL

if TYPE_CHECKING:
    from forebay.workers.training.data.dataset import Dataset
    from forebay.workers.training.data.local_answers import Answers
    from forebay.workers.training.data.ranking_metrics import Ranked
    from forebay.workers.training.evaluation.evaluation import EvaluatedFile

CASCADE_FOLDS = 5

Folder = Annotated[
    Path | None,
    option("--weights", "DIR", "A folder that `train` wrote. Default: packaged weights."),
]
Cascade = Annotated[
    Path | None,
    option("--cascade", "FILE", "Also evaluate this model of `train-cascade` as it is."),
]
DecisionModel = Annotated[
    Path | None,
    option(
        "--decision-model", "FILE", "Also evaluate this GGUF file as FOREBAY_ROUTER_DECISION_MODEL."
    ),
]
Curves = Annotated[
    Path | None, option("--curves", "FILE", "Draw the curves to a .png or .svg file.")
]


def evaluate(
    *, prompts: Prompts, outcomes: Outcomes, weak: Weak, strong: Strong, weights: Folder = None,
    labels: LabelCount = None, folds: Folds = None, second: Second = None, preds: Preds = None,
    cascade: Cascade = None, decision_model: DecisionModel = None, seed: Seed = 0,
    no_job_type: NoJobType = False, encoder: Encoder = False, curves: Curves = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Measure routers. APGR, CPT, PGR, AUC and ECE with 95 % bootstrap confidence intervals.

    --labels N fits the router model on N random prompts and evaluates it on the rest; --folds K
    evaluates it on all prompts by cross-validation. Without either, packaged weights or those of
    --weights are evaluated as they are (zero-shot); on the file that weights were fitted to, their
    figures are too good. Fitting is the same as by `router train`: if
    the column `source` has several values, differences between the sources are ignored.

    --second and --preds also evaluate what can be told after the local answer: the plain rule
    (escalate if local answers differ), the packaged doubt model, and a cascade model, which is
    fitted to the file by cross-validation (with K folds, or 5).

    Bootstrap samples without a gap between weak and strong are left out of the intervals of
    metrics that are divided by the gap. If more than one in forty samples has no gap, those
    metrics have no interval (null).
    """
    if sum(given is not None for given in (weights, labels, folds)) > 1:
        raise Misconfigured("give one of --weights, --labels and --folds", field="--weights")
    _require_together(second, preds, cascade)
    from forebay.workers.training.evaluation import curves as plots
    from forebay.workers.training.evaluation import evaluation

    if curves:
        plots.require_drawable(curves)
    data = read_dataset(prompts, outcomes, weak, strong, no_job_type=no_job_type)
    total = len(data)
    evaluated = _evaluated(data, weights, labels, folds, seed, encoder=encoder)
    routers = evaluation.rankings_before_answer(evaluated, seed)
    if decision_model:
        routers["decision model"] = _by_decisions(evaluated, decision_model)
    if second and preds:
        answers = _answers(evaluated, weak, second, preds)
        routers |= _rankings_after_answer(evaluated, answers, folds or CASCADE_FOLDS, seed)
        if cascade:
            routers["cascade model"] = _by_model(evaluated, answers, cascade)
    if curves:
        plots.draw(routers, curves)
    _report(evaluation.report(evaluated.data, routers, seed, total), as_json=as_json)


def _require_together(second: str | None, preds: Path | None, cascade: Path | None) -> None:
    if (second is None) != (preds is None):
        raise Misconfigured("--second and --preds go together", field="--second")
    if cascade is not None and second is None:
        raise Misconfigured("needs --second and --preds", field="--cascade")


def _evaluated(
    data: Dataset, weights: Path | None, labels: int | None, folds: int | None, seed: int,
    *, encoder: bool,
) -> EvaluatedFile:  # fmt: skip
    from forebay.workers.engines.batching.embedding import SentenceEncoder
    from forebay.workers.training.data.dataset import MAX_PROMPTS
    from forebay.workers.training.evaluation import evaluation

    if encoder and labels is None and folds is None:
        raise Misconfigured("needs --labels or --folds, to be fitted", field="--encoder")
    opened = SentenceEncoder() if encoder else None
    if labels is not None:
        if labels >= len(data):
            raise Misconfigured(f"must be less than the {len(data)} prompts", field="--labels")
        if labels > (most := len(data.to_fit(seed))):
            raise Misconfigured(f"must be at most {most}: more take too long", field="--labels")
        return evaluation.with_labels(data, labels, seed, opened)
    if folds is not None:
        return evaluation.with_folds(data.to_fit(seed), folds, seed, opened)
    model = RouterModel.load(weights / ROUTER_MODEL if weights else None)
    return evaluation.zero_shot(data.sample(MAX_PROMPTS, seed), model)


def _answers(evaluated: EvaluatedFile, weak: str, second: str, preds: Path) -> Answers:
    from forebay.workers.training.data import local_answers

    local = model_names(weak, "--weak")
    others = second_names(second, local)
    return local_answers.read(preds, evaluated.data.uids, local[0], others)


def _rankings_after_answer(
    evaluated: EvaluatedFile, answers: Answers, folds: int, seed: int
) -> dict[str, Ranked]:
    from forebay.workers.training.evaluation import cascade_rankings

    data, readings = evaluated.data, evaluated.readings
    return {
        "second opinion": cascade_rankings.plain(data, readings, answers),
        "doubt": cascade_rankings.shipped(data, readings, answers),
        "cascade": cascade_rankings.learned(data, readings, answers, folds, seed),
    }


def _by_decisions(evaluated: EvaluatedFile, file: Path) -> Ranked:
    """Return the ranking of a decision model, which this process runs for as long as that takes."""
    from forebay.routing.settings import read
    from forebay.workers.cascade.router_models.decision_router_model import (
        decision_model,
        open_decisions,
    )
    from forebay.workers.engines.settings import EngineSettings
    from forebay.workers.training.evaluation import evaluation

    engine = open_decisions(file, read(EngineSettings), field="--decision-model")
    try:
        model = decision_model(engine, RouterModel.load())
        chances = [model.probability("generate", text) for text in evaluated.data.prompts]
    finally:
        engine.close()
    return evaluation.ranking_of_chances(evaluated, chances)


def _by_model(evaluated: EvaluatedFile, answers: Answers, path: Path) -> Ranked:
    from forebay.workers.training.evaluation import cascade_rankings

    model = CascadeModel.load(path)
    if model.others != len(answers.others):
        found = f"was fitted to {model.others} further answers, not {len(answers.others)}"
        raise Misconfigured(found, field="--cascade")
    return cascade_rankings.fitted_elsewhere(evaluated.data, evaluated.readings, answers, model)


def _report(report: dict[str, Any], *, as_json: bool) -> None:
    typer.echo(json.dumps(report) if as_json else "\n".join(lines(report)))
