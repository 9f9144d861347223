"""`forebay router status` and `forebay router override`: the pace, looked at and set by hand."""

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
from forebay.routing.limits.pacing_report import (
    EVERYBODY,
    PACED,
    STAGES,
    Account,
    PacingReport,
    Word,
)
from forebay.routing.policy.policy_file import PacePolicy, Policy
from forebay.routing.scoring.router_model import RouterModel
from forebay.routing.settings import read_settings
from forebay.routing.store.connection import connect

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
TENANT = r"[a-z0-9][a-z0-9_-]{0,62}"
MAX_OVERRIDE_S = 7 * UNITS["d"]

Json = Annotated[bool, typer.Option("--json", help="Exactly one JSON document on stdout.")]
Kind = Annotated[str, typer.Argument(metavar="KIND", help=f"One of {', '.join(PACED)}.")]
Threshold = Annotated[
    float | None, typer.Option(help="Go up from this score, or doubt, and stay below it.")
]
Share = Annotated[float | None, typer.Option(min=0, max=1, help="So many of the jobs go up.")]
Off = Annotated[bool, typer.Option("--off", help="No pace: the policy's constants hold.")]
Clear = Annotated[bool, typer.Option("--clear", help="Take the override back.")]
Tenant = Annotated[str, typer.Option(help="Whose jobs; without it, everybody's.")]
Term = Annotated[str, typer.Option("--for", metavar="TIME", help="Such as 30m, 2h or 1d.")]
At = Annotated[
    str | None, typer.Option("--stage", metavar="STAGE", help="before or after the answer alone.")
]


def status(*, as_json: Json = False) -> None:
    """Show who goes up to Bedrock just now. Targets, shares, thresholds, overrides, money."""
    settings = read_settings()
    rules = Policy.load(settings.policy_file)
    client = connect(settings, brisk=True)
    book, spend = PacingReport(client), Budget(client)
    tenants = sorted({*book.tenants(), *rules.tenants}) or [EVERYBODY]
    rows = [_row(book.account(name), rules, spend) for name in tenants]
    version = RouterModel.load().version
    learned = _learned(Calibrations(client), tenants)
    if as_json:
        told = {"version": version, "calibrations": learned, "tenants": rows}
        typer.echo(json.dumps(told))
        return
    moved = "".join(f", calibration {number} for {scope}" for scope, number in learned.items())
    typer.echo(f"router model {version}{moved}")
    for row in rows:
        typer.echo(_told(row))
    if not any(line["seen"] for row in rows for line in row["lines"]):
        typer.echo("no job that may leave was seen yet")


def _learned(calibrations: Calibrations, tenants: list[str]) -> dict[str, int]:
    """The current calibration of each scope that has one."""
    found = {scope: calibrations.current(scope) for scope in sorted({EVERYBODY, *tenants})}
    return {scope: one.version for scope, one in found.items() if one}


def override(
    kind: Kind, *, threshold: Threshold = None, share: Share = None, off: Off = False,
    clear: Clear = False, tenant: Tenant = EVERYBODY, stage: At = None, term: Term = "1h",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Set by hand which jobs of a kind go up, for a while. By a threshold, a share, or off."""
    if kind not in PACED:
        raise Misconfigured(f"must be one of {', '.join(PACED)}", field="KIND")
    if tenant != EVERYBODY and not re.fullmatch(TENANT, tenant):
        raise Misconfigured("is no name of a tenant", field="--tenant")
    word, value = _wish(threshold, share, off=off, clear=clear)
    book = PacingReport(connect(read_settings(), brisk=True))
    if word is None:
        book.clear(kind, tenant=tenant)
    else:
        book.override(kind, word, value, _seconds(term), tenant=tenant, stages=_stages(stage, word))
    if as_json:
        done = {"kind": kind, "tenant": tenant, "word": word, "value": value}
        typer.echo(json.dumps(done))
    else:
        typer.echo(
            f"{kind}: {'the policy holds' if word is None else f'{_said(word, value)}, {term}'}"
        )


def _wish(
    threshold: float | None, share: float | None, *, off: bool, clear: bool
) -> tuple[Word | None, float | None]:
    """The one thing that was asked for; no word for the end of an override."""
    wishes: list[tuple[Word | None, float | None]] = []
    if threshold is not None and math.isfinite(threshold):
        wishes.append(("threshold", threshold))
    if share is not None:
        wishes.append(("share", share))
    if off:
        wishes.append(("off", None))
    if clear:
        wishes.append((None, None))
    if len(wishes) != 1:
        raise Misconfigured("give one of --threshold, --share, --off and --clear", field="KIND")
    return wishes[0]


def _stages(stage: str | None, word: Word) -> tuple[Stage, ...]:
    chosen = tuple(one for one in STAGES if stage in {None, one})
    if not chosen:
        raise Misconfigured(f"must be one of {', '.join(STAGES)}", field="--stage")
    if stage is not None and word != "threshold":
        raise Misconfigured("goes with --threshold; both stages have one target", field="--stage")
    return chosen


def _seconds(term: str) -> float:
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])", term)
    seconds = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not 0 < seconds <= MAX_OVERRIDE_S:
        raise Misconfigured("must be a time such as 30m, 2h or 1d, at most 7d", field="--for")
    return seconds


def _row(account: Account, rules: Policy, spend: Budget) -> dict[str, Any]:
    pace = rules.tenant(account.tenant).pace
    settled, reserved = spend.spent(account.tenant)
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


def _told(row: dict[str, Any]) -> str:
    """One tenant, as lines of text."""
    target = row["target"]
    wants = [
        f"{target['share']:.1%} of its jobs" if target["share"] is not None else "",
        f"${target['usd_per_day']:.2f} a day" if target["usd_per_day"] is not None else "",
    ]
    wish = " and ".join(filter(None, wants)) or "none, the policy's thresholds hold"
    head = (
        f"{row['tenant']}: target {wish}; went {_percent(row['went'])}, failed its checks "
        f"{_percent(row['hard'])}; ${row['spent_usd']:.4f} spent today"
    )
    return "\n".join([head, *map(_line, row["lines"])])


def _line(line: dict[str, Any]) -> str:
    threshold = "-" if line["threshold"] is None else f"{line['threshold']:.3f}"
    by_hand = line["override"]
    hand = ""
    if by_hand:
        hand = f"  {_said(by_hand['word'], by_hand['value'])} by hand, {by_hand['ends_in_s']:.0f} s"
    return (
        f"  {line['kind']:10} {line['stage']:7} seen {line['seen']:>7}  went "
        f"{_percent(line['went']):>6}  aim {_percent(line['aim']):>6}  from {threshold}{hand}"
    )


def _said(word: str, value: float | None) -> str:
    return word if value is None else f"{word} {value:g}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


__all__ = ["override", "status"]
