# ruff: noqa: PLC0415 - what is slow, or of the extra `router`, is imported where it is used
"""`forebay router train-cascade`: fit the cascade model to outcomes, or to a fleet's audits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forebay.routing.broker.doorbell import packaged_template
from forebay.routing.errors import Misconfigured
from forebay.routing.learning.audits import Audit, Audits
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import read_settings
from forebay.routing.store.connection import connect
from forebay.routing.terminal.options import Json, flag, option, tenant_option
from forebay.workers.commands.learning.evaluate import Folder
from forebay.workers.commands.learning.train import Out
from forebay.workers.commands.options import (
    Preds,
    Second,
    Seed,
    StandIn,
    model_names,
    second_names,
)
from forebay.workers.models.writable import require_writable
from forebay.workers.training.fitting.weights_folder import (
    CASCADE_MODEL,
    ROUTER_MODEL,
    versioned,
    write,
)

if TYPE_CHECKING:
    from forebay.routing.scoring.cascade_model import Weights

Prompts = Annotated[Path | None, option("--prompts", "FILE", "Columns uid, prompt.")]
Outcomes = Annotated[Path | None, option("--outcomes", "FILE", "Columns uid, model, score.")]
Weak = Annotated[str | None, option("--weak", "MODEL", "The local model.")]
Strong = Annotated[str | None, option("--strong", "MODEL[,MODEL]", "The frontier model.")]
FromAudits = Annotated[bool, flag("--audits", "Fit to the fleet's audits instead of to files.")]
TenantName = Annotated[str | None, tenant_option("Use this tenant's audits only.")]


def train_cascade(
    *, prompts: Prompts = None, outcomes: Outcomes = None, weak: Weak = None,
    strong: Strong = None, second: Second = None, preds: Preds = None, out: Out,
    weights: Folder = None, audits: FromAudits = False, tenant: TenantName = None,
    stand_in: StandIn = False, seed: Seed = 0, as_json: Json = False,
) -> None:  # fmt: skip
    """Fit the model that ranks answers with second opinions.

    Fit to files: --prompts, --outcomes, --weak, --strong, --second and --preds, as `eval` takes
    them; --weights names the folder of the router model that the fleet uses, if that is not the
    packaged one. Or fit to --audits of this fleet, which know less about the answers.

    Set FOREBAY_CASCADE_MODEL to the file that is written, and FOREBAY_CASCADE_KINDS to the kinds
    that it is to rank. A worker uses it for answers with as many second opinions as
    it was fitted to: one, or two (FOREBAY_SECOND_OPINIONS).
    """
    files = {
        "--prompts": prompts, "--outcomes": outcomes, "--weak": weak, "--strong": strong,
        "--second": second, "--preds": preds,
    }  # fmt: skip
    given = [name for name, value in {**files, "--weights": weights}.items() if value is not None]
    if audits and given:
        raise Misconfigured("cannot be given with --audits", field=given[0])
    require_writable(out, "--out")
    fitted = (
        _of_audits(tenant, seed, stand_in=stand_in) if audits else _of_files(files, weights, seed)
    )
    model = versioned("cascade", fitted)
    path = write(out, CASCADE_MODEL, model)
    document = {"version": model.version, "path": str(path), "bytes": path.stat().st_size}
    typer.echo(json.dumps(document) if as_json else f"{model.version}: {path}")


def _of_files(files: dict[str, Path | str | None], weights: Path | None, seed: int) -> Weights:
    from forebay.routing.scoring.router_model import RouterModel
    from forebay.workers.training.data import dataset, local_answers
    from forebay.workers.training.evaluation import cascade_rankings

    missing = [name for name, value in files.items() if value is None]
    if missing:
        raise Misconfigured("is needed, or --audits", field=missing[0])
    weak, strong = (model_names(str(files[name]), name) for name in ("--weak", "--strong"))
    second = second_names(str(files["--second"]), weak)
    texts, scores, preds = (Path(str(files[f"--{n}"])) for n in ("prompts", "outcomes", "preds"))
    data = dataset.read(texts, scores, weak, strong, job_type=False)
    dataset.require_enough(len(data))
    data = data.to_fit(seed)
    answers = local_answers.read(preds, data.uids, weak[0], second)
    model = RouterModel.load(weights / ROUTER_MODEL if weights else None)
    readings = [model.read(text) for text in data.prompts]
    return cascade_rankings.fitted_to(data, readings, answers, seed, note=_note(len(data), files))


def _note(count: int, files: dict[str, Path | str | None]) -> list[str]:
    names = [f"{name[2:]} {files[name]}" for name in ("--weak", "--strong", "--second")]
    return [f"Fitted on {count} prompts: {'; '.join(names)}."]


def _of_audits(tenant: str | None, seed: int, *, stand_in: bool) -> Weights:
    from forebay.workers.training.fitting.cascade_audits import fit_audits

    settings = read_settings()
    ledger = Ledger(connect(settings, "look"), settings, packaged_template)
    kept: list[Audit] = [
        audit
        for audit in Audits(ledger).read(tenant)
        if audit.agreement is not None and (stand_in or not audit.stand_in)
    ]
    return fit_audits(kept, seed)
