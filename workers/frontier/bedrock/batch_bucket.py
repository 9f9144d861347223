"""The files of batches in S3, through boto3. Nothing of them is written to this machine's disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from botocore import exceptions as boto

from forebay.routing.bedrock_batches.batch_record import BatchRecord
from forebay.routing.errors import ForebayError, Misconfigured, Unavailable
from forebay.workers.frontier.bedrock.batch_failure import KEY_REFUSED
from forebay.workers.frontier.bedrock.bounded_client import bounded_client
from forebay.workers.frontier.bedrock.converse_errors import from_setup
from forebay.workers.frontier.bedrock.converse_reply import code_word
from forebay.workers.frontier.settings import BedrockSettings

READ_TIMEOUT_S = 60
MAX_ATTEMPTS = 3
RESULTS = ".jsonl.out"  # how the names of files with results end
#: Of one response, such as a file of results: whoever may write to the bucket may write anything.
MAX_RESPONSE_S, MAX_RESPONSE_BYTES = 1_800.0, 20_000_000_000
MAX_LINE_BYTES = 32_000_000  # of a result, with the request that it repeats
MAX_NAMES = 10_000  # of files that are looked at
_CHUNK_BYTES = 65_536
_SERVER_ERROR = 500
_FIELD = "[batch] bucket"


class BatchBucket:
    """Puts, reads and deletes the files of batches. Safe to share between threads.

    All methods raise `Unavailable`, or `Misconfigured` with what to mend.
    """

    def __init__(self, settings: BedrockSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._connection: Any = None

    def put(self, batch: BatchRecord, body: bytes) -> None:
        """Store the file of a batch, encrypted with its key if it names one."""
        key = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": batch.kms_key}
        self._ask(
            "put_object",
            batch,
            Key=batch.input_key,
            Body=body,
            ContentType="application/jsonl",
            **(key if batch.kms_key else {}),
        )

    def results(self, batch: BatchRecord) -> Iterator[bytes]:
        """Yield the lines of the results of a batch, in no order."""
        for name in self._names(batch, batch.output_prefix):
            if name.endswith(RESULTS):
                yield from self._lines(batch, name)

    def delete(self, batch: BatchRecord) -> None:
        """Delete all files of a batch; those that are gone are no error."""
        for name in self._names(batch, f"{batch.prefix}{batch.id}/"):
            self._ask("delete_object", batch, Key=name)

    def _names(self, batch: BatchRecord, prefix: str) -> list[str]:
        names: list[str] = []
        further: dict[str, str] = {}
        while True:
            page = self._ask("list_objects_v2", batch, Prefix=prefix, **further)
            names += [entry["Key"] for entry in page.get("Contents", ())]
            if not page.get("IsTruncated") or len(names) >= MAX_NAMES:
                return names
            further = {"ContinuationToken": page["NextContinuationToken"]}

    def _lines(self, batch: BatchRecord, name: str) -> Iterator[bytes]:
        body = self._ask("get_object", batch, Key=name)["Body"]
        failure: ForebayError | None = None
        try:
            yield from _lines_of(body)
        except (boto.BotoCoreError, ForebayError, OSError) as error:
            failure = Unavailable(f"S3 broke off a file of results ({type(error).__name__})")
        finally:
            body.close()
        if failure is not None:
            raise failure

    def _ask(self, operation: str, batch: BatchRecord, **parameters: Any) -> dict[str, Any]:
        """Call an operation; raise our error where the foreign one cannot be reached from it."""
        owner = {"ExpectedBucketOwner": batch.owner} if batch.owner else {}
        ending = self._asked(operation, {"Bucket": batch.bucket, **owner, **parameters})
        if isinstance(ending, ForebayError):
            raise ending
        return ending

    def _asked(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any] | ForebayError:
        try:
            call: Callable[..., dict[str, Any]] = getattr(self._client(), operation)
        except Exception as error:  # noqa: BLE001 - of boto3, or of a plug-in of it
            return from_setup(error, "")
        try:
            return call(**parameters)
        except boto.ClientError as error:
            return _refused(error)
        except boto.ParamValidationError:
            return Misconfigured("boto3 cannot use it", field=_FIELD)
        except (boto.NoCredentialsError, boto.PartialCredentialsError):
            return Misconfigured("missing or incomplete", field="AWS credentials")
        except Exception as error:  # noqa: BLE001 - whatever broke, it can be tried again
            return Unavailable(f"S3 cannot be reached ({type(error).__name__})")

    def _client(self) -> Any:
        with self._lock:
            if self._connection is None:
                endpoint = self._settings.bedrock_s3_endpoint
                self._connection = bounded_client(
                    "s3",
                    self._settings.bedrock_region,
                    endpoint,
                    silent_s=READ_TIMEOUT_S,
                    within_s=MAX_RESPONSE_S,
                    most_bytes=MAX_RESPONSE_BYTES,
                    attempts=MAX_ATTEMPTS,
                    s3={"addressing_style": "path"} if endpoint else {},
                )
            return self._connection


def _lines_of(body: Any) -> Iterator[bytes]:
    """Yield the lines of a file, but for those that are longer than any result."""
    line, too_long = bytearray(), False
    while chunk := body.read(_CHUNK_BYTES):
        first, *others = chunk.split(b"\n")
        line += first if not too_long else b""
        for other in others:
            if line and not too_long:
                yield bytes(line)
            line, too_long = bytearray(other), False
        if len(line) > MAX_LINE_BYTES:
            line, too_long = bytearray(), True
    if line:
        yield bytes(line)


def _refused(error: boto.ClientError) -> ForebayError:
    """Return our error for an error response of S3."""
    said = str(error.response.get("Error", {}).get("Code", ""))
    code = code_word(said.replace(".", "_"))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status >= _SERVER_ERROR or code in {"SlowDown", "RequestTimeout", "ThrottlingException"}:
        return Unavailable(f"S3 is unavailable ({code})")
    message = str(error.response.get("Error", {}).get("Message", ""))
    if code.startswith("KMS") or "kms" in message.casefold():
        return Misconfigured(KEY_REFUSED, field="[batch] kms_key")
    return Misconfigured(
        f"S3 refuses it ({code}): check the bucket, its region, its key and this role's rights",
        field=_FIELD,
    )
