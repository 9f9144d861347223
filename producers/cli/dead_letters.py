"""The commands `forebay dead …`: list, show, replay and bury dead letters (jobs that failed)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import typer

from forebay.producers.cli import display
from forebay.producers.cli.clients import open_client, tenant_of_job
from forebay.producers.cli.operator.filters import (
    Code,
    Kind,
    Newer,
    Older,
    Tenant,
    describe,
    job_filter,
)
from forebay.producers.cli.operator.jobs import summary
from forebay.producers.cli.operator.readers import open_readers
from forebay.producers.cli.options import (
    All,
    Counts,
    DropDeadline,
    Id,
    Lane,
    Limit,
    MaxCost,
    MaybeId,
    Priority,
    ShowContent,
    TenantName,
    Yes,
)
from forebay.routing.errors import ForebayError, counted
from forebay.routing.terminal.options import Json, group

if TYPE_CHECKING:
    from forebay.producers.client import Client
    from forebay.routing.ledger.dead_letters import Changes, DeadJob
    from forebay.routing.overview.all_jobs import Found
    from forebay.routing.overview.job_filter import JobFilter

_HEADER = ("ID", "KIND", "CODE", "HOP", "ATTEMPTS", "ENDED")
MAX_JOBS_REPLAYED = 10_000  # or buried, by one command

app = group("List, show, replay or bury jobs that failed.")


@app.command("list")
def print_list(
    *,
    code: Code = None,
    kind: Kind = None,
    older: Older = None,
    newer: Newer = None,
    limit: Limit = 100,
    counts: Counts = False,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """List the jobs that failed and were not replayed, the newest first."""
    wanted = job_filter(tenant=tenant, kind=kind, code=code, older=older, newer=newer)
    found = _find(wanted, limit)
    if counts:
        _print_counts(found, as_json=as_json)
        if not found.counts:
            display.note(summary(found, wanted, "dead job"))
        return
    dead = _dead(found)
    if as_json:
        display.document([job.model_dump(mode="json") for job in dead])
        return
    if dead:
        display.table(_HEADER, [_cells(job) for job in dead], ("ATTEMPTS", "HOP", "KIND"))
    display.note(summary(found, wanted, "dead job") + _by_code(found))


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
    kind: Kind = None,
    older: Older = None,
    newer: Newer = None,
    drop_deadline: DropDeadline = False,
    lane: Lane = None,
    priority: Priority = None,
    max_cost: MaxCost = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Submit a dead job again as a new one and print its id. Repeating it is safe."""
    _check_choice(job_id, every, code, kind, older, newer)
    from forebay.producers.cli.option_names import in_option_names  # noqa: PLC0415 - pydantic is slow

    given = {"lane": lane, "priority": priority, "max_cost_usd": max_cost}
    changes: Any = {key: value for key, value in given.items() if value is not None}
    changes |= {"deadline": None} if drop_deadline else {}
    if job_id is not None:
        with in_option_names(None, changes):
            _replay_one(job_id, tenant, changes, as_json=as_json)
        return
    wanted = job_filter(tenant=tenant, kind=kind, code=code, older=older, newer=newer)
    _each(
        wanted,
        lambda client, dead: {"replayed_as": client.replay(dead, **changes)},
        "replayed",
        as_json=as_json,
    )


