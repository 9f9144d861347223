"""The application: the endpoints of all formats over one fleet."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

import forebay
from forebay.producers.gateway import documents
from forebay.producers.gateway.access import Doors
from forebay.producers.gateway.anthropic import messages
from forebay.producers.gateway.batch_endpoints import (
    anthropic_batches,
    bulks,
    files,
    openai_batches,
)
from forebay.producers.gateway.decisions import endpoints as decisions
from forebay.producers.gateway.errors import Refusal, fault_of
from forebay.producers.gateway.fleets.gateways import Gateways
from forebay.producers.gateway.fleets.publishing import publish_map
from forebay.producers.gateway.native import health, jobs, tenants, webhooks
from forebay.producers.gateway.openai import chat, embeddings, models
from forebay.producers.gateway.openai.completions import endpoints as completions
from forebay.producers.gateway.openai.responses import endpoints as responses
from forebay.producers.gateway.server.background import Background
from forebay.producers.gateway.server.docs_page import add_docs
from forebay.producers.gateway.server.envelope import Envelope
from forebay.producers.gateway.server.figures import CONTENT_TYPE, Figures
from forebay.producers.gateway.server.shortcuts import Shortcuts
from forebay.producers.gateway.settings import GatewaySettings
from forebay.producers.gateway.shapes import ERRORS, error_response, request_id
from forebay.producers.gateway.status import routes as status
from forebay.producers.gateway.status.page import StatusPage
from forebay.producers.gateway.status.settings import StatusSettings
from forebay.routing.errors import ForebayError, ResultTimeout
from forebay.routing.log_lines.line_handler import to_stderr
from forebay.routing.settings import Settings, read, read_settings
from forebay.routing.tracing import exporting

TITLE = "Forebay"
#: FastAPI's own spans and logs hold queries and the messages of exceptions, which may be content.
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False, "metrics": False, "logs": False, "auto_configure": False,
}  # fmt: skip
SUMMARY = "LLM jobs on a local fleet, and on a frontier model where that is allowed."
#: The groups of endpoints, in the order in which /docs shows them.
TAGS = (
    "OpenAI", "Anthropic", "Decisions", "Jobs", "Files", "Batches", "Bulks", "Webhooks", "Tenants",
    "Health",
)  # fmt: skip
FORM_BYTES = 64 * 1024  # of an upload around its file
#: The errors that a response explains; any other is a defect.
EXPLAINED = (Refusal, ForebayError, ResultTimeout, HTTPException, RequestValidationError)
ROUTERS = (
    files.router,
    openai_batches.router,
    anthropic_batches.router,
    bulks.router,
    chat.router,
    completions.router,
    responses.router,
    embeddings.router,
    decisions.router,
    models.router,
    messages.router,
    jobs.router,
    tenants.router,
    webhooks.router,
    health.router,
)


def application() -> FastAPI:
    """Return the application with the settings of the environment; uvicorn calls this.

    Raises:
        Misconfigured: Names the variable that is wrong.
    """
    to_stderr(logging.INFO)
    exporting.start("forebay-gateway")
    return create_app(read(GatewaySettings), read_settings(), read(StatusSettings))


def create_app(
    settings: GatewaySettings, fleet: Settings, shown: StatusSettings | None = None
) -> FastAPI:
    """Return the application over the fleet of these settings."""
    shown = shown or StatusSettings()
    # Its page needs nothing from the network: no browser here asks others for scripts.
    app = FastAPIOffline(
        docs_url=None, redoc_url=None, title=TITLE, summary=SUMMARY, version=forebay.__version__,
        lifespan=_lifespan(settings, fleet, shown), telemetry=NO_TELEMETRY,
        swagger_ui_parameters={"defaultModelsExpandDepth": 0},  # hundreds of schemas, folded
    )  # fmt: skip
    figures = Figures(settings.gateway_metrics_dir)
    routers = (health.router,) if shown.status_only else ROUTERS
    routes = [route for router in routers for route in router.routes]
    app.add_middleware(Shortcuts, routes=routes, explain=_explain, errors=EXPLAINED)
    app.add_middleware(
        Envelope, max_body=settings.gateway_max_body, figures=figures, larger=_larger(settings)
    )
    for kind in EXPLAINED:
        app.add_exception_handler(kind, _explain)
    for router in routers:
        app.include_router(router)
    app.include_router(status.router)
    add_docs(app)
    _add_metrics(app, figures)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]  # as FastAPI's docs say
    return app


def _larger(settings: GatewaySettings) -> dict[str, int]:
    """Return the paths whose bodies may be larger than others."""
    return {
        files.router.prefix: settings.gateway_max_file + FORM_BYTES,
        anthropic_batches.router.prefix: settings.gateway_max_batch_body,
    }


def _lifespan(settings: GatewaySettings, fleet: Settings, shown: StatusSettings) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        background = Background()
        gateways = Gateways(settings, fleet, background.start)
        app.state.gateway, app.state.doors = gateways.default, Doors(gateways)
        app.state.status = StatusPage(gateways, app.state.doors, fleet, shown)
        gateways.all()
        publisher = asyncio.create_task(publish_map(gateways))
        gc.freeze()  # what is there now stays, so no collection need look at it again
        try:
            yield
        finally:
            publisher.cancel()
            await background.stop()
            await app.state.status.close()
            await gateways.close()

    return lifespan


async def _explain(request: Request, error: Exception) -> Response:
    response = error_response(request.scope, fault_of(error), request_id(request))
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["allow"] = ", ".join(sorted(_methods(request)))
    return response


def _methods(request: Request) -> set[str]:
    """Return the methods that the path of a request has."""
    path = request.url.path
    routers = (*ROUTERS, status.router)
    routes = [one for router in routers for one in router.routes if isinstance(one, APIRoute)]
    matching = [route for route in routes if route.path_regex.match(path)]
    return {method for route in matching for method in route.methods or ()} or {"GET"}


def _add_metrics(app: FastAPI, figures: Figures) -> None:
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}

    @app.get("/metrics", response_class=Response, responses={200: text}, tags=["Health"])
    async def metrics() -> Response:
        """Return the gateway's figures in Prometheus' text format."""
        return Response(figures.exposition(), media_type=CONTENT_TYPE)


def _document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the models of the endpoints that read their bodies."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes,
            tags=[{"name": name} for name in TAGS],
        )  # fmt: skip
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(documents.schemas(*ERRORS))
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
        app.openapi_schema = document
    return app.openapi_schema
