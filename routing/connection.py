"""The way to the fleet's Redis, and what its errors mean to us."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from routing.errors import Misconfigured, Unavailable
from routing.settings import Settings


def connect(settings: Settings) -> redis.Redis:
    """A client of the fleet's Redis; connects when first used.

    Raises:
        Misconfigured: The URL is none.
    """
    try:
        return redis.Redis.from_url(
            settings.redis_url,
            retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=1), retries=3),
            socket_timeout=30,
            socket_connect_timeout=5,
            socket_keepalive=True,
            health_check_interval=25,
        )
    except ValueError:
        hint = "must begin with redis://, rediss:// or unix://"
        raise Misconfigured(hint, field="FOREBAY_REDIS_URL") from None


@contextmanager
def reaching_redis() -> Iterator[None]:
    """Map redis-py's errors, once."""
    try:
        yield
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
        raise Misconfigured("Redis refuses this user", field="FOREBAY_REDIS_URL") from None
    except redis.exceptions.OutOfMemoryError:
        raise Unavailable("Redis is out of memory", retry_after=5) from None
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Unavailable(f"Redis cannot be reached ({type(error).__name__})") from None
    except redis.RedisError as error:
        raise Unavailable(f"Redis refused a command ({type(error).__name__})") from None
