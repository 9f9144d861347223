"""Name the points of a job's path at which a worker may die, and arm them."""

from __future__ import annotations

import time
from pathlib import Path

#: The roles that can meet each point. A worker that meets an armed point dies there: `pop` after
#: it took a doorbell, `claim` after it claimed a job, `reserve` after it reserved money, `send`
#: when the request has left, `response` when the reply is here, `book` when its cost is booked,
#: `settle` after the ledger settled the job.
POINTS = {
    "pop": ("router", "local", "bedrock"),
    "claim": ("router", "local", "bedrock"),
    "reserve": ("bedrock",),
    "send": ("bedrock",),
    "response": ("bedrock",),
    "book": ("bedrock",),
    "settle": ("local", "bedrock"),
}


#: Where a worker may stand still before it writes, so that its lease ends meanwhile.
FREEZES = {"late": ("local", "bedrock")}


class Armed:
    """Armed points, as files. Removing a file is atomic, so one process meets each point."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def arm(self, role: str, point: str) -> bool:
        """Arm a point for the next worker of this role; return False if it is armed already."""
        path = self._folder / f"{role}.{point}"
        if path.exists():
            return False
        path.touch()
        return True

    def count(self) -> int:
        """Return the number of points that are armed, and of processes that stand still."""
        return sum(1 for _ in self._folder.iterdir())

    def take(self, role: str, point: str) -> bool:
        """Disarm the point and return True if this process has to die here."""
        try:
            (self._folder / f"{role}.{point}").unlink()
        except FileNotFoundError:
            return False
        return True

    def mark_frozen(self, pid: int) -> None:
        """Record that this process stands still from now on."""
        (self._folder / f"frozen.{pid}").touch()

    def frozen(self, seconds: float) -> list[int]:
        """Return the processes that have stood still for `seconds`, each once."""
        long = [
            path for path in self._folder.glob("frozen.*")
            if time.time() - path.stat().st_mtime >= seconds
        ]  # fmt: skip
        for path in long:
            path.unlink()
        return [int(path.suffix[1:]) for path in long]

    def disarm(self) -> None:
        """Disarm all points."""
        for path in self._folder.iterdir():
            if not path.name.startswith("frozen."):
                path.unlink(missing_ok=True)
