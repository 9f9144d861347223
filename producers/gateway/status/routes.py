"""The addresses of the page: the fleet, a job, their streams, signing in, and replaying."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial as bound
from typing import Any
from urllib.parse import parse_qs, quote

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from forebay.producers.gateway.errors import Forbidden, Refusal, Unauthorized, fault_of
from forebay.producers.gateway.status.content import content_of
from forebay.producers.gateway.status.page import StatusPage
from forebay.producers.gateway.status.rendering import (
    HEADERS,
    html,
    page,
    partial,
    static_response,
)
from forebay.producers.gateway.status.streams import Stream
from forebay.producers.gateway.status.viewer import COOKIE, SESSION_S, Viewer, check_origin
from forebay.producers.gateway.status.views.job_page import JobPage
from forebay.producers.gateway.status.views.series import DEFAULT_RANGE, RANGES, series
from forebay.routing.errors import ForebayError

HOME, SIGN_IN = "/status", "/status/sign-in"
_SEE_OTHER = 303
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route whose errors are pages for people; who is not signed in is led to the form."""

    def get_route_handler(self) -> Handler:
        """Return the handler of the route."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except Unauthorized as error:
                return _unknown_viewer(request, error)
            except (ForebayError, Refusal, HTTPException) as error:
                return _error(request, error)

        return handled


router = APIRouter(prefix=HOME, include_in_schema=False, route_class=PageRoute)


@router.get("")
async def show_fleet(request: Request) -> Response:
    """Show the fleet, or the part of the viewer's tenant."""
    status, viewer = await _looking(request)
    view, parts = await status.view(viewer), await status.parts(viewer)
    return page("fleet.html", **_base(status, viewer), view=view, parts=parts, ranges=[*RANGES])


@router.get("/events")
async def watch_fleet(request: Request) -> Response:
    """Send what changes of the page."""
    status, viewer = await _looking(request)
    return _streaming(Stream(status, _still_in(request), bound(status.parts, viewer)))


@router.get("/series")
async def read_series(request: Request) -> Response:
    """Return the points of the charts as JSON."""
    status, viewer = await _looking(request)
    if not viewer.operates:
        raise Forbidden("the figures of the fleet need a key with the scope `operator`")
    number, step = RANGES.get(request.query_params.get("range", ""), RANGES[DEFAULT_RANGE])
    minutes = await status.minutes(number)
    return Response(to_json(series(minutes, step)), headers=HEADERS, media_type="application/json")


@router.get("/jobs")
async def find_job(request: Request) -> Response:
    """Lead to the page of a job whose id was typed in."""
    job_id = request.query_params.get("id", "").strip()
    return _to(f"{HOME}/jobs/{quote(job_id, safe='')}" if job_id else HOME)


@router.get("/jobs/{job_id}")
async def show_job(request: Request, job_id: str) -> Response:
    """Show a job: its explanation as a timeline, and never its content."""
    status, viewer = await _looking(request)
    job = await status.job(viewer, job_id)
    part = _job_part(status, viewer, job)
    return page("job.html", **_base(status, viewer), job=job, part=part)


@router.get("/jobs/{job_id}/events")
async def watch_job(request: Request, job_id: str) -> Response:
    """Send what changes of a job until it has ended."""
    status, viewer = await _looking(request)
    last = await status.job(viewer, job_id)

    async def parts() -> dict[str, str]:
        nonlocal last
        last = await status.job(viewer, job_id)
        return {"job": _job_part(status, viewer, last)}

    return _streaming(Stream(status, _still_in(request), parts, lambda: last.ended))


@router.get("/jobs/{job_id}/content")
async def show_content(request: Request, job_id: str) -> Response:
    """Show what a job asked and was answered, to a key of its own tenant alone."""
    status, viewer = await _looking(request)
    tenant = status.tenant_of(viewer, job_id)
    if not viewer.may_read(tenant):
        raise Forbidden(f"content of this job is shown to keys of the tenant {tenant} alone")
    shown = await content_of(request.app.state.gateway, tenant, job_id)
    return page("content.html", **_base(status, viewer), job_id=job_id, shown=shown)


