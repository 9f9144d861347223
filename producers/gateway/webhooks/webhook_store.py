"""The webhooks of all tenants in Redis.

Keys:  fb:webhooks            set   tenants that have webhooks
       fb:webhooks:<tenant>   hash  id -> record as JSON; `<id> last` -> how the last delivery went
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from forebay.producers.gateway.webhooks.webhook import USUAL_EVENTS, Webhook, new_secret
from forebay.routing.errors import InvalidJob, Misconfigured, NotFound
from forebay.routing.ledger.ends import listening_key
from forebay.routing.store.connection import decoded, reaching_redis
from forebay.routing.store.encryption import Seal
from forebay.routing.store.scripts import run, set_fields

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
        return self._stored(tenant, webhook_id)[1]

    def _stored(self, tenant: str, webhook_id: str) -> tuple[bytes, Webhook]:
        """Return a webhook, as it is stored and as it reads."""
        with reaching_redis():
            stored: Any = self._redis.hget(f"fb:webhooks:{tenant}", webhook_id)
        webhook = _read(stored.decode("utf-8", "replace")) if stored else None
        if webhook is None:
            raise NotFound("there is no such webhook of this tenant", field="id")
        return stored, webhook

    def _changed(
        self, tenant: str, webhook_id: str, change: Callable[[Webhook], dict[str, Any]]
    ) -> Webhook:
        """Change fields of a webhook, again if somebody has changed it since it was read.

        Raises:
            NotFound: The tenant has no such webhook, or it was removed meanwhile.
        """
        key = f"fb:webhooks:{tenant}"
        while True:
            stored, webhook = self._stored(tenant, webhook_id)
            changed = webhook.model_copy(update=change(webhook))
            with reaching_redis():
                if run(self._redis, "replace", key, webhook_id, stored, changed.model_dump_json()):
                    return changed

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
        secret = new_secret()
        until = datetime.now(UTC) + overlap if overlap else None

        def with_secret(webhook: Webhook) -> dict[str, Any]:
            old = webhook.secret if overlap else None
            return {"secret": self._sealed(secret), "old_secret": old, "old_until": until}

        return self._changed(tenant, webhook_id, with_secret), secret

    def remove(self, tenant: str, webhook_id: str) -> None:
        """Remove a webhook of a tenant. Raises `NotFound`."""
        self.get(tenant, webhook_id)
        with reaching_redis():
            self._redis.hdel(f"fb:webhooks:{tenant}", webhook_id, f"{webhook_id} last")
            run(self._redis, "unlisten", tenant)

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

    def _sealed(self, secret: str) -> str:
        return base64.b64encode(self._seal.close(secret.encode())).decode()

    def _opened(self, sealed: str) -> str:
        try:
            return self._seal.open(base64.b64decode(sealed)).decode()
        except ValueError:
            raise Misconfigured("the stored secret of a webhook is damaged", field="id") from None

    def disable(self, webhook: Webhook) -> None:
        """Tell a webhook of nothing any more."""
        with suppress(NotFound):  # it was removed
            self._changed(webhook.tenant, webhook.id, lambda _: {"disabled": datetime.now(UTC)})

    def note(self, webhook: Webhook, outcome: str) -> None:
        """Remember how the last delivery went, unless the webhook was removed meanwhile."""
        last = {f"{webhook.id} last": json.dumps({"at": time.time(), "outcome": outcome})}
        with reaching_redis():
            set_fields(self._redis, f"fb:webhooks:{webhook.tenant}", webhook.id, last)

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


def _read(stored: str) -> Webhook | None:
    """Return a stored webhook; a damaged record is told of nothing."""
    try:
        return Webhook.model_validate(json.loads(stored))
    except (ValueError, InvalidJob):
        return None
