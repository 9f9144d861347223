"""The connection to the fleet's Redis, and the mapping of redis-py's errors to ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from forebay.routing.diagnostics import why_unreached
from forebay.routing.errors import ForebayError, Misconfigured, RedisUnavailable, Unavailable
from forebay.routing.settings import Settings
from forebay.routing.store.connections.connection_class import (
    BoundedReplies,
    driver_info,
    with_address,
    with_address_on_loop,
)
from forebay.routing.store.connections.sentinel import Sentinels

#: After a failover the old primary is a replica: a new connection finds the new primary.
_RETRIED_ERRORS = [redis.ReadOnlyError]
_LOST_CONNECTION = (redis.ConnectionError,)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for Redis.

    Attributes:
        connect_s: seconds to wait for a connection.
        reply_s: seconds to wait for a reply. As a whole it may take four times as long; see
            `connection_class.py`.
        retries: of a command whose connection is lost. If no reply comes, none follows: redis-py
            would wait for each of them, and again for each new connection.
    """

    connect_s: float
    reply_s: float
    retries: int


#: What a connection is for. Jobs that a worker has begun can wait for Redis, and nothing else can
#: be done for them. Somebody waits for a command or a request, and hears within seconds that Redis
#: does not answer. A look is a check, which another look follows.
Purpose = Literal["work", "ask", "look"]
PATIENCE: Mapping[Purpose, Patience] = {
    "work": Patience(connect_s=5, reply_s=15, retries=3),
    "ask": Patience(connect_s=3, reply_s=5, retries=3),
    "look": Patience(connect_s=2, reply_s=2, retries=0),
}

_BAD_LOGIN = "the user name or the password is wrong (WRONGPASS)"
NO_RIGHT = (
    "this user may not do that (NOPERM); each part and each tenant has a user of its own, and who "
    "looks at all of them is the operator (deploy/redis_acl.py)"
)
#: Words of Redis' refusals, and ours. redis-py cuts off the code of some of them.
_REFUSALS = (
    ("WRONGPASS", _BAD_LOGIN),
    ("invalid username-password pair", _BAD_LOGIN),
    ("invalid password", _BAD_LOGIN),
    ("AUTH <password> called without any password", "the server has no password; remove it"),
    ("NOAUTH", "a password is needed (NOAUTH)"),
    ("Authentication required", "a password is needed (NOAUTH)"),
    ("client already authenticated", "a password is needed (NOAUTH)"),  # the reply to HELLO
    ("ACL failure in script", NO_RIGHT),
    ("NOPERM", NO_RIGHT),
    ("DB index is out of range", "the server has no database of this number (DB index)"),
    ("invalid DB index", "the database must be a number (DB index)"),
)


def connect(settings: Settings, purpose: Purpose = "ask") -> redis.Redis:
    """Return a client of the fleet's Redis. It connects when it is first used.

    Args:
        settings: name the Redis.
        purpose: what the client is for, which decides how long it waits.

    Raises:
        Misconfigured: The URL cannot be read.
    """
    patience = PATIENCE[purpose]
    backoff = ExponentialWithJitterBackoff(base=0.05, cap=1)
    retry = Retry(backoff, patience.retries, _LOST_CONNECTION)
    return cast("redis.Redis", _client(redis, settings, _options(patience), retry))


def connect_on_loop(settings: Settings) -> redis.asyncio.Redis:
    """Return a client of the fleet's Redis for asyncio. It connects when it is first used.

    Raises:
        Misconfigured: The URL cannot be read.
    """
    patience = PATIENCE["ask"]
    backoff = ExponentialWithJitterBackoff(base=0.05, cap=1)
    retry = redis.asyncio.retry.Retry(backoff, patience.retries, _LOST_CONNECTION)
    client = _client(redis.asyncio, settings, _options(patience), retry)
    return cast("redis.asyncio.Redis", client)


async def close_on_loop(client: redis.asyncio.Redis) -> None:
    """Close the connections of a client for asyncio, those to Sentinels included."""
    await client.aclose()
    watched = getattr(client.connection_pool, "sentinel_manager", None)
    for sentinel in watched.sentinels if watched else ():
        await sentinel.aclose()


def _options(patience: Patience) -> dict[str, Any]:
    return {
        "retry_on_error": _RETRIED_ERRORS,
        "socket_timeout": patience.reply_s,
        "socket_connect_timeout": patience.connect_s,
        "health_check_interval": 25,
        "driver_info": driver_info(),
    }


