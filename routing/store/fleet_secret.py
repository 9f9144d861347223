"""The secret of the fleet, under which digests are made: of cached requests, of job types."""

from __future__ import annotations

import secrets

import redis

from forebay.routing.errors import Misconfigured
from forebay.routing.settings import Settings
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.scripts import run

SECRET_KEY = "fb:cache-secret"  # noqa: S105 - the name of a key, not a secret
_MIN_SECRET_BYTES = 16
_SECRET_BYTES = 32


def fleet_secret(client: redis.Redis, settings: Settings) -> bytes:
    """Return the secret of the fleet: FOREBAY_CACHE_KEY, or a secret that is kept in Redis.

    A secret in Redis protects keys that are seen outside Redis. It does not protect them from
    somebody who can read Redis, and who could then read the contents as well. Set FOREBAY_CACHE_KEY
    to protect a dump of Redis too. Changing the secret empties the cache.

    Raises:
        Misconfigured: FOREBAY_CACHE_KEY is too short.
        Unavailable: Redis cannot be reached.
    """
    if (own := _own_secret(settings)) is not None:
        return own
    with reaching_redis():
        fresh = secrets.token_bytes(_SECRET_BYTES)
        # Another process may have stored its own first. A worker starts while Redis is full, too.
        stored = run(client, "keep", SECRET_KEY, fresh)
    return stored if isinstance(stored, bytes) else fresh


def kept_secret(client: redis.Redis, settings: Settings) -> bytes | None:
    """Return the secret of the fleet as `fleet_secret` does; `None` if no worker made one yet.

    Raises:
        Misconfigured: FOREBAY_CACHE_KEY is too short, or this user may not read the secret.
        Unavailable: Redis cannot be reached.
    """
    if (own := _own_secret(settings)) is not None:
        return own
    with reaching_redis():
        stored = client.get(SECRET_KEY)
    return stored if isinstance(stored, bytes) else None


def _own_secret(settings: Settings) -> bytes | None:
    """Return FOREBAY_CACHE_KEY, if it is set."""
    if settings.cache_key is None:
        return None
    own = settings.cache_key.get_secret_value().encode()
    if len(own) < _MIN_SECRET_BYTES:
        hint = f"must have at least {_MIN_SECRET_BYTES} bytes"
        raise Misconfigured(hint, field="FOREBAY_CACHE_KEY")
    return own
