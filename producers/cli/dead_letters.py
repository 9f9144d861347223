"""The commands `forebay dead …`: look at jobs that failed, begin them again, or clear them away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from forebay.producers.cli import display
from forebay.producers.cli.clients import client_of, own_tenant, tenant_of
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

MAX_JOBS_REPLAYED = 10_000  # jobs replayed by one command

app = typer.Typer(
    help="Jobs that failed: list them, look at one, replay or bury it.",
    no_args_is_help=True, add_completion=False, rich_markup_mode=None,
)  # fmt: skip


@app.command("list")
def print_list(
    *, code: Code = None, limit: Limit = 100, tenant: TenantName = None, as_json: Json = False
) -> None:
    """List the jobs that failed, the newest first. Those replayed are left out."""
    with client_of(own_tenant(tenant)) as client:
        found = _chosen(client, code, limit)
    if as_json:
        display.document([one.model_dump(mode="json") for one in found])
        return
    for one in found:
        display.text(_line(one))
    if not found:
        display.note("no job is dead")


@app.command()
def show(
    job_id: Id, *, content: ShowContent = False, tenant: TenantName = None, as_json: Json = False
) -> None:
    """Print what is known of a dead job. What was asked only with --content."""
    with client_of(tenant_of(tenant, job_id)) as client:
        one = client.dead_job(job_id)
        job = client.dead_content(job_id) if content else None
    told = one.model_dump(mode="json")
    if job is not None:
        told["job"] = job.model_dump(mode="json", by_alias=True)
    if as_json:
        display.document(told)
        return
    display.text(_line(one))
    display.text(f"reasons\t{', '.join(one.receipt.reasons)}")
    display.text(f"replayed as\t{one.replayed_as or '-'}")
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
    """Begin a dead job again as a new one. Prints its id; asked for twice, it is one new job."""
    typed = {"lane": lane, "priority": priority, "max_cost_usd": max_cost}
    changes: Any = {key: value for key, value in typed.items() if value is not None}
    changes |= {"deadline": None} if drop_deadline else {}
    if (job_id is None) != every or (code and not every):
        raise typer.BadParameter("give an ID, or --all, which --code narrows")
    if job_id is not None:
        with client_of(tenant_of(tenant, job_id)) as client:
            new = client.replay(job_id, **changes)
        if as_json:
            display.document({"id": job_id, "replayed_as": new})
        else:
            display.text(new)
        return
    with client_of(own_tenant(tenant)) as client:
        _replay_all(client, _chosen(client, code, MAX_JOBS_REPLAYED), changes, as_json=as_json)


@app.command()
def bury(job_id: Id, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """Delete all that is stored of a dead job."""
    with client_of(tenant_of(tenant, job_id)) as client:
        done = client.bury(job_id)
    if as_json:
        display.document({"id": job_id, "buried": done})
    else:
        display.text("buried" if done else "there was nothing")


def _chosen(client: Client, code: str | None, limit: int) -> list[DeadJob]:
    """The dead with this code. All are looked at, so that the newest others hide none of them."""
    found = client.dead(MAX_JOBS_REPLAYED if code else limit)
    return [one for one in found if code in {None, one.error}][:limit]


def _replay_all(client: Client, dead: list[DeadJob], changes: Changes, *, as_json: bool) -> None:
    replayed: list[dict[str, str]] = []
    failed: list[dict[str, str]] = []
    for one in dead:
        try:
            new = client.replay(one.id, **changes)
            replayed.append({"id": one.id, "replayed_as": new})
        except ForebayError as error:
            failed.append({"id": one.id, "code": error.code, "message": str(error)})
    if as_json:
        display.document({"replayed": replayed, "failed": failed})
    else:
        for each in replayed:
            display.text(f"{each['id']}\t{each['replayed_as']}")
        for each in failed:
            display.note(f"{each['id']}: {each['code']}: {each['message']}")
    if failed:
        raise typer.Exit(display.FAILURE)


def _line(one: DeadJob) -> str:
    ended = one.ended.isoformat(timespec="seconds")
    where = f"{one.hop}, attempt {one.attempts}"
    return f"{one.id}\t{one.receipt.kind}\t{one.error}\t{where}\t{ended}"
