"""Every error that botocore's service models list for the operations of the mock, by its code.

A code that begins with a small letter is an error inside a stream that had begun with status 200.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from botocore.session import Session

#: Operations by the name of their service model.
OPERATIONS = {
    "bedrock-runtime": ("Converse", "ConverseStream", "CountTokens"),
    "bedrock": (
        "CreateModelInvocationJob",
        "GetModelInvocationJob",
        "ListModelInvocationJobs",
        "StopModelInvocationJob",
    ),
}


@cache
def statuses() -> dict[str, int]:
    """Return the HTTP status of each modelled error of these operations, by its code."""
    shapes = [
        shape
        for service, names in OPERATIONS.items()
        for name in names
        for shape in operation(service, name).error_shapes
    ]
    return {shape.name: _status(shape) for shape in shapes}


@cache
def stream_errors() -> dict[str, int]:
    """Return the HTTP status of each modelled error inside a stream, by the name of its event."""
    events = operation("bedrock-runtime", "ConverseStream").output_shape.members["stream"].members
    return {
        name: _status(shape) for name, shape in events.items() if shape.metadata.get("exception")
    }


@cache
def _service(name: str) -> Any:
    return Session().get_service_model(name)


def operation(service: str, name: str) -> Any:
    """Return botocore's model of an operation."""
    return _service(service).operation_model(name)


def _status(shape: Any) -> int:
    return int(shape.metadata["error"]["httpStatusCode"])
