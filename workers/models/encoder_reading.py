"""A reading of a job's text by the sentence encoder, beside the router model.

It is one number, the gap that kernel ridge regression on the text's vector predicts. Verdicts keep
it as a feature: `forebay calibrate` gives it a weight in the score if that is better on audits that
were held back, and else none.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, PrivateAttr, model_validator

from forebay.routing.errors import Misconfigured
from forebay.routing.scoring.weights_file import WeightsFile
from forebay.workers.engines.batching.embedding import SentenceEncoder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAX_CENTRES = 2_000  # texts that the regression remembers, as vectors
MAX_CHARACTERS = 1_500  # that are read of a text: what is hard shows early, and it takes 5 ms
DIGITS = 6
_STEPS = 127  # of a vector's component, -1 to 1


class EncoderWeights(WeightsFile):
    """The content of a file of weights.

    Attributes:
        note: what the weights were fitted to.
        revision: of the encoder whose vectors these are.
        width: how fast the kernel falls with the distance of two vectors.
        centres: the packed vectors of the fitted texts, in steps of 1/127.
        weights: of each centre.
    """

    kind: ClassVar[str] = "encoder"
    note: tuple[str, ...] = ()
    revision: str
    width: float = Field(gt=0)
    centres: str = Field(repr=False)
    weights: tuple[float, ...] = Field(min_length=1, max_length=MAX_CENTRES, repr=False)
    _packed: bytes = PrivateAttr()

    @model_validator(mode="after")
    def _unpack(self) -> Self:
        try:
            self._packed = zlib.decompress(base64.b64decode(self.centres))
        except (zlib.error, binascii.Error):
            self._packed = b""
        if not self._packed or len(self._packed) % len(self.weights):
            raise ValueError("must hold a packed vector for each weight")
        return self

    def vectors(self) -> npt.NDArray[np.float64]:
        """Return the centres, a row each."""
        import numpy as np  # noqa: PLC0415 - routers without an encoder need no numpy

        steps = np.frombuffer(self._packed, np.int8).reshape(len(self.weights), -1)
        return steps / _STEPS


def packed(vectors: npt.NDArray[Any]) -> str:
    """Return vectors of unit length as `EncoderWeights.centres` holds them."""
    steps = (vectors * _STEPS).round().astype("int8")
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()


def kernel(one: npt.NDArray[Any], other: npt.NDArray[Any], width: float) -> npt.NDArray[np.float64]:
    """Return the similarity of each row of one matrix to each row of the other, 0 to 1."""
    import numpy as np  # noqa: PLC0415 - routers without an encoder need no numpy

    return np.asarray(np.exp(width * (one @ other.T - 1)))


def vectors_of(encoder: SentenceEncoder, texts: list[str]) -> npt.NDArray[np.float64]:
    """Return the vectors of the beginnings of these texts, a row each."""
    import numpy as np  # noqa: PLC0415 - routers without an encoder need no numpy

    cut = [text[:MAX_CHARACTERS] for text in texts]
    return np.array(encoder.encode(cut, lambda: None).vectors)


class EncoderReading:
    """Reads texts by fitted weights. The same text and weights give the same number."""

    def __init__(self, weights: EncoderWeights, encoder: SentenceEncoder) -> None:
        """Raise `Misconfigured` if the weights were fitted to another encoder's vectors."""
        if weights.revision != encoder.revision:
            hint = "was fitted with another version of the sentence encoder; train it again"
            raise Misconfigured(hint, field="FOREBAY_ROUTER_ENCODER")
        self._encoder, self._weights = encoder, weights
        self._centres = weights.vectors()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the reading by the weights in a file.

        Raises:
            Misconfigured: The file cannot be read, or does not hold such weights.
            Unavailable: The sentence encoder is not installed.
        """
        return cls(EncoderWeights.read(path), SentenceEncoder())

    def __call__(self, text: str) -> float:
        """Return the gap that the text's vector tells, less the mean gap."""
        return self.of_vectors(vectors_of(self._encoder, [text]))[0]

    def of_vectors(self, vectors: npt.NDArray[Any]) -> list[float]:
        """Return the reading of each text, by its vector."""
        near = kernel(vectors, self._centres, self._weights.width)
        return [round(float(value), DIGITS) for value in near @ self._weights.weights]
