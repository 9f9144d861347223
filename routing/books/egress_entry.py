"""One entry of the egress log: what leaves the building, and by whose leave. Never content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Self

from forebay.routing.errors import InvalidJob

#: The hash that the first entry of a log names as the one before.
GENESIS = "0" * 64


#: The purpose of an entry whose tokens are only counted.
COUNT = "count"
#: How the region of a service other than Bedrock begins.
ENDPOINT = "endpoint "
#: What the region of a record of a batch has in front of its bucket.
BY_BUCKET = " by s3://"


def is_elsewhere(region: str) -> bool:
    """Return whether a region is that of another service than Bedrock."""
    return region.startswith(ENDPOINT)


@dataclass(frozen=True, slots=True)
class Leaving:
    """What a call is about to send out of the building.

    Attributes:
        call: id of the call.
        job: id of the job whose content leaves.
        kind: the kind of the job.
        model: id of the model that is called.
        region: where the provider is called, such as `us-east-1`, or `endpoint NAME at HOST`.
        tokens: the most tokens that the content can have.
        content: digest of the content under the fleet's secret.
        said: the caller's own word, and that of the job's record: both `allow`.
        policy: version of the policy that did not forbid it.
        why: the reason codes of the decision that sent the job to the frontier.
        purpose: `answer`, `part` of a long text, `repair`, `audit`, or `count` of tokens.
    """

    call: str
    job: str
    kind: str
    model: str
    region: str
    tokens: int
    content: str
    said: str
    policy: str
    why: str
    purpose: str

    @property
    def tenant(self) -> str:
        """The tenant whose content leaves."""
        return self.job.partition(".")[0]

    @property
    def is_count(self) -> bool:
        """True if the tokens are only counted, which is free."""
        return self.purpose == COUNT

    @property
    def elsewhere(self) -> bool:
        """True if another service than Bedrock is called, whose calls no log of AWS has."""
        return is_elsewhere(self.region)

    @property
    def in_batch(self) -> bool:
        """True if it leaves in the file of a batch, whose records Bedrock does not log."""
        return BY_BUCKET in self.region


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it stands in the log.

    Attributes:
        seq: its number; the first entry of a log is number 1.
        at_ms: when it was written, in Unix milliseconds by Redis' clock, before the call.
        before: the hash of the entry before.
        text: the JSON that was hashed.
        hash: the stored hash, SHA-256 of `text`.
    """

    seq: int
    at_ms: int
    before: str
    leaving: Leaving
    text: str
    hash: str

    @classmethod
    def following(cls, seq: int, before: str, at_ms: int, leaving: Leaving) -> Self:
        """Make the entry that follows the entry `seq`, whose hash is `before`."""
        before = before or GENESIS
        values = {"seq": seq + 1, "at": at_ms, "before": before, **asdict(leaving)}
        text = json.dumps(values, separators=(",", ":"), sort_keys=True)
        return cls(seq + 1, at_ms, before, leaving, text, digest(text))

    @classmethod
    def read(cls, text: str, stored_hash: str) -> Self:
        """Read an entry, whether or not its hash is right.

        Raises:
            InvalidJob: This is no entry of an egress log.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            named = {field.name: values[field.name] for field in fields(Leaving)}
            return cls(
                int(values["seq"]), int(values["at"]), str(values["before"]), Leaving(**named),
                text, stored_hash,
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InvalidJob("an entry of the egress log cannot be read") from None

    @classmethod
    def of_line(cls, line: str) -> Self:
        """Read a line of an exported file.

        Raises:
            InvalidJob: This is no line of an exported egress log.
        """
        try:
            both = json.loads(line)
            return cls.read(both["entry"], both["hash"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InvalidJob("an entry of the egress log cannot be read") from None

    @property
    def line(self) -> str:
        """The entry as a line of an exported file: what was hashed, as it was hashed."""
        return json.dumps({"entry": self.text, "hash": self.hash})

    @property
    def day(self) -> str:
        """The day of the entry, UTC."""
        return datetime.fromtimestamp(self.at_ms / 1_000, UTC).date().isoformat()


def digest(text: str) -> str:
    """Return the hash of an entry's text."""
    return hashlib.sha256(text.encode()).hexdigest()
