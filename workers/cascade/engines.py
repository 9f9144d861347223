"""The engines of a local worker: which ones the settings ask for, and how they are opened."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Self

from forebay.routing.errors import ForebayError, Misconfigured
from forebay.routing.logs import Event, event
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.engines.engine import Engine
from forebay.workers.engines.host.supervisor import open_engine
from forebay.workers.engines.settings import EngineSettings, LocalSettings, SecondEngineSettings
from forebay.workers.runtime.start_up import give_up, settings_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engines:
    """The settings of the engine that answers, and of the engine for second opinions, if any."""

    first: EngineSettings
    second: EngineSettings | None

    @classmethod
    def configured(cls, settings: LocalSettings) -> Self:
        """Read the settings from the environment; end the worker if they are wrong.

        Settings of a second engine that is not named are a mistake.
        """
        first, second = settings_of(EngineSettings), settings_of(SecondEngineSettings)
        if settings.second_engine:
            return cls(first, second)
        if second.model_fields_set:
            name = min(second.model_fields_set)
            hint = f"is needed because FOREBAY_SECOND_{name.upper()} is set"
            give_up(Misconfigured(hint, field="FOREBAY_SECOND_ENGINE"))
        return cls(first, None)

    @property
    def all(self) -> tuple[EngineSettings, ...]:
        """The settings of each engine."""
        return (self.first,) if self.second is None else (self.first, self.second)

    def open(self) -> Answerer:
        """Open the engines one after the other: on one card each takes what the other has left.

        Raises:
            Misconfigured: A setting is wrong, a model file, or both engines have the same model.
            Unavailable: A package is missing, or an engine was not ready in time.
        """
        first = open_engine(self.first)
        _log_opened("answers", first)
        if self.second is None:
            return Answerer(first)
        try:
            second = open_engine(self.second)
        except ForebayError as error:
            first.close()
            if error.field:
                error.field = SecondEngineSettings.worded(error.field)
            raise
        _log_opened("second opinions", second)
        return _pair(first, second)


def _pair(first: Engine, second: Engine) -> Answerer:
    """Return the answerer over two engines, which must have different models."""
    answerer = Answerer(first, second)
    if second.info().revision == first.info().revision:
        answerer.close()
        hint = "has the first engine's model, which would always agree with itself; name another"
        raise Misconfigured(hint, field="FOREBAY_SECOND_ENGINE")
    return answerer


def _log_opened(purpose: str, engine: Engine) -> None:
    info = engine.info()
    log.info(
        "%s by %s: %s %s, %d slots of %d tokens",
        purpose, info.engine, info.model, info.revision, info.slots, info.context_tokens,
        extra=event(Event.ENGINE_READY),
    )  # fmt: skip
