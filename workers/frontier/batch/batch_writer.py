"""Makes a batch of a group of jobs: chosen, checked, reserved for, and put into the bucket."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from forebay.routing.bedrock_batches.batch_record import INTERRUPTED, TOO_FEW, BatchRecord
from forebay.routing.bedrock_batches.batches import BedrockBatches
from forebay.routing.bedrock_batches.groups import Group
from forebay.routing.errors import ForebayError, Lost, RedisUnavailable
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.prices import Prices
from forebay.routing.policy.policy_file import Policy
from forebay.workers.frontier.batch.batched_jobs import call_id, parts, waiting_jobs
from forebay.workers.frontier.batch.candidates import GRACE_S
from forebay.workers.frontier.batch.departure import Departure
from forebay.workers.frontier.batch.held_lease import HeldLease
from forebay.workers.frontier.batch.record_call import RecordCalls, reserved_for_s
from forebay.workers.frontier.bedrock.batch_bucket import BatchBucket
from forebay.workers.frontier.calling.no_answer import NoAnswer

JOBS_PER_READ = 100  # whose contents are in memory at once


@dataclass(slots=True)
class _File:
    """The file of a batch while it is made, the jobs that are in it, and those that are not."""

    body: bytearray = field(default_factory=bytearray, repr=False)
    records: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    no_room: list[str] = field(default_factory=list)


class BatchWriter:
    """Writes batches.

    1. Moves jobs of the group into a new batch.
    2. Checks each job again, reserves its money, writes down that it leaves, and makes its record.
    3. Lets go of jobs that must not be in it, and of all of them if too few are left.
    4. Puts the file into the bucket.
    """

    def __init__(
        self,
        ledger: Ledger,
        batches: BedrockBatches,
        bucket: BatchBucket,
        calls: RecordCalls,
        departure: Departure,
        prices: Callable[[], Prices],
    ) -> None:
        self._ledger, self._batches, self._bucket = ledger, batches, bucket
        self._calls, self._departure, self._prices = calls, departure, prices

    def write(self, group: Group, policy: Policy, lease: HeldLease) -> BatchRecord | None:
        """Write one batch; return it once its file is in the bucket, else `None`.

        Raises:
            Lost: Another process does this work by now.
        """
        batch = self._begun(group, policy)
        if batch is None:
            return None
        file = self._filled(batch, policy, lease)
        self._batches.leave(file.refused, self._ledger.bell, batch=batch.id)
        wait_s = policy.batch.max_wait_s + GRACE_S
        self._batches.leave(
            file.no_room, self._ledger.bell, batch=batch.id, to_group=group.name, wait_s=wait_s
        )
        if len(file.records) < policy.batch.min_records:
            self._departure.abandon(batch, TOO_FEW)
            return None
        return self._uploaded(batch, file)

    def _begun(self, group: Group, policy: Policy) -> BatchRecord | None:
        """Move jobs of the group into a new batch; `None` if none of them waits any more."""
        rules, batch_id = policy.batch, secrets.token_hex(8)
        base = policy.base_model(group.model)
        about = {
            "model": group.model,
            "base": base,
            "bucket": rules.bucket,
            "prefix": _folder(rules.prefix, group.tenant),
            "role_arn": rules.role_arn,
            "kms_key": rules.kms_key,
            "owner": rules.bucket_owner,
            "turnaround_ms": str(int(rules.turnaround_s * 1_000)),
            "prices": self._prices().only(base).model_dump_json(),
        }
        hold_s = reserved_for_s(rules.turnaround_s)
        self._batches.board(batch_id, group.name, about, most=rules.max_records, hold_s=hold_s)
        return self._batches.get(batch_id)

    def _filled(self, batch: BatchRecord, policy: Policy, lease: HeldLease) -> _File:
        file, prices = _File(), self._prices()
        most = policy.batch.max_mb * 1_000_000
        for part in parts(sorted(self._batches.jobs(batch.id).items()), JOBS_PER_READ):
            claims = waiting_jobs(self._ledger, batch.id, [job_id for _, job_id in part])
            for record_id, job_id in part:
                self._stop_if_lost(batch, lease)
                if len(file.body) >= most:
                    file.no_room.append(job_id)
                elif claim := claims.get(job_id):
                    self._add(file, batch, record_id, claim, policy, prices)
        return file

    def _add(
        self, file: _File, batch: BatchRecord, record_id: str, claim: Claim, policy: Policy,
        prices: Prices,
    ) -> None:  # fmt: skip
        """Add the record of a job to the file, or note that the job must not be in it."""
        call = call_id(batch.id, record_id)
        try:
            line = self._calls.record(batch, record_id, call, claim, policy, prices)
        except RedisUnavailable:
            raise
        except (NoAnswer, ForebayError):  # the worker of the job says why
            self._calls.release(call)
            file.refused.append(claim.id)
        else:
            file.body += line
            file.records.append(record_id)

    def _stop_if_lost(self, batch: BatchRecord, lease: HeldLease) -> None:
        """Raise `Lost` if the work is not ours any more; if we are to end, the jobs wait on."""
        try:
            lease.check()
        except Lost:
            if lease.closing:
                self._departure.abandon(batch, INTERRUPTED)
            raise

    def _uploaded(self, batch: BatchRecord, file: _File) -> BatchRecord | None:
        """Put the file into the bucket; `None` if that cannot be done, or another process acted."""
        body = bytes(file.body)
        token = hashlib.sha256(batch.id.encode() + body).hexdigest()
        batch_to_upload = self._batches.advance(
            batch, "uploading", records=len(file.records), nbytes=len(body), token=token
        )
        if batch_to_upload is None:
            self._departure.release(batch)
            return None
        try:
            self._bucket.put(batch_to_upload, body)
        except ForebayError as error:
            self._departure.refused(batch_to_upload, error)
            return None
        return self._batches.advance(batch_to_upload, "uploaded")


def _folder(prefix: str, tenant: str) -> str:
    """Return how the names of a tenant's files begin, so that rights can be given by tenant."""
    return f"{prefix.rstrip('/')}/{tenant if tenant != '*' else 'all'}/".lstrip("/")
