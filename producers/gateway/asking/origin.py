"""Where an answer comes from, as every response says it: in headers, and as `forebay` in bodies."""

from __future__ import annotations

import string
from collections.abc import Sequence
from urllib.parse import quote

from typing_extensions import TypedDict

from forebay.routing.jobs import Receipt


class Origin(TypedDict):
    """How an answer was made; see `forebay.Receipt`."""

    job_id: str
    kind: str
    egress: str
    lane: str | None
    reason: str
    reasons: list[str]
    model: str | None
    revision: str | None
    cost_usd: float
    degraded: bool
    cached: bool
    stand_in: bool


def origin(receipt: Receipt) -> Origin:
    """Return how an answer was made."""
    return {
        "job_id": receipt.id, "kind": receipt.kind, "egress": receipt.egress, "lane": receipt.lane,
        "reason": receipt.reason, "reasons": list(receipt.reasons), "model": receipt.model,
        "revision": receipt.revision, "cost_usd": receipt.cost_usd, "degraded": receipt.degraded,
        "cached": receipt.cached, "stand_in": receipt.stand_in,
    }  # fmt: skip


def _plain(name: str) -> str:
    """Return a name as a header can hold it: other characters than ASCII's are written as in URLs.

    A model has the name of its file.
    """
    if name.isascii() and name.isprintable():
        return name
    return quote(name, safe=string.punctuation + " ")


def headers(receipts: Sequence[Receipt]) -> dict[str, str]:
    """Return the headers of a response. Of several answers, the first one's, and the whole cost."""
    first = receipts[0]
    return {
        "forebay-job-id": ",".join(receipt.id for receipt in receipts),
        "forebay-lane": first.lane or "",
        "forebay-reason": first.reason,
        "forebay-model": _plain(first.model or ""),
        "forebay-revision": first.revision or "",
        "forebay-cost-usd": f"{sum(receipt.cost_usd for receipt in receipts):.9f}",
        "forebay-degraded": "true" if any(receipt.degraded for receipt in receipts) else "false",
    }
