"""The one budget of time and memory for work on content of a caller or of a model."""

from __future__ import annotations

CPU_S = 2  # of one call; a good check takes milliseconds
WALL_S = 5.0  # of one call, without the time in which others had the processors
MAX_DELAYED = 2.0  # times its limit that a call may wait for a processor, beyond the limit itself
START_S = 60.0  # until a fresh process is ready; its imports take half a second
MEMORY_BYTES = 1 << 30  # address space of a process
NICENESS = 5  # so that many calls do not slow down the workers themselves
LONG_CPU_S = 0.2  # of one call; a call that computes for longer gets the lowest priority
LONG_NICENESS = 19
LOOK_EVERY_S = 0.1  # how often a call that takes its time is looked at
MAX_PROCESSES = 8  # side by side; further calls wait for one of them
MAX_OF_TENANT = 4  # of these, for one tenant
MAX_OF_SLOW_TENANT = 2  # for a tenant one of whose calls computed for long
SLOW_TENANT_S = 60.0  # for how long this is held against it
SLOW_PATIENCE_S = 0.5  # for which its further calls wait for a process
MAX_IDLE = 2  # processes that are kept warm


class OverBudget(Exception):
    """A call took too much time or memory, and was stopped. The message never holds content."""


class Crowded(OverBudget):
    """A call was not made: other calls of its tenant take too long."""
