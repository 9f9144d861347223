"""Which map each gateway follows, so that an operator sees gateways whose maps differ.

Keys:  fb:maps  hash  process -> JSON with the version of its map, and when it said so (Unix time of
                      this Redis)
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any, NamedTuple

import redis

from forebay.routing.store.connection import clock_of, reaching_redis

KEY = "fb:maps"
PUBLISH_EVERY_S = 15.0
FORGOTTEN_S = 45.0  # a process that has been silent for so long has ended
KEPT_S = 3_600  # the key, once no process writes it


class FollowedMap(NamedTuple):
    """A process (`host:pid`), and the version of the map that it follows."""

    process: str
    version: str


def this_process() -> str:
    """Return the name of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def publish(client: redis.Redis, version: str) -> None:
    """Say in a fleet which map this process follows.

    Raises:
        Unavailable: Redis cannot be reached.
        Misconfigured: The user of Redis may not write it.
    """
    with reaching_redis():
        at = int(clock_of(client))
        client.hset(KEY, this_process(), json.dumps({"version": version, "at": at}))
        client.expire(KEY, KEPT_S)


def followed(client: redis.Redis) -> list[FollowedMap]:
    """Return the maps that the gateways of a fleet follow at this moment.

    Raises:
        Unavailable: Redis cannot be reached.
    """
    with reaching_redis():
        now = int(clock_of(client))
        stored: Any = client.hgetall(KEY)
    return sorted(filter(None, (_read(name, text, now) for name, text in stored.items())))


def _read(name: bytes, text: bytes, now: int) -> FollowedMap | None:
    """Return an entry of the hash; `None` if it is old or damaged."""
    try:
        entry = json.loads(text)
        if now - float(entry["at"]) > FORGOTTEN_S:
            return None
        return FollowedMap(name.decode("utf-8", "replace"), str(entry["version"]))
    except (ValueError, KeyError, TypeError):
        return None
