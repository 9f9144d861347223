"""The check of `forebay doctor` about the router's decision model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from forebay.routing.diagnostics import Finding
from forebay.routing.errors import ForebayError
from forebay.routing.lanes import ROUTE
from forebay.routing.overview.workers import Workers
from forebay.routing.settings import Settings, read
from forebay.routing.store.connection import connect
from forebay.workers.cascade.router_models.decision_router_model import VARIABLE
from forebay.workers.engines.llamacpp.gguf import decision_type, gguf_file
from forebay.workers.engines.settings import RouterSettings


def decision_model() -> Iterator[Finding]:
    """Check the decision model of routers, if there is to be one, and that routers run it."""
    file = read(RouterSettings).router_decision_model
    if file is None:
        return
    try:
        found = gguf_file(file)
        kind = decision_type(found)
    except ForebayError as error:
        seen = f"{error.message}: the packaged model gives the verdicts"
        yield Finding("decision model", "fail", seen, f"set {VARIABLE} to a GGUF file, or unset it")
        return
    how = f"a decision model ({kind})" if kind else "a language model: yes and no are scored"
    yield Finding("decision model", "ok", f"{found.name}, {how}")
    yield from _routers(found)


def _routers(file: Path) -> Iterator[Finding]:
    """Report routers that run, but not by this model; nothing if Redis cannot be reached."""
    client = connect(read(Settings))
    try:
        workers = Workers(client).all()
    except ForebayError:  # the check `redis` reports it
        return
    finally:
        client.close()
    live = [one for one in workers if ROUTE in one.status.queues and one.state != "gone"]
    without = [one.status.name for one in live if file.stem not in one.status.model.split(",")]
    if without:
        seen = f"the packaged model gives the verdicts of {', '.join(without)}"
        mend = f"their logs say why (router.decisions_down); or set {VARIABLE} there too"
        yield Finding("decision model", "warn", seen, mend)
