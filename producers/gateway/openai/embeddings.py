"""`POST /v1/embeddings`."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from forebay.producers.gateway.access import caller
from forebay.producers.gateway.asking import origin
from forebay.producers.gateway.asking.asking import ask
from forebay.producers.gateway.asking.chats import named
from forebay.producers.gateway.asking.model_names import Target, asked_of
from forebay.producers.gateway.asking.options import NOTHING, Own
from forebay.producers.gateway.asking.terms import terms
from forebay.producers.gateway.documents import documented
from forebay.producers.gateway.wire import Body, Ignored, only, read, respond
from forebay.routing.jobs import Answer, Embed, Embedding, Job

router = APIRouter(tags=["OpenAI"])


def _texts(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
        return texts
    words = {"why": "must be a text or a list of texts; tokens are not supported"}
    raise PydanticCustomError("not_supported", "{why}", words)


_TEXTS_SCHEMA = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
    ]
}
Texts = Annotated[list[str], BeforeValidator(_texts), WithJsonSchema(_TEXTS_SCHEMA)]


class EmbeddingRequest(Body):
    """The body of `POST /v1/embeddings`."""

    input: Texts
    model: str = Field(min_length=1, max_length=200)
    encoding_format: Literal["float", "base64"] = "float"
    forebay: Own | None = None
    dimensions: Annotated[Any, only(why="vectors have the model's length; leave it out")] = None
    user: Ignored = None


class EmbeddedText(TypedDict):
    """The vector of one text: a list of numbers, or base64 of 32-bit numbers, little-endian."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(TypedDict):
    """The tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(TypedDict):
    """The response of `POST /v1/embeddings`."""

    object: Literal["list"]
    data: list[EmbeddedText]
    model: str
    usage: EmbeddingUsage
    forebay: origin.Origin


EMBED = documented(
    EmbeddingRequest, EmbeddingResponse, example={"model": "auto", "input": ["a forebay"]}
)


@router.post("/v1/embeddings", **EMBED)
async def create_embeddings(request: Request) -> Response:
    """Turn texts into vectors. `auto`, `local` and `forebay/embed` name the fleet's one model."""
    by = await caller(request, "submit")
    body = read(EmbeddingRequest, await request.body())
    job = embedding_job(body, await asked_of(by, body.model, "embed"), request.headers, by.tenant)
    (answer,) = await ask(request, by, [job])
    headers = {**by.headers, **origin.headers([answer])}
    return respond(embedded(answer, body.encoding_format), headers)


def embedding_job(
    body: EmbeddingRequest, wanted: Target, headers: Mapping[str, str], tenant: str
) -> Job:
    """Return the job that a body stands for.

    Raises:
        InvalidRequest: The model gives no vectors, or a header is wrong.
        InvalidJob: Names the wrong field.
    """
    options = terms("embed", wanted, body.forebay or NOTHING, headers)
    with named({"texts": "input"}):
        embed = Embed(texts=body.input)
        return Job.model_validate({"tenant": tenant, "request": embed, **options})


def embedded(answer: Answer, form: str) -> EmbeddingResponse:
    """Return the response of texts that were turned into vectors."""
    assert isinstance(answer.content, Embedding)
    vectors = enumerate(answer.content.vectors)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": i, "embedding": _encoded(vector, form)}
            for i, vector in vectors
        ],
        "model": answer.model or "",
        "usage": {"prompt_tokens": answer.tokens_in, "total_tokens": answer.tokens_in},
        "forebay": origin.origin(answer),
    }


def _encoded(vector: Sequence[float], form: str) -> list[float] | str:
    if form == "float":
        return list(vector)
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
