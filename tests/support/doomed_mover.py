"""A program that moves a tenant, and kills itself at the step that it is told."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from forebay.routing.fleets.fleets import Fleets
from forebay.routing.fleets.map_file import MapFile
from forebay.routing.fleets.moving.move import Move, plan
from forebay.routing.settings import Settings

path, fatal = Path(sys.argv[1]), sys.argv[2]


def report(step: str, waits: str) -> None:
    if step == fatal and not waits:
        os.kill(os.getpid(), signal.SIGKILL)


fleets = Fleets(MapFile(path), Settings(fleets=path))
at = plan(fleets, "acme", "east")
if at is not None:
    Move(fleets, "acme", at, report).run(60)
