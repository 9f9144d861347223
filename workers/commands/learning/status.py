"""`forebay router status`: targets, what was reached, and how well predictions are calibrated."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from textwrap import wrap
from typing import Any

import redis
import typer

from forebay.routing.base import NANO
from forebay.routing.books.targets.refusals import refusals
from forebay.routing.learning.calibration import Calibration, Calibrations, in_words
from forebay.routing.learning.confidence import Confidence, confidences
from forebay.routing.learning.versions import Models
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.spillway import Spillway
from forebay.routing.overview.pacing_report import EVERYBODY, Account, PacingReport
from forebay.routing.overview.percentage import percentage
from forebay.routing.policy.policy_file import Policy
from forebay.routing.policy.tables import PacePolicy
from forebay.routing.scoring.doubt_model import DoubtModel
from forebay.routing.scoring.router_model import RouterModel
from forebay.routing.settings import read_settings
from forebay.routing.store.connection import connect
from forebay.routing.terminal.options import Json
from forebay.workers.commands.learning.pace import override_text
from forebay.workers.commands.options import COLUMNS

DAY_S = 86_400
#: What the score of a threshold is, by stage.
STAGES = {"before": "score", "after": "doubt"}
PACE_COLUMNS = ("kind", "answer", "jobs", "went up", "aim", "goes up from")
CONFIDENCE_COLUMNS = ("kind", "audits", "right", "verdict ECE", "doubt ECE")


def status(*, as_json: Json = False) -> None:
    """Show which jobs are escalated, by tenant and kind.

    Targets and what was reached, thresholds, overrides and costs; how well verdict and doubt were
    calibrated on the last 500 audits (ECE: 0 is perfect), and what calibrations were learned from.
    """
    document = _document()
    typer.echo(json.dumps(document) if as_json else "\n".join(_lines(document)))


def _document() -> dict[str, Any]:
    settings = read_settings()
    policy = Policy.load(settings.policy_file)
    client = connect(settings, "look")
    pacing, budget, audited = PacingReport(client), Budget(client), confidences(client)
    names = {*pacing.tenants(), *policy.tenants, *(each.tenant for each in audited)}
    tenants = sorted(names) or [EVERYBODY]
    current = _current(Calibrations(client), tenants)
    return {
        "version": Models(client, RouterModel).now().version,
        "doubt_version": Models(client, DoubtModel).now().version,
        "models": {
            "router": _published(Models(client, RouterModel)),
            "doubt": _published(Models(client, DoubtModel)),
        },
        "mock": Spillway(client).is_mocked(),
        "calibrations": {scope: each.version for scope, each in current.items()},
        "learned": {scope: _learned(each) for scope, each in current.items()},
        "tenants": [
            _row(pacing.account(name), policy, budget, audited) | _today(client, policy, name)
            for name in tenants
        ],
    }


def _published(models: Models[Any]) -> dict[str, Any]:
    """Return which version is in force (0: the packaged one), and which others are kept.

    If the current version cannot be read, the packaged one is in force.
    """
    number, current, kept = models.number(), models.current(), models.kept()
    return {
        "unreadable": number if number and current is None else None,
        "version": current.version if current else 0,
        "made": current.made if current else None,
        "kept": {published.version: published.name for published in kept},
    }


def _current(calibrations: Calibrations, tenants: list[str]) -> dict[str, Calibration]:
    """Return the current calibration of each scope that has one."""
    current = {scope: calibrations.current(scope) for scope in sorted({EVERYBODY, *tenants})}
    return {scope: calibration for scope, calibration in current.items() if calibration}


def _learned(calibration: Calibration) -> dict[str, Any]:
    kept = calibration.model_dump(include={"version", "made", "audits", "parts", "report"})
    return {**kept, "parts": list(calibration.parts)}


def _row(
    account: Account, policy: Policy, budget: Budget, audited: list[Confidence]
) -> dict[str, Any]:
    settled, reserved = budget.spent(account.tenant)
    return {
        **asdict(account),
        "target": _target(policy.tenant(account.tenant).pace),
        "spent_usd": settled / NANO,
        "reserved_usd": reserved / NANO,
        "confidence": [asdict(each) for each in audited if each.tenant == account.tenant],
    }


def _today(client: redis.Redis, policy: Policy, tenant: str) -> dict[str, Any]:
    """Return the budgets that refused calls today (UTC), and why the spillway is shut, if it is."""
    now, faults = time.time(), Spillway(client).faults()
    refused = refusals(client, policy, tenant, now - now % DAY_S, now)
    return {
        "refused": [{**asdict(each), "text": each.text} for each in refused],
        "faults": [{"scope": each.scope, "reason": each.reason} for each in faults],
    }


def _target(pace: PacePolicy) -> dict[str, float | None]:
    money = pace.usd_per_day
    return {
        "share": None if pace.share == "none" else pace.share,
        "usd_per_day": None if math.isinf(money) else money,
        "before": pace.before,
    }


# --- in words ------------------------------------------------------------------------------------


def _lines(document: dict[str, Any]) -> Iterator[str]:
    yield from _model_lines("router", document["version"], document["models"]["router"])
    yield from _model_lines("doubt", document["doubt_version"], document["models"]["doubt"])
    for scope, learned in document["learned"].items():
        yield from _learned_lines(scope, learned)
    if not document["learned"]:
        yield "no calibration is in force; forebay calibrate learns one from audits"
    for row in document["tenants"]:
        yield ""
        yield from _tenant_lines(row, mock=document["mock"])
    if not any(line["seen"] for row in document["tenants"] for line in row["lines"]):
        yield "no job with egress allowed has been seen yet"


def _model_lines(name: str, version: str, published: dict[str, Any]) -> Iterator[str]:
    number = published["version"]
    if number:
        made = datetime.fromtimestamp(published["made"], UTC)
        origin = f"version {number}, published on {made:%Y-%m-%d %H:%M} UTC"
    else:
        origin = "packaged"
    yield f"{name} model {version}: {origin}"
    if (damaged := published["unreadable"]) is not None:
        yield f"  version {damaged} cannot be read: publish the file again, or roll back"
    if kept := [f"{n} ({each})" for n, each in published["kept"].items() if n != number]:
        yield from _wrapped(f"kept versions: {', '.join(kept)}")


def _learned_lines(scope: str, learned: dict[str, Any]) -> Iterator[str]:
    name = "all tenants" if scope == EVERYBODY else scope
    made = datetime.fromtimestamp(learned["made"], UTC)
    yield f"calibration {learned['version']} for {name}, made on {made:%Y-%m-%d %H:%M} UTC"
    source = f"{learned['audits']} audits" if learned["audits"] else "audits"
    parts = f": {in_words(learned['parts'])}" if learned["parts"] else ""
    yield from _wrapped(f"learned from {source}{parts}")


def _wrapped(words: str) -> list[str]:
    return wrap(
        words, COLUMNS, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
    )


def _tenant_lines(row: dict[str, Any], *, mock: bool) -> Iterator[str]:
    yield f"{row['tenant']}: target {_target_text(row['target'])}"
    yield f"  reached: {_reached_text(row)}"
    yield f"  spent today: {_money_text(row, mock=mock)}"
    for refused in row["refused"]:
        yield from _wrapped(refused["text"])
    for fault in row["faults"]:
        scope = "every model" if fault["scope"] == EVERYBODY else fault["scope"]
        yield from _wrapped(f"the spillway is shut for {scope}: {fault['reason']}")
    if row["hard"] is not None:
        yield f"  {_percent(row['hard'])} of its local answers failed their checks"
    if row["lines"]:
        yield from _table(PACE_COLUMNS, [_pace_cells(line, row) for line in row["lines"]])
    if audited := [each for each in row["confidence"] if each["audits"]]:
        yield from _table(CONFIDENCE_COLUMNS, [_confidence_cells(each) for each in audited])
    if left_out := sum(each["stand_in"] for each in row["confidence"]):
        yield f"  {left_out} audits by the mock of Bedrock are left out"


def _target_text(target: dict[str, float | None]) -> str:
    share, dollars = target["share"], target["usd_per_day"]
    texts = [
        f"{share:.1%} of its jobs" if share is not None else "",
        f"${dollars:.2f} a day" if dollars is not None else "",
    ]
    return " and ".join(filter(None, texts)) or "none, the policy's thresholds apply"


def _reached_text(row: dict[str, Any]) -> str:
    if row["went"] is not None:
        return f"{_percent(row['went'])} of its jobs went to Bedrock"
    return "no job was paced yet" if _has_target(row) else "nothing is paced"


def _has_target(row: dict[str, Any]) -> bool:
    return any(row["target"][name] is not None for name in ("share", "usd_per_day"))


def _money_text(row: dict[str, Any], *, mock: bool) -> str:
    spent, reserved = row["spent_usd"], row["reserved_usd"]
    open_calls = f", and ${reserved:.4f} reserved" if reserved else ""
    kind = " by the mock of Bedrock, no real money" if mock and (spent or reserved) else ""
    return f"${spent:.4f}{open_calls}{kind}"


def _pace_cells(line: dict[str, Any], row: dict[str, Any]) -> tuple[str, ...]:
    threshold = line["threshold"]
    start = "" if threshold is None else f"{STAGES[line['stage']]} {threshold:.3f}"
    override = line["override"]
    # Without a target and an override nothing is aimed at; the controller counts jobs all the same.
    aim = line["aim"] if _has_target(row) or override else None
    if aim == 0:
        start = "none goes"
    if override:
        text = override_text(override["word"], override["value"])
        start = f"{start}  {text} by hand, {override['ends_in_s'] / 60:.0f} min left".strip()
    went = _percent(line["went"])
    return line["kind"], line["stage"], str(line["seen"]), went, _percent(aim), start


def _confidence_cells(found: dict[str, Any]) -> tuple[str, ...]:
    doubt = _error(found["doubt_ece"])
    if found["doubt_ece"] is not None and found["doubts"] < found["audits"]:
        doubt += f" of {found['doubts']}"
    right, verdict = _percent(found["outcome"]), _error(found["verdict_ece"])
    return found["kind"], str(found["audits"]), right, verdict, doubt


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield the lines of a table; columns of numbers are aligned to the right."""
    table = [head, *rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(head))]
    last = len(head) - 1
    for row in table:
        cells = [
            cell.ljust(width) if at in {0, last} or head[at] == "answer" else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"    {'  '.join(cells)}".rstrip()


def _error(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _percent(share: float | None) -> str:
    return "none" if share is None else percentage(share, 1)


__all__ = ["status"]
