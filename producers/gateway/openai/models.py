"""`GET /v1/models`: the names that a request may have as its model."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from forebay.producers.gateway.access import Caller, caller
from forebay.producers.gateway.asking.model_names import OWNER, names
from forebay.producers.gateway.documents import documented
from forebay.producers.gateway.errors import UnknownModel
from forebay.producers.gateway.wire import respond

router = APIRouter(tags=["OpenAI"])


class Model(TypedDict):
    """A name that a request may have as its model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(TypedDict):
    """All such names."""

    object: Literal["list"]
    data: list[Model]


@router.get("/v1/models", **documented(None, ModelList))
async def list_models(request: Request) -> Response:
    """List the names that a request may have as its model: lanes, kinds of jobs and aliases."""
    by = await caller(request, "read")
    return respond({"object": "list", "data": [_model(name) for name in _names(by)]}, {})


@router.get("/v1/models/{model:path}", **documented(None, Model))
async def get_model(request: Request, model: str) -> Response:
    """Return one of these names."""
    by = await caller(request, "read")
    if model not in _names(by):
        raise UnknownModel("there is no such model; GET /v1/models lists all", field="model")
    return respond(_model(model), {})


def _names(by: Caller) -> list[str]:
    gateway = by.gateway
    policy, aliases = gateway.policy.current(), gateway.settings.gateway_models
    return list(dict.fromkeys(names(by.tenant, policy, aliases)))


def _model(name: str) -> Model:
    return {"id": name, "object": "model", "created": 0, "owned_by": OWNER}
