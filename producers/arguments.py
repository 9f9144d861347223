"""Checks of what a caller hands to a client, so that a mistake is one clear error at the door."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import redis
import redis.asyncio
from pydantic import TypeAdapter, ValidationError

from forebay.routing.base import FrozenModel, Tenant, explain
from forebay.routing.errors import InvalidJob, Misconfigured
from forebay.routing.settings import Settings

_TENANT: TypeAdapter[str] = TypeAdapter(Tenant)


def checked_tenant(tenant: Any) -> str:
    """Return the tenant's name.

    Raises:
        Misconfigured: The name does not have the form of a tenant's name.
    """
    try:
        return _TENANT.validate_python(tenant)
    except ValidationError as error:
        raise Misconfigured(explain(error).message, field="tenant") from None


def checked_settings(settings: Any) -> Settings:
    """Return the settings.

    Raises:
        Misconfigured: The value is something else.
    """
    if isinstance(settings, Settings):
        return settings
    raise Misconfigured("must be a forebay.Settings, or left out", field="settings")


def checked_redis(client: Any) -> redis.Redis:
    """Return the Redis client that a caller lends.

    Raises:
        Misconfigured: The value is no blocking client of redis-py, or decodes replies.
    """
    if not isinstance(client, redis.Redis):
        hint = "must be a redis.Redis; a URL belongs in Settings(redis_url=...)"
        raise Misconfigured(hint, field="redis")
    _check_replies_are_bytes(client)
    return client


def checked_async_redis(client: Any) -> redis.asyncio.Redis:
    """Return the Redis client for asyncio that a caller lends.

    Raises:
        Misconfigured: The value is no client of redis.asyncio, or decodes replies.
    """
    if not isinstance(client, redis.asyncio.Redis):
        hint = "must be a redis.asyncio.Redis; a URL belongs in Settings(redis_url=...)"
        raise Misconfigured(hint, field="redis")
    _check_replies_are_bytes(client)
    return client


def _check_replies_are_bytes(client: redis.Redis | redis.asyncio.Redis) -> None:
    if client.connection_pool.connection_kwargs.get("decode_responses"):
        raise Misconfigured("must return bytes: leave out decode_responses=True", field="redis")


def checked_patience(patience: Any) -> float:
    """Return the patience in seconds.

    Raises:
        Misconfigured: The value is no number of seconds.
    """
    if not _is_number(patience) or not 0 <= patience < math.inf:
        raise Misconfigured("must be a number of seconds, 0 or more", field="patience")
    return float(min(patience, _MAX_WAIT_S))


def checked_timeout(timeout: Any) -> float | None:
    """Return the timeout in seconds; `None` means no limit.

    Raises:
        InvalidJob: The value is neither `None` nor a number of seconds.
    """
    if timeout is None or timeout == math.inf:
        return None
    if not _is_number(timeout):
        hint = "must be a number of seconds, or None to wait as long as it takes"
        raise InvalidJob(hint, field="timeout")
    return float(min(max(timeout, 0), _MAX_WAIT_S))


def checked_limit(limit: Any) -> int:
    """Return the limit of a list.

    Raises:
        InvalidJob: The value is no whole number above 0.
    """
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 < limit <= _MAX_LIMIT:
        raise InvalidJob(f"must be a whole number from 1 to {_MAX_LIMIT}", field="limit")
    return limit


def checked_many(
    items: Any, options: Mapping[str, Any], *, field: str, single: str
) -> Iterable[Any]:
    """Return the requests, jobs or handles of a `map` or `as_completed`.

    Args:
        items: what the caller gave.
        options: what the caller says about all of them.
        field: the name of the argument that they are.
        single: the method for a single item.

    Raises:
        InvalidJob: The value is a single item or cannot be iterated, or the options hold an
            idempotency key.
    """
    if options.get("idempotency_key") is not None:
        hint = "is for one job, and these are many: give each Job its own key"
        raise InvalidJob(hint, field="idempotency_key")
    if isinstance(items, FrozenModel | str | bytes | dict) or not isinstance(items, Iterable):
        hint = f"must be an iterable, like a list; `{single}` takes a single one"
        raise InvalidJob(hint, field=field)
    return items


_MAX_LIMIT = 1_000_000
_MAX_WAIT_S = 10 * 365 * 86_400  # locks and event loops take no longer wait than some years


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # noqa: PLR0124 - NaN
