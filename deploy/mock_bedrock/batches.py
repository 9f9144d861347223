"""Batch inference as the mock plays it: the control plane, over the files of a real S3 protocol.

A batch moves on by one state each time somebody looks at it. Its records are answered as calls are,
and written to the bucket in another order.
"""

from __future__ import annotations

import json
import random
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import boto3

from mock_bedrock.calls import Call
from mock_bedrock.parameters import ErrorResponse, invalid
from mock_bedrock.protocol import ENDINGS, Request, Response
from mock_bedrock.spoiled import spoil

NO_BATCH = (400, "ValidationException", "The mock of Bedrock runs no batch jobs.")

_JOB = r"/model-invocation-job"
_OPERATIONS = {
    "CreateModelInvocationJob": ("POST", re.compile(_JOB)),
    "GetModelInvocationJob": ("GET", re.compile(rf"{_JOB}/[^/]+")),
    "ListModelInvocationJobs": ("GET", re.compile(rf"{_JOB}s(\?.*)?")),
    "StopModelInvocationJob": ("POST", re.compile(rf"{_JOB}/[^/]+/stop")),
}
_ARN = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/"
_HOURS = range(24, 169)
_BEFORE = {"Submitted": "Validating", "Validating": "Scheduled", "Scheduled": "InProgress"}

Answer = Callable[[Request], str]


def batch_operation(method: str, path: str) -> str | None:
    """Return the name of the operation of a request; `None` if it is no batch operation."""
    for name, (wanted, pattern) in _OPERATIONS.items():
        if method == wanted and pattern.fullmatch(path):
            return name
    return None


@dataclass
class BatchPlan:
    """What becomes of the next batches.

    Attributes:
        ending: the state in which they end.
        message: what is said of a batch that failed.
        answered: so many records are answered before that; `None` for all.
        errors: records, by their place in the file, that fail, with the status of their error.
        spoiled: likewise records whose answer has this fault.
        hidden: likewise records that are billed, and whose results are missing.
        hold: they stay in progress until they are stopped, or this is unset.
    """

    ending: str = "Completed"
    message: str = ""
    answered: int | None = None
    errors: dict[int, int] = field(default_factory=dict)
    spoiled: dict[int, str] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    hold: bool = False


@dataclass
class Job:
    """A batch, as its control plane knows it."""

    arn: str
    request: dict[str, Any]
    status: str = "Submitted"
    message: str = ""
    succeeded: int | None = None

    @property
    def id(self) -> str:
        """The last part of its ARN."""
        return self.arn.rpartition("/")[2]

    def shown(self) -> dict[str, Any]:
        """Return the batch as the service shows it."""
        told = ("jobName", "modelId", "roleArn", "inputDataConfig", "outputDataConfig")
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        fields = {name: self.request[name] for name in told}
        fields |= {"jobArn": self.arn, "status": self.status, "submitTime": at}
        if self.message:
            fields["message"] = self.message
        if self.succeeded is not None:
            fields["successRecordCount"] = self.succeeded
        return fields