@app.command()
def bury(
    job_id: MaybeId = None,
    *,
    every: All = False,
    yes: Yes = False,
    code: Code = None,
    kind: Kind = None,
    older: Older = None,
    newer: Newer = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Delete everything stored about a dead job."""
    _check_choice(job_id, every, code, kind, older, newer)
    if job_id is not None:
        _bury_one(job_id, tenant, as_json=as_json)
        return
    wanted = job_filter(tenant=tenant, kind=kind, code=code, older=older, newer=newer)
    if not yes:
        count = _find(wanted, 1).counts.total()
        jobs = f"{counted(count, 'dead job')}{describe(wanted)}"
        message = f"would bury {jobs} for ever; repeat it with --yes"
        raise typer.BadParameter(message, param_hint="--all")
    _each(wanted, lambda client, dead: {"buried": client.bury(dead)}, "buried", as_json=as_json)


def _check_choice(job_id: str | None, every: bool, *filters: str | None) -> None:  # noqa: FBT001 - an option
    """Refuse neither and both of an id and `--all`, and filters beside an id."""
    narrowed = any(value is not None for value in filters)
    if (job_id is None) != every or (narrowed and not every):
        options = "--tenant, --code, --kind, --older and --newer"
        raise typer.BadParameter(f"give either an ID, or --all, which {options} narrow")


def _find(wanted: JobFilter, limit: int) -> Found:
    from forebay.routing.overview.adding_up import added_found  # noqa: PLC0415 - help answers at once
    from forebay.routing.overview.all_jobs import AllJobs  # noqa: PLC0415 - as above

    fleets = [AllJobs(reader) for reader in open_readers().values()]
    return added_found((one.find_dead(wanted, limit=limit) for one in fleets), limit)


def _dead(found: Found) -> list[DeadJob]:
    """Return the dead jobs that were found, without those whose receipt cannot be read."""
    from forebay.routing.ledger.dead_letters import DeadJob  # noqa: PLC0415 - help answers at once

    dead = []
    for record in found.records:
        try:
            dead.append(DeadJob.of(record))
        except ForebayError as error:
            display.note(f"{record.id}: {error.code}: {error}")
    return dead


def _by_code(found: Found) -> str:
    """Return how many of the dead jobs have each code, the most frequent first."""
    from forebay.routing.overview.all_jobs import ranked  # noqa: PLC0415 - help answers at once

    codes = Counter[str]()
    for (_, _, code), count in found.counts.items():
        codes[code] += count
    listed = ", ".join(f"{code} {count:,}" for code, count in ranked(codes))
    return f": {listed}" if listed else ""


def _print_counts(found: Found, *, as_json: bool) -> None:
    """Print how many dead jobs there are by code, tenant and kind."""
    from forebay.routing.overview.all_jobs import ranked  # noqa: PLC0415 - help answers at once

    lines = [(code, tenant, kind, n) for (tenant, kind, code), n in ranked(found.counts)]
    if as_json:
        names = ("code", "tenant", "kind", "jobs")
        display.document([dict(zip(names, line, strict=True)) for line in lines])
    elif lines:
        rows = [(*words, f"{count:,}") for *words, count in lines]
        display.table(("CODE", "TENANT", "KIND", "JOBS"), rows)


def _replay_one(job_id: str, tenant: str | None, changes: Changes, *, as_json: bool) -> None:
    with open_client(tenant_of_job(tenant, job_id)) as client:
        new_id = client.replay(job_id, **changes)
    display.result({"id": job_id, "replayed_as": new_id}, new_id, as_json=as_json)


def _bury_one(job_id: str, tenant: str | None, *, as_json: bool) -> None:
    with open_client(tenant_of_job(tenant, job_id)) as client:
        buried = client.bury(job_id)
    display.result(
        {"id": job_id, "buried": buried},
        "buried" if buried else "nothing was stored",
        as_json=as_json,
    )


def _each(
    wanted: JobFilter,
    act: Callable[[Client, str], dict[str, Any]],
    done: str,
    *,
    as_json: bool,
) -> None:
    """Do something with each dead job that matches, and print what became of each."""
    results = list(_results(_find(wanted, MAX_JOBS_REPLAYED), act))
    failed = [result for result in results if "code" in result]
    good = [result for result in results if "code" not in result]
    if as_json:
        display.document({done: good, "failed": failed})
    else:
        for result in good:
            display.text("\t".join(str(value) for value in result.values() if value is not True))
        for result in failed:
            display.note(f"{result['id']}: {result['code']}: {result['message']}")
        display.note(f"{counted(len(good), 'dead job')}{describe(wanted)} {done}")
    if failed:
        raise typer.Exit(display.FAILURE)


def _results(
    found: Found, act: Callable[[Client, str], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield for each job what was done, or the code and message of the error; a client a tenant."""
    clients: dict[str, Client] = {}
    with ExitStack() as stack:
        for record in found.records:
            tenant = record.tenant
            if tenant not in clients:
                clients[tenant] = stack.enter_context(open_client(tenant))
            try:
                yield {"id": record.id, **act(clients[tenant], record.id)}
            except ForebayError as error:
                yield {"id": record.id, "code": error.code, "message": str(error)}


def _cells(job: DeadJob) -> tuple[str, ...]:
    """Return one dead job under `_HEADER`."""
    ended = job.ended.strftime("%Y-%m-%d %H:%M:%SZ")
    return job.id, job.receipt.kind, job.error, job.hop, str(job.attempts), ended
