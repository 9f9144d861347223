# ruff: noqa: PLC0415 - numeric libraries are imported where they are used
"""`forebay calibrate`: learn from audits how verdicts are to be moved."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.routing.broker.app import celery_app
from forebay.routing.broker.doorbell import template
from forebay.routing.errors import InvalidJob, Misconfigured
from forebay.routing.learning.audits import Audit, Audits
from forebay.routing.learning.calibration import EVERYBODY, Calibration, Calibrations
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.policy.policy_file import Policy
from forebay.routing.scoring.router_model import RouterModel
from forebay.routing.settings import Settings, read_settings
from forebay.routing.store.connection import connect

if TYPE_CHECKING:
    from forebay.workers.training.fitting.fit_calibration import Trial

MIN_AUDITS = 20  # audits below which nothing can be held back

app = typer.Typer(rich_markup_mode=None, add_completion=False)

HELP = """Learn from the audits of kept local answers how the router's verdicts are to be moved.

Fits on two thirds of the audits and compares with what is in force on the rest. What is better
there becomes the current version, which routers follow within seconds; else nothing changes. Audits
are made where `policy.toml` says so ([defaults.audit]). Needs the extra `router`.
"""

TenantName = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="Its audits, for its jobs alone.")
]
Fewest = Annotated[int, typer.Option("--min", min=MIN_AUDITS, help="No fit with fewer audits.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Report, and change nothing.")]
Back = Annotated[
    int | None,
    typer.Option("--rollback", metavar="VERSION", min=0, help="Go back; 0: none of its own."),
]
StandIn = Annotated[
    bool, typer.Option("--stand-in", help="Learn from the stand-in's answers too, for a try.")
]
Json = Annotated[bool, typer.Option("--json", help="Exactly one JSON document on stdout.")]


@app.command(help=HELP)
def calibrate(
    *, tenant: TenantName = None, fewest: Fewest = 100, dry_run: DryRun = False,
    rollback: Back = None, stand_in: StandIn = False, as_json: Json = False,
) -> None:  # fmt: skip
    settings, scope = read_settings(), tenant or EVERYBODY
    client = connect(settings, brisk=True)
    calibrations = Calibrations(client)
    audits = Audits(Ledger(client, settings, lambda: template(celery_app(settings, []))))
    model = RouterModel.load().version
    usable = _usable(audits.read(tenant), model, stand_in=stand_in)
    if rollback is not None:
        calibrations.roll_back(scope, rollback)
        audits.recount(usable, calibrations)
        _tell_version(scope, rollback, as_json=as_json)
        return
    if len(usable) < fewest:
        raise InvalidJob(f"there are {len(usable)} audits to learn from, not {fewest}", field="min")
    now = _in_force(calibrations, scope, model)
    tried = _trial(usable, now, settings)
    made = None
    if tried.accepted and not dry_run:
        made = calibrations.publish(scope, tried.candidate)
        audits.recount(usable, calibrations)
    _tell(tried, now, made, scope, as_json=as_json)


def _usable(audits: Iterable[Audit], model: str, *, stand_in: bool) -> list[Audit]:
    """Audits of this model; what was said of a job by another one teaches nothing of this."""
    return [one for one in audits if one.model == model and (stand_in or not one.stand_in)]


def _in_force(calibrations: Calibrations, scope: str, model: str) -> Calibration:
    """What moves verdicts of this scope now; the model as it is, where nothing does."""
    found = calibrations.current(scope) or calibrations.current(EVERYBODY)
    return found if found is not None and found.model == model else Calibration(model=model)


def _trial(audits: list[Audit], now: Calibration, settings: Settings) -> Trial:
    try:
        from forebay.workers.training.fitting.fit_calibration import trial
    except ImportError as error:
        needs = "needs numpy and scikit-learn: install the extra `router`"
        raise Misconfigured(needs, field="calibrate") from error
    rules = Policy.load(settings.policy_file)
    return trial(audits, now, lambda name, kind: getattr(rules.tenant(name).thresholds, kind))


def _tell_version(scope: str, version: int, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"scope": scope, "version": version}))
    else:
        typer.echo(f"{_whose(scope)}: version {version} is in force")


def _tell(
    tried: Trial, now: Calibration, made: Calibration | None, scope: str, *, as_json: bool
) -> None:
    told: dict[str, Any] = {
        "scope": scope, "model": now.model, "fitted": tried.fitted, "held_back": tried.held_back,
        "from": now.version, "to": made.version if made else None,
        "accepted": list(tried.accepted), "before": dict(tried.before), "after": dict(tried.after),
    }  # fmt: skip
    if as_json:
        typer.echo(json.dumps(told))
        return
    typer.echo(f"{tried.fitted} audits fitted, {tried.held_back} held back")
    typer.echo(f"{'':12}{'before':>9}{'after':>9}")
    for name, value in tried.before.items():
        typer.echo(f"{name:12}{value:9.4f}{tried.after.get(name, float('nan')):9.4f}")
    better = " and ".join(tried.accepted)
    if not better:
        typer.echo("no better than what is in force; nothing changes")
    elif made is None:
        typer.echo(f"better: {better}; nothing changed, as you asked")
    else:
        typer.echo(f"better: {better}; {_whose(scope)}: version {made.version} is in force")


def _whose(scope: str) -> str:
    return "everybody" if scope == EVERYBODY else scope


__all__ = ["app"]
