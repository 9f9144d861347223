"""`make up` and `make down`: a fleet on this machine that stays when the command returns.

One process holds the fleet, and as long as it lives a lock on a file. So whether the fleet is up is
never guessed from a pid that a crash left behind: the kernel says who holds the lock.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shlex
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local.fleet import GRACE_S, READY_S, STOP_ORDER, Fleet, free_port
from local.process import POLL_S, ROOT, TAIL_LINES, PartFailed

REVIVE_S = 2.0
FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux: kind, whence, start, length, pid
PARTS = ("standin", "router", "local", "sweeper", "bedrock")


class Place:
    """The folder of a fleet that stays.

    In it: `lock`, held by the process that holds the fleet; `fleet.json`, where its parts are while
    it is up; `logs` and `redis`, which outlast it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        for each in (self.folder, self.logs):
            each.mkdir(mode=0o700, exist_ok=True)
        self.card = folder / "fleet.json"
        self.log = self.logs / "fleet.log"
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)

    def take(self) -> bool:
        """Hold it until this process ends; False where another does."""
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def holder(self) -> int:
        """Pid of the process that holds it; 0 where none does."""
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, *_, pid = struct.unpack(FLOCK, fcntl.fcntl(self._lock, fcntl.F_GETLK, asked))
        return 0 if kind == fcntl.F_UNLCK else int(pid)


def up(place: Place) -> int:
    """Start a fleet that stays, wait until it is ready and say where it is."""
    if place.holder():
        print("The fleet is up already.")
        return _introduce(place)
    place.card.unlink(missing_ok=True)  # left by one that was killed
    command = [sys.executable, "-m", "local.background", "run", "--folder", str(place.folder)]
    with place.log.open("wb") as log:
        holder = subprocess.Popen(  # noqa: S603 - ourselves
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    while not place.card.exists():
        if holder.poll() is not None:
            lines = place.log.read_text().splitlines()
            print("The fleet did not start:", *lines[-2 * TAIL_LINES :], sep="\n")
            return 1
        time.sleep(POLL_S)
    return _introduce(place)


def down(place: Place) -> int:
    """Stop the fleet: in order, and by force where that takes too long."""
    pid = place.holder()
    if not pid:
        print("No fleet is up.")
        return 0
    with contextlib.suppress(ProcessLookupError):  # it ended by itself, just now
        os.kill(pid, signal.SIGTERM)
        if not _let_go(place, GRACE_S * (len(STOP_ORDER) + 1)):
            os.kill(pid, signal.SIGKILL)
            _let_go(place, GRACE_S)
    print(f"The fleet is down. Its jobs are kept in {_short(place.folder / 'redis')}.")
    return 0


def _let_go(place: Place, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while place.holder():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True


def run(place: Place) -> int:
    """Hold a fleet until told to end, and start again what ends by itself."""
    aws = _wants_aws()
    if not place.take():
        print("Another process holds the fleet.")
        return 1
    try:
        with Fleet(place.folder) as fleet:
            _start(fleet, aws=aws)
            _write(place, fleet, aws=aws)
            while True:
                time.sleep(REVIVE_S)
                for proc in fleet.revive():
                    print(f"{proc.name} had ended and was started again", flush=True)
    except PartFailed as error:
        print(error)
        return 1
    finally:
        place.card.unlink(missing_ok=True)


def _start(fleet: Fleet, *, aws: bool) -> None:
    fleet.start_redis(free_port(6379))  # where a client looks when it is told nothing
    for part in PARTS:
        if part != "standin" or not aws:
            fleet.start(part)
    fleet.wait_ready(READY_S)
    # Last: it asks for queues when it starts, and knows only of those that are served by then.
    fleet.start("flower", FLOWER_PORT=str(free_port(5555)))
    fleet.wait_ready(READY_S)


def _write(place: Place, fleet: Fleet, *, aws: bool) -> None:
    """All at once: whoever sees the card can read it."""
    card = {"redis": fleet.url, "flower": fleet.flower_url, "aws": aws}
    draft = place.card.with_suffix(".draft")
    draft.write_text(json.dumps(card))
    draft.rename(place.card)


def _introduce(place: Place) -> int:
    try:
        card: dict[str, Any] = json.loads(place.card.read_text())
    except FileNotFoundError:
        print("It is starting or stopping; see", _short(place.log))
        return 0
    programs = shlex.quote(str(Path(sys.executable).parent))
    bedrock = "AWS, which costs money" if card["aws"] else "the local stand-in"
    hint = "" if card["aws"] else "  (FOREBAY_BEDROCK=aws make up: the real one)"
    print(f"""
  Redis    {card["redis"]}
  Flower   {card["flower"]}
  Bedrock  {bedrock}{hint}
  Logs     {_short(place.logs)}

Submit a job:
  export FOREBAY_REDIS_URL={card["redis"]} PATH={programs}:"$PATH"
  forebay submit classify --text "My card was charged twice" --label billing --label login --wait

Stop it: make down""")
    return 0


def _wants_aws() -> bool:
    """Credentials alone never spend money; the word does."""
    wanted = os.environ.get("FOREBAY_BEDROCK", "standin")
    if wanted not in {"aws", "standin"}:
        raise SystemExit("FOREBAY_BEDROCK must be aws or standin")
    return wanted == "aws"


def _short(path: Path) -> str:
    """As one would type it in the checkout."""
    path = path.absolute()
    return shlex.quote(str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path))


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and obey it."""
    verbs = {"up": up, "down": down, "run": run}
    parser = argparse.ArgumentParser(description="Keep a fleet on this machine.")
    parser.add_argument("verb", choices=verbs, help="run: like up, but in the foreground")
    parser.add_argument("--folder", type=Path, default=ROOT / ".forebay", help="of its files")
    options = parser.parse_args(arguments)
    return verbs[options.verb](Place(options.folder.absolute()))


if __name__ == "__main__":
    sys.exit(main())
