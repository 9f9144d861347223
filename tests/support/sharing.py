"""Which files one process runs, because they share a fleet that takes seconds to start."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

GATEWAY = "tests/producers/gateway/"
#: The first prefix that fits a test's id names its part. Random requests take as long as all
#: other tests of the gateway.
PARTS = (f"{GATEWAY}test_openapi.py", f"{GATEWAY}status/", GATEWAY)


class FleetScheduling(LoadFileScheduling):
    """Gives each file to one process, and all files that share a fleet to the same process."""

    def _split_scope(self, nodeid: str) -> str:
        """Return what the tests have in common that one process runs."""
        shared = (part for part in PARTS if nodeid.startswith(part))
        return next(shared, super()._split_scope(nodeid))
