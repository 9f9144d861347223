"""The commands `forebay dead …`: list, show, replay and bury dead letters (jobs that failed)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from forebay.producers.cli import display
from forebay.producers.cli.clients import current_tenant, open_client, tenant_of_job
from forebay.producers.cli.options import (
    All,
    Code,
    DropDeadline,
    Id,
    Json,
    Lane,
    Limit,
    MaxCost,
    MaybeId,
    Priority,
    ShowContent,
    TenantName,
)
from forebay.routing.errors import ForebayError

if TYPE_CHECKING:
    from forebay.producers.client import Client
    from forebay.routing.ledger.dead_letters import Changes, DeadJob

_HEADER = ("ID", "KIND", "CODE", "HOP", "ATTEMPTS", "ENDED")
MAX_JOBS_REPLAYED = 10_000  # by one command

app = typer.Typer(
    help="List, show, replay or bury jobs that failed.",
    no_args_is_help=True, add_completion=False, rich_markup_mode=None,
)  # fmt: skip


@app.command("list")
def print_list(
    *, code: Code = None, limit: Limit = 100, tenant: TenantName = None, as_json: Json = False
) -> None:
    """List the jobs that failed and were not replayed, the newest first."""
    owner = current_tenant(tenant)
    with open_client(owner) as client:
        dead = _with_code(client, code, limit)
    if as_json:
        display.document([job.model_dump(mode="json") for job in dead])
        return
    if dead:
        display.table(_HEADER, [_cells(job) for job in dead])
        return
    with_code = f" with code {code}" if code else ""
    display.note(f"no dead jobs of tenant {owner}{with_code}; --tenant names another")


@app.command()
def show(
    job_id: Id, *, content: ShowContent = False, tenant: TenantName = None, as_json: Json = False
) -> None:
    """Print why and where a job failed. With --content also what was submitted."""
    with open_client(tenant_of_job(tenant, job_id)) as client:
        dead = client.dead_job(job_id)
        job = client.dead_content(job_id) if content else None
    if as_json:
        submitted = {"job": job.model_dump(mode="json", by_alias=True)} if job else {}
        display.document(dead.model_dump(mode="json") | submitted)
        return
    display.table(_HEADER, [_cells(dead)])
    display.text(f"why: {dead.receipt.error_note or 'see the reasons'}")
    display.text(f"reasons: {', '.join(dead.receipt.reasons)}")
    display.text(f"replayed as: {dead.replayed_as or 'not replayed'}")
    if job is not None:
        display.text(job.model_dump_json(by_alias=True, indent=2))


@app.command()
def replay(
    job_id: MaybeId = None,
    *,
    every: All = False,
    code: Code = None,
    drop_deadline: DropDeadline = False,
    lane: Lane = None,
    priority: Priority = None,
    max_cost: MaxCost = None,
    tenant: TenantName = None,
    as_json: Json = False,
) -> None:
    """Submit a dead job again as a new one and print its id. Repeating it is safe."""
    if (job_id is None) != every or (code and not every):
        raise typer.BadParameter("give either an ID, or --all, which --code narrows")
    from forebay.producers.cli.option_names import in_option_names  # noqa: PLC0415 - pydantic is slow

    given = {"lane": lane, "priority": priority, "max_cost_usd": max_cost}
    changes: Any = {key: value for key, value in given.items() if value is not None}
    changes |= {"deadline": None} if drop_deadline else {}
    if job_id is not None:
        with in_option_names(None, changes):
            _replay_one(job_id, tenant, changes, as_json=as_json)
        return
    with open_client(current_tenant(tenant)) as client:
        _replay_all(client, _with_code(client, code, MAX_JOBS_REPLAYED), changes, as_json=as_json)


@app.command()
def bury(job_id: Id, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """Delete everything stored about a dead job."""
    with open_client(tenant_of_job(tenant, job_id)) as client:
        buried = client.bury(job_id)
    if as_json:
        display.document({"id": job_id, "buried": buried})
    else:
        display.text("buried" if buried else "nothing was stored")


def _with_code(client: Client, code: str | None, limit: int) -> list[DeadJob]:
    """Return the newest dead jobs with this code, or with any code for `None`."""
    # With a code, all are read: the newest `limit` might have other codes.
    dead = client.dead(MAX_JOBS_REPLAYED if code else limit)
    return [job for job in dead if code in {None, job.error}][:limit]


def _replay_one(job_id: str, tenant: str | None, changes: Changes, *, as_json: bool) -> None:
    with open_client(tenant_of_job(tenant, job_id)) as client:
        new_id = client.replay(job_id, **changes)
    if as_json:
        display.document({"id": job_id, "replayed_as": new_id})
    else:
        display.text(new_id)


def _replay_all(client: Client, dead: list[DeadJob], changes: Changes, *, as_json: bool) -> None:
    replayed: list[dict[str, str]] = []
    failed: list[dict[str, str]] = []
    for job in dead:
        try:
            replayed.append({"id": job.id, "replayed_as": client.replay(job.id, **changes)})
        except ForebayError as error:
            failed.append({"id": job.id, "code": error.code, "message": str(error)})
    if as_json:
        display.document({"replayed": replayed, "failed": failed})
    else:
        for each in replayed:
            display.text(f"{each['id']}\t{each['replayed_as']}")
        for each in failed:
            display.note(f"{each['id']}: {each['code']}: {each['message']}")
    if failed:
        raise typer.Exit(display.FAILURE)


def _cells(job: DeadJob) -> tuple[str, ...]:
    """Return one dead job under `_HEADER`."""
    ended = job.ended.isoformat(timespec="seconds")
    return job.id, job.receipt.kind, job.error, job.hop, str(job.attempts), ended
