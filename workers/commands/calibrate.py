"""`forebay calibrate`: fit verdicts, doubts and label probabilities to audits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.routing.base import Kind
from forebay.routing.broker.doorbell import packaged_template
from forebay.routing.errors import InvalidJob
from forebay.routing.learning.audits import Audit, Audits
from forebay.routing.learning.calibration import EVERYBODY, Calibration, Calibrations, in_words
from forebay.routing.learning.versions import Models
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.policy.policy_file import Policy
from forebay.routing.scoring.doubt_model import DoubtModel
from forebay.routing.scoring.router_model import RouterModel
from forebay.routing.settings import Settings, read_settings
from forebay.routing.store.connection import connect
from forebay.routing.terminal.options import Json, flag, option, tenant_option, ungrouped
from forebay.workers.commands.options import COLUMNS, StandIn, types_counted_by

if TYPE_CHECKING:
    from forebay.workers.training.calibration.fit_calibration import Trial

MIN_AUDITS = 20  # with fewer, too few would be held out to compare on

#: Each metric in words, in the order in which they are shown.
METRICS = {
    "auc": "verdict: AUC of its score, for wrong answers",
    "gap_error": "verdict: squared error of its score",
    "brier": "verdict: Brier score of its probability",
    "ece": "verdict: ECE of its probability",
    "chance": "  by chance alone, if it were perfect",
    "kept": "verdict: share of jobs that stay local",
    "agreement": "verdict: agreement of the jobs that stay",
    "doubt_ece": "doubt without a second opinion: ECE",
    "doubt_chance": "  by chance alone, if it were perfect",
    "doubt_loss": "doubt without a second opinion: log loss",
    "second_ece": "doubt with a second opinion: ECE",
    "second_chance": "  by chance alone, if it were perfect",
    "second_loss": "doubt with a second opinion: log loss",
    "labels_ece": "labels and decisions: ECE",
    "labels_chance": "  by chance alone, if it were perfect",
    "labels_loss": "labels and decisions: log loss",
}
WIDTH = max(map(len, METRICS.values())) + 2  # of the names of metrics

app = ungrouped()

HELP = """Fit verdicts, doubts and label probabilities to audits.

An audit compares a local answer with Bedrock's; `policy.toml` says how many kept answers are
audited ([defaults.audit]). If any are, escalated answers are compared too, which costs no call.
Each part is compared with the current one on audits that it was not fitted to: probability and
score of the verdict, the doubt without and with a second opinion, and the probabilities of labels.
The parts that are better there become the current version, which all workers follow within
seconds. If none is better, nothing changes. Needs the extra `router`.
"""

TenantName = Annotated[
    str | None, tenant_option("Use this tenant's audits, and change its jobs only.")
]
MinAudits = Annotated[
    int, option("--min", "N", "Refuse to fit to fewer audits than this.", min=MIN_AUDITS)
]
DryRun = Annotated[bool, flag("--dry-run", "Report the result; change nothing.")]
Rollback = Annotated[
    int | None,
    option("--rollback", "VERSION", "Return to this version. 0: no own calibration.", min=0),
]


@app.command(help=HELP)
def calibrate(
    *, tenant: TenantName = None, min_audits: MinAudits = 100, dry_run: DryRun = False,
    rollback: Rollback = None, stand_in: StandIn = False, as_json: Json = False,
) -> None:  # fmt: skip
    settings, scope = read_settings(), tenant or EVERYBODY
    client = connect(settings, "look")
    calibrations = Calibrations(client)
    audits = Audits(Ledger(client, settings, packaged_template))
    model = Models(client, RouterModel).now().version
    known = list(audits.read(tenant))
    usable = _usable(known, model, stand_in=stand_in)
    if rollback is not None:
        calibrations.roll_back(scope, rollback)
        audits.recount(usable, calibrations)
        _report_rollback(scope, rollback, as_json=as_json)
        return
    if len(usable) < min_audits:
        found = f"there are {len(usable)} audits to learn from, not {min_audits}"
        left_out = _left_out(known, model, stand_in=stand_in)
        raise InvalidJob(f"{found}{left_out}; wait for more, or lower --min", field="--min")
    current = _current(calibrations, scope, model)
    trial = _try(usable, current, settings, Models(client, DoubtModel).now().version)
    published = None
    if trial.accepted and not dry_run:
        published = calibrations.publish(scope, trial.candidate)
        with types_counted_by(f"version {published.version}", _again(published, tenant)):
            audits.recount(usable, calibrations)
    _report(trial, current, published, scope, as_json=as_json)


def _again(published: Calibration, tenant: str | None) -> str:
    """Return the command that makes this version current once more."""
    scope = f" --tenant {tenant}" if tenant else ""
    return f"forebay calibrate{scope} --rollback {published.version}"


def _usable(audits: Iterable[Audit], model: str, *, stand_in: bool) -> list[Audit]:
    """Return the audits of this model version. Other versions' verdicts teach nothing about it."""
    return [audit for audit in audits if audit.model == model and (stand_in or not audit.stand_in)]


