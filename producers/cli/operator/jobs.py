"""The commands `forebay jobs …`: list, show and watch the jobs of all tenants."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from forebay.producers.cli import display
from forebay.producers.cli.operator.filters import (
    Code,
    Kind,
    LookAt,
    Newer,
    Older,
    Queue,
    States,
    Tenant,
    describe,
    job_filter,
)
from forebay.producers.cli.operator.readers import open_readers, reader_of
from forebay.producers.cli.options import Id, Interval, Limit, Rounds
from forebay.routing.errors import counted
from forebay.routing.terminal.options import Json, group

if TYPE_CHECKING:
    from forebay.routing.ledger.record import Record
    from forebay.routing.overview.all_jobs import Found
    from forebay.routing.overview.job_filter import JobFilter

HEADER = ("ID", "KIND", "STATE", "QUEUE", "ATTEMPTS", "AGE", "CODE")
LOOK_AT = 200_000

app = group("List, show or watch the jobs of all tenants, for an operator.")


@app.command("list")
def print_list(
    *,
    state: States = None,
    queue: Queue = None,
    tenant: Tenant = None,
    kind: Kind = None,
    code: Code = None,
    older: Older = None,
    newer: Newer = None,
    limit: Limit = 100,
    look_at: LookAt = LOOK_AT,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first, without their content."""
    wanted = job_filter(
        states=state, queue=queue, tenant=tenant, kind=kind, code=code, older=older, newer=newer
    )
    found, now_ms = _find(wanted, limit, look_at)
    if as_json:
        display.document(_document(found, now_ms))
        return
    if found.records:
        rows = [cells(record, now_ms) for record in found.records]
        display.table(HEADER, rows, ("ATTEMPTS", "QUEUE", "KIND"))
    display.note(summary(found, wanted))


@app.command()
def show(job_id: Id, *, as_json: Json = False) -> None:
    """Print what is known of a job, without its content and its answer."""
    reader = reader_of(job_id)
    status, record = reader.status(job_id), reader.record(job_id)
    document = status.model_dump(mode="json") | {
        "egress": record.egress, "reasons": record.reasons, "error": record.error,
        "cost_usd": record.cost_nusd / 1e9, "replay_of": record.replay_of,
        "replayed_as": record.replayed_as, "created": _iso(record.created),
        "ended": _iso(record.ended),
    }  # fmt: skip
    if as_json:
        display.document(document)
        return
    receipt = document.pop("receipt") or {}
    for name, value in {**document, **receipt}.items():
        if value not in (None, "", [], False):
            display.text(f"{name:12}  {_words(value)}")


@app.command()
def watch(
    *,
    state: States = None,
    queue: Queue = None,
    tenant: Tenant = None,
    kind: Kind = None,
    code: Code = None,
    newer: Newer = None,
    limit: Limit = 20,
    interval: Interval = 2.0,
    rounds: Rounds = None,
    as_json: Json = False,
) -> None:
    """Print the newest jobs, then each that comes or changes.

    It ends with Ctrl-C. Of many jobs at a time the newest --limit are looked at. With --json one
    document a line.
    """
    wanted = job_filter(states=state, queue=queue, tenant=tenant, kind=kind, code=code, newer=newer)
    seen: dict[str, tuple[str, ...]] = {}
    while True:
        found, now_ms = _find(wanted, limit, LOOK_AT)
        for record in reversed(found.records):
            mark = (record.state, record.queue, str(record.attempts))
            if seen.get(record.id) != mark:
                _print_change(record, now_ms, as_json=as_json)
            seen[record.id] = mark
        rounds = rounds and rounds - 1
        if rounds == 0:
            return
        time.sleep(interval)


def cells(record: Record, now_ms: int) -> tuple[str, ...]:
    """Return a job under `HEADER`."""
    age = display.duration((now_ms - (record.ended or record.created)) / 1000)
    return (
        record.id, record.kind, record.state, record.queue, str(record.attempts), age,
        record.error or "",
    )  # fmt: skip


def summary(found: Found, wanted: JobFilter, what: str = "job") -> str:
    """Return how many jobs were found, and if there may be more."""
    matched = found.counts.total()
    line = f"{counted(matched, what) if matched else f'no {what}s'}{describe(wanted)}"
    if len(found.records) < matched:
        line += f", the newest {len(found.records):,} of them shown"
    if not found.complete:
        line += f"; stopped after {found.looked_at:,} records: narrow it, or raise --look-at"
    return line


def _find(wanted: JobFilter, limit: int, look_at: int) -> tuple[Found, int]:
    from forebay.routing.overview.adding_up import added_found  # noqa: PLC0415 - help answers at once
    from forebay.routing.overview.all_jobs import AllJobs  # noqa: PLC0415 - as above

    fleets = [AllJobs(reader) for reader in open_readers().values()]
    found = added_found((one.find(wanted, limit=limit, look_at=look_at) for one in fleets), limit)
    return found, fleets[0].now_ms()


def _print_change(record: Record, now_ms: int, *, as_json: bool) -> None:
    if as_json:
        display.document(_job(record, now_ms))
    else:
        clock = datetime.now(UTC).strftime("%H:%M:%S")
        display.text("  ".join([clock, *filter(None, cells(record, now_ms))]))


def _document(found: Found, now_ms: int) -> dict[str, Any]:
    return {
        "jobs": [_job(record, now_ms) for record in found.records],
        "matched": found.counts.total(), "looked_at": found.looked_at, "complete": found.complete,
    }  # fmt: skip


def _job(record: Record, now_ms: int) -> dict[str, Any]:
    return {
        "id": record.id, "tenant": record.tenant, "kind": record.kind,
        "state": record.state, "hop": record.hop, "queue": record.queue, "egress": record.egress,
        "attempts": record.attempts, "error": record.error, "reasons": record.reasons,
        "cost_usd": record.cost_nusd / 1e9, "created": _iso(record.created),
        "ended": _iso(record.ended), "age_s": (now_ms - record.created) / 1000,
    }  # fmt: skip


def _words(value: Any) -> str:
    """Return a value of a document for people."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _iso(unix_ms: int) -> str | None:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat() if unix_ms else None
