"""How far the move of a tenant is, kept in the Redis of the fleet that it leaves."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import redis

from forebay.routing.fleets.fleets import Fleets
from forebay.routing.store.connection import decoded, reaching_redis

Step = Literal[
    "turn", "hold", "fence", "switch", "drain", "jobs", "books", "money", "clear", "finish"
]
STEPS: tuple[Step, ...] = get_args(Step)
#: What each step does, for people.
MEANING: dict[Step, str] = {
    "turn": "Bedrock waits in the fleet to which the tenant returns, and goes on in the other",
    "hold": "Bedrock waits for the tenant in the new fleet, which gets its webhooks",
    "fence": "the old fleet refuses its new jobs",
    "switch": "the map names the new fleet first, which takes its new jobs",
    "drain": "the jobs from before end in the old fleet",
    "jobs": "records, answers, dead letters and idempotency keys are copied",
    "books": "bulks, batches, webhooks and API keys are copied",
    "money": "what was spent and reserved is handed over, and Bedrock goes on",
    "clear": "what was copied is removed from the old fleet",
    "finish": "the map names the new fleet alone",
}


@dataclass(frozen=True, slots=True)
class MoveState:
    """A move that is under way.

    Attributes:
        id: tells this move from others of the tenant.
        source: the fleet that the tenant leaves.
        to: the fleet to which it goes.
        step: what is to be done next.
        began: Unix time.
        resumes: Bedrock is to go on in the new fleet at the end; an operator had not paused it.
        returns: the tenant goes back before it was carried: see `back` in `move.py`.
    """

    id: str
    source: str
    to: str
    step: Step
    began: float
    resumes: bool = True
    returns: bool = False

    @property
    def carries(self) -> bool:
        """Whether it is too late to go back."""
        return STEPS.index(self.step) > STEPS.index("drain")


def begin(source: str, to: str, *, returns: bool = False) -> MoveState:
    """Return the state of a move that begins."""
    step: Step = "turn" if returns else "hold"
    return MoveState(secrets.token_hex(8), source, to, step, time.time(), returns=returns)


def key(tenant: str) -> str:
    """Return the key of the state."""
    return f"fb:move:{tenant}"


def read(client: redis.Redis, tenant: str, source: str) -> MoveState | None:
    """Return the move by which a tenant leaves this fleet; `None` if there is none."""
    with reaching_redis():
        stored: Any = client.hgetall(key(tenant))
    if not stored:
        return None
    named = decoded(stored)
    return MoveState(
        named["id"], source, named["to"], cast("Step", named["step"]), float(named["began"]),
        named["resumes"] == "1", named["returns"] == "1",
    )  # fmt: skip


def move_of(fleets: Fleets, tenant: str) -> MoveState | None:
    """Return the move of a tenant that is under way; one that returns goes before what it undoes.

    Raises:
        Unavailable: A fleet cannot be reached.
    """
    moves = [read(fleets.redis(name), tenant, name) for name in fleets.names]
    return next(iter(sorted(filter(None, moves), key=lambda move: not move.returns)), None)


def write(client: redis.Redis, tenant: str, state: MoveState) -> None:
    """Store how far a move is."""
    with reaching_redis():
        client.hset(
            key(tenant),
            mapping={
                "id": state.id, "to": state.to, "step": state.step, "began": str(state.began),
                "resumes": int(state.resumes), "returns": int(state.returns),
            },
        )  # fmt: skip


def forget(client: redis.Redis, tenant: str) -> None:
    """Remove the state of a move that has ended."""
    with reaching_redis():
        client.delete(key(tenant))
