"""The record of one batch on Bedrock: what it holds, where its files are, how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

#: `writing`: the jobs are chosen, and the file is made. `uploading`: the file is complete.
#: `uploaded`: it is in the bucket. `creating`: Bedrock is being asked, and may have begun.
#: `running`: Bedrock has it. `leaving`: its jobs and files are being let go. `ended`: it is over.
BatchState = Literal[
    "writing", "uploading", "uploaded", "creating", "running", "leaving", "ended"
]  # fmt: skip

#: Outcomes of a batch that has ended; any other says what went wrong.
ANSWERED = "answered"
INTERRUPTED = "interrupted"  # before its file was complete: its jobs wait for the next batch
TOO_FEW = "too few records may leave"  # after egress, secrets and money: they are called one by one
LOST = "nobody knows what became of it"  # what is reserved stays reserved

#: The states of a batch that has not ended, in order.
OPEN_STATES: tuple[BatchState, ...] = get_args(BatchState)[:-1]


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch, as Redis knows it. Times are Unix milliseconds by Redis' clock.

    Attributes:
        group: the group that its jobs waited in: a tenant, or `*`, and the model.
        model: id of the model, or of an inference profile.
        base: the id by which it is priced; differs for an opaque inference profile.
        at, created_at, complete_at, ended_at: when it was begun, when Bedrock took it, when Bedrock
            was seen to be done with it, and when it ended.
        bucket, prefix, owner: where its files are, and the account that must own the bucket.
        turnaround_ms: after so long it is stopped; what has no answer by then is called by itself.
        prices: the model's prices in force when the file was written, as JSON.
        records, nbytes: records and bytes of its file.
        token: makes creating it twice harmless.
        arn: Bedrock's name of it; empty until Bedrock has taken it.
        status: what Bedrock said of it last, such as `InProgress`.
        stopping: Bedrock was told to stop it.
        outcome: why it ended: `answered`, or what went wrong.
        answered, failed, unknown: records with an answer, those that cost nothing, and those of
            which nobody knows if they were billed.
    """

    id: str
    state: BatchState
    group: str
    model: str
    base: str
    at: int
    bucket: str
    prefix: str
    role_arn: str
    kms_key: str
    owner: str
    turnaround_ms: int
    prices: str
    created_at: int = 0
    complete_at: int = 0
    ended_at: int = 0
    records: int = 0
    nbytes: int = 0
    token: str = ""
    arn: str = ""
    status: str = ""
    stopping: bool = False
    outcome: str = ""
    answered: int = 0
    failed: int = 0
    unknown: int = 0

    @property
    def tenant(self) -> str:
        """The tenant whose jobs it holds; `*` for several."""
        return self.group.partition(" ")[0]

    @property
    def input_key(self) -> str:
        """The name of its file in the bucket."""
        return f"{self.prefix}{self.id}/input.jsonl"

    @property
    def output_prefix(self) -> str:
        """How the names of its results begin in the bucket."""
        return f"{self.prefix}{self.id}/output/"

    @property
    def name(self) -> str:
        """The name that Bedrock's own lists show."""
        return f"forebay-{self.id}"

    @classmethod
    def read(cls, batch_id: str, fields: Mapping[str, str]) -> BatchRecord:
        """Read a record from a decoded hash. Workers alone write it."""
        known: dict[str, Any] = {name: int(fields.get(name) or 0) for name in _NUMBERS}
        known |= {name: fields.get(name, "") for name in _TEXTS}
        return cls(
            id=batch_id,
            state=cast("BatchState", fields["state"]),
            stopping=bool(fields.get("stopping")),
            **known,
        )


_NUMBERS = (
    "at", "turnaround_ms", "created_at", "complete_at", "ended_at", "records", "nbytes",
    "answered", "failed", "unknown",
)  # fmt: skip
_TEXTS = (
    "group", "model", "base", "bucket", "prefix", "role_arn", "kms_key", "owner", "prices",
    "token", "arn", "status", "outcome",
)  # fmt: skip
