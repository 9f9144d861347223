"""Settings of Flower for a fleet on one machine: reachable from this machine only, and read-only.

Flower reads this file with `--conf`. Its HTTP API needs no password, because only this machine
can reach it (`address`). A browser here can be led to it by any web page, so Flower answers only
requests for its own host that come from its own pages, and cannot stop a worker (`read_only`).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from celery.events.receiver import EventReceiver
from flower.app import Flower  # type: ignore[import-untyped] # Flower has no types
from flower.views import BaseHandler  # type: ignore[import-untyped] # as above
from tornado.web import ErrorHandler

address = "127.0.0.1"
read_only = True
natural_time = True
max_tasks = 10_000
max_workers = 500
purge_offline_workers = 60
# Workers always send events; Flower need not ask for them, and its Redis user could not.
enable_events = False
# A task is a job: its name is the kind, its arguments are tenant, egress and lane, its result is
# the receipt.
tasks_columns = "name,uuid,state,args,result,received,started,runtime,worker"

_OWN_HOSTS = {address, "localhost"}
_FORBIDDEN = 403
_NUMBERS = ("timestamp", "utcoffset", "clock", "pid", "freq", "active", "processed", "runtime")
_LAST_TIMESTAMP = 4_000_000_000.0  # in the year 2096
_LAST_CLOCK = 2**53  # of Lamport's clock, which any event may set
_MAX_NAME, _MAX_TEXT = 255, 10_000  # characters
_MAX_LIST = 3  # numbers, of the load of a machine


def _is_own(request: Any) -> bool:
    """Return whether a request names this host, and comes from no other site's page.

    A page whose name was pointed at this machine (DNS rebinding) sends its own name as the host.
    """
    origin = request.headers.get("Origin")
    host = urlsplit(f"//{request.host}").hostname
    return host in _OWN_HOSTS and (origin is None or urlsplit(origin).netloc == request.host)


def _find_handler(application: Any, request: Any, **options: Any) -> Any:
    if _is_own(request):
        return _flowers_find_handler(application, request, **options)
    return application.get_handler_delegate(request, ErrorHandler, {"status_code": _FORBIDDEN})


def _set_default_headers(handler: Any) -> None:
    """Replace Flower's own, which lets any site read an API that needs no password."""
    handler.set_header("X-Content-Type-Options", "nosniff")


def _send_nothing(_receiver: Any, channel: Any = None) -> None:
    """Replace a broadcast that asks workers for a heartbeat: Flower's Redis user cannot publish."""


def _is_sound(event: Any) -> bool:
    """Return whether Flower can take an event: a forged one could stop it, or fill its memory."""
    return (
        isinstance(event, dict)
        and all(_is_name(event.get(key, "-")) for key in ("uuid", "name", "state"))
        and all(_is_name(event.get(key)) for key in ("type", "hostname"))
        and all(isinstance(event.get(key) or 0, int | float) for key in _NUMBERS)
        and abs(event.get("timestamp") or 0) < _LAST_TIMESTAMP
        and abs(event.get("clock") or 0) < _LAST_CLOCK
        and ("uuid" in event or not event["type"].startswith("task-"))
        and not any(isinstance(value, dict) for value in event.values())
        and all(len(value) <= _MAX_TEXT for value in event.values() if isinstance(value, str))
        and all(len(value) <= _MAX_LIST for value in event.values() if isinstance(value, list))
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME


def _receive(receiver: EventReceiver, body: Any, message: Any) -> None:
    """Pass on the events that Flower can take."""
    events = body if isinstance(body, list) else [body]
    _flowers_receive(receiver, [event for event in events if _is_sound(event)], message)


_flowers_receive = EventReceiver._receive  # noqa: SLF001 - Celery calls it for each message
EventReceiver._receive = _receive  # noqa: SLF001 - as above
EventReceiver.wakeup_workers = _send_nothing
_flowers_find_handler = Flower.find_handler
Flower.find_handler = _find_handler
BaseHandler.set_default_headers = _set_default_headers
