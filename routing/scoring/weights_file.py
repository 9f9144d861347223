"""The base of a file of fitted weights, and of a model that is loaded from such a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forebay.routing.base import first_error
from forebay.routing.errors import Misconfigured

#: The models, by what the version of a file begins with.
MODELS = {
    "text": "router model", "doubt": "doubt model", "cascade": "cascade model",
    "encoder": "reading by the encoder",
}  # fmt: skip


class StrictModel(BaseModel):
    """Base of the parts of a file of weights: frozen, finite, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WeightsFile(StrictModel):
    """The content of a file of weights. The subclass of each model adds its fields.

    Attributes:
        kind: what the version of such a file begins with, as in `doubt-2347f016`.
        version: what the file is called; every prediction names it.
    """

    kind: ClassVar[str]
    version: str = Field(min_length=1, max_length=60)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the weights in a file.

        Raises:
            Misconfigured: The file cannot be read, or does not hold such weights; names the file
                and the first wrong field.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise Misconfigured(f"cannot be read: {error.strerror}", field=str(path)) from None
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: bytes, source: str) -> Self:
        """Return the weights in the content of a file, which an error names by `source`.

        Raises:
            Misconfigured: It does not hold such weights; names the first wrong field.
        """
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            first = first_error(error)
            if found := _whole_mistake(content, cls.kind):
                raise Misconfigured(found, field=source) from None
            raise Misconfigured(f"{first.message} ({source})", field=first.field) from None


def _whole_mistake(content: bytes, kind: str) -> str | None:
    """Return what is wrong with a file that is no such file of weights at all, or `None`."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return "holds no JSON, or is cut short"
    if not isinstance(document, dict):
        return "is no file of weights"
    found = str(document.get("version")).partition("-")[0]
    if found in MODELS and found != kind:
        return f"is a {MODELS[found]}, and a {MODELS[kind]} is needed"
    return None


W = TypeVar("W", bound=WeightsFile)


class FittedModel(Generic[W]):
    """Base of a model that is computed from a file of weights.

    Attributes:
        weights_class: the class of its weights.
        packaged: the file of the weights that are shipped with it.
    """

    weights_class: ClassVar[type[WeightsFile]]
    packaged: ClassVar[Path]

    def __init__(self, weights: W) -> None:
        self._weights = weights

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Return the model with the weights in a file, or with the packaged weights.

        Raises:
            Misconfigured: The file cannot be read, or does not hold weights of this model.
        """
        weights: Any = cls.weights_class.read(path or cls.packaged)
        return cls(weights)

    @classmethod
    def parse(cls, content: bytes, source: str) -> Self:
        """Return the model with the weights in the content of a file.

        Raises:
            Misconfigured: It does not hold weights of this model.
        """
        weights: Any = cls.weights_class.parse(content, source)
        return cls(weights)

    @property
    def version(self) -> str:
        """The version of the weights."""
        return self._weights.version
