"""A decision model as the router's small model, beside the packaged one.

`FOREBAY_ROUTER_DECISION_MODEL` names its GGUF file. It runs in an engine of the router's own, in a
process of its own. Of a file without a decision model, llama.cpp scores a yes and a no.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from forebay.routing.base import Kind
from forebay.routing.errors import ForebayError, Misconfigured
from forebay.routing.jobs import Job, Verdict
from forebay.routing.logs import Event, event
from forebay.routing.scoring.router_model import VerdictSource
from forebay.workers.cascade.router_models.llm_router_model import LlmRouterModel
from forebay.workers.engines.engine import Engine, Turn
from forebay.workers.engines.host.supervisor import open_engine
from forebay.workers.engines.settings import EngineSettings

log = logging.getLogger(__name__)

RETRY_S = 60.0  # after the model could not be opened
VARIABLE = "FOREBAY_ROUTER_DECISION_MODEL"
NAME = "decision"  # the versions of its verdicts begin with it
QUESTION = (
    "A small language model is given the {kind} task of the text. Will its answer be correct and "
    "complete? Answer yes or no."
)


def open_decisions(file: Path, settings: EngineSettings, field: str = VARIABLE) -> Engine:
    """Open an engine that answers one question at a time by the model of this file.

    Args:
        file: a GGUF file.
        settings: those of the engine's process: its threads, its context.
        field: where the file was named, for an error.

    Raises:
        Misconfigured: The file cannot be read or loaded.
        Unavailable: llama.cpp is not installed, or cannot run the model.
    """
    own = {"engine": "llamacpp", "model_file": file, "slots": 1, "gpu_layers": settings.gpu_layers}
    try:
        return open_engine(settings.model_copy(update=own))
    except Misconfigured as error:
        field = field if error.field == "FOREBAY_MODEL_FILE" else str(error.field)
        raise Misconfigured(error.message, field=field) from None


def decision_model(engine: Engine, packaged: VerdictSource) -> LlmRouterModel:
    """Return what gives verdicts by this engine."""
    return LlmRouterModel(engine, packaged, NAME, _turns)


class DecisionRouterModel:
    """Gives verdicts by a decision model, and by the packaged model whenever that one cannot.

    1. Opens the model on a thread of its own, so that a router works from its first moment on.
    2. Tries again every minute if the model cannot be opened, and logs why.
    3. Waits for an answer only for so long, and then lets the model rest.

    The version of each verdict says which of the two models gave it.
    """

    def __init__(self, file: Path, packaged: VerdictSource, settings: EngineSettings) -> None:
        self._file, self._packaged, self._settings = file, packaged, settings
        self._engine: Engine | None = None
        self._model: LlmRouterModel | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._open, name="decision-model", daemon=True)
        self._thread.start()

    @property
    def version(self) -> str:
        """The version of the model that gives verdicts now."""
        return (self._model or self._packaged).version

    def prior_gap(self, kind: Kind) -> float:
        """Return the mean gap of a kind, before the job is read."""
        return self._packaged.prior_gap(kind)

    def verdict(self, job: Job, type_gap: float | None = None) -> Verdict:
        """Return the expected gap, and the probability that the local answer will do."""
        return (self._model or self._packaged).verdict(job, type_gap)

    def close(self) -> None:
        """Stop the engine."""
        self._closed.set()
        if self._engine is not None:
            self._engine.close()

    def _open(self) -> None:
        """Open the engine, however often that takes."""
        while not self._closed.is_set():
            try:
                self._engine = open_decisions(self._file, self._settings)
            except ForebayError as error:
                words = "the packaged model gives the verdicts: %s"
                log.warning(words, error, extra=event(Event.DECISIONS_DOWN))
                self._closed.wait(RETRY_S)
                continue
            self._model = decision_model(self._engine, self._packaged)
            if self._closed.is_set():
                self._engine.close()
            return


def _turns(kind: Kind, text: str) -> tuple[Turn, ...]:
    """Return the question apart from the text, which is the state of a decision model."""
    asked = Turn(role="system", content=QUESTION.format(kind=kind))
    return asked, Turn(role="user", content=text or "(no text)")
