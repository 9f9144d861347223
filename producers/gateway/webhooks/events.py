"""What an end is told as: the types of its events, and their data."""

from __future__ import annotations

import json
from typing import Any

from forebay.producers.gateway.batches.batch_store import BatchStore
from forebay.producers.gateway.webhooks.deliveries import Delivery, End
from forebay.producers.gateway.webhooks.webhook import EVENT_TYPES, EventType, Webhook
from forebay.routing.bulk.bulks import Bulks
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Answer
from forebay.routing.ledger.ledger import Ledger

_RESPONSES = {
    "done": "response.completed", "failed": "response.failed", "expired": "response.failed",
    "cancelled": "response.cancelled",
}  # fmt: skip
_PREFIXES = {"openai": "batch_", "anthropic": "msgbatch_"}
TEST: EventType = "webhook.test"


class Events:
    """Makes events of what has ended, from what is stored of it now."""

    def __init__(self, ledger: Ledger, batches: BatchStore) -> None:
        self._ledger, self._batches, self._bulks = ledger, batches, Bulks(ledger)

    def types(self, end: End) -> list[EventType]:
        """Return the types of events that an end is told as; none, if it is part of a batch."""
        names = [f"{end.what}.{end.state}"]
        if end.what == "job":
            names.append(_RESPONSES.get(end.state, ""))
        if end.what == "bulk":
            batch = self._batches.find(end.id)
            if batch is not None and batch.terms.family != "bulk":
                return []
        return [name for name in EVENT_TYPES if name in names]

    def body(self, delivery: Delivery, webhook: Webhook) -> bytes:
        """Return an event as it is posted."""
        event = {
            "id": delivery.event, "object": "event", "created_at": delivery.at,
            "type": delivery.type, "data": self._data(delivery, webhook),
        }  # fmt: skip
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()

    def _data(self, delivery: Delivery, webhook: Webhook) -> dict[str, Any]:
        what = delivery.type.partition(".")[0]
        name = delivery.about.partition(".")[2]
        if what == "job":
            return {"id": delivery.about, **self._of_job(delivery, webhook)}
        if what == "response":
            return {"id": f"resp_{name}"}
        if what == "batch":
            batch = self._batches.find(delivery.about)
            prefix = _PREFIXES.get(batch.terms.family, "") if batch else "batch_"
            return {"id": f"{prefix}{name}" if prefix else delivery.about}
        if what == "bulk":
            return {"id": delivery.about, "state": delivery.state, **self._of_bulk(delivery.about)}
        return {"id": webhook.id}

    def _of_job(self, delivery: Delivery, webhook: Webhook) -> dict[str, Any]:
        """Return how a job ended; with its answer if that is asked for and may leave."""
        (ended,) = self._ledger.results([delivery.about])
        if ended is None or isinstance(ended, ForebayError):  # it was forgotten, or cannot be read
            return {"state": delivery.state}
        data: dict[str, Any] = {
            "state": ended.status, "kind": ended.kind, "egress": ended.egress, "lane": ended.lane,
            "reason": ended.reason, "model": ended.model, "degraded": ended.degraded,
            "cost_usd": ended.cost_usd, "error": ended.error,
        }  # fmt: skip
        if webhook.content and ended.egress == "allow" and isinstance(ended, Answer):
            data["content"] = ended.content.model_dump(mode="json")
        return data

    def _of_bulk(self, bulk_id: str) -> dict[str, Any]:
        try:
            record = self._bulks.get(bulk_id)
        except ForebayError:
            return {}
        counted = {
            name: record.counters.get(f"rows_{name}", 0)
            for name in ("done", "failed", "expired", "cancelled")
        }
        return {"total": record.total, "bad": record.bad, **counted}