def _client(library: ModuleType, settings: Settings, options: dict[str, Any], retry: Any) -> Any:
    """Return a client of redis-py's blocking or of its asyncio half."""
    options |= {"retry": retry}
    if library is redis:
        options["parser_class"] = BoundedReplies
    if not settings.redis_url.startswith("unix://"):  # a Unix socket has no TCP keepalive
        options["socket_keepalive"] = True
    sentinels = Sentinels.of(settings)
    if sentinels:
        return sentinels.client(library, **options)
    try:
        client = library.Redis.from_url(settings.redis_url, **options)
    except ValueError:
        hint = "must begin with redis://, rediss://, unix:// or sentinel://"
        raise Misconfigured(hint, field="FOREBAY_REDIS_URL") from None
    pool, address = client.connection_pool, without_password(settings.redis_url)
    wrap = with_address if library is redis else with_address_on_loop
    pool.connection_class = wrap(pool.connection_class, address)
    return client


def _at(error: redis.RedisError) -> str:
    """Return the address of an error for a message; empty if the error has none."""
    notes = getattr(error, "__notes__", [])
    return f" at {notes[0]}" if notes else ""


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


ENTRIES_PER_PAGE = 1_000  # of a stream that is read as a whole
NO_DISK = "MISCONF"  # Redis' code for it: until then it refuses to write, and to answer a ping


@contextmanager
def reaching_redis() -> Iterator[None]:
    """Map the errors of redis-py. Everything that talks to Redis runs inside this context.

    Raises:
        Misconfigured: Redis refuses this user, or has no such database; says the class of reason.
        RedisUnavailable: Redis cannot be reached, is out of memory, or cannot write to its disk.
        Unavailable: Redis refused a command.
    """
    try:
        yield
    except redis.exceptions.OutOfMemoryError:
        raise RedisUnavailable("Redis is out of memory", retry_after=5) from None
    except (redis.ConnectionError, redis.TimeoutError) as error:
        if refusal := _refusal(error):
            raise Misconfigured(refusal + _at(error), field="FOREBAY_REDIS_URL") from None
        message = f"Redis cannot be reached{_at(error)} ({why_unreached(error)})"
        raise RedisUnavailable(message) from None
    except redis.ResponseError as error:
        if refusal := _refusal(error):
            raise Misconfigured(refusal + _at(error), field="FOREBAY_REDIS_URL") from None
        if NO_DISK in str(error):
            message = f"Redis cannot write to its disk, which is full or broken ({NO_DISK})"
            raise RedisUnavailable(message, retry_after=5) from None
        raise Unavailable(f"Redis refused a command ({type(error).__name__})") from None
    except redis.RedisError as error:
        raise Unavailable(f"Redis refused a command ({type(error).__name__})") from None


def error_of(reply: Exception) -> ForebayError:
    """Return what an error among the replies of a script means, as `reaching_redis` maps it."""
    try:
        with reaching_redis():
            raise reply
    except ForebayError as error:
        return error


def _refusal(error: redis.RedisError) -> str | None:
    """Return in our words why Redis refuses this client; `None` if it does not.

    Redis' own text is not repeated, since it may name keys.
    """
    text = str(error)
    code = text.partition(" ")[0]
    if isinstance(error, redis.exceptions.AuthenticationWrongNumberOfArgsError):
        code = "WRONGPASS"
    for words, refusal in _REFUSALS:
        if code == words or words in text:
            return refusal
    if isinstance(error, redis.exceptions.NoPermissionError):
        return NO_RIGHT
    return "Redis refuses this user" if isinstance(error, redis.AuthenticationError) else None


def clock_of(client: redis.Redis) -> float:
    """Return the time by Redis' clock, in Unix seconds: all processes agree on it."""
    seconds, micros = client.time()
    return float(seconds) + micros / 1e6


def text_of(stored: bytes) -> str:
    """Return stored bytes as text. A tenant may have written some that are not UTF-8: see those."""
    return stored.decode(errors="backslashreplace")


def decoded(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """Decode a hash as redis-py returns it, as `text_of` does."""
    return {text_of(key): text_of(value) for key, value in fields.items()}


def entries_of(
    client: redis.Redis, stream: str, first: str = "-"
) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """Yield the entries of a stream with their ids, from an id on; page by page."""
    while page := _page(client, stream, first):
        yield from page
        first = f"({page[-1][0].decode()}"


def _page(client: redis.Redis, stream: str, first: str) -> list[Any]:
    with reaching_redis():
        page: Any = client.xrange(stream, min=first, count=ENTRIES_PER_PAGE)
    return list(page)


def streams(reply: Any) -> list[tuple[bytes, list[Any]]]:
    """Return XREAD's reply as pairs: RESP2 answers with a list of pairs, RESP3 with a mapping."""
    if isinstance(reply, dict):
        return [(name, entries[0]) for name, entries in reply.items() if entries]
    return list(reply or [])
