"""What an API key may use in a minute: requests and tokens, counted in Redis for all gateways."""

from __future__ import annotations

from typing import Any, NamedTuple

import redis

from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.scripts import digest, with_scripts


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


class Rates:
    """Counts the requests and tokens of API keys. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def take(
        self, key_id: str, limits: tuple[int | None, int | None], requests: int, tokens: int
    ) -> Taken:
        """Take requests and tokens from what the key has left, both or neither.

        Args:
            key_id: the key.
            limits: requests and tokens a minute; `None` for no limit.
            requests: how many requests to take.
            tokens: how many tokens to take; below 0, to give back.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        args: list[Any] = [key_id, limits[0] or 0, limits[1] or 0, requests, tokens]
        with reaching_redis():
            reply: Any = with_scripts(
                self._redis, lambda: self._redis.evalsha(digest("rate"), 0, *args)
            )
        if reply[0]:
            return Taken(None, None, int(reply[1]), int(reply[2]))
        return Taken(int(reply[1]) / 1000, reply[2].decode())
