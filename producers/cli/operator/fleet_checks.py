"""The checks of `forebay doctor` about several fleets: the map, fences, moves, other processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar

from forebay.producers.cli import display
from forebay.producers.cli.operator.readers import NO_MAP, chosen
from forebay.routing.diagnostics import Finding, Probe
from forebay.routing.errors import ForebayError, Misconfigured, counted
from forebay.routing.fleets import fence, followed_maps, map_line
from forebay.routing.fleets.fence import Fence
from forebay.routing.fleets.fleets import Fleets
from forebay.routing.fleets.map_file import MapFile
from forebay.routing.fleets.moving import state
from forebay.routing.fleets.moving.state import STEPS, MoveState
from forebay.routing.settings import read_settings
from forebay.routing.store.connection import reaching_redis

MAX_LISTED = 10  # processes

T = TypeVar("T")


def probes() -> list[Probe]:
    """Return the checks about the map."""
    return [fleets, tenants, gateways]


def in_each_fleet(checks: Iterable[Probe]) -> list[Probe]:
    """Return the checks once for each fleet of the map, or as they are if there is none.

    Raises:
        Misconfigured: There is no fleet of the name that the command line gives.
    """
    path, name = read_settings().fleets, chosen.get()
    if path is None:
        if name is not None:
            raise Misconfigured(NO_MAP, field="FOREBAY_FLEETS")
        return list(checks)
    try:
        known = sorted(MapFile(path).current().fleets)
    except Misconfigured:  # the check of the map says it
        return []
    if name is not None and name not in known:
        raise Misconfigured(f"must be one of {', '.join(known)}, not {name}", field="--fleet")
    return [_in_fleet(each, check) for check in checks for each in ([name] if name else known)]


def _in_fleet(name: str, check: Probe) -> Probe:
    @wraps(check)
    def checked() -> Iterator[Finding]:
        chosen.set(name)  # of this thread
        for finding in check():
            yield replace(finding, name=f"{name}: {finding.name}")

    return checked


def fleets() -> Iterator[Finding]:
    """Check the map of fleets, if there is one."""
    path = read_settings().fleets
    if path is None:
        return
    try:
        found = MapFile(path).current()
    except Misconfigured as error:
        mend = "correct it; until then each process follows the last good map that it has read"
        yield Finding("fleets", "fail", str(error), mend)
        return
    listed = f"{', '.join(sorted(found.fleets))}; {counted(len(found.tenants), 'tenant')} named"
    yield Finding("fleets", "ok", f"{path}: {listed}, others in {found.default}")


def tenants() -> Iterator[Finding]:
    """Report tenants that are being moved, and those whose fleet and map contradict each other."""
    opened = _open()
    if opened is None:
        return
    marks = _Marks(opened)
    for tenant in sorted(marks.moves.keys() | marks.fences.keys() | marks.between):
        if found := _of_tenant(opened, tenant, marks):
            yield found


def gateways() -> Iterator[Finding]:
    """Report gateways whose map says something else about tenants than that of this shell."""
    opened = _open()
    if opened is None:
        return
    seen = {found for name in opened.names for found in _followed(opened, name)}
    others = sorted({each.process for each in seen if each.version != opened.map.version})
    if others:
        listed = ", ".join([*others[:MAX_LISTED], *(["…"] if len(others) > MAX_LISTED else [])])
        mend = (
            "bring all machines the same map; a gateway that found a mistake in its file logs "
            "fleets.wrong, and keeps the last good one"
        )
        seen_text = f"{len(others):,} of {len(seen):,} gateways follow another map than this shell"
        yield Finding("map of gateways", "fail", f"{seen_text}: {listed}", mend)
    elif seen:
        yield Finding("map of gateways", "ok", f"all {len(seen):,} follow the map of this shell")


class _Marks:
    """What the fleets that can be reached say of tenants.

    Attributes:
        moves: the move of a tenant that is under way.
        fences: the fence of a tenant in the fleet where the map puts its new jobs.
        between: tenants that are in two fleets by the map.
    """

    def __init__(self, opened: Fleets) -> None:
        self.moves: dict[str, MoveState] = {}
        self.fences: dict[str, Fence] = {}
        self.between = {name for name, places in opened.map.tenants.items() if len(places) > 1}
        found = {name: _tenants(opened, name) for name in opened.names}
        reached = {name: tenants for name, tenants in found.items() if tenants is not None}
        known = sorted(opened.map.tenants.keys() | set().union(*reached.values()))
        for name in reached:
            self._read(opened, name, known)

    def _read(self, opened: Fleets, name: str, known: Sequence[str]) -> None:
        client = opened.redis(name)
        with reaching_redis(), client.pipeline(transaction=False) as pipe:
            for tenant in known:
                pipe.exists(state.key(tenant))
                pipe.exists(fence.key(tenant))
            there = pipe.execute()
        for tenant, moving, fenced in zip(known, there[::2], there[1::2], strict=True):
            if moving and not (tenant in self.moves and self.moves[tenant].returns):
                self.moves |= _if_there(tenant, state.read(client, tenant, name))
            if fenced and opened.map.places(tenant)[0] == name:
                self.fences |= _if_there(tenant, fence.read(client, tenant))


def _if_there(tenant: str, found: T | None) -> dict[str, T]:
    return {} if found is None else {tenant: found}


def _of_tenant(opened: Fleets, tenant: str, marks: _Marks) -> Finding | None:
    places, move = opened.map.places(tenant), marks.moves.get(tenant)
    if move is not None:
        return _of_move(tenant, move, places)
    if len(places) > 1:
        seen = f"the map names {' and '.join(places)}, and no move is under way"
        mend = f"forebay tenants move {tenant} {places[0]}; or leave the fleet that holds its jobs"
        return Finding(f"tenant {tenant}", "fail", seen, mend)
    stands = marks.fences[tenant]
    line = map_line.line_of(tenant, [stands.to])
    seen = f"the map says {places[0]}, which refuses its jobs: it has moved to {stands.to}"
    mend = (
        f"write `{line}` into the map; `forebay tenants move {tenant} {places[0]}` brings it back"
    )
    return Finding(f"tenant {tenant}", "fail", seen, mend)


def _of_move(tenant: str, move: MoveState, places: tuple[str, ...]) -> Finding:
    """Return how far a move is, or that the map of this shell does not know of it."""
    since = display.moment(move.began)
    seen = f"moves from {move.source} to {move.to} since {since}, step {move.step}"
    if STEPS.index(move.step) > STEPS.index("switch") and places[0] != move.to:
        line = map_line.line_of(tenant, [move.to, move.source])
        mend = f"write `{line}` into the map"
        return Finding(
            f"tenant {tenant}", "fail", f"{seen}; the map says {' and '.join(places)}", mend
        )
    mend = f"forebay tenants move {tenant} {move.to} goes on with it, if nothing else does"
    return Finding(f"tenant {tenant}", "warn", seen, mend)


def _tenants(opened: Fleets, name: str) -> set[str] | None:
    """Return the tenants that a fleet knows; `None` if it cannot be reached."""
    client = opened.redis(name)
    try:
        with reaching_redis():
            stored: Any = client.hkeys("fb:tenants")
    except ForebayError:  # the check of its Redis says it
        return None
    return {tenant.decode("utf-8", "replace") for tenant in stored}


def _followed(opened: Fleets, name: str) -> list[followed_maps.FollowedMap]:
    try:
        return followed_maps.followed(opened.redis(name))
    except ForebayError:  # the check of its Redis says it
        return []


def _open() -> Fleets | None:
    """Return the fleets of the map; `None` without one that can be read."""
    settings = read_settings()
    if settings.fleets is None:
        return None
    try:
        return Fleets(MapFile(settings.fleets), settings)
    except Misconfigured:  # the check of the map says it
        return None
