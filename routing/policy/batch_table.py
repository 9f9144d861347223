"""The table `[batch]` of `policy.toml`: bulk work that can wait goes to Bedrock for less."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from forebay.routing.policy.tables import Names, Table

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Arn = Annotated[str, StringConstraints(pattern=r"^(arn:aws[a-z-]*:[A-Za-z0-9:/_.@+=,-]{1,1000})?$")]
#: A batch that Bedrock has for longer than this would outlive what is reserved for it.
MAX_TURNAROUND_S = 5 * 86_400.0


class BatchPolicy(Table):
    """What goes to Bedrock in batches, and through which bucket. Off unless it names all three.

    Attributes:
        bucket: the S3 bucket of the files, in the region of the calls.
        prefix: how the names of all files begin.
        role_arn: the service role by which Bedrock reads and writes the bucket.
        models: the models, or inference profiles, that are called in batches.
        kms_key: the ARN of the key that encrypts the files; without one, the bucket's default does.
        bucket_owner: the account that must own the bucket; empty for no check.
        by_tenant: no file holds jobs of two tenants.
        min_records: with fewer jobs there is no batch: they are called one by one. The account's
            quota, by model, is commonly 100.
        max_records, max_mb: the most jobs, and megabytes, of one file.
        max_open: the most batches of one model that Bedrock has at once, an account's quota.
        when_refused: whether jobs whose batch was refused are called one by one, or wait for the
            next batch.
        max_wait_s: how long the first job of a file waits for others.
        turnaround_s: after so long a batch is stopped, and what has no answer is called one by one.
            A job whose deadline is nearer than this and `max_wait_s` together is never in a batch.
    """

    bucket: Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$")] = ""
    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]{0,200}$")] = "forebay/"
    role_arn: Arn = ""
    models: Names = ()
    kms_key: Arn = ""
    bucket_owner: Annotated[str, StringConstraints(pattern=r"^([0-9]{12})?$")] = ""
    by_tenant: bool = True
    min_records: Annotated[int, Field(ge=1, le=50_000)] = 100
    max_records: Annotated[int, Field(ge=1, le=50_000)] = 10_000
    max_mb: Annotated[int, Field(ge=1, le=200)] = 100
    max_open: Annotated[int, Field(ge=1, le=1_000)] = 20
    when_refused: Literal["call", "wait"] = "call"
    max_wait_s: Seconds = 900.0
    turnaround_s: Annotated[float, Field(gt=0, le=MAX_TURNAROUND_S)] = 86_400.0

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        named = [bool(part) for part in (self.bucket, self.role_arn, self.models)]
        if any(named) and not all(named):
            raise ValueError("must name bucket, role_arn and models together, or none of them")
        if self.min_records > self.max_records:
            raise ValueError("must have a max_records of at least min_records")
        return self

    @property
    def is_on(self) -> bool:
        """Whether anything goes to Bedrock in batches."""
        return bool(self.bucket)

    def takes(self, model: str) -> bool:
        """Return whether a model is called in batches."""
        return self.is_on and model in self.models
