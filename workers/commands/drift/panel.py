"""The panel: the jobs that are answered again after each change of model or engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from forebay.routing.errors import InvalidJob, Misconfigured
from forebay.routing.jobs import Job
from forebay.routing.requests import parse_request

MAX_JOBS = 2_000


def read_panel(path: Path | None) -> list[Job]:
    """Return the jobs of a JSON Lines file with a request on each line, or the packaged jobs.

    Raises:
        Misconfigured: The file cannot be read; names the line and the field that is wrong.
    """
    if path is None:
        packaged = files("forebay.workers.commands.drift").joinpath("panel.json").read_text()
        return [_job(data) for data in json.loads(packaged)]
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise Misconfigured(f"cannot be read: {why}", field=str(path)) from None
    jobs = [_job_of_line(path, at, line) for at, line in enumerate(lines, 1) if line.strip()]
    if not 0 < len(jobs) <= MAX_JOBS:
        raise Misconfigured(f"holds {len(jobs)} jobs, not 1 to {MAX_JOBS}", field=str(path))
    return jobs


def panel_digest(jobs: Sequence[Job]) -> str:
    """Return a digest of the jobs' requests, by which a changed panel is noticed."""
    requests = [job.request.model_dump(mode="json", by_alias=True) for job in jobs]
    return hashlib.sha256(json.dumps(requests).encode()).hexdigest()[:16]


def _job_of_line(path: Path, number: int, line: str) -> Job:
    try:
        return _job(json.loads(line))
    except InvalidJob as error:
        raise Misconfigured(f"line {number}: {error}", field=str(path)) from None
    except (ValueError, RecursionError):
        raise Misconfigured(f"line {number} is not JSON", field=str(path)) from None


def _job(data: Any) -> Job:
    return Job(tenant="drift", request=parse_request(data))
