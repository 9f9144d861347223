# ruff: noqa: PLC0415 - what is slow, or of the extra `router`, is imported where it is used
"""`forebay router eval`: how good routers are on a file of outcomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.routing.errors import Misconfigured
from forebay.routing.scoring.router_model import RouterModel
from forebay.workers.commands.options import (
    Folds,
    Json,
    LabelCount,
    NoJobType,
    Outcomes,
    Prompts,
    Seed,
    Strong,
    Weak,
    names,
)
from forebay.workers.training.fitting.weights_folder import WEIGHTS

if TYPE_CHECKING:
    from forebay.workers.training.data.dataset import Dataset
    from forebay.workers.training.data.ranking_metrics import Ranked
    from forebay.workers.training.evaluation.evaluation import EvaluatedFile

FOLDS = 5  # of the cascade

Folder = Annotated[
    Path | None, typer.Option("--weights", metavar="DIR", help="Of `train`; without, the packaged.")
]
Second = Annotated[
    str | None, typer.Option("--second", metavar="MODEL[,MODEL]", help="Who is asked as well.")
]
Preds = Annotated[
    Path | None,
    typer.Option(
        "--preds",
        metavar="FILE",
        help="Parquet: uid, model, pred; of a model's answers to one prompt the first counts.",
    ),
]
Curves = Annotated[
    Path | None, typer.Option("--curves", metavar="FILE", help="Draw the curves: .png or .svg.")
]


def evaluate(
    *,
    prompts: Prompts,
    outcomes: Outcomes,
    weak: Weak,
    strong: Strong,
    weights: Folder = None,
    labels: LabelCount = None,
    folds: Folds = None,
    second: Second = None,
    preds: Preds = None,
    seed: Seed = 0,
    no_job_type: NoJobType = False,
    curves: Curves = None,
    as_json: Json = False,
) -> None:
    """Measure routers. APGR, CPT, PGR, AUC and ECE, with 95 % bootstrap intervals.

    \b
    With --labels N the verdict is fitted on N random prompts of the file and judged on the rest,
    with --folds K on all by cross-validation; else the weights come from elsewhere (zero-shot).
    What is fitted is what `train` would write of those prompts: where a column `source` in the
    prompts has several values, for texts unlike them. What is judged are the scores as they are.
    With --second and --preds also what can be told after the answer is measured: the plain rule
    (escalate where local answers differ), the packaged model of doubt, which saw none of the file,
    and a cascade, which is always fitted to the file by cross-validation (in K parts, or 5).
    Resamples without a gap between weak and strong are left out of the intervals of what is
    divided by it; where more than one in forty is such, there is no interval (null).
    """  # noqa: D301 - \b is Click's
    if sum(given is not None for given in (weights, labels, folds)) > 1:
        raise Misconfigured("give one of --weights, --labels and --folds", field="--weights")
    if (second is None) != (preds is None):
        raise Misconfigured("--second and --preds go together", field="--second")
    from forebay.workers.training.data import dataset
    from forebay.workers.training.evaluation import evaluation

    data = dataset.read(prompts, outcomes, names(weak), names(strong), job_type=not no_job_type)
    judged = _judged(data, weights, labels, folds, seed)
    routers = evaluation.before(judged, seed)
    if second and preds:
        routers |= _after(judged, names(weak)[0], names(second), preds, folds or FOLDS, seed)
    if curves:
        from forebay.workers.training.evaluation.curves import draw

        draw(routers, curves)
    report = evaluation.report(judged.data, routers, seed)
    typer.echo(json.dumps(report) if as_json else _table(report))


def _judged(
    data: Dataset, weights: Path | None, labels: int | None, folds: int | None, seed: int
) -> EvaluatedFile:
    from forebay.workers.training.evaluation import evaluation

    if labels is not None:
        if labels >= len(data):
            raise Misconfigured(f"must be less than the {len(data)} prompts", field="--labels")
        return evaluation.with_labels(data, labels, seed)
    if folds is not None:
        return evaluation.with_folds(data, folds, seed)
    model = RouterModel.load(weights / WEIGHTS if weights else None)
    return evaluation.zero_shot(data, model)


def _after(
    judged: EvaluatedFile, weak: str, second: list[str], preds: Path, folds: int, seed: int
) -> dict[str, Ranked]:
    from forebay.workers.training.data import local_answers
    from forebay.workers.training.evaluation import cascade_rankings

    data, readings = judged.data, judged.readings
    answers = local_answers.read(preds, data.uids, weak, second)
    return {
        "second opinion": cascade_rankings.plain(data, readings, answers),
        "doubt": cascade_rankings.shipped(data, readings, answers),
        "cascade": cascade_rankings.learned(data, readings, answers, folds, seed),
    }


def _table(report: dict[str, Any]) -> str:
    """For people: a row a router, the interval of APGR behind."""
    from forebay.workers.training.data.ranking_metrics import NAMES

    lines = [f"n {report['n']}   weak {report['weak']}   strong {report['strong']}", ""]
    lines.append(f"{'':16}" + "".join(f"{name:>8}" for name in NAMES) + "   apgr, 95 %")
    for router, figures in report["routers"].items():
        cells = "".join(f"{'-' if figures[n] is None else figures[n]:>8}" for n in NAMES)
        ends = figures["intervals"]["apgr"]
        lines.append(f"{router:16}{cells}   {' to '.join(map(str, ends)) if ends else '-'}")
    return "\n".join(lines)
