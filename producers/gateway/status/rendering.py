"""Turns what is known into HTML. Everything is escaped; nothing inline runs or styles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from forebay.producers.gateway.status.views import wording
from forebay.routing.errors import counted, gist
from forebay.routing.reasons import meaning

_HERE = Path(__file__).parent
#: The files that a page loads, and their types.
_TYPES = {
    ".svg": "image/svg+xml",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
#: Nothing comes from elsewhere, nothing inline runs, and no other page may show ours in a frame.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_A_YEAR = "public, max-age=31536000, immutable"  # the address of a file changes with the file


@cache
def static_files() -> Mapping[str, tuple[bytes, str]]:
    """Return the files that pages load, with their types, by name."""
    paths = sorted((_HERE / "static").iterdir())
    return {
        path.name: (path.read_bytes(), _TYPES[path.suffix])
        for path in paths
        if path.suffix in _TYPES
    }


def static_response(name: str) -> Response | None:
    """Return a file as a response; `None` if there is no such file."""
    if name not in static_files():
        return None
    body, kind = static_files()[name]
    return Response(body, headers={**HEADERS, "cache-control": _A_YEAR}, media_type=kind)


@cache
def asset(name: str) -> str:
    """Return the address of a file, which changes when the file does."""
    digest = hashlib.sha256(static_files()[name][0]).hexdigest()[:12]
    return f"/status/static/{name}?{digest}"


@cache
def _templates() -> Environment:
    env = Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    words = (
        wording.count, counted, wording.dollars, wording.percent, wording.span,
        wording.age, wording.clock, wording.moment, wording.iso, wording.share, meaning, gist,
        asset,
    )  # fmt: skip
    env.globals.update({word.__name__: word for word in words})
    return env


def html(template: str, **values: Any) -> Markup:
    """Return a template with these values."""
    return Markup(_templates().get_template(template).render(**values))  # noqa: S704 - escaped


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a whole page as a response."""
    return HTMLResponse(html(template, **values), status, HEADERS)


def partial(target: str, content: str) -> str:
    """Return HTML that htmx puts into the element with this id, changing only what differs."""
    return f'<hx-partial hx-target="#{target}" hx-swap="innerMorph">{content}</hx-partial>'
