"""Puts the parts of batching together for one bedrock worker."""

from __future__ import annotations

from collections.abc import Callable

from forebay.routing.bedrock_batches.batches import BedrockBatches
from forebay.routing.books.egress_log import EgressLog
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import BookBounds, Budget
from forebay.routing.limits.prices import Prices
from forebay.routing.policy.policy_file import PolicyFile
from forebay.workers.frontier.batch.batch_writer import BatchWriter
from forebay.workers.frontier.batch.batcher import Batcher
from forebay.workers.frontier.batch.collection import Collection, Share
from forebay.workers.frontier.batch.departure import Departure
from forebay.workers.frontier.batch.record_call import RecordCalls
from forebay.workers.frontier.batch.submission import Submission
from forebay.workers.frontier.bedrock.batch_bucket import BatchBucket
from forebay.workers.frontier.bedrock.batch_service import BatchService
from forebay.workers.frontier.provider import Provider
from forebay.workers.frontier.secret_check import SecretCheck
from forebay.workers.frontier.settings import BedrockSettings


def open_batcher(
    ledger: Ledger,
    settings: BedrockSettings,
    provider: Provider,
    policy: PolicyFile,
    prices: Callable[[], Prices],
    secret: bytes,
    share: Share,
) -> Batcher:
    """Return the batcher of a worker; it connects to AWS on the first batch."""
    kept = ledger.settings
    budget = Budget(ledger.redis, BookBounds(kept.books_days, kept.books_calls))
    batches, bucket = BedrockBatches(ledger.redis), BatchBucket(settings)
    service, departure = BatchService(settings), Departure(ledger, batches, bucket, budget, policy)
    calls = RecordCalls(
        provider, budget, EgressLog(ledger.redis, kept.egress_entries),
        SecretCheck(policy.current()), secret,
    )  # fmt: skip
    steps = (
        BatchWriter(ledger, batches, bucket, calls, departure, prices),
        Submission(batches, service, departure),
        Collection(ledger, batches, bucket, budget, departure, share),
        departure,
    )
    return Batcher(ledger, policy, service, steps, settings.bedrock_batch_poll_s)
