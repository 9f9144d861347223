"""Moves a tenant from one fleet to another, step by step. Each step can be done again.

The jobs from before end where they are: under the leases, attempts and budgets with which they
began, so that none is worked or paid twice. What has ended is then carried.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import redis

from forebay.routing.errors import InvalidJob, Misconfigured, ResultTimeout
from forebay.routing.fleets import fence, map_line
from forebay.routing.fleets.fence import Fence, Phase
from forebay.routing.fleets.fleets import Fleets
from forebay.routing.fleets.moving import books, jobs, money, state
from forebay.routing.fleets.moving.draining import on_bedrock, under_way
from forebay.routing.fleets.moving.state import STEPS, MoveState, Step
from forebay.routing.fleets.tenant_fleets import FENCE_KEPT_S
from forebay.routing.limits.pauses import Pauses

LOOK_EVERY_S = 1.0  # at what is under way
#: Longer than any client believes what it read of the fence.
CARRYING_S = 2 * FENCE_KEPT_S
REASON = "the tenant is being moved to this fleet"

Report = Callable[[Step, str], object]


class Move:
    """The move of one tenant.

    1. `run` does the steps that are left. Its state is in the Redis of the old fleet, so the same
       move goes on after whatever ended it.
    2. `back`, a function, returns the move that undoes it, as long as nothing was carried.

    Args:
        fleets: of the map.
        tenant: who is moved.
        report: called with each step, and with what it waits for.
    """

    def __init__(self, fleets: Fleets, tenant: str, at: MoveState, report: Report) -> None:
        self._fleets, self._tenant, self._report = fleets, tenant, report
        self.at = at
        self._source, self._target = fleets.redis(at.source), fleets.redis(at.to)

    def run(self, timeout_s: float | None = None) -> None:
        """Do what is left of the move.

        Args:
            timeout_s: how long to wait for the jobs from before; `None` waits as long as it takes.

        Raises:
            ResultTimeout: They have not ended by then. Run the move again to go on.
            Misconfigured: The map cannot be written here; the error says what to do.
            Unavailable: A fleet cannot be reached. Run the move again to go on.
        """
        self._end = None if timeout_s is None else time.monotonic() + timeout_s
        state.write(self._source, self._tenant, self.at)
        for step in STEPS[STEPS.index(self.at.step) :]:
            self.at = replace(self.at, step=step)
            state.write(self._source, self._tenant, self.at)
            self._report(step, "")
            getattr(self, f"_{step}")()
        state.forget(self._source, self._tenant)

    def _turn(self) -> None:
        """Let the fleet that the tenant leaves again pay for the jobs that it was given meanwhile.

        The other fleet has spent until now. It waits, and hands over what was spent; at the end it
        gets that back with all that was spent since.
        """
        self._hold_bedrock()
        while left := on_bedrock(self._target, self._tenant):
            self._report("turn", f"{left:,} jobs on Bedrock")
            time.sleep(LOOK_EVERY_S)
        money.hand_over(self._target, self._source, self._tenant, f"{self.at.id}-turn")
        money.clear(self._target, self._tenant)
        if _held(self._source, self._tenant) == REASON:
            Pauses(self._source).resume(f"bedrock:{self._tenant}")
        state.forget(self._target, self._tenant)

    def _hold(self) -> None:
        if not self.at.returns:
            self._hold_bedrock()
            books.carry_webhooks(self._source, self._target, self._tenant)

    def _hold_bedrock(self) -> None:
        """Have Bedrock wait for the tenant in the new fleet, until it knows what was spent."""
        if _held(self._target, self._tenant) in {None, REASON}:
            Pauses(self._target).pause(f"bedrock:{self._tenant}", REASON)
        else:
            self.at = replace(self.at, resumes=False)
            state.write(self._source, self._tenant, self.at)

    def _fence(self) -> None:
        """Refuse new jobs in the old fleet before the new one takes any."""
        self._put_fence("draining")
        fence.remove(self._target, self._tenant)

    def _switch(self) -> None:
        self._write_map(self.at.to, self.at.source)

    def _drain(self) -> None:
        while left := under_way(self._source, self._tenant):
            self._report("drain", str(left))
            if self._end is not None and time.monotonic() > self._end:
                raise ResultTimeout(f"still under way in fleet {self.at.source}: {left}")
            time.sleep(LOOK_EVERY_S)

    def _jobs(self) -> None:
        copied = jobs.carry(self._source, self._target, self._tenant)
        self._report("jobs", f"{copied:,} jobs copied")

    def _books(self) -> None:
        if self.at.returns:  # they never left
            return
        self._put_fence("carrying")
        time.sleep(CARRYING_S)
        books.carry(self._source, self._target, self._tenant)

    def _money(self) -> None:
        money.hand_over(self._source, self._target, self._tenant, self.at.id)
        self._put_fence("carried")
        if self.at.resumes:
            Pauses(self._target).resume(f"bedrock:{self._tenant}")

    def _clear(self) -> None:
        money.clear(self._source, self._tenant)
        jobs.clear(self._source, self._tenant)
        books.clear(self._source, self._tenant)

    def _finish(self) -> None:
        self._write_map(self.at.to)

    def _put_fence(self, phase: Phase) -> None:
        if self.at.returns and phase == "draining":
            phase = "returning"
        fence.put(self._source, self._tenant, Fence(self.at.to, phase))

    def _write_map(self, *places: str) -> None:
        if self._fleets.file.look().places(self._tenant) != places:
            map_line.write(self._fleets.file.path, self._tenant, places)
            self._fleets.file.look()


def _held(client: redis.Redis, tenant: str) -> str | None:
    """Return why Bedrock waits for a tenant in a fleet; `None` if it does not."""
    scope = f"bedrock:{tenant}"
    return next((pause.reason for pause in Pauses(client).all() if pause.scope == scope), None)


def back(at: MoveState) -> MoveState:
    """Return the move that undoes a move.

    Raises:
        InvalidJob: Something was carried already.
    """
    if at.returns:
        return at
    if at.carries:
        hint = "has been carried in part already: let the move end, then move it back"
        raise InvalidJob(hint, field="tenant")
    return state.begin(at.to, at.source, returns=True)


def plan(fleets: Fleets, tenant: str, to: str) -> MoveState | None:
    """Return the move of a tenant to a fleet: one that is under way, or a new one.

    Returns:
        `None` if the tenant is there already.

    Raises:
        Misconfigured: There is no such fleet, or the map names two fleets and no move is under way.
        InvalidJob: The tenant is being moved to another fleet.
        Unavailable: A fleet cannot be reached.
    """
    fleets.map.settings(to, fleets.reader(to).settings)
    if found := state.move_of(fleets, tenant):
        if found.to != to:
            hint = f"is being moved to {found.to}: end that move first, or undo it with --undo"
            raise InvalidJob(hint, field="tenant")
        return found
    first, *others = fleets.map.places(tenant)
    if others and first == to:
        return state.begin(others[0], to)  # the operator has changed the map before the move
    if others:
        hint = f"names {first} and {others[0]}, and no move is under way: leave one of them"
        raise Misconfigured(hint, field=f"[tenants] {tenant}")
    return None if first == to else state.begin(first, to)
