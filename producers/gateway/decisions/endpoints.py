"""`POST /v1/decisions` and `POST /v1/systemone`: both ask a job of the kind `decide`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from forebay.producers.gateway.access import Caller, caller
from forebay.producers.gateway.asking import origin
from forebay.producers.gateway.asking.asking import ask
from forebay.producers.gateway.asking.model_names import asked_of
from forebay.producers.gateway.decisions import systemone_reply
from forebay.producers.gateway.decisions.decision_job import decision_job
from forebay.producers.gateway.decisions.openai_reply import Decision, decision
from forebay.producers.gateway.decisions.openai_request import DecisionRequest
from forebay.producers.gateway.decisions.systemone_reply import SystemOneResponse
from forebay.producers.gateway.decisions.systemone_request import SystemOneRequest
from forebay.producers.gateway.documents import documented
from forebay.producers.gateway.wire import read, respond
from forebay.routing.jobs import Answer

router = APIRouter(tags=["Decisions"])


DECIDE = documented(
    DecisionRequest, Decision,
    example={
        "model": "auto", "input": "The invoice is wrong.",
        "questions": [{"type": "predicate", "instructions": "The text is a complaint."}],
    },
)  # fmt: skip


@router.post("/v1/decisions", **DECIDE)
async def create_decision(request: Request) -> Response:
    """Answer typed questions about an input with probabilities, in OpenAI's format."""
    by = await caller(request, "submit")
    body = read(DecisionRequest, await request.body())
    answer = await _answer(request, by, body)
    return respond(decision(body, answer), {**by.headers, **origin.headers([answer])})


@router.post("/v1/systemone", **documented(SystemOneRequest, SystemOneResponse))
async def create_systemone(request: Request) -> Response:
    """Answer named questions about a state with probabilities, in the format of System One."""
    by = await caller(request, "submit")
    body = read(SystemOneRequest, await request.body())
    answer = await _answer(request, by, body)
    headers = {**by.headers, **origin.headers([answer])}
    return respond(systemone_reply.response(body, answer), headers)


async def _answer(request: Request, by: Caller, body: DecisionRequest | SystemOneRequest) -> Answer:
    wanted = await asked_of(by, body.model, "decide")
    return (await ask(request, by, [decision_job(body, wanted, request.headers, by.tenant)]))[0]
