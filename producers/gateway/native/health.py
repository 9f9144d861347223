"""`/healthz` and `/readyz`: whether the process lives, and whether it can take requests."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from forebay.producers.gateway.documents import documented_natively
from forebay.producers.gateway.gateway import Gateway
from forebay.producers.gateway.wire import respond

router = APIRouter(tags=["Health"])


class Health(TypedDict):
    """That the process is well."""

    status: Literal["ok"]


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", **documented_natively(None, Health))
async def healthz() -> Response:
    """Say that the process lives. Ask nothing else for it."""
    return respond({"status": "ok"}, {})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", **documented_natively(None, Health))
async def readyz(request: Request) -> Response:
    """Say that Redis answers, so that the gateway can take jobs."""
    gateway: Gateway = request.app.state.gateway
    await gateway.ping()
    return respond({"status": "ok"}, {})
