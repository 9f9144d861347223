"""The probability of each option as the whole answer, from few questions to a model.

The options are paths of tokens in a trie (prefix tree). Where paths part, the model is asked once
for the probabilities of the next token; where there is only one way on, it is not asked. The result
is the probability with which the model, held to the options, chooses each of them. Most sets of
labels take one question.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Logprobs = npt.NDArray[np.float32]
Path = tuple[int, ...]
Way = tuple[str, Path]  # an option, and tokens that lead to it

_MIN_LOG_SHARE = math.log(1e-3)  # a branch with a smaller share is not worth a question


class OptionTrie:
    """Asks a model at one place after the other, the most likely place first.

    Args:
        ways: every option with its tokens. An option may have several ways; their shares add up.
        ends: ids that end an answer: the next token of an option that begins another option.
    """

    def __init__(self, ways: Iterable[Way], ends: Sequence[int]) -> None:
        self._ends = list(ends)
        self._log_shares: dict[str, float] = {}
        self._open: list[tuple[float, Path, list[Way]]] = []
        self._add_branch((), 0.0, list(ways))

    @property
    def place(self) -> Path | None:
        """The tokens after the prompt at which to ask next; `None` if the scores are complete."""
        return self._open[-1][1] if self._open else None

    def tell(self, logprobs: Logprobs) -> None:
        """Take the model's answer at `place`: the log-probabilities of all tokens."""
        log_share, path, ways = self._open.pop()
        groups = _by_next_token(ways)
        weights = {token: self._log_weight(token, logprobs) for token in groups}
        total = _log_sum(weights.values())
        for token, group in groups.items():
            part = weights[token] - total if math.isfinite(total) else -math.log(len(groups))
            onward = path if token is None else (*path, token)
            self._add_branch(onward, log_share + part, [(name, rest[1:]) for name, rest in group])

    def scores(self) -> dict[str, float]:
        """Return the log-probability of each option; the probabilities add up to 1."""
        return dict(self._log_shares)

    def _add_branch(self, path: Path, log_share: float, ways: list[Way]) -> None:
        """Queue a question where the ways part next, or share the branch out evenly."""
        names = dict.fromkeys(name for name, _ in ways)
        if len(names) > 1 and log_share > _MIN_LOG_SHARE:
            while len(groups := _by_next_token(ways)) == 1 and None not in groups:
                path = (*path, ways[0][1][0])
                ways = [(name, rest[1:]) for name, rest in ways]
            if len(groups) > 1:
                self._open.append((log_share, path, ways))
                self._open.sort(key=lambda branch: branch[0])
                return
        for name in names:
            self._add_share(name, log_share - math.log(len(names)))

    def _add_share(self, name: str, log_share: float) -> None:
        self._log_shares[name] = _log_sum((self._log_shares.get(name, -math.inf), log_share))

    def _log_weight(self, token: int | None, logprobs: Logprobs) -> float:
        ids = self._ends if token is None else [token]
        return _log_sum(float(logprobs[token_id]) for token_id in ids)


def _by_next_token(ways: list[Way]) -> dict[int | None, list[Way]]:
    """Group the ways by their next token; ways at their end are under `None`."""
    groups: dict[int | None, list[Way]] = defaultdict(list)
    for name, rest in ways:
        groups[rest[0] if rest else None].append((name, rest))
    return groups


def _log_sum(logs: Iterable[float]) -> float:
    """Return the logarithm of a sum of probabilities that are given as logarithms."""
    values = list(logs)
    top = max(values)
    if not math.isfinite(top):
        return top
    return top + math.log(sum(math.exp(value - top) for value in values))
