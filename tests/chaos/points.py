"""The named points of a job's path at which a worker may die, and how they are armed."""

from __future__ import annotations

import time
from pathlib import Path

#: Where each point can be met. A worker that meets an armed point kills itself on the spot:
#: `pop` after a doorbell was taken, `claim` after a job was, `reserve` after money was set aside,
#: `send` when a request has left, `response` when its answer is here, `book` when its cost is
#: booked, `settle` after the ledger was told.
POINTS = {
    "pop": ("router", "local", "bedrock"),
    "claim": ("router", "local", "bedrock"),
    "reserve": ("bedrock",),
    "send": ("bedrock",),
    "response": ("bedrock",),
    "book": ("bedrock",),
    "settle": ("local", "bedrock"),
}


#: Where a worker may stand still, with what it is about to write: its lease ends meanwhile.
FREEZES = {"late": ("local", "bedrock")}


class Armed:
    """Points that are armed, as files: taking one away is atomic, so one process meets each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def arm(self, role: str, point: str) -> bool:
        """Have the next worker of this role die there. False where one is awaited already."""
        path = self._folder / f"{role}.{point}"
        if path.exists():
            return False
        path.touch()
        return True

    def take(self, role: str, point: str) -> bool:
        """Whether this process is to die here and now."""
        try:
            (self._folder / f"{role}.{point}").unlink()
        except FileNotFoundError:
            return False
        return True

    def mark_frozen(self, pid: int) -> None:
        """This process stands still from now on."""
        (self._folder / f"frozen.{pid}").touch()

    def frozen(self, seconds: float) -> list[int]:
        """Processes that have stood still for so long; each is named once."""
        long = [
            path for path in self._folder.glob("frozen.*")
            if time.time() - path.stat().st_mtime >= seconds
        ]  # fmt: skip
        for path in long:
            path.unlink()
        return [int(path.suffix[1:]) for path in long]

    def disarm(self) -> None:
        """Nobody meets any more of them."""
        for path in self._folder.iterdir():
            if not path.name.startswith("frozen."):
                path.unlink(missing_ok=True)