class Batches:
    """The control plane. Safe to share between threads.

    Attributes:
        plan: what becomes of the next batches.
        jobs: the batches that were created, by the token of their caller.
    """

    def __init__(
        self, s3_endpoint: str, key_pair: tuple[str, str], region: str, *, min_records: int = 100
    ) -> None:
        self.plan = BatchPlan()
        self.jobs: dict[str, Job] = {}
        self._min_records, self._lock = min_records, threading.Lock()
        self._s3 = boto3.session.Session().client(
            "s3", endpoint_url=s3_endpoint, region_name=region,
            aws_access_key_id=key_pair[0], aws_secret_access_key=key_pair[1],
        )  # fmt: skip

    def serve(
        self, operation: str, path: str, body: bytes, answer: Answer, record: Callable[[Call], None]
    ) -> dict[str, Any]:
        """Return the response to a request; `record` gets each record that is billed."""
        with self._lock:
            if operation == "CreateModelInvocationJob":
                return {"jobArn": self._create(json.loads(body)).arn}
            if operation == "ListModelInvocationJobs":
                return {"invocationJobSummaries": self._listed(path)}
            job = self._find(unquote(path.split("/")[2]))
            if operation == "StopModelInvocationJob":
                return self._stop(job)
            self._move_on(job, answer, record)
            return job.shown()

    def _create(self, request: dict[str, Any]) -> Job:
        token = request.get("clientRequestToken") or secrets.token_hex(8)
        if token not in self.jobs:
            if request.get("timeoutDurationInHours", 24) not in _HOURS:
                raise invalid("timeoutDurationInHours: failed to satisfy constraint")
            if any(job.request["jobName"] == request["jobName"] for job in self.jobs.values()):
                raise ErrorResponse(400, "ConflictException", "The job name is in use.")
            self.jobs[token] = Job(_ARN + secrets.token_hex(6), request)
        return self.jobs[token]

    def _listed(self, path: str) -> list[dict[str, Any]]:
        part = parse_qs(urlsplit(path).query).get("nameContains", [""])[0]
        return [job.shown() for job in self.jobs.values() if part in job.request["jobName"]]

    def _find(self, name: str) -> Job:
        for job in self.jobs.values():
            if name in {job.id, job.arn}:
                return job
        raise ErrorResponse(404, "ResourceNotFoundException", "No such job.")

    def _stop(self, job: Job) -> dict[str, Any]:
        if job.status not in {*_BEFORE, "InProgress"}:
            raise ErrorResponse(400, "ConflictException", "The job has ended.")
        job.status = "Stopping"
        return {}

    def _move_on(self, job: Job, answer: Answer, record: Callable[[Call], None]) -> None:
        if job.status == "Validating":
            job.status = "Scheduled" if self._is_valid(job) else "Failed"
        elif job.status in _BEFORE:
            job.status = _BEFORE[job.status]
        elif job.status == "Stopping":
            self._end(job, "Stopped", answer, record)
        elif job.status == "InProgress" and not self.plan.hold:
            self._end(job, self.plan.ending, answer, record)

    def _is_valid(self, job: Job) -> bool:
        lines = self._lines(job)
        names = [line["recordId"] for line in lines]
        return len(lines) >= self._min_records and len(set(names)) == len(names)

    def _end(self, job: Job, ending: str, answer: Answer, record: Callable[[Call], None]) -> None:
        """Answer the records, and write the results and the manifest into the bucket."""
        lines, results, job.succeeded = self._lines(job), [], 0
        if ending != "Failed":
            for at, line in enumerate(lines[: self.plan.answered]):
                result = self._result(job, at, line, answer, record)
                job.succeeded += "modelOutput" in result
                if at not in self.plan.hidden:
                    results.append(result)
            random.Random(len(lines)).shuffle(results)
            self._write(job, results, len(lines))
        else:
            job.message = self.plan.message
        job.status = ending

    def _result(
        self, job: Job, at: int, line: dict[str, Any], answer: Answer,
        record: Callable[[Call], None],
    ) -> dict[str, Any]:  # fmt: skip
        """Return the line of a record's result, and record what it bills."""
        model, body = job.request["modelId"], line["modelInput"]
        fault = self.plan.spoiled.get(at, "")
        try:
            if at in self.plan.errors:
                raise ErrorResponse(self.plan.errors[at], "ModelErrorException", "It failed.")  # noqa: TRY301
            request = Request.read("converse", model, body)
        except ErrorResponse as error:
            return line | {"error": {"errorCode": error.status, "errorMessage": error.message}}
        response = Response.answering(request, answer(request), ENDINGS.get(fault))
        call = Call.arrived("batch", model, json.dumps(body).encode())
        call.tokens_in, call.tokens_out = response.tokens_in, response.tokens_out
        call.status, call.fault, call.whole = 200, fault or None, True
        record(call)
        return line | {"modelOutput": spoil(response.converse(0), fault)}

    def _lines(self, job: Job) -> list[dict[str, Any]]:
        uri = urlsplit(job.request["inputDataConfig"]["s3InputDataConfig"]["s3Uri"])
        try:
            found = self._s3.get_object(Bucket=uri.netloc, Key=uri.path[1:])
        except self._s3.exceptions.NoSuchKey:
            return []
        return [json.loads(line) for line in found["Body"].read().splitlines()]

    def _write(self, job: Job, results: list[dict[str, Any]], total: int) -> None:
        target = job.request["outputDataConfig"]["s3OutputDataConfig"]
        uri = urlsplit(target["s3Uri"])
        kms_key = target.get("s3EncryptionKeyId")
        sealed = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
        manifest = {
            "totalRecordCount": total, "processedRecordCount": len(results),
            "successRecordCount": job.succeeded,
        }  # fmt: skip
        files = {
            "input.jsonl.out": "".join(json.dumps(result) + "\n" for result in results),
            "manifest.json.out": json.dumps(manifest),
        }
        for name, text in files.items():
            key = f"{uri.path[1:]}{job.id}/{name}"
            self._s3.put_object(Bucket=uri.netloc, Key=key, Body=text.encode(), **sealed)
