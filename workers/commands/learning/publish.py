"""`forebay router publish`: have all workers use a fitted model, and go back to an earlier one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import redis
import typer

from forebay.routing.broker.doorbell import packaged_template
from forebay.routing.errors import Misconfigured
from forebay.routing.learning.audits import Audits
from forebay.routing.learning.calibration import Calibrations
from forebay.routing.learning.versions import Models, PublishedModel
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.scoring.doubt_model import DoubtModel
from forebay.routing.scoring.router_model import RouterModel
from forebay.routing.settings import Settings, read_settings
from forebay.routing.store.connection import connect
from forebay.routing.terminal.options import Json, argument, option
from forebay.workers.commands.options import types_counted_by
from forebay.workers.training.fitting.weights_folder import versioned

#: The first word of a file's version, by the model that can be published.
CLASSES = {"text": RouterModel, "doubt": DoubtModel}
#: The same of files that are set by a variable instead.
VARIABLES = {"cascade": "FOREBAY_CASCADE_MODEL", "encoder": "FOREBAY_ROUTER_ENCODER"}
MAX_BYTES = 8_000_000  # of a file; one with 2^14 bins has a tenth of a megabyte

File = Annotated[
    Path | None, argument("[FILE]", "router_model.json of `train`, or doubt_model.json.")
]
Rollback = Annotated[
    int | None,
    option("--rollback", "VERSION", "Return to this version. 0: packaged weights.", min=0),
]
Which = Annotated[
    Literal["router", "doubt"],
    typer.Option("--model", help="With --rollback: of the router model, or of the doubt model."),
]


def publish(
    file: File = None, *, rollback: Rollback = None, model: Which = "router", as_json: Json = False
) -> None:
    """Have all workers use a fitted model, or roll back.

    Routers and workers that run load it within seconds. Each verdict and each doubt names the
    version of its model. A calibration holds for the model that it was fitted to: it does not move
    the verdicts of another, until `forebay calibrate` has seen enough audits of that one. After a
    rollback the calibration of the earlier model holds again. `forebay router status` shows what is
    in force.
    """
    if (file is None) == (rollback is None):
        raise Misconfigured("give either a file or --rollback", field="FILE")
    settings = read_settings()
    client = connect(settings, "look")
    if file is not None:
        report(publish_weights(client, settings, file), as_json=as_json)
    elif rollback is not None:
        models = Models(client, RouterModel if model == "router" else DoubtModel)
        models.roll_back(rollback)
        _recount(client, settings)
        _report_rollback(models.now().version, rollback, as_json=as_json)


def publish_weights(client: redis.Redis, settings: Settings, file: Path) -> PublishedModel:
    """Publish a file of weights.

    Raises:
        Misconfigured: The file holds no weights that can be published, or was changed after it was
            written; names what is wrong.
    """
    content = _read(file)
    model_class = _class_of(content, file)
    weights: Any = model_class.weights_class.parse(content, str(file))
    if versioned(weights.version.partition("-")[0], weights) != weights:
        found = f"the content does not fit its version {weights.version}: fit the model again"
        raise Misconfigured(found, field=str(file))
    published = Models(client, model_class).publish(content)
    which = " --model doubt" if model_class is DoubtModel else ""
    again = f"forebay router publish --rollback {published.version}{which}"
    with types_counted_by(f"version {published.version}", again):
        _recount(client, settings)
    return published


def report(published: PublishedModel, *, as_json: bool) -> None:
    """Print which version is in force."""
    document = {"version": published.version, "model": published.name}
    words = f"{published.name} is in force: version {published.version}"
    typer.echo(json.dumps(document) if as_json else words)


def _read(file: Path) -> bytes:
    try:
        if file.is_dir():
            raise Misconfigured("is a folder; name the file in it", field=str(file))
        if file.stat().st_size > MAX_BYTES:
            found = f"is larger than {MAX_BYTES // 1_000_000} MB: no file of weights"
            raise Misconfigured(found, field=str(file))
        return file.read_bytes()
    except OSError as error:
        raise Misconfigured(f"cannot be read: {error.strerror}", field=str(file)) from None


def _class_of(content: bytes, file: Path) -> type[RouterModel | DoubtModel]:
    """Return the class of the model that a file holds, by the version that it names."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise Misconfigured("holds no JSON, or is cut short", field=str(file)) from None
    version = document.get("version") if isinstance(document, dict) else None
    name = str(version).partition("-")[0]
    if variable := VARIABLES.get(name):
        found = f"is a {name} model, which is not published: set {variable} to the file"
        raise Misconfigured(found, field=str(file))
    if name not in CLASSES:
        found = "holds neither a router model nor a doubt model; `forebay router train` writes one"
        raise Misconfigured(found, field=str(file))
    return CLASSES[name]


def _recount(client: redis.Redis, settings: Settings) -> None:
    """Count the excess of each job type again: it is what the model in force did not predict."""
    audits = Audits(Ledger(client, settings, packaged_template))
    kept, version = list(audits.read()), Models(client, RouterModel).now().version
    usable = [audit for audit in kept if audit.model == version and not audit.stand_in]
    audits.forget_types({audit.tenant for audit in kept})
    audits.recount(usable, Calibrations(client))


def _report_rollback(name: str, version: int, *, as_json: bool) -> None:
    document = {"version": version, "model": name}
    how = f"version {version}" if version else "the packaged weights"
    typer.echo(json.dumps(document) if as_json else f"{name} is in force: {how}")
