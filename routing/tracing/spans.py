"""Spans for OpenTelemetry. They hold ids, codes and counts, and never content.

OpenTelemetry is an extra (`otel`). A process that has not imported it, or has set up no provider,
makes no spans, which costs it next to nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, Literal

from forebay.routing.errors import ForebayError

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Value = str | int | float | bool

SCOPE = "forebay"
LOOK_AGAIN_S = 0.2  # for a provider, after none was found


class Span:
    """A span that is recorded; without a recorder it does nothing.

    Only ids, codes and counts may be set.
    """

    __slots__ = ("_span",)

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def set(self, **values: Value | None) -> None:
        """Set attributes; `gen_ai__usage` is `gen_ai.usage`, and `None` sets nothing."""
        if self._span is not None:
            self._span.set_attributes(_attributes(values))

    def rename(self, name: str) -> None:
        """Give the span another name."""
        if self._span is not None:
            self._span.update_name(name)

    def fail(self, code: str) -> None:
        """Mark the span as failed, with the code of the error."""
        if self._span is not None:
            status = sys.modules["opentelemetry.trace"].Status
            error = sys.modules["opentelemetry.trace"].StatusCode.ERROR
            self._span.set_status(status(error, code))
            self._span.set_attribute("error.type", code)

    def end(self) -> None:
        """End a span that `begin` began."""
        if self._span is not None:
            self._span.end()


_UNRECORDED: AbstractContextManager[Span] = nullcontext(Span())


def tracing() -> bool:
    """Return whether this process records spans."""
    return _tracer() is not None


def span(
    name: str, *, kind: Kind = "internal", parent: str = "", **values: Value | None
) -> AbstractContextManager[Span]:
    """Record a span as long as the block runs; spans inside are its children.

    Args:
        name: what is done.
        kind: its kind for OpenTelemetry.
        parent: a traceparent; by default the parent is the span in which this code runs.
        values: attributes; see `Span.set`.
    """
    tracer = _tracer()
    if tracer is None or (not parent and _skips()):
        return _UNRECORDED
    return _recorded(tracer, name, kind, parent, values)


def begin(name: str, *, kind: Kind = "internal", parent: str, **values: Value | None) -> Span:
    """Begin a span, below which this thread's spans are from now on; see `span`.

    End it with `Span.end`, and then call `skip` or begin another.
    """
    tracer = _tracer()
    if tracer is None:
        return Span()
    begun = tracer.start_span(name, _context(parent), _kind(kind), _attributes(values))
    _attach(begun)
    return Span(begun)


def skip() -> None:
    """Record no spans in this thread from now on, but those that have a parent of their own."""
    if _tracer() is not None and not _skips():
        _attach(_skipped())


def _skips() -> bool:
    """Return whether this thread records no spans."""
    return sys.modules["opentelemetry.trace"].get_current_span() is _skipped()


@cache
def _skipped() -> Any:
    """Return the span that is current where none is recorded."""
    api = sys.modules["opentelemetry.trace"]
    return api.NonRecordingSpan(api.INVALID_SPAN_CONTEXT)


def _attach(current: Any) -> None:
    context = sys.modules["opentelemetry.trace"].set_span_in_context(current)
    sys.modules["opentelemetry.context"].attach(context)


@contextmanager
def _recorded(
    tracer: Any, name: str, kind: Kind, parent: str, values: dict[str, Value | None]
) -> Iterator[Span]:
    with tracer.start_as_current_span(
        name, _context(parent), _kind(kind), _attributes(values),
        record_exception=False,  # its message may be content
        set_status_on_exception=False,
    ) as recorded:  # fmt: skip
        made = Span(recorded)
        try:
            yield made
        except ForebayError as error:
            made.fail(error.code)
            raise
        except BaseException as error:
            made.fail(type(error).__name__)
            raise


def record(
    name: str,
    began_ns: int,
    *,
    parent: str = "",
    error: str | None = None,
    **values: Value | None,
) -> None:
    """Record a span of something that is over now.

    Args:
        name: what was done.
        began_ns: Unix time at which it began, in nanoseconds.
        parent: a traceparent; by default the parent is the span in which this code runs.
        error: the code of its error, if it failed.
        values: attributes; see `Span.set`.
    """
    tracer = _tracer()
    if tracer is None or (not parent and _skips()):
        return
    recorded = tracer.start_span(
        name, _context(parent), attributes=_attributes(values),
        start_time=min(began_ns, time.time_ns()),
    )  # fmt: skip
    if error:
        Span(recorded).fail(error)
    recorded.end()


class _Tracer:
    """Finds the tracer of this process. Asking OpenTelemetry takes microseconds, so it remembers.

    A provider that is set up later is found within `LOOK_AGAIN_S`.
    """

    def __init__(self) -> None:
        self._idle_until = 0.0
        self._provider: Any = None
        self._tracer: Any = None

    def __call__(self) -> Any:
        """Return the tracer; `None` if there is none that records."""
        now = time.monotonic()
        return None if now < self._idle_until else self._look(now)

    def forget(self) -> None:
        """Look anew at the next call."""
        self._idle_until = 0.0

    def _look(self, now: float) -> Any:
        api: Any = sys.modules.get("opentelemetry.trace")
        provider: Any = api.get_tracer_provider() if api else None
        if provider is None or isinstance(provider, api.ProxyTracerProvider):  # none is set up
            self._idle_until = now + LOOK_AGAIN_S
            return None
        if self._provider is not provider:  # making a tracer takes longer still
            self._provider, self._tracer = provider, provider.get_tracer(SCOPE)
        return self._tracer


_tracer = _Tracer()
look_again = _tracer.forget


def _context(parent: str) -> Any:
    """Return the context of a traceparent; `None`, the current one, if it is empty."""
    if not parent:
        return None
    api = sys.modules["opentelemetry.trace"]
    _, trace, span_id, flags = parent.split("-")
    remote = api.SpanContext(int(trace, 16), int(span_id, 16), True, api.TraceFlags(int(flags, 16)))
    return api.set_span_in_context(api.NonRecordingSpan(remote))


def _kind(kind: Kind) -> Any:
    return sys.modules["opentelemetry.trace"].SpanKind[kind.upper()]


def _attributes(values: dict[str, Value | None]) -> dict[str, Value]:
    """Return attributes under their dotted names: `gen_ai__usage` is `gen_ai.usage`."""
    return {_dotted(name): value for name, value in values.items() if value is not None}


@cache
def _dotted(name: str) -> str:
    return name.replace("__", ".")
