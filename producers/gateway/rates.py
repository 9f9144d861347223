"""What an API key may use in a minute: requests and tokens, counted in Redis for all gateways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import redis

from forebay.routing.errors import ForebayError
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.store.connection import reaching_redis


class Taken(NamedTuple):
    """What is left after a request took its share, or how long it has to wait.

    Attributes:
        wait_s: seconds until the request may come again; `None` if it was let in.
        lacking: `requests` or `tokens`, whichever is used up; `None` if it was let in.
        requests, tokens: what is left of the minute.
    """

    wait_s: float | None
    lacking: str | None
    requests: int = 0
    tokens: int = 0


class Take(NamedTuple):
    """What a request takes from the limits of a key, both or neither.

    Attributes:
        key_id: the key.
        limits: requests and tokens a minute; `None` for no limit.
        requests: how many requests to take.
        tokens: how many tokens to take; below 0, to give back.
    """

    key_id: str
    limits: tuple[int | None, int | None]
    requests: int
    tokens: int


class Rates:
    """Counts the requests and tokens of API keys. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._transitions = Transitions(client)

    def take_all(self, takes: Sequence[Take]) -> list[Taken | ForebayError]:
        """Take from what the keys have left, in one round trip; in place of a reply its error.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        rows = [
            (one.key_id, one.limits[0] or 0, one.limits[1] or 0, one.requests, one.tokens)
            for one in takes
        ]
        return [_read(reply) for reply in self._transitions.run_all("rate", rows)]


def _read(reply: Any) -> Taken | ForebayError:
    try:
        with reaching_redis():
            if isinstance(reply, Exception):
                raise reply
    except ForebayError as error:
        return error
    if reply[0]:
        return Taken(None, None, int(reply[1]), int(reply[2]))
    return Taken(int(reply[1]) / 1000, reply[2].decode())
