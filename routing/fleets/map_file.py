"""The file of the map, followed as it changes."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from forebay.routing.errors import Misconfigured
from forebay.routing.fleets.fleet_map import FleetMap, read_map
from forebay.routing.logs import Event, event
from forebay.routing.policy.followed_file import FollowedFile

_log = logging.getLogger(__name__)


class MapFile(FollowedFile[FleetMap]):
    """The map of fleets in force.

    Attributes:
        path: the file.
    """

    look_every_s = 0.5

    def __init__(self, path: Path) -> None:
        """Read the file; raise `Misconfigured` if it is broken from the start."""
        super().__init__(path, partial(read_map, path))
        self.path = path

    def _log_wrong(self, error: Misconfigured) -> None:
        _log.error(
            "the map of fleets is wrong, its last good version still applies: %s", error,
            extra=event(Event.FLEETS_WRONG),
        )  # fmt: skip

    def _log_read(self, _before: FleetMap) -> None:
        _log.info("read the map of fleets again from %s", self.path, extra=event(Event.FLEETS_READ))
