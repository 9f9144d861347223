"""The shard: some hundreds of rows of a bulk that wait, are worked and are settled as one job.

All rows of a shard are requests of one kind with one egress. What they share is stored once.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from forebay.routing.base import (
    Egress,
    FrozenModel,
    JobId,
    Kind,
    Short,
    Tenant,
    Text,
    changed,
    explain,
)
from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Deadline, Job
from forebay.routing.requests import AnyRequest, parse_request

#: Rows of one shard. Fairness between tenants counts rows, so a shard is not too large a step.
MAX_ROWS = 1_000


class Shard(FrozenModel):
    """The content of a shard.

    Attributes:
        id: the id of the job that the ledger keeps for the shard.
        bulk: the id of the bulk; it begins with the tenant's name as well.
        kind: the kind of all its requests.
        egress: `allow` if the rows may leave the building.
        deadline: rows that are not answered by then end as expired.
        max_cost_usd: a call for one row that might cost more dollars than this is not made.
        model: the only model that may answer the rows, in a pool of the tenant's; they stay local.
        common: the fields of a request that all rows share, without `kind`.
        rows: the fields of each row's request that differ.
    """

    id: JobId
    bulk: JobId
    tenant: Tenant
    kind: Kind
    egress: Egress = "deny"
    deadline: Deadline | None = None
    max_cost_usd: Annotated[float | None, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = None
    model: Short | None = None
    common: dict[str, Any] = Field(default_factory=dict, repr=False)
    rows: tuple[dict[str, Any], ...] = Field(min_length=1, max_length=MAX_ROWS, repr=False)

    @model_validator(mode="after")
    def _makes_sense(self) -> Shard:
        for field in ("id", "bulk"):
            if getattr(self, field).partition(".")[0] != self.tenant:
                raise InvalidJob("must begin with the tenant's name and a dot", field=field)
        return self

    def request(self, index: int) -> AnyRequest:
        """Return the request of a row.

        Raises:
            InvalidJob: Names the wrong field.
        """
        if self.texts_alone_differ and self.kind in _KINDS_OF_ONE_TEXT:
            return changed(self._common_request, text=self.text(index))
        return parse_request({**self.common, **self.rows[index], "kind": self.kind})

    def text(self, index: int) -> str:
        """Return the text of a row of which the text alone differs.

        Raises:
            InvalidJob: It is too long, or no text.
        """
        return _text(self.rows[index]["text"])

    @cached_property
    def _common_request(self) -> AnyRequest:
        """The request of any row whose text alone differs: to validate a schema takes long."""
        return parse_request({**self.common, "text": "-", "kind": self.kind})

    @cached_property
    def texts_alone_differ(self) -> bool:
        """Whether the requests of the rows have all but their texts in common."""
        return all(row.keys() == _TEXT_ALONE for row in self.rows)

    def row_id(self, index: int) -> str:
        """Return the id of a row's job: the same each time, and unknown to other tenants."""
        digest = hashlib.blake2b(f"{self.id} {index}".encode(), digest_size=16).hexdigest()
        return f"{self.tenant}.{digest}"

    def job(self, index: int, egress: Egress) -> Job:
        """Return a row as a job of its own, as if it had been submitted alone.

        Args:
            index: the position of the row in the shard.
            egress: what the record of the shard allows now.

        Raises:
            InvalidJob: Names the wrong field of the row.
        """
        request = self.request(index)
        return changed(self._common_job, id=self.row_id(index), egress=egress, request=request)

    @cached_property
    def _common_job(self) -> Job:
        """What the jobs of all rows have in common."""
        fields: dict[str, Any] = {
            "id": self.id, "tenant": self.tenant, "egress": self.egress,
            "lane": "local" if self.model else "auto", "model": self.model,
            "priority": "bulk", "deadline": self.deadline, "max_cost_usd": self.max_cost_usd,
            "idempotency_key": None, "cache": False, "metadata": {}, "request": None,
        }  # fmt: skip
        return Job.model_construct(**fields)


_TEXT_ALONE = {"text"}
_KINDS_OF_ONE_TEXT = frozenset({"classify", "extract", "summarize"})
_TEXT: TypeAdapter[str] = TypeAdapter(Text)


def _text(value: Any) -> str:
    try:
        return _TEXT.validate_python(value)
    except ValidationError as error:
        found = explain(error)
        found.field = "text"
        raise found from None


def parse_shard(data: str | bytes) -> Shard:
    """Read a shard from JSON text.

    Raises:
        InvalidJob: Names the wrong field.
        ValueError: The text is not JSON.
    """
    return Shard.model_validate_json(data)
