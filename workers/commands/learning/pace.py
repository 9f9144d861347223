"""`forebay router override`: override for a while which jobs are escalated to Bedrock."""

from __future__ import annotations

import json
import math
from typing import Annotated

import typer

from forebay.routing.errors import Misconfigured
from forebay.routing.limits.pacing import Stage
from forebay.routing.overview.pacing_report import EVERYBODY, PACED, STAGES, PacingReport, Word
from forebay.routing.settings import read_settings
from forebay.routing.store.connection import connect
from forebay.routing.terminal.options import Json, argument, flag, option, tenant_option
from forebay.routing.terminal.spans import DAY_S, seconds_of

MAX_OVERRIDE_S = 7 * DAY_S

Kind = Annotated[str, argument("KIND", f"One of {', '.join(PACED)}.")]
Threshold = Annotated[
    float | None,
    typer.Option(
        metavar="X", help="Escalate jobs whose score (before) or doubt (after) is at least this."
    ),
]
Share = Annotated[
    float | None,
    typer.Option(metavar="X", min=0, max=1, help="Escalate this share of the jobs, 0 to 1."),
]
Off = Annotated[bool, flag("--off", "Do not pace: use the policy's thresholds.")]
Clear = Annotated[bool, flag("--clear", "Remove the override.")]
Tenant = Annotated[
    str, tenant_option("The tenant whose jobs it affects. *: every tenant's.", EVERYBODY)
]
Duration = Annotated[str, option("--for", "TIME", "How long it lasts: 30m, 2h or 1d; at most 7d.")]
StageName = Annotated[
    str | None, option("--stage", "STAGE", "Only before, or only after, the local answer is made.")
]


def override(
    kind: Kind, *, threshold: Threshold = None, share: Share = None, off: Off = False,
    clear: Clear = False, tenant: Tenant = EVERYBODY, stage: StageName = None,
    duration: Duration = "1h", as_json: Json = False,
) -> None:  # fmt: skip
    """Override for a while which jobs of a kind are escalated. By threshold, by share, or off."""
    if kind not in PACED:
        raise Misconfigured(f"must be one of {', '.join(PACED)}", field="KIND")
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
        in_force = f"{override_text(word, value)}, {duration}" if word else "the policy applies"
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
    seconds = seconds_of(duration) or 0.0
    if not 0 < seconds <= MAX_OVERRIDE_S:
        raise Misconfigured("must be a time such as 30m, 2h or 1d, at most 7d", field="--for")
    return seconds


def override_text(word: str, value: float | None) -> str:
    return word if value is None else f"{word} {value:g}"


__all__ = ["override"]
