"""The Lua scripts: one file per transition in `*/lua/`, with `prelude.lua` put before each.

Workers and sweepers load the scripts into Redis (`load_all`), at their start and again after Redis
was restarted. Producers can only run scripts that are loaded: a user of Redis that could load a
script of its own could stop Redis with an endless loop.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import redis
from redis.exceptions import NoPermissionError, NoScriptError

from forebay.routing.errors import Unavailable
from forebay.routing.store.event_loop import pause

#: How long a producer waits for the fleet to load its scripts, and how often it looks.
LOADING_S, LOOK_EVERY_S = 5.0, 0.1

_HERE = Path(__file__).parent
T = TypeVar("T")


@cache
def transition(name: str) -> str:
    """Return the text of a script. Its first line (`#!lua flags=...`) stays the first line."""
    (path,) = _HERE.parent.glob(f"*/lua/{name}.lua")
    shebang, _, body = path.read_text().partition("\n")
    return f"{shebang}\n{(_HERE / 'prelude.lua').read_text()}\n{body}"


@cache
def digest(name: str) -> str:
    """Return the digest by which Redis knows a script."""
    return hashlib.sha1(transition(name).encode(), usedforsecurity=False).hexdigest()


@cache
def names() -> tuple[str, ...]:
    """Return the names of all scripts."""
    return tuple(sorted(path.stem for path in _HERE.parent.glob("*/lua/*.lua")))


def load_all(client: redis.Redis) -> int:
    """Load the scripts that Redis does not have, and return how many those were."""
    known = client.script_exists(*map(digest, names()))
    missing = [name for name, there in zip(names(), known, strict=True) if not there]
    for name in missing:
        client.script_load(transition(name))
    return len(missing)


def with_scripts(client: redis.Redis, call: Callable[[], T]) -> T:
    """Return what `call` returns; call it again once the scripts are loaded if Redis lacks them.

    A user that may load the scripts loads them. Another waits until a worker or a sweeper has.

    Raises:
        Unavailable: Nobody loaded the scripts within `LOADING_S`.
    """
    end = time.monotonic() + LOADING_S
    while True:
        try:
            return call()
        except NoScriptError:
            _load_or_wait(client, end)


def _load_or_wait(client: redis.Redis, end: float) -> None:
    try:
        load_all(client)
    except NoPermissionError:
        if time.monotonic() > end:
            raise Unavailable(
                "Redis does not have the scripts of this version of Forebay: start a worker or a "
                "sweeper of the same version, which load them",
                retry_after=LOADING_S,
            ) from None
        pause(LOOK_EVERY_S)
