"""Batch inference on the mock's control plane: it knows the paths, and runs no batch job."""

from __future__ import annotations

import re

NO_BATCH = (400, "ValidationException", "The mock of Bedrock runs no batch jobs.")

_JOB = r"/model-invocation-job"
_OPERATIONS = {
    "CreateModelInvocationJob": ("POST", re.compile(_JOB)),
    "GetModelInvocationJob": ("GET", re.compile(rf"{_JOB}/[^/]+")),
    "ListModelInvocationJobs": ("GET", re.compile(rf"{_JOB}s(\?.*)?")),
    "StopModelInvocationJob": ("POST", re.compile(rf"{_JOB}/[^/]+/stop")),
}


def batch_operation(method: str, path: str) -> str | None:
    """Return the name of the operation of a request; `None` if it is no batch operation."""
    for name, (wanted, pattern) in _OPERATIONS.items():
        if method == wanted and pattern.fullmatch(path):
            return name
    return None
