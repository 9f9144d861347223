"""`GET /v1/models`, for OpenAI's clients and Anthropic's: the names that a model may have."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from forebay.producers.gateway.access import caller
from forebay.producers.gateway.asking.model_names import OWNER, names_of
from forebay.producers.gateway.documents import documented
from forebay.producers.gateway.errors import UnknownModel
from forebay.producers.gateway.files.paging import page_of
from forebay.producers.gateway.shapes import is_anthropic
from forebay.producers.gateway.wire import respond

MAX_LISTED, USUAL_PAGE = 1_000, 20  # names of a page, as Anthropic limits them

router = APIRouter(tags=["OpenAI"])


class Model(TypedDict):
    """A name that a request may have as its model, with the fields of both wire formats."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    type: Literal["model"]
    display_name: str
    created_at: str
    lifecycle: Literal["active"]


class ModelList(TypedDict):
    """A page of these names."""

    object: Literal["list"]
    data: list[Model]
    has_more: bool
    first_id: str | None
    last_id: str | None


@router.get("/v1/models", **documented(None, ModelList))
async def list_models(
    request: Request,
    after_id: str = "",
    before_id: str = "",
    limit: Annotated[int | None, Query(ge=1, le=MAX_LISTED)] = None,
) -> Response:
    """List the names that a request may have as its model: lanes, kinds of jobs and aliases.

    Anthropic's clients get pages of `limit` names, by default of 20; others get all names.
    """
    by = await caller(request, "read")
    found = await names_of(by)
    most = limit or (USUAL_PAGE if is_anthropic(request.scope) else MAX_LISTED)
    page = page_of(found, found, after_id, most, before=before_id, field="after_id")
    return respond(page.listed([_model(name) for name in page.items]), {})


@router.get("/v1/models/{model:path}", **documented(None, Model))
async def get_model(request: Request, model: str) -> Response:
    """Return one of these names."""
    by = await caller(request, "read")
    if model not in await names_of(by):
        raise UnknownModel("there is no such model; GET /v1/models lists all", field="model")
    return respond(_model(model), {})


def _model(name: str) -> Model:
    return {
        "id": name, "object": "model", "created": 0, "owned_by": OWNER, "type": "model",
        "display_name": name, "created_at": "1970-01-01T00:00:00Z", "lifecycle": "active",
    }  # fmt: skip
