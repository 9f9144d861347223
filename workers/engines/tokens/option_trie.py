"""How likely each option is as the whole answer, from what a model says at a few places.

Options are paths of tokens. Where paths part, the model is asked once for the probabilities of the
next token; where there is only one way on, it is not asked. What comes out is the probability with
which the model, held to the options, would choose each: most sets of labels take one question.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Logprobs = npt.NDArray[np.float32]
Path = tuple[int, ...]
Way = tuple[str, Path]  # an option, and the tokens that lead to it

_FAINT = math.log(1e-3)  # a share that is not worth a question more


class OptionTree:
    """Asks at one place after the other, the most likely first.

    Args:
        ways: every option with its tokens; an option may have several ways, whose shares add up.
        ends: ids that end an answer: the way to an option which another one begins with.
    """

    def __init__(self, ways: Iterable[Way], ends: Sequence[int]) -> None:
        self._ends = list(ends)
        self._shares: dict[str, float] = {}
        self._open: list[tuple[float, Path, list[Way]]] = []
        self._place((), 0.0, list(ways))

    @property
    def place(self) -> Path | None:
        """The tokens behind the prompt after which the model is to be asked next."""
        return self._open[-1][1] if self._open else None

    def tell(self, logprobs: Logprobs) -> None:
        """What the model says at `place`: log-probabilities of all tokens."""
        share, path, ways = self._open.pop()
        groups = _parted(ways)
        said = {token: self._weight(token, logprobs) for token in groups}
        total = _sum(said.values())
        for token, group in groups.items():
            weight = said[token] - total if math.isfinite(total) else -math.log(len(groups))
            onward = path if token is None else (*path, token)
            self._place(onward, share + weight, [(name, rest[1:]) for name, rest in group])

    def scores(self) -> dict[str, float]:
        """Log-probabilities by option, which add up to 1 as probabilities."""
        return dict(self._shares)

    def _place(self, path: Path, share: float, ways: list[Way]) -> None:
        names = dict.fromkeys(name for name, _ in ways)
        if len(names) > 1 and share > _FAINT:
            while len(parted := _parted(ways)) == 1 and None not in parted:
                path = (*path, ways[0][1][0])
                ways = [(name, rest[1:]) for name, rest in ways]
            if len(parted) > 1:
                self._open.append((share, path, ways))
                self._open.sort(key=lambda one: one[0])
                return
        for name in names:
            self._add(name, share - math.log(len(names)))

    def _add(self, name: str, share: float) -> None:
        self._shares[name] = _sum((self._shares.get(name, -math.inf), share))

    def _weight(self, token: int | None, logprobs: Logprobs) -> float:
        ids = self._ends if token is None else [token]
        return _sum(float(logprobs[one]) for one in ids)


def _parted(ways: list[Way]) -> dict[int | None, list[Way]]:
    """By their next token; by none, where a way is at its end."""
    groups: dict[int | None, list[Way]] = defaultdict(list)
    for name, rest in ways:
        groups[rest[0] if rest else None].append((name, rest))
    return groups


def _sum(logs: Iterable[float]) -> float:
    """The logarithm of a sum of probabilities that are given as logarithms."""
    values = list(logs)
    top = max(values)
    if not math.isfinite(top):
        return top
    return top + math.log(sum(math.exp(value - top) for value in values))