@router.post("/jobs/{job_id}/replay")
async def replay_job(request: Request, job_id: str) -> Response:
    """Replay a dead job."""
    status, viewer = await _looking(request)
    await _check_form(request, status, viewer)
    if not status.settings.status_replay:
        raise Forbidden("replaying is switched off: FOREBAY_STATUS_REPLAY=true allows it")
    if not viewer.may_act(status.tenant_of(viewer, job_id)):
        raise Forbidden("replaying needs a key with the scope `admin`")
    new = await status.replay(viewer, job_id)
    if _by_htmx(request):
        return Response(_said(f"Replayed as {new}"), headers=HEADERS, media_type="text/html")
    return _to(f"{HOME}/jobs/{new}")


@router.get("/sign-in")
async def show_form(request: Request) -> Response:
    """Show the form that takes an API key; a gateway without keys has none."""
    if request.app.state.status.sessions.keyless:
        return _to(HOME)
    return page("sign_in.html", error="", next=_next(request.query_params.get("next", "")))


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Take an API key, and keep a session in a cookie that no script can read."""
    status: StatusPage = request.app.state.status
    if status.sessions.keyless:
        return _to(HOME)
    fields = await _fields(request)
    target = _next(fields.get("next", ""))
    check_origin(request.headers)
    try:
        cookie = await status.sessions.sign_in(fields.get("key", "").strip())
    except (Unauthorized, Forbidden) as error:
        return page("sign_in.html", error.status, error=str(error), next=target)
    response = _to(target)
    response.set_cookie(
        COOKIE, cookie, max_age=SESSION_S, path=HOME, httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return response


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """Forget the session."""
    status, viewer = await _looking(request)
    await _check_form(request, status, viewer)
    response = _to(SIGN_IN)
    response.delete_cookie(COOKIE, path=HOME)
    return response


@router.get("/static/{name}")
async def load_static(name: str) -> Response:
    """Return a script or a style sheet of the page."""
    response = static_response(name)
    if response is None:
        raise HTTPException(404)
    return response


async def _looking(request: Request) -> tuple[StatusPage, Viewer]:
    """Return the page and who looks at it. Raises `Unauthorized` or `Forbidden`."""
    status: StatusPage = request.app.state.status
    return status, await status.sessions.viewer(request.headers)


def _still_in(request: Request) -> Callable[[], Coroutine[Any, Any, Viewer]]:
    status: StatusPage = request.app.state.status
    return lambda: status.sessions.viewer(request.headers)


def _base(status: StatusPage, viewer: Viewer) -> dict[str, Any]:
    """Return what every page needs."""
    return {"viewer": viewer, "token": status.sessions.form_token(viewer)}


def _job_part(status: StatusPage, viewer: Viewer, job: JobPage) -> str:
    replays = status.settings.status_replay and viewer.may_act(job.tenant)
    values = {**_base(status, viewer), "job": job, "replays": replays}
    return html("parts/job.html", **values)


def _streaming(stream: Stream) -> Response:
    headers = {**HEADERS, "x-accel-buffering": "no"}
    return StreamingResponse(stream.events(), headers=headers, media_type="text/event-stream")


async def _fields(request: Request) -> dict[str, str]:
    """Return the fields of a form."""
    body = (await request.body()).decode("utf-8", "replace")
    return {name: values[-1] for name, values in parse_qs(body, max_num_fields=20).items()}


async def _check_form(request: Request, status: StatusPage, viewer: Viewer) -> None:
    token = (await _fields(request)).get("token", "")
    status.sessions.check_form(viewer, token, request.headers)


def _by_htmx(request: Request) -> bool:
    return request.headers.get("hx-request") == "true"


def _said(words: str, *, bad: bool = False) -> str:
    return partial("said", html("parts/said.html", words=words, bad=bad))


def _to(path: str) -> RedirectResponse:
    return RedirectResponse(path, _SEE_OTHER, HEADERS)


def _next(path: str) -> str:
    """Return where to go after signing in: a page of ours, whatever was asked for."""
    return path if path == HOME or path.startswith(f"{HOME}/jobs/") else HOME


def _unknown_viewer(request: Request, error: Unauthorized) -> Response:
    """Lead a person to the form; tell a program or a stream that it is not signed in."""
    people = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    if people and not _by_htmx(request) and "authorization" not in request.headers:
        return _to(f"{SIGN_IN}?next={quote(request.url.path)}")
    return page("error.html", error.status, viewer=None, words=str(error), code=error.code)


def _error(request: Request, error: Exception) -> Response:
    fault = fault_of(error)
    if _by_htmx(request):
        body = _said(fault.message, bad=True)
        return Response(body, fault.status, HEADERS, "text/html")
    return page("error.html", fault.status, viewer=None, words=fault.message, code=fault.code)
