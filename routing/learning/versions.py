"""Versions in Redis: what is published to all workers, and rolled back.

Calibrations and fitted models are kept like this. Workers follow the current version within
seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import redis
from pydantic import Field, ValidationError
from redis.client import Pipeline

from forebay.routing.base import FrozenModel, Kind
from forebay.routing.errors import InvalidJob, Misconfigured, Unavailable
from forebay.routing.jobs import Job, Verdict
from forebay.routing.logs import Event, event
from forebay.routing.scoring.router_model import RouterModel
from forebay.routing.scoring.weights_file import FittedModel
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.ttl_cache import TtlCache

_log = logging.getLogger(__name__)

#: Versions that are kept under each key.
MAX_VERSIONS_KEPT = 10
#: How long the number of the current version is cached.
LOOK_EVERY_S = 5.0


class Versions:
    """The versions under a key. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def current(self, key: str) -> int:
        """Return the number of the current version, 0 for none."""
        with reaching_redis():
            number: Any = self._redis.hget(key, "current")
        return int(number) if number and number.isdigit() else 0

    def read(self, key: str, version: int) -> bytes | None:
        """Return a version, or `None` if it is not kept."""
        with reaching_redis():
            value: Any = self._redis.hget(key, str(version))
        return value or None

    def kept(self, key: str) -> dict[int, bytes]:
        """Return the versions that are kept by number, the newest first."""
        with reaching_redis():
            fields: Any = self._redis.hgetall(key)
        numbered = {int(name): value for name, value in fields.items() if name.isdigit()}
        return dict(sorted(numbered.items(), reverse=True))

    def publish(self, key: str, content: Callable[[int], str]) -> int:
        """Store the content for the next number, make it current, and return the number.

        Of several that are published at once, the one with the highest number is current.
        """
        numbers = []

        def store(pipe: Pipeline) -> None:
            last: Any = pipe.hget(key, "last")
            number = int(last) + 1 if last and last.isdigit() else 1
            pipe.multi()
            pipe.hset(key, mapping={str(number): content(number)})
            pipe.hset(key, mapping={"current": number, "last": number})
            pipe.hdel(key, str(number - MAX_VERSIONS_KEPT))
            numbers.append(number)

        with reaching_redis():
            self._redis.transaction(store, key)
        return numbers[-1]

    def roll_back(self, key: str, version: int) -> None:
        """Make an earlier version current; 0 stands for none.

        Raises:
            InvalidJob: The version is not kept.
        """
        if version and self.read(key, version) is None:
            kept = [str(number) for number in reversed(self.kept(key))]
            raise InvalidJob(f"must be one of {', '.join(['0', *kept])}", field="version")
        with reaching_redis():
            self._redis.hset(key, "current", version)


class PublishedModel(FrozenModel):
    """A published file of weights.

    Attributes:
        version: its number, from 1.
        name: the version that the file itself names, which every verdict carries.
        made: when it was published, in Unix seconds.
        weights: the content of the file.
    """

    version: int = Field(ge=1)
    name: str
    made: float
    weights: str = Field(repr=False)


M = TypeVar("M", bound=FittedModel[Any])


class Models(Generic[M]):
    """The published models of one class. Safe to share between threads."""

    def __init__(self, client: redis.Redis, model_class: type[M]) -> None:
        self._versions = Versions(client)
        self._class = model_class
        self._key = f"fb:model:{model_class.packaged.stem}"
        self._number = TtlCache(lambda: self._versions.current(self._key), LOOK_EVERY_S)
        self._loaded: tuple[int, M] | None = None

    def now(self) -> M:
        """Return the model in force: the current version, or the packaged model.

        If Redis cannot be reached, the last model is returned; if the current version is damaged,
        the packaged one.
        """
        loaded = self._loaded
        try:
            number = self._number()
            if loaded is None or loaded[0] != number:
                self._loaded = loaded = number, self._load(number)
        except Unavailable:
            return loaded[1] if loaded else self._class.load()
        return loaded[1]

    def current(self) -> PublishedModel | None:
        """Return the current version; `None` for the packaged model."""
        number = self._versions.current(self._key)
        return self._published(number) if number else None

    def kept(self) -> list[PublishedModel]:
        """Return the versions that are kept, the newest first."""
        parsed = (_parsed(value) for value in self._versions.kept(self._key).values())
        return [published for published in parsed if published is not None]

    def publish(self, weights: bytes) -> PublishedModel:
        """Store the content of a file of weights as the next version, and make it current.

        Raises:
            Misconfigured: It does not hold weights of this model; names the first wrong field.
        """
        text = weights.decode(errors="replace")
        made, name = time.time(), self._class.parse(weights, "the file").version

        def published(number: int) -> PublishedModel:
            return PublishedModel(version=number, name=name, made=made, weights=text)

        return published(
            self._versions.publish(self._key, lambda number: published(number).model_dump_json())
        )

    def roll_back(self, version: int) -> None:
        """Make an earlier version current; 0 stands for the packaged model.

        Raises:
            InvalidJob: The version is not kept.
        """
        self._versions.roll_back(self._key, version)

    def _published(self, number: int) -> PublishedModel | None:
        value = self._versions.read(self._key, number)
        return _parsed(value) if value else None

    def _load(self, number: int) -> M:
        if not number:
            return self._class.load()
        published = self._published(number)
        try:
            if published is not None:
                return self._class.parse(published.weights.encode(), f"version {number}")
        except Misconfigured as error:
            _log.warning("%s", error, extra=event(Event.MODEL_UNREADABLE, version=number))
        else:
            words = "version %d of %s cannot be read"
            _log.warning(words, number, self._key, extra=event(Event.MODEL_UNREADABLE))
        return self._class.load()


class CurrentRouterModel:
    """Gives verdicts by the router model in force, which may change between two jobs."""

    def __init__(self, client: redis.Redis) -> None:
        self._models = Models(client, RouterModel)

    @property
    def version(self) -> str:
        """The version of the weights in force."""
        return self._models.now().version

    def prior_gap(self, kind: Kind) -> float:
        """Return the mean gap of a kind, before the job is read."""
        return self._models.now().prior_gap(kind)

    def verdict(self, job: Job, type_gap: float | None = None) -> Verdict:
        """Return the expected gap, and the probability that the local answer will do."""
        return self._models.now().verdict(job, type_gap)


def _parsed(value: bytes) -> PublishedModel | None:
    try:
        return PublishedModel.model_validate_json(value)
    except (ValidationError, InvalidJob):  # written by another version or another program
        return None