def _left_out(audits: Sequence[Audit], model: str, *, stand_in: bool) -> str:
    """Return in words which audits are not usable, and why."""
    other = sum(audit.model != model for audit in audits)
    mock = sum(audit.model == model and audit.stand_in for audit in audits)
    parts = [
        f"{other} are of another router model than {model}" if other else "",
        f"{mock} are by the mock of Bedrock (--stand-in uses them)"
        if mock and not stand_in
        else "",
    ]
    return "".join(f"; {part}" for part in parts if part)


def _current(calibrations: Calibrations, scope: str, model: str) -> Calibration:
    """Return the calibration in force for this scope, or one that changes nothing."""
    current = calibrations.current(scope) or calibrations.current(EVERYBODY)
    if current is None or current.model == model:
        return current or Calibration(model=model)
    # A new router model starts without correction; doubts and labels do not depend on it.
    kept = current.model_dump(include={"version", "made"})
    return Calibration(model=model, doubt=current.doubt, labels=current.labels, **kept)


def _try(audits: list[Audit], current: Calibration, settings: Settings, doubt: str) -> Trial:
    from forebay.workers.training.calibration.fit_calibration import trial  # noqa: PLC0415 - of the extra `router`

    policy = Policy.load(settings.policy_file)

    def threshold(tenant: str, kind: Kind) -> float:
        return float(getattr(policy.tenant(tenant).thresholds, kind))

    return trial(audits, current, threshold, doubt)


def _report_rollback(scope: str, version: int, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"scope": scope, "version": version}))
    else:
        name = f"version {version}" if version else "no calibration"
        typer.echo(f"{name} for {_scope_name(scope)} is in force")


def _report(
    trial: Trial, current: Calibration, published: Calibration | None, scope: str, *, as_json: bool
) -> None:
    if as_json:
        typer.echo(json.dumps(_document(trial, current, published, scope)))
        return
    typer.echo(f"{trial.fitted} audits fitted, {trial.held_back} held back")
    typer.echo(f"{'on audits held back':{WIDTH}}{'before':>9}{'after':>9}")
    for name, words in METRICS.items():
        if name in trial.before or name in trial.after:
            figures = (_figure(each.get(name)) for each in (trial.before, trial.after))
            typer.echo(f"{words:{WIDTH}}{''.join(figures)}")
    if not trial.accepted:
        typer.echo("no part is better than the current calibration; nothing changes")
        return
    typer.echo(fill(f"better: {in_words(trial.accepted)}", COLUMNS, subsequent_indent="  "))
    if published is None:
        typer.echo("nothing changed, as you asked")
    else:
        typer.echo(f"version {published.version} for {_scope_name(scope)} is in force")


def _figure(value: float | None) -> str:
    return f"{'none' if value is None else format(value, '.4f'):>9}"


def _document(
    trial: Trial, current: Calibration, published: Calibration | None, scope: str
) -> dict[str, Any]:
    return {
        "scope": scope, "model": current.model, "fitted": trial.fitted,
        "held_back": trial.held_back, "from": current.version,
        "to": published.version if published else None,
        "accepted": list(trial.accepted), "before": dict(trial.before), "after": dict(trial.after),
    }  # fmt: skip


def _scope_name(scope: str) -> str:
    return "all tenants" if scope == EVERYBODY else scope


__all__ = ["app"]
