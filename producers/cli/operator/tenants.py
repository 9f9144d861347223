"""The commands `forebay tenants …`: which tenant is in which fleet, and moving one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from forebay.producers.cli import display
from forebay.routing.errors import InvalidJob, Misconfigured
from forebay.routing.terminal.options import Json, argument, flag, group, option

if TYPE_CHECKING:
    from forebay.routing.fleets.fleets import Fleets
    from forebay.routing.fleets.moving.state import MoveState

MOVE_HELP = """Move a tenant to another fleet. Run it again to go on after an interruption.

\b
  forebay tenants move acme east              move it, and wait for its jobs
  forebay tenants move acme east --dry-run    say what would be done
  forebay tenants move acme --status          say how far the move is
  forebay tenants move acme --undo            go back, if nothing was carried

New jobs go to the new fleet at once. The jobs from before end in the old fleet; their records and
answers, and what else belongs to the tenant, are carried then. The map (FOREBAY_FLEETS) is
rewritten here; if other machines have copies of it, bring them the same line when you are told.
It needs the operator's user of both Redis.
"""

Tenant = Annotated[str, argument("TENANT", "Who is moved.")]
To = Annotated[str | None, argument("FLEET", "The fleet to which it goes.")]
DryRun = Annotated[bool, flag("--dry-run", "Say what would be done, and do nothing.")]
Status = Annotated[bool, flag("--status", "Say how far the move is.")]
Undo = Annotated[bool, flag("--undo", "Go back, as long as nothing was carried.")]
Timeout = Annotated[
    float | None,
    option(
        "--timeout",
        "SECONDS",
        "Wait so long for the jobs from before. Default: as long as it takes",
        min=0,
    ),
]

app = group("List the fleets of tenants, or move a tenant to another fleet.")


@app.command("list")
def print_list(*, as_json: Json = False) -> None:
    """List the fleets, and which tenants the map names for each."""
    fleets = _fleets()
    named: dict[str, list[str]] = {name: [] for name in fleets.names}
    for tenant, places in sorted(fleets.map.tenants.items()):
        named[places[0]].append(tenant)
    if as_json:
        display.document({"default": fleets.map.default, "fleets": named})
        return
    rows = [
        (name, "yes" if name == fleets.map.default else "", ", ".join(tenants))
        for name, tenants in named.items()
    ]
    display.table(("FLEET", "DEFAULT", "TENANTS"), rows)


@app.command()
def where(tenant: Tenant, *, as_json: Json = False) -> None:
    """Print the fleet of a tenant. While it is moved also the one that it leaves."""
    places = _fleets().map.places(tenant)
    display.result({"tenant": tenant, "fleets": places}, " ".join(places), as_json=as_json)


@app.command(help=MOVE_HELP)
def move(  # noqa: D103 - its help says it
    tenant: Tenant,
    to: To = None,
    *,
    dry_run: DryRun = False,
    status: Status = False,
    undo: Undo = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    fleets = _fleets()
    if status:
        _print_status(fleets, tenant, as_json=as_json)
        return
    at = _undoing(fleets, tenant) if undo else _planned(fleets, tenant, to)
    if at is None:
        _print_done(tenant, to, "is there already", as_json=as_json)
        return
    if dry_run:
        _print_plan(fleets, tenant, at, as_json=as_json)
        return
    _run(fleets, tenant, at, timeout)
    _print_done(tenant, at.to, "has moved", as_json=as_json)


def _fleets() -> Fleets:
    from forebay.routing.fleets.fleets import Fleets  # noqa: PLC0415 - help answers at once
    from forebay.routing.fleets.opening import map_file  # noqa: PLC0415 - as above
    from forebay.routing.settings import read_settings  # noqa: PLC0415 - as above

    settings = read_settings()
    if settings.fleets is None:
        raise Misconfigured("is not set: there is one fleet only", field="FOREBAY_FLEETS")
    return Fleets(map_file(settings.fleets), settings)


def _planned(fleets: Fleets, tenant: str, to: str | None) -> MoveState | None:
    from forebay.producers.arguments import checked_tenant  # noqa: PLC0415 - as above
    from forebay.routing.fleets.moving.move import plan  # noqa: PLC0415 - as above

    if to is None:
        raise InvalidJob("is missing: name the fleet to which the tenant goes", field="FLEET")
    return plan(fleets, checked_tenant(tenant), to)


def _undoing(fleets: Fleets, tenant: str) -> MoveState:
    from forebay.routing.fleets.moving.move import back  # noqa: PLC0415 - as above
    from forebay.routing.fleets.moving.state import move_of  # noqa: PLC0415 - as above

    found = move_of(fleets, tenant)
    if found is None:
        raise InvalidJob("is not being moved: there is nothing to undo", field="TENANT")
    return back(found)


def _run(fleets: Fleets, tenant: str, at: MoveState, timeout: float | None) -> None:
    from forebay.routing.fleets.moving.move import Move  # noqa: PLC0415 - as above
    from forebay.routing.fleets.moving.state import MEANING, STEPS  # noqa: PLC0415 - as above

    said = ""

    def report(step: Any, waits: str) -> None:
        nonlocal said
        line = f"  {waits}" if waits else f"{STEPS.index(step)}/{len(STEPS) - 1} {MEANING[step]}"
        if line != said:
            display.note(line)
        said = line

    Move(fleets, tenant, at, report).run(timeout)


def _print_status(fleets: Fleets, tenant: str, *, as_json: bool) -> None:
    from forebay.routing.fleets.moving.draining import under_way  # noqa: PLC0415 - as above
    from forebay.routing.fleets.moving.state import MEANING, move_of  # noqa: PLC0415 - as above

    at, places = move_of(fleets, tenant), fleets.map.places(tenant)
    if at is None:
        display.result(
            {"tenant": tenant, "fleets": places, "moving": False},
            f"{tenant} is in {' and '.join(places)} and is not being moved",
            as_json=as_json,
        )
        return
    left = under_way(fleets.redis(at.source), tenant)
    if as_json:
        document = {"from": at.source, "to": at.to, "step": at.step, "began": display.iso(at.began)}
        counts = {name: getattr(left, name) for name in left.__slots__}
        display.document({"tenant": tenant, "fleets": places, "moving": document | counts})
        return
    since = display.iso(at.began)
    display.text(f"{tenant} is being moved from {at.source} to {at.to} since {since}")
    display.text(f"step {at.step}: {MEANING[at.step]}")
    display.text(f"under way in {at.source}: {left}")


def _print_plan(fleets: Fleets, tenant: str, at: MoveState, *, as_json: bool) -> None:
    from forebay.routing.fleets.moving.draining import under_way  # noqa: PLC0415 - as above
    from forebay.routing.fleets.moving.state import MEANING, STEPS  # noqa: PLC0415 - as above

    steps = STEPS[STEPS.index(at.step) :]
    left = under_way(fleets.redis(at.source), tenant)
    if as_json:
        display.document(
            {"tenant": tenant, "from": at.source, "to": at.to, "steps": steps, "waits": str(left)}
        )
        return
    display.text(f"{tenant} would move from {at.source} to {at.to}; under way there: {left}")
    for step in steps:
        display.text(f"{step:7} {MEANING[step]}")


def _print_done(tenant: str, fleet: str | None, what: str, *, as_json: bool) -> None:
    display.result({"tenant": tenant, "fleet": fleet}, f"{tenant} {what}: {fleet}", as_json=as_json)
