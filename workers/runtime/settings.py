"""Settings of a worker process, read once at the entry from `FOREBAY_*`."""

from __future__ import annotations

from pathlib import Path

from forebay.routing.settings import EnvironmentSettings, Seconds


class ActorSettings(EnvironmentSettings):
    """The settings of draining, and of the signs that a worker is well.

    Attributes:
        grace_s: after a SIGTERM, running jobs have so many seconds to finish; then they go back to
            their queue.
        wedged_s: a worker that could take jobs and takes none for so many seconds ends itself, and
            so does one whose jobs all stand still for so long beyond the limits of their work.
        heartbeat_file: written every second while the worker is well; see
            `forebay.workers.runtime.liveness`.
    """

    grace_s: Seconds = 30.0
    wedged_s: Seconds = 30.0
    heartbeat_file: Path | None = None
