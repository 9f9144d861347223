"""Read every change of state of every job from Redis' append-only file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import hiredis

from doom.doomed import SHIFT
from forebay.routing.ledger.record import ENDED

BLOCK = 1 << 20
CLOCK = SHIFT.encode()


class Change(NamedTuple):
    """A job's change of state, at a Unix time in seconds; `token` is set while the job runs."""

    at: float
    state: str
    token: str

    @property
    def ended(self) -> bool:
        """True if this change ended the job."""
        return self.state in ENDED


class Journal:
    """The commands that Redis executed, in order, with the times of a clock that never jumped.

    Attributes:
        lives: the changes of each job, by id.
        reserved: for each call, its job and when its money was reserved (Unix seconds).
        leaks: the number of writes with a job's mark outside of the contents.
    """

    def __init__(
        self, folder: Path | None = None, marks: tuple[bytes, ...] = (), forger: str = ""
    ) -> None:
        self.lives: defaultdict[str, list[Change]] = defaultdict(list)
        self.reserved: dict[str, tuple[str, float]] = {}
        self.leaks = 0
        self._shift = 0.0
        self._forged = f"fb:job:{forger}.".encode() if forger else b"\n"  # in no key
        for words in _commands(folder) if folder else ():
            if any(mark in word for word in words for mark in marks):
                self.leaks += 1
            if words[:2] == [b"SET", CLOCK]:
                self._shift = int(words[2]) / 1_000_000
            elif words[0].upper() == b"HSET" and words[1].startswith(b"fb:job:"):
                self._learn(words)
            elif words[0].upper() == b"HSET" and words[1].startswith(b"fb:spend:call:"):
                self._book(words)

    def _learn(self, words: list[bytes]) -> None:
        if words[1].startswith(self._forged):
            return
        fields = dict(zip(words[2::2], words[3::2], strict=True))
        state = fields.get(b"state", b"").decode()
        if not state:
            return
        moment = {"waiting": b"queued", "running": b"started"}.get(state, b"ended")
        token = fields.get(b"token", b"").decode()
        at = int(fields[moment]) / 1000 - self._shift
        self.lives[words[1].removeprefix(b"fb:job:").decode()].append(Change(at, state, token))

    def _book(self, words: list[bytes]) -> None:
        fields = dict(zip(words[2::2], words[3::2], strict=True))
        if b"at" in fields:
            call = words[1].removeprefix(b"fb:spend:call:").decode()
            at = int(fields[b"at"]) / 1000 - self._shift
            self.reserved[call] = fields[b"job"].decode(), at

    def running(self, at: float) -> int:
        """Return the jobs that ran at a moment."""
        return sum(_state_at(life, at) == "running" for life in self.lives.values())


def _state_at(life: list[Change], at: float) -> str:
    past = [change.state for change in life if change.at <= at]
    return past[-1] if past else ""


def _commands(folder: Path) -> Iterator[list[bytes]]:
    """Yield the commands of the file in order; Redis has cut off what a crash left half-written."""
    for path in sorted(folder.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3])):
        reader = hiredis.Reader()
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                reader.feed(block)
                while (words := reader.gets()) is not False:
                    yield words
