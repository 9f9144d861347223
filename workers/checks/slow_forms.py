"""The schemas and patterns of callers whose checks were stopped lately."""

from __future__ import annotations

import hashlib
import json
import time

from forebay.routing.jobs import Extract, Generate, Job

KEEP_S = 60.0
MAX_FORMS = 1_000


class SlowForms:
    """Remembers forms whose checks were stopped. Safe to share between threads.

    Jobs come in thousands with the same schema. If each of them took the whole budget of a check,
    they would hold the lane by their number.
    """

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}

    def add(self, job: Job) -> None:
        """Remember the job's form for `KEEP_S`."""
        if len(self._until) >= MAX_FORMS:
            self._until.clear()
        self._until[_digest(job)] = time.monotonic() + KEEP_S

    def __contains__(self, job: Job) -> bool:
        """Return whether a check of the job's form was stopped lately."""
        return bool(self._until) and self._until.get(_digest(job), 0.0) > time.monotonic()


def _digest(job: Job) -> bytes:
    """Return a digest of the job's tenant, and of its schema or pattern, or else of its id."""
    request = job.request
    form: object = job.id
    if isinstance(request, Extract | Generate) and request.schema_ is not None:
        form = request.schema_
    elif isinstance(request, Generate) and request.regex is not None:
        form = request.regex
    return hashlib.sha256(json.dumps([job.tenant, form]).encode()).digest()
