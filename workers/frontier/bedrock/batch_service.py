"""Batch inference on Bedrock through boto3: create, look at, find and stop a batch.

The service calls a batch a model invocation job. Creating one twice under the same token makes one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore import exceptions as boto

from forebay.routing.bedrock_batches.batch_record import BatchRecord
from forebay.routing.errors import ForebayError, InvalidJob, LastingError
from forebay.workers.frontier.bedrock.batch_failure import batch_failure
from forebay.workers.frontier.bedrock.bounded_client import bounded_client
from forebay.workers.frontier.bedrock.converse_errors import (
    from_response,
    from_setup,
    without_response,
)
from forebay.workers.frontier.bedrock.converse_reply import headers
from forebay.workers.frontier.provider import STAND_IN_MARK, ModelFault
from forebay.workers.frontier.responses.bounded_body import MAX_BODY_BYTES
from forebay.workers.frontier.settings import BedrockSettings, call_limit_s

READ_TIMEOUT_S = 60
MAX_ATTEMPTS = 3  # of one request, each of which is harmless to repeat

#: What the service says of a batch that will have no more results.
FAILED = "Failed"
ENDINGS = frozenset({"Completed", "PartiallyCompleted", FAILED, "Stopped", "Expired"})
MIN_HOURS, MAX_HOURS = 24, 168  # that the service takes as a time-out
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Progress:
    """What the service says of a batch.

    Attributes:
        status: such as `InProgress`; one of `ENDINGS` if there will be no more results.
        succeeded: records with a result; `None` if the service does not say.
        why: why it failed, in our words; empty if it did not.
        stand_in: the mock of Bedrock says so.
    """

    status: str
    succeeded: int | None
    stand_in: bool
    why: str = ""

    @property
    def ended(self) -> bool:
        """Whether there will be no more results."""
        return self.status in ENDINGS


class BatchService:
    """The control plane of Bedrock. Safe to share between threads; connects on the first call.

    All methods raise an error of `provider.py` or of `routing/errors.py`, never one of boto3's.
    """

    def __init__(self, settings: BedrockSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._connection: Any = None

    def create(self, batch: BatchRecord) -> str:
        """Have the service begin a batch; return its ARN."""
        place = {"s3BucketOwner": batch.owner} if batch.owner else {}
        key = {"s3EncryptionKeyId": batch.kms_key} if batch.kms_key else {}
        source = {"s3Uri": f"s3://{batch.bucket}/{batch.input_key}", "s3InputFormat": "JSONL"}
        target = {"s3Uri": f"s3://{batch.bucket}/{batch.output_prefix}"}
        response = self._ask(
            "create_model_invocation_job",
            batch.model,
            jobName=batch.name,
            roleArn=batch.role_arn,
            clientRequestToken=batch.token,
            modelId=batch.model,
            modelInvocationType="Converse",
            inputDataConfig={"s3InputDataConfig": source | place},
            outputDataConfig={"s3OutputDataConfig": target | place | key},
            timeoutDurationInHours=_hours(batch.turnaround_ms),
        )
        return str(response["jobArn"])

    def look(self, batch: BatchRecord) -> Progress:
        """Return what the service says of a batch."""
        response = self._ask(
            "get_model_invocation_job", batch.model, jobIdentifier=_identifier(batch.arn)
        )
        succeeded = response.get("successRecordCount")
        stand_in = headers(response).get(STAND_IN_MARK) == "1"
        status = str(response["status"])
        why = _why(str(response.get("message") or "")) if status == FAILED else ""
        return Progress(status, succeeded, stand_in, why)

    def find(self, batch: BatchRecord) -> str:
        """Return the ARN of a batch that the service has by its name; empty if it has none."""
        response = self._ask(
            "list_model_invocation_jobs", batch.model, nameContains=batch.name, maxResults=10
        )
        arns = [
            str(job["jobArn"])
            for job in response.get("invocationJobSummaries", ())
            if job.get("jobName") == batch.name
        ]
        return arns[0] if arns else ""

    def stop(self, batch: BatchRecord) -> None:
        """Have the service stop a batch. What it has answered by then is billed."""
        self._ask("stop_model_invocation_job", batch.model, jobIdentifier=_identifier(batch.arn))

    def _ask(self, operation: str, model: str, **parameters: Any) -> dict[str, Any]:
        """Call an operation; raise our error where the foreign one cannot be reached from it."""
        ending = self._asked(operation, model, parameters)
        if isinstance(ending, ForebayError):
            raise ending
        return ending

    def _asked(
        self, operation: str, model: str, parameters: dict[str, Any]
    ) -> dict[str, Any] | ForebayError:
        try:
            call: Callable[..., dict[str, Any]] = getattr(self._client(), operation)
        except Exception as error:  # noqa: BLE001 - of boto3, or of a plug-in of it
            return from_setup(error, model)
        try:
            return call(**parameters)
        except boto.ClientError as error:
            return _refused(error, model)
        except boto.ParamValidationError:
            return LastingError("boto3 cannot make this batch: check [batch] of the policy")
        except Exception as error:  # noqa: BLE001 - whatever broke, it may have been done
            return without_response(error, model)

    def _client(self) -> Any:
        with self._lock:
            if self._connection is None:
                self._connection = bounded_client(
                    "bedrock",
                    self._settings.bedrock_region,
                    self._settings.bedrock_control_endpoint,
                    silent_s=READ_TIMEOUT_S,
                    within_s=call_limit_s(READ_TIMEOUT_S),
                    most_bytes=MAX_BODY_BYTES,
                    attempts=MAX_ATTEMPTS,
                )
            return self._connection


def _refused(error: boto.ClientError, model: str) -> ForebayError:
    """Return our error for an error response; it names the key of `[batch]` that is at fault."""
    ours = from_response(error, model)
    if isinstance(ours, ModelFault | InvalidJob):
        details = error.response.get("Error", {})
        return batch_failure(str(details.get("Message", ""))) or ours
    return ours


def _why(message: str) -> str:
    """Return why a batch failed, in our words."""
    known = batch_failure(message)
    return str(known) if known else "Bedrock failed it, and its message tells nothing to correct"


def _identifier(arn: str) -> str:
    """Return the last part of an ARN, which no proxy takes for a path."""
    return arn.rpartition("/")[2]


def _hours(turnaround_ms: int) -> int:
    """Return the time-out in whole hours, as near to the turnaround as the service allows."""
    return min(MAX_HOURS, max(MIN_HOURS, -(-turnaround_ms // _HOUR_MS)))
