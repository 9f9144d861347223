"""API keys: whose requests they let in, and for what. Only digests of them are stored.

A key is `fb_<id>_<secret>`. The id finds the record; the secret has 256 random bits, so a plain
digest of it tells nobody the secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, cast, get_args

import redis
from pydantic import Field, StringConstraints

from forebay.routing.base import FrozenModel, Tenant
from forebay.routing.errors import InvalidJob, Misconfigured, NotFound
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.scripts import run

#: `submit` puts jobs on and waits for their answers, `read` reads jobs and the tenant, `admin`
#: erases jobs and replays dead ones, `operator` sees the fleet and all tenants on the status page.
Scope = Literal["submit", "read", "admin", "operator"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
HASH = "fb:keys"  # of Redis: id -> record as JSON
_PREFIX = "fb"
_NO_DIGEST = hashlib.sha256(b"no key").hexdigest()

PerMinute = Annotated[int, Field(ge=1, le=1_000_000_000)]


class ApiKey(FrozenModel):
    """The record of one key.

    Attributes:
        id: names the key; it is no secret.
        tenant: whose jobs the key may submit and read.
        name: what people call the key.
        scopes: what the key may do.
        digest: SHA-256 of the secret, in hexadecimal.
        created: when the key was made.
        expires: when the key stops working; `None` for never.
        requests_per_minute, tokens_per_minute: limits of the key; `None` for none.
        old_digest, old_until: the secret before the last rotation, and until when it still works.
    """

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
    tenant: Tenant
    name: Annotated[str, StringConstraints(max_length=200)] = ""
    scopes: tuple[Scope, ...] = ("submit", "read")
    digest: str = Field(repr=False)
    created: datetime
    expires: datetime | None = None
    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None
    old_digest: str | None = Field(default=None, repr=False)
    old_until: datetime | None = None

    @property
    def limited(self) -> bool:
        """True if the key has a limit for each minute."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None

    def lets_in(self, secret: str, now: datetime) -> bool:
        """Return whether the secret belongs to this key and works now."""
        given = digest_of(secret)
        current = hmac.compare_digest(given, self.digest)
        old = hmac.compare_digest(given, self.old_digest or _NO_DIGEST)
        old = old and self.old_until is not None and now < self.old_until
        return (current or old) and (self.expires is None or now < self.expires)

    def public(self) -> dict[str, Any]:
        """Return what may be shown of the key."""
        return self.model_dump(mode="json", exclude={"digest", "old_digest"})


def digest_of(secret: str) -> str:
    """Return the digest of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def split(token: str) -> tuple[str, str] | None:
    """Return the id and the secret of a key, or `None` if the text has not the form of a key."""
    prefix, _, rest = token.partition("_")
    key_id, _, secret = rest.partition("_")
    return (key_id, secret) if prefix == _PREFIX and key_id.isalnum() and secret else None


def refuse_slowly(secret: str) -> None:
    """Take as long as the check of a known key, so that time does not tell which ids exist."""
    given = digest_of(secret)
    hmac.compare_digest(given, _NO_DIGEST)
    hmac.compare_digest(given, _NO_DIGEST)


class KeyStore:
    """The keys of all tenants, in one hash of Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def create(
        self,
        tenant: str,
        *,
        name: str = "",
        scopes: Iterable[str] = ("submit", "read"),
        expires_in: timedelta | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key; return its record and the key itself, which cannot be read again.

        Raises:
            Misconfigured: An argument is wrong; the error names it.
        """
        if expires_in is not None and expires_in <= timedelta(0):
            raise Misconfigured("must be longer than 0", field="expires")
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        fields = {
            "id": key_id, "tenant": tenant, "name": name, "scopes": tuple(dict.fromkeys(scopes)),
            "digest": digest_of(secret), "created": now,
            "expires": None if expires_in is None else now + expires_in,
            "requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute,
        }  # fmt: skip
        try:
            key = ApiKey.model_validate(fields)
        except InvalidJob as error:
            field = (error.field or "key").partition(".")[0]
            raise Misconfigured(error.message, field=field) from None
        with reaching_redis():
            self._redis.hset(HASH, key.id, key.model_dump_json())
        return key, _token(key_id, secret)

    def find(self, key_id: str) -> ApiKey | None:
        """Return the record of a key, or `None` if there is none."""
        stored = self._stored(key_id)
        return _read(stored) if stored else None

    def list(self, tenant: str | None = None) -> Sequence[ApiKey]:
        """Return the keys of a tenant, or of all tenants, the oldest first."""
        with reaching_redis():
            stored = cast("list[bytes]", self._redis.hvals(HASH))
        keys = [key for text in stored if (key := _read(text)) and tenant in {None, key.tenant}]
        return sorted(keys, key=lambda key: key.created)

    def rotate(self, key_id: str, overlap: timedelta = timedelta()) -> tuple[ApiKey, str]:
        """Give a key a new secret; the present secret works for `overlap` longer.

        Raises:
            NotFound: There is no such key.
        """
        secret = secrets.token_urlsafe(32)
        while True:  # until nobody has changed the key since it was read
            stored, key = self._known(key_id)
            rotated = _with_secret(key, secret, overlap)
            if self._replaced(key_id, stored, rotated):
                return rotated, _token(key_id, secret)

    def revoke(self, key_id: str) -> bool:
        """Delete a key; return `False` if there was none."""
        with reaching_redis():
            return bool(self._redis.hdel(HASH, key_id))

    def _stored(self, key_id: str) -> bytes | None:
        with reaching_redis():
            return cast("bytes | None", self._redis.hget(HASH, key_id))

    def _known(self, key_id: str) -> tuple[bytes, ApiKey]:
        """Return the record of a key, as it is stored and as it reads."""
        stored = self._stored(key_id)
        key = _read(stored) if stored else None
        if stored is None or key is None:
            raise NotFound("no such key; `forebay keys list` shows all", field="id")
        return stored, key

    def _replaced(self, key_id: str, before: bytes, after: ApiKey) -> bool:
        """Replace a record unless it was changed or revoked; return whether it was replaced."""
        with reaching_redis():
            return bool(run(self._redis, "replace", HASH, key_id, before, after.model_dump_json()))


def _with_secret(key: ApiKey, secret: str, overlap: timedelta) -> ApiKey:
    """Return the record with a new secret; the present one works for `overlap` longer."""
    until = datetime.now(UTC) + overlap if overlap else None
    old = key.digest if overlap else None
    update = {"digest": digest_of(secret), "old_digest": old, "old_until": until}
    return key.model_copy(update=update)


def _token(key_id: str, secret: str) -> str:
    return f"{_PREFIX}_{key_id}_{secret}"


def _read(stored: bytes) -> ApiKey | None:
    """Return a stored key; a damaged record lets nobody in."""
    try:
        return ApiKey.model_validate(json.loads(stored))
    except (ValueError, InvalidJob):
        return None
