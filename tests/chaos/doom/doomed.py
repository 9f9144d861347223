"""Wrap the real workers: they write a diary, and die where they are told to.

The product has no hooks for this. A process imports this module before a worker's module, and the
methods are replaced by wrappers that call the originals.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from books.diary import Diary
from doom.points import Armed
from forebay.routing.store import scripts

#: The fence in `prelude.lua`: the token of a late worker is no longer the job's.
FENCE = "job.state == 'running' and job.token == token", "true"
#: Redis' clock, and a clock that jumps by `chaos:shift` microseconds.
SHIFT = "chaos:shift"
CLOCK = (
    "return time[1] * 1000000 + time[2]",
    f"return time[1] * 1000000 + time[2] + (redis.call('GET', '{SHIFT}') or 0)",
)


class Doom:
    """Wraps the methods that a worker of one role calls."""

    def __init__(self, role: str, folder: Path) -> None:
        self._role = role
        self._armed = Armed(folder / "armed")
        self.diary = Diary(folder / "diary")

    def point(self, name: str) -> None:
        """Write to the diary and die at once, if this point is armed."""
        if self._armed.take(self._role, name):
            self.diary.note("died", name)
            os.kill(os.getpid(), signal.SIGKILL)

    def freeze(self, name: str) -> None:
        """Stop all threads for longer than a lease, if this point is armed."""
        if self._armed.take(self._role, name):
            self.diary.note("froze", name)
            self._armed.mark_frozen(os.getpid())
            os.kill(os.getpid(), signal.SIGSTOP)

    def wrap(
        self,
        owner: type,
        method: str,
        *,
        before: str = "",
        frozen: str = "",
        after: str = "",
        notes: Callable[..., Iterable[tuple[str, str, str]]] | None = None,
    ) -> None:
        """Add points before and after a method, and write to the diary what it did.

        If it did nothing that is worth a note, such as a claim that found no job, there is no point
        after it.
        """
        inner = getattr(owner, method)

        @functools.wraps(inner)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if before:
                self.point(before)
            if frozen:
                self.freeze(frozen)
            value = inner(*args, **kwargs)
            noted = list(notes(value, *args[1:])) if notes else []
            for entry in noted:
                self.diary.note(*entry)
            if after and (noted or not notes):
                self.point(after)
            return value

        setattr(owner, method, wrapped)


def rewrite(old: str, new: str) -> None:
    """Replace a text of the prelude in all Lua scripts that hold it, before they are loaded."""
    original = scripts.transition
    prelude = Path(scripts.__file__).with_name("prelude.lua").read_text()
    assert old in prelude, f"the prelude says nothing of {old!r} any more"

    def rewritten(name: str) -> str:
        return original(name).replace(old, new)

    scripts.transition = rewritten  # type: ignore[assignment]


def prepare(role: str) -> Doom:
    """Wrap the methods of a role before its module is imported."""
    rewrite(*CLOCK)
    if os.environ.get("CHAOS_WITHOUT") == "fences":
        rewrite(*FENCE)  # accept every token for every job
    doom = Doom(role, Path(os.environ["CHAOS_FOLDER"]))
    _wrap_ledger(doom)
    if role == "bedrock":
        _wrap_money(doom)
    return doom


def _wrap_ledger(doom: Doom) -> None:
    from forebay.routing.ledger.ledger import Ledger  # noqa: PLC0415 - after `rewrite`

    doom.wrap(
        Ledger, "claim_many", before="pop", after="claim",
        notes=lambda claims, *_: [("claim", claim.id, claim.token) for claim in claims],
    )  # fmt: skip
    doom.wrap(
        Ledger, "route_many",
        notes=lambda refusals, moves: [
            ("moved", move.claim.id, move.claim.token)
            for move, refusal in zip(moves, refusals, strict=True) if refusal is None
        ],
    )  # fmt: skip
    for verb in ("escalate", "retry"):
        doom.wrap(Ledger, verb, notes=lambda _, claim, *__: [("moved", claim.id, claim.token)])
    doom.wrap(
        Ledger, "settle_many", frozen="late", after="settle",
        notes=lambda states, results: [
            ("settle", claim.id, claim.token)
            for (claim, _), state in zip(results, states, strict=True) if isinstance(state, str)
        ],
    )  # fmt: skip


def _wrap_money(doom: Doom) -> None:
    from urllib3.connection import HTTPConnection  # noqa: PLC0415 - only a bedrock worker has it

    from forebay.routing.limits.budget import Budget  # noqa: PLC0415 - after `rewrite`
    from forebay.workers.frontier.bedrock.converse import Converse  # noqa: PLC0415 - only a bedrock worker has it

    doom.wrap(
        Budget, "reserve", after="reserve", notes=lambda _, call, job, *__: [("reserve", job, call)]
    )
    doom.wrap(HTTPConnection, "getresponse", before="send")
    doom.wrap(Converse, "call", after="response")
    doom.wrap(Budget, "settle", after="book", notes=lambda _, call, __: [("book", "-", call)])
