"""The connection to the fleet's Redis, and the mapping of redis-py's errors to ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from forebay.routing.errors import Misconfigured, Unavailable
from forebay.routing.settings import Settings
from forebay.routing.store.sentinel import Sentinels

#: After a failover the old primary is a replica: a new connection finds the new primary.
_RETRIED_ERRORS = [redis.ReadOnlyError]


def connect(settings: Settings, *, brisk: bool = False) -> redis.Redis:
    """Return a client of the fleet's Redis. It connects when it is first used.

    Args:
        settings: name the Redis.
        brisk: give up after two seconds, without a retry.

    Raises:
        Misconfigured: The URL cannot be read.
    """
    options: dict[str, Any] = {
        "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=1), retries=0 if brisk else 3),
        "retry_on_error": _RETRIED_ERRORS,
        "socket_timeout": 2 if brisk else 30,
        "socket_connect_timeout": 2 if brisk else 5,
        "health_check_interval": 25,
    }
    if not settings.redis_url.startswith("unix://"):  # a Unix socket has no TCP keepalive
        options["socket_keepalive"] = True
    sentinels = Sentinels.of(settings)
    if sentinels:
        return sentinels.client(**options)
    try:
        return redis.Redis.from_url(settings.redis_url, **options)
    except ValueError:
        hint = "must begin with redis://, rediss://, unix:// or sentinel://"
        raise Misconfigured(hint, field="FOREBAY_REDIS_URL") from None


def without_password(url: str) -> str:
    """Return a Redis URL that may be shown, without its password and the options of its query."""
    try:
        parts = urlsplit(url)
        secret, at, place = parts.netloc.rpartition("@")
    except ValueError:
        return "(no URL)"
    user = secret.partition(":")[0]
    host = f"{user}:***@{place}" if ":" in secret else f"{user}{at}{place}"
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme else "(no URL)"


@contextmanager
def reaching_redis() -> Iterator[None]:
    """Map the errors of redis-py. Everything that talks to Redis runs inside this context.

    Raises:
        Misconfigured: Redis refuses this user.
        Unavailable: Redis cannot be reached, is out of memory, or refused a command.
    """
    try:
        yield
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
        raise Misconfigured("Redis refuses this user", field="FOREBAY_REDIS_URL") from None
    except redis.exceptions.OutOfMemoryError:
        raise Unavailable("Redis is out of memory", retry_after=5) from None
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Unavailable(f"Redis cannot be reached ({type(error).__name__})") from None
    except redis.ResponseError as error:
        if "ACL failure in script" in str(error):
            raise Misconfigured("Redis refuses this user", field="FOREBAY_REDIS_URL") from None
        raise Unavailable(f"Redis refused a command ({type(error).__name__})") from None
    except redis.RedisError as error:
        raise Unavailable(f"Redis refused a command ({type(error).__name__})") from None


def decoded(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """Decode a hash as redis-py returns it."""
    return {key.decode(): value.decode() for key, value in fields.items()}
