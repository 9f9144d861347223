"""`forebay models drift`: answer a pinned panel of jobs again, and show what moved."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import Job
from forebay.routing.overview.percentage import percentage
from forebay.routing.settings import read
from forebay.routing.terminal.columns import in_columns
from forebay.routing.terminal.options import Json, flag
from forebay.workers.commands.drift import comparison
from forebay.workers.commands.drift.panel import panel_digest, read_panel
from forebay.workers.commands.drift.record import (
    Comparison,
    DriftRecord,
    KindDrift,
    Run,
    default_file,
    read_record,
    write_record,
)
from forebay.workers.engines.host.supervisor import open_engine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.models.writable import require_writable

DRIVER = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
HEADER = ("KIND", "JOBS", "EXACT", "AGREEMENT", "PASSED", "SURER", "")

Panel = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="JSON Lines, a request a line. Default: packaged jobs."),
]
Record = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The record of pinned answers. Default: of FOREBAY_MODELS."),
]
Pin = Annotated[bool, flag("--pin", "Pin these answers in place of earlier ones.")]


def drift(
    *, panel: Panel = None, record: Record = None, pin: Pin = False, as_json: Json = False
) -> None:
    """Answer a pinned panel of jobs again. Shows what a new model, engine or driver changed.

    The engine is that of the settings (FOREBAY_ENGINE and others), as in a worker. The first run
    pins the answers; later runs compare theirs with them, and `forebay doctor` reports what moved.
    Exit code 1 if something moved.
    """
    file, jobs = record or default_file(), read_panel(panel)
    known = None if pin else read_record(file)
    if known is not None and known.panel != panel_digest(jobs):
        raise Misconfigured("has other jobs than were pinned; give --pin", field="--panel")
    _require_writable(file)
    run = _answered(jobs)
    if known is None:
        write_record(file, DriftRecord(panel=panel_digest(jobs), pinned=run))
        _report_pinned(run, file, as_json=as_json)
        return
    found = comparison.compared(known.pinned, run)
    write_record(file, known.model_copy(update={"last": found}))
    _report(found, known.pinned, as_json=as_json)
    if found.moved:
        raise typer.Exit(1)


def _require_writable(file: Path) -> None:
    """Check that the record can be written, before the panel is answered."""
    if file.is_dir():
        raise Misconfigured("is a folder; name the file in it", field=str(file))
    require_writable(file.parent, str(file))


def _answered(jobs: list[Job]) -> Run:
    engine = open_engine(read(EngineSettings))
    try:
        return comparison.answer_panel(engine, jobs, _driver())
    finally:
        engine.close()


def _driver() -> str:
    """Return the version of the GPU's driver; empty without a GPU."""
    try:
        done = subprocess.run(DRIVER, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 - a fixed command
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.splitlines()[0].strip() if done.stdout.strip() else ""


def _report_pinned(run: Run, file: Path, *, as_json: bool) -> None:
    if as_json:
        document = {"pinned": run.named, "jobs": len(run.answers), "record": str(file)}
        typer.echo(json.dumps(document))
        return
    typer.echo(f"pinned {len(run.answers)} answers of {run.named}: {file}")


def _report(found: Comparison, pinned: Run, *, as_json: bool) -> None:
    if as_json:
        document = {"pinned": pinned.named, **found.model_dump(mode="json"), "moved": found.moved}
        typer.echo(json.dumps(document))
        return
    typer.echo(f"pinned  {pinned.named}\nnow     {found.named}\n")
    typer.echo("\n".join(in_columns([HEADER, *map(_cells, found.kinds)])))
    typer.echo("" if found.moved else "\nnothing moved")


def _cells(found: KindDrift) -> tuple[str, ...]:
    surer = "unknown" if found.surer is None else f"{found.surer:+.3f}"
    passed = f"{percentage(found.passed_before)} to {percentage(found.passed)}"
    moved = f"moved: {found.moved}" if found.moved else ""
    return (
        found.kind, str(found.jobs), percentage(found.exact), f"{found.agreement:.2f}", passed,
        surer, moved,
    )  # fmt: skip
