"""Settings of the workers, one class a concern, read once at the entry from `FOREBAY_*`."""

from __future__ import annotations

from pathlib import Path

from forebay.routing.settings import EnvironmentSettings, Seconds


class ActorSettings(EnvironmentSettings):
    """How a worker leaves, and how it is known to be well.

    Attributes:
        grace_s: what runs may go on for so long after a SIGTERM; then it goes back to its queue.
        wedged_s: a worker that could take jobs and takes none for so long leaves.
        heartbeat_file: written every second while all is well; see `workers.runtime.liveness`.
    """

    grace_s: Seconds = 30.0
    wedged_s: Seconds = 30.0
    heartbeat_file: Path | None = None
