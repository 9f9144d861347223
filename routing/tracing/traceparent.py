"""The traceparent of a job (W3C Trace Context), by which the spans of all processes are joined."""

from __future__ import annotations

import hashlib
import re
import sys

_FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_SAMPLED = "01"


def checked(value: str | None) -> str | None:
    """Return a traceparent, or `None` if the value is none."""
    return value if value and _FORM.fullmatch(value) else None


def current() -> str:
    """Return the traceparent of the span in which this code runs; empty if there is none."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:  # nobody in this process traces
        return ""
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def of_job(job_id: str, given: str | None) -> str:
    """Return the traceparent of a job: what its producer gave, or else one made of the job's id.

    So all spans of a job are in one trace, also if its producer does not trace. The trace's id is
    then the random part of the job's id, by which the trace can be found.
    """
    if given := checked(given):
        return given
    _, _, random = job_id.rpartition(".")
    digest = hashlib.sha256(job_id.encode()).hexdigest()
    made = checked(f"00-{random}-{digest[:16]}-{_SAMPLED}")
    return made or f"00-{digest[:32]}-{digest[32:48]}-{_SAMPLED}"
