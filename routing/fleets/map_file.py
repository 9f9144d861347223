"""The file of the map, followed as it changes."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from forebay.routing.errors import Misconfigured
from forebay.routing.fleets.fleet_map import FleetMap, read_map
from forebay.routing.logs import Event, event
from forebay.routing.policy.toml import stamp

LOOK_EVERY_S = 0.5  # at the dates of the file

_log = logging.getLogger(__name__)


class MapFile:
    """A map that follows its file. A broken new version changes nothing and is logged once.

    Safe to share between threads.
    """

    def __init__(self, path: Path) -> None:
        """Read the file; raise `Misconfigured` if it is broken from the start."""
        self.path = path
        self._lock = threading.Lock()
        self._stamp = stamp(path)
        self._map = read_map(path)
        self._looked_at = time.monotonic()

    def current(self) -> FleetMap:
        """Return the map in force, as of half a second ago at most."""
        if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
            self.look()
        return self._map

    def look(self) -> FleetMap:
        """Read the file again if it has changed, and return the map in force."""
        with self._lock:
            self._looked_at = time.monotonic()
            now = stamp(self.path)
            if now != self._stamp:
                self._stamp = now
                self._reload()
        return self._map

    def _reload(self) -> None:
        try:
            self._map = read_map(self.path)
        except Misconfigured as error:
            _log.error(
                "the map of fleets is wrong, its last good version still applies: %s", error,
                extra=event(Event.FLEETS_WRONG),
            )  # fmt: skip
        else:
            _log.info(
                "read the map of fleets again from %s", self.path, extra=event(Event.FLEETS_READ)
            )
