"""What the OpenAPI document says about an endpoint that reads its body itself.

The endpoints on the hot path take the raw body: FastAPI would parse it, build models and serialize
the response at several times the cost. So each of them names its models here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from forebay.producers.gateway.errors import STATUSES

EVENTS = ("text/event-stream",)
#: A chat as every format of chats has it.
MESSAGES = [{"role": "user", "content": "What is a forebay?"}]
#: One server-sent event. What `data` holds, each wire format says.
_EVENT = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
_REF = "#/components/schemas/{model}"
_models: list[tuple[Any, JsonSchemaMode]] = []
_PHRASES = {
    400: "A field is wrong, or asks for what Forebay cannot do.",
    401: "There is no API key, or it is not valid.",
    402: "The budget does not cover the call.",
    403: "The key lacks the scope, or the content may not leave the building.",
    404: "There is no such job or model, or it is another tenant's.",
    405: "The path has no such method.",
    409: "The job was cancelled, or the idempotency key was used for another request.",
    413: "The body is too large.",
    422: "The model declined to answer.",
    429: "The key has used up its minute, or too many jobs wait. See Retry-After.",
    502: "No attempt gave a usable answer.",
    503: "A part of the fleet cannot be reached, or is set up wrong.",
    504: "The job did not end in time, or its deadline passed.",
}


def documented(
    body: type[BaseModel] | None,
    response: Any,
    *,
    status: int = 200,
    error: str = "OpenAIError",
    media: Sequence[str] = (),
    sent_as: str = "application/json",
    example: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the arguments of a route for its documentation.

    Args:
        body: the model of the request's body, if it has one.
        response: the type of the response's JSON; `None` if the response is no JSON.
        status: of the response.
        error: the schema of all errors.
        media: types of content that the response may have besides JSON.
        sent_as: the type of the request's body.
        example: a body that can be sent as it is, which /docs fills in.
    """
    good: dict[str, Any] = {
        kind: {"schema": _EVENT if kind in EVENTS else {"type": "string"}} for kind in media
    }
    if response is not None:
        good["application/json"] = {"schema": _named(response, "serialization")}
    responses: dict[int, Any] = {status: {"description": "The answer.", "content": good}}
    for code in STATUSES:
        schema = {"schema": {"$ref": _REF.format(model=error)}}
        responses[code] = {
            "description": _PHRASES[code], "content": {"application/json": schema},
        }  # fmt: skip
    extra: dict[str, Any] = {}
    if body is not None:
        content: dict[str, Any] = {sent_as: {"schema": _named(body, "validation")}}
        if example is not None:
            content[sent_as]["example"] = example
        extra["requestBody"] = {"required": True, "content": content}
    return {
        "responses": responses, "status_code": status, "openapi_extra": extra,
        "response_model": None,
    }  # fmt: skip


#: The same for an endpoint with errors in Forebay's own format.
documented_natively = partial(documented, error="NativeError")


def _named(model: Any, mode: JsonSchemaMode) -> dict[str, str]:
    _models.append((model, mode))
    return {"$ref": _REF.format(model=model.__name__)}


def schemas(*others: Any) -> Mapping[str, Any]:
    """Return the schemas of all models that endpoints have named, and of these others."""
    named = [*_models, *((other, "serialization") for other in others)]
    inputs = [(str(model), mode, TypeAdapter(model).core_schema) for model, mode in named]
    generator = GenerateJsonSchema(ref_template=_REF)
    return {str(name): schema for name, schema in generator.generate_definitions(inputs)[1].items()}
