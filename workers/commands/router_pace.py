"""`forebay router status` and `forebay router override`: show the pacing, and override it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from typing import Annotated, Any

import typer

from forebay.routing.base import NANO
from forebay.routing.errors import Misconfigured
from forebay.routing.learning.calibration import Calibrations
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.pacing import Stage
from forebay.routing.overview.pacing_report import (
    EVERYBODY,
    PACED,
    STAGES,
    Account,
    PacingReport,
    Word,
)
from forebay.routing.policy.policy_file import Policy
from forebay.routing.policy.tables import PacePolicy
from forebay.routing.scoring.router_model import RouterModel
from forebay.routing.settings import read_settings
from forebay.routing.store.connection import connect
from forebay.workers.commands.options import Json

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
TENANT = r"[a-z0-9][a-z0-9_-]{0,62}"
MAX_OVERRIDE_S = 7 * SECONDS["d"]

Kind = Annotated[str, typer.Argument(metavar="KIND", help=f"One of {', '.join(PACED)}.")]
Threshold = Annotated[
    float | None,
    typer.Option(help="Escalate jobs whose score (before) or doubt (after) is at least this."),
]
Share = Annotated[
    float | None, typer.Option(min=0, max=1, help="Escalate this share of the jobs, 0 to 1.")
]
Off = Annotated[bool, typer.Option("--off", help="Do not pace: use the policy's thresholds.")]
Clear = Annotated[bool, typer.Option("--clear", help="Remove the override.")]
Tenant = Annotated[str, typer.Option(help="The tenant whose jobs it affects. *: every tenant's.")]
Duration = Annotated[
    str,
    typer.Option("--for", metavar="TIME", help="How long it lasts: 30m, 2h or 1d; at most 7d."),
]
StageName = Annotated[
    str | None,
    typer.Option(
        "--stage", metavar="STAGE", help="Only before, or only after, the local answer is made."
    ),
]


def status(*, as_json: Json = False) -> None:
    """Show which jobs are escalated to Bedrock. Targets, shares, thresholds, overrides, costs."""
    settings = read_settings()
    policy = Policy.load(settings.policy_file)
    client = connect(settings, "look")
    pacing, budget = PacingReport(client), Budget(client)
    tenants = sorted({*pacing.tenants(), *policy.tenants}) or [EVERYBODY]
    rows = [_row(pacing.account(name), policy, budget) for name in tenants]
    version = RouterModel.load().version
    versions = _calibration_versions(Calibrations(client), tenants)
    if as_json:
        document = {"version": version, "calibrations": versions, "tenants": rows}
        typer.echo(json.dumps(document))
        return
    calibrated = "".join(
        f", calibration {number} for {scope}" for scope, number in versions.items()
    )
    typer.echo(f"router model {version}{calibrated}")
    for row in rows:
        typer.echo(_text(row))
    if not any(line["seen"] for row in rows for line in row["lines"]):
        typer.echo("no job with egress allowed has been seen yet")


def _calibration_versions(calibrations: Calibrations, tenants: list[str]) -> dict[str, int]:
    """Return the version of the current calibration of each scope that has one."""
    current = {scope: calibrations.current(scope) for scope in sorted({EVERYBODY, *tenants})}
    return {scope: calibration.version for scope, calibration in current.items() if calibration}


def override(
    kind: Kind, *, threshold: Threshold = None, share: Share = None, off: Off = False,
    clear: Clear = False, tenant: Tenant = EVERYBODY, stage: StageName = None,
    duration: Duration = "1h", as_json: Json = False,
) -> None:  # fmt: skip
    """Override for a while which jobs of a kind are escalated. By threshold, by share, or off."""
    if kind not in PACED:
        raise Misconfigured(f"must be one of {', '.join(PACED)}", field="KIND")
    if tenant != EVERYBODY and not re.fullmatch(TENANT, tenant):
        raise Misconfigured("is not a valid tenant name", field="--tenant")
    word, value = _chosen_override(threshold, share, off=off, clear=clear)
    pacing = PacingReport(connect(read_settings(), "look"))
    if word is None:
        pacing.clear(kind, tenant=tenant)
    else:
        seconds, stages = _seconds(duration), _stages(stage, word)
        pacing.override(kind, word, value, seconds, tenant=tenant, stages=stages)
    if as_json:
        document = {"kind": kind, "tenant": tenant, "word": word, "value": value}
        typer.echo(json.dumps(document))
    else:
        in_force = f"{_override_text(word, value)}, {duration}" if word else "the policy applies"
        typer.echo(f"{kind}: {in_force}")


def _chosen_override(
    threshold: float | None, share: float | None, *, off: bool, clear: bool
) -> tuple[Word | None, float | None]:
    """Return the override that was asked for; its word is `None` for `--clear`."""
    chosen: list[tuple[Word | None, float | None]] = []
    if threshold is not None and math.isfinite(threshold):
        chosen.append(("threshold", threshold))
    if share is not None:
        chosen.append(("share", share))
    if off:
        chosen.append(("off", None))
    if clear:
        chosen.append((None, None))
    if len(chosen) != 1:
        raise Misconfigured("give one of --threshold, --share, --off and --clear", field="KIND")
    return chosen[0]


def _stages(stage: str | None, word: Word) -> tuple[Stage, ...]:
    chosen = tuple(each for each in STAGES if stage in {None, each})
    if not chosen:
        raise Misconfigured(f"must be one of {', '.join(STAGES)}", field="--stage")
    if stage is not None and word != "threshold":
        raise Misconfigured(
            "can only be given with --threshold; both stages share one target", field="--stage"
        )
    return chosen


def _seconds(duration: str) -> float:
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])", duration)
    seconds = float(match[1]) * SECONDS[match[2]] if match else 0.0
    if not 0 < seconds <= MAX_OVERRIDE_S:
        raise Misconfigured("must be a time such as 30m, 2h or 1d, at most 7d", field="--for")
    return seconds


def _row(account: Account, policy: Policy, budget: Budget) -> dict[str, Any]:
    pace = policy.tenant(account.tenant).pace
    settled, reserved = budget.spent(account.tenant)
    return {
        **asdict(account),
        "target": _target(pace),
        "spent_usd": settled / NANO,
        "reserved_usd": reserved / NANO,
    }


def _target(pace: PacePolicy) -> dict[str, float | None]:
    money = pace.usd_per_day
    return {
        "share": None if pace.share == "none" else pace.share,
        "usd_per_day": None if math.isinf(money) else money,
        "before": pace.before,
    }


def _text(row: dict[str, Any]) -> str:
    """Return the lines about one tenant."""
    target = row["target"]
    targets = [
        f"{target['share']:.1%} of its jobs" if target["share"] is not None else "",
        f"${target['usd_per_day']:.2f} a day" if target["usd_per_day"] is not None else "",
    ]
    wanted = " and ".join(filter(None, targets)) or "none, the policy's thresholds apply"
    head = (
        f"{row['tenant']}: target {wanted}; escalated {_percent(row['went'])}, failed its checks "
        f"{_percent(row['hard'])}; ${row['spent_usd']:.4f} spent today"
    )
    return "\n".join([head, *map(_line, row["lines"])])


def _line(line: dict[str, Any]) -> str:
    threshold = "-" if line["threshold"] is None else f"{line['threshold']:.3f}"
    override = line["override"]
    suffix = ""
    if override:
        text = _override_text(override["word"], override["value"])
        suffix = f"  {text} by hand, {override['ends_in_s']:.0f} s"
    return (
        f"  {line['kind']:10} {line['stage']:7} seen {line['seen']:>7}  escalated "
        f"{_percent(line['went']):>6}  aim {_percent(line['aim']):>6}  from {threshold}{suffix}"
    )


def _override_text(word: str, value: float | None) -> str:
    return word if value is None else f"{word} {value:g}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


__all__ = ["override", "status"]
