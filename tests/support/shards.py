"""Makes shards, and has them worked."""

from __future__ import annotations

from forebay.routing.bulk.bulks import Bulks
from forebay.routing.bulk.shard import Shard
from forebay.routing.bulk.shards import Shards
from forebay.routing.jobs import new_id
from forebay.workers.runtime.execute import attempt
from forebay.workers.runtime.recording import record

LABELS = ["billing", "login", "other"]
QUEUES = ("route", "local.default", "embed")


def shard(*texts, tenant="acme", bulk=None, **fields):
    """Return a shard of classify rows with these texts."""
    made = {
        "id": new_id(tenant), "bulk": bulk or new_id(tenant), "tenant": tenant, "kind": "classify",
        "common": {"labels": LABELS}, "rows": [{"text": text} for text in texts],
    }  # fmt: skip
    return Shard(**{**made, **fields})


def put(ledger, *shards, max_nusd=None):
    """Put shards and the records of their bulks on the ledger."""
    for each in shards:
        Bulks(ledger).create(each.bulk, {"source": "test"}, max_nusd)
    assert Shards(ledger).create(shards) == [each.id for each in shards]


def work_shards(lanes, *queues):
    """Work the shards that wait in these queues, and nothing else."""
    for queue in queues or QUEUES:
        while claim := lanes.ledger.claim(queue, shards=True):
            record(lanes.ledger, claim, attempt(lanes.workers[queue].work, claim))


def rows_of(ledger, made):
    """Return the results of a shard's rows."""
    (result,) = Shards(ledger).results([made.id])
    return result.rows


def counters(ledger, made):
    """Return the counters of a shard's bulk."""
    return dict(Bulks(ledger).get(made.bulk).counters)
