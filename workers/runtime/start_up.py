"""The start of a worker: its settings, and a Redis that can be reached and has the scripts."""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from typing import NoReturn, TypeVar

from forebay.routing.errors import CallerError, ForebayError, Misconfigured, Unavailable
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.logs import Event, event
from forebay.routing.settings import EnvironmentSettings, read
from forebay.routing.store.connection import reaching_redis, without_password

log = logging.getLogger(__name__)

REDIS_RETRY_S = 1.0

#: Objects made before Python looks for garbage. Rows and jobs make many, and hardly any is garbage
#: that only a collection finds.
OBJECTS_PER_COLLECTION = 10_000

T = TypeVar("T", bound=EnvironmentSettings)


def settings_of(cls: type[T]) -> T:
    """Read settings for a worker; a wrong one ends the process with one line, not a traceback."""
    try:
        return read(cls)
    except ForebayError as error:
        give_up(error)


def collect_rarely() -> None:
    """Have Python look for garbage less often, and never among what is there now, which stays."""
    gc.freeze()
    gc.set_threshold(OBJECTS_PER_COLLECTION)


def give_up(error: ForebayError) -> NoReturn:
    """End this worker with the reason on one line: exit code 2 if the operator can mend it."""
    sys.stderr.write(f"forebay: {error.code}: {error}\n")
    sys.stderr.flush()
    os._exit(2 if isinstance(error, CallerError) else 1)


def wait_for_redis(ledger: Ledger) -> None:
    """Return once Redis can be reached; a worker may be started before it."""
    if not reachable(ledger):
        where = without_password(ledger.settings.redis_url)
        log.warning(
            "waiting: Redis cannot be reached at %s", where, extra=event(Event.WORKER_WAITING)
        )
    while not reachable(ledger):
        time.sleep(REDIS_RETRY_S)


def load_scripts(ledger: Ledger) -> None:
    """Load the scripts that Redis does not have."""
    try:
        ledger.load_scripts()
    except ForebayError as error:  # the heartbeat tries again
        log.warning("cannot load the scripts: %s", error, extra=event(Event.WORKER_UNLOADED))


def reachable(ledger: Ledger) -> bool:
    """Return whether Redis answers; end this worker if it never will."""
    try:
        with reaching_redis():
            ledger.redis.ping()
    except Misconfigured as error:  # such as a wrong password: waiting does not help
        give_up(error)
    except Unavailable:
        return False
    return True
