"""The webhooks of all tenants in Redis.

Keys:  fb:webhooks            set   tenants that have webhooks
       fb:webhooks:<tenant>   hash  id -> record as JSON; `<id> last` -> how the last delivery went
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from forebay.producers.gateway.webhooks.webhook import USUAL_EVENTS, Webhook, new_secret
from forebay.routing.errors import InvalidJob, Misconfigured, NotFound
from forebay.routing.ledger.ends import ends_key, listening_key
from forebay.routing.store.connection import decoded, reaching_redis
from forebay.routing.store.encryption import Seal
from forebay.routing.store.scripts import set_fields

TENANTS = "fb:webhooks"
MAX_WEBHOOKS = 50  # of one tenant
OVERLAP = timedelta(days=1)  # so long the secret before a rotation signs too, unless told otherwise
MAX_OVERLAP = timedelta(days=7)


class WebhookStore:
    """The webhooks on one Redis. Safe to share between threads."""

    def __init__(self, client: redis.Redis, seal: Seal) -> None:
        self._redis, self._seal = client, seal

    def add(
        self, tenant: str, url: str, *, events: Iterable[str] = (), content: bool = False
    ) -> tuple[Webhook, str]:
        """Make a webhook; return its record and its secret.

        Raises:
            InvalidJob: An argument is wrong, or the tenant has too many webhooks.
        """
        secret = new_secret()
        webhook = Webhook.model_validate(
            {
                "id": f"wh_{secrets.token_hex(8)}", "tenant": tenant, "url": url,
                "events": tuple(dict.fromkeys(events)) or USUAL_EVENTS, "content": content,
                "secret": self._sealed(secret), "created": datetime.now(UTC),
            }
        )  # fmt: skip
        if len(self.list(tenant)) >= MAX_WEBHOOKS:
            raise InvalidJob(f"has {MAX_WEBHOOKS} webhooks already: remove one", field="tenant")
        with reaching_redis(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(f"fb:webhooks:{tenant}", webhook.id, webhook.model_dump_json())
            pipe.sadd(TENANTS, tenant)
            pipe.set(listening_key(tenant), "1")
            pipe.execute()
        return webhook, secret

    def list(self, tenant: str) -> Sequence[Webhook]:
        """Return the webhooks of a tenant, the oldest first."""
        with reaching_redis():
            stored: Any = self._redis.hgetall(f"fb:webhooks:{tenant}")
        found = [_read(text) for name, text in decoded(stored).items() if " " not in name]
        return sorted((each for each in found if each), key=lambda each: each.created)

    def get(self, tenant: str, webhook_id: str) -> Webhook:
        """Return a webhook of a tenant.

        Raises:
            NotFound: There is none.
        """
        with reaching_redis():
            stored: Any = self._redis.hget(f"fb:webhooks:{tenant}", webhook_id)
        webhook = _read(stored.decode("utf-8", "replace")) if stored else None
        if webhook is None:
            raise _unknown()
        return webhook

    def rotate(
        self, tenant: str, webhook_id: str, overlap: timedelta = OVERLAP
    ) -> tuple[Webhook, str]:
        """Give a webhook a new secret; return its record and the secret.

        Events are signed with both secrets as long as `overlap`.

        Raises:
            NotFound: The tenant has no such webhook.
            InvalidJob: The overlap is too long.
        """
        if not timedelta() <= overlap <= MAX_OVERLAP:
            raise InvalidJob(f"must be 0s to {MAX_OVERLAP.days}d", field="overlap")
        webhook, secret = self.get(tenant, webhook_id), new_secret()
        old = webhook.secret if overlap else None
        until = datetime.now(UTC) + overlap if overlap else None
        changed = {"secret": self._sealed(secret), "old_secret": old, "old_until": until}
        rotated = webhook.model_copy(update=changed)
        if not self._set(webhook, {webhook.id: rotated.model_dump_json()}):
            raise _unknown()
        return rotated, secret

    def remove(self, tenant: str, webhook_id: str) -> None:
        """Remove a webhook of a tenant. Raises `NotFound`."""
        self.get(tenant, webhook_id)
        with reaching_redis():
            self._redis.hdel(f"fb:webhooks:{tenant}", webhook_id, f"{webhook_id} last")
        if not self.list(tenant):
            with reaching_redis(), self._redis.pipeline(transaction=True) as pipe:
                pipe.srem(TENANTS, tenant)
                pipe.delete(listening_key(tenant), ends_key(tenant))
                pipe.execute()

    def secret(self, webhook: Webhook) -> str:
        """Return the secret of a webhook.

        Raises:
            Misconfigured: This process lacks the key that opens it.
        """
        return self._opened(webhook.secret)

    def secrets(self, webhook: Webhook) -> Sequence[str]:
        """Return the secrets that sign the events of a webhook now; raises as `secret` does."""
        found = [self.secret(webhook)]
        if webhook.old_secret and webhook.old_until and datetime.now(UTC) < webhook.old_until:
            found.append(self._opened(webhook.old_secret))
        return found

    def _set(self, webhook: Webhook, fields: Mapping[str, str]) -> bool:
        """Set fields of the tenant's webhooks, unless this one was removed meanwhile."""
        with reaching_redis():
            return set_fields(self._redis, f"fb:webhooks:{webhook.tenant}", webhook.id, fields)

    def _sealed(self, secret: str) -> str:
        return base64.b64encode(self._seal.close(secret.encode())).decode()

    def _opened(self, sealed: str) -> str:
        try:
            return self._seal.open(base64.b64decode(sealed)).decode()
        except ValueError:
            raise Misconfigured("the stored secret of a webhook is damaged", field="id") from None

    def disable(self, webhook: Webhook) -> None:
        """Tell a webhook of nothing any more."""
        gone = webhook.model_copy(update={"disabled": datetime.now(UTC)})
        self._set(webhook, {webhook.id: gone.model_dump_json()})

    def note(self, webhook: Webhook, outcome: str) -> None:
        """Remember how the last delivery went."""
        last = json.dumps({"at": time.time(), "outcome": outcome})
        self._set(webhook, {f"{webhook.id} last": last})

    def last(self, webhook: Webhook) -> dict[str, Any] | None:
        """Return how the last delivery went: `at` and `outcome`; `None` if there was none."""
        with reaching_redis():
            stored: Any = self._redis.hget(f"fb:webhooks:{webhook.tenant}", f"{webhook.id} last")
        found: dict[str, Any] | None = json.loads(stored) if stored else None
        return found

    def tenants(self) -> Sequence[str]:
        """Return the tenants that have webhooks."""
        with reaching_redis():
            found: Any = self._redis.smembers(TENANTS)
        return sorted(tenant.decode() for tenant in found)


def _unknown() -> NotFound:
    return NotFound("there is no such webhook of this tenant", field="id")


def _read(stored: str) -> Webhook | None:
    """Return a stored webhook; a damaged record is told of nothing."""
    try:
        return Webhook.model_validate(json.loads(stored))
    except (ValueError, InvalidJob):
        return None
