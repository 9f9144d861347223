"""Constraints as token masks, for engines that can narrow the candidates of each next token.

At each step llguidance says which tokens may come next. llama.cpp enforces constraints with the
same library and the same grammars (`grammars.py`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

from forebay.routing.errors import Unavailable
from forebay.workers.engines.engine import Constraint
from forebay.workers.engines.tokens import grammars, trial
from forebay.workers.engines.tokens.tokenizer import Tokenizer

Bits = npt.NDArray[np.int32]

_MAX_GRAMMARS_KEPT = 256  # compiled grammars; jobs of one kind share theirs
_BITS_PER_WORD = 32


class Matcher:
    """Follows one text through a grammar. Never raises: errors are shown by `failed`.

    Once the matcher failed or is `complete`, its mask allows nothing but the end of the text. A
    library may still compute a mask in the background when the text has ended: calls wait for each
    other.
    """

    def __init__(self, machine: Any, words: int) -> None:
        self._machine = machine
        self._bits: Bits = np.zeros(words, dtype=np.int32)
        self._lock = threading.Lock()

    @property
    def failed(self) -> bool:
        """True if the text left the grammar, or the grammar outgrew the library's limits."""
        with self._lock:
            return bool(self._machine.is_error())

    @property
    def complete(self) -> bool:
        """True if nothing more can follow."""
        with self._lock:
            return bool(self._machine.is_stopped() and not self._machine.is_error())

    def mask(self) -> Bits:
        """Return which tokens may come next: bit `i % 32` of word `i // 32` stands for token `i`.

        The next call overwrites the array.
        """
        with self._lock:
            self._machine.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        return self._bits

    def take(self, token: int) -> None:
        """Append the token that was chosen to the text."""
        with self._lock:
            self._machine.consume_token(token)


class Masks:
    """Compiles constraints for one tokenizer. May be called from any thread.

    Raises:
        Unavailable: llguidance is not installed.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        try:
            from llguidance import LLMatcher, LLTokenizer  # noqa: PLC0415 - only where it is used
        except ImportError:
            raise Unavailable("constraints need llguidance: `pip install llguidance`") from None
        self._matcher_class: Any = LLMatcher
        self._tokens = LLTokenizer(
            tokenizer.json, n_vocab=tokenizer.size, eos_token=list(tokenizer.ends)
        )
        self._words = -(-tokenizer.size // _BITS_PER_WORD)
        self._lock = threading.Lock()
        self._compiled: OrderedDict[str, Any] = OrderedDict()

    def matcher(
        self,
        constraint: Constraint,
        max_tokens: int,
        *,
        best_effort: bool = False,
        prefill: str | None = None,
    ) -> Matcher:
        """Return a matcher after the prefill, or at the beginning of a text if there is none.

        `Prompt` says what the best effort is.

        Raises:
            InvalidJob: The constraint cannot be enforced, or no text that fits it begins so.
        """
        begun = self._tokens.tokenize_str(grammars.begun(constraint, prefill or ""))
        for body in grammars.bodies_of(
            constraint, max_tokens, best_effort=best_effort, prefill=prefill
        ):
            compiled = self._compile(grammars.grammar(body))
            if compiled is None or compiled.is_error():
                continue
            machine = compiled.deep_copy()
            if not begun or machine.consume_tokens(begun):
                return Matcher(machine, self._words)
        raise grammars.refusal(constraint, best_effort=best_effort)

    def _compile(self, grammar: str) -> Any:
        """Return llguidance's matcher for a grammar, from the cache if it is there (LRU).

        `None` stands for a grammar that takes too long to compile.
        """
        with self._lock:
            if grammar in self._compiled:
                self._compiled.move_to_end(grammar)
                return self._compiled[grammar]
        machine = None
        if trial.compiles_in_time(grammar):
            machine = self._matcher_class(self._tokens, grammar, log_level=0)  # else it logs them
        with self._lock:
            self._compiled[grammar] = machine
            if len(self._compiled) > _MAX_GRAMMARS_KEPT:
                self._compiled.popitem(last=False)
        return machine


def allowed(bits: Bits, width: int) -> npt.NDArray[np.bool_]:
    """Return the mask as one flag a token, for logits of this width.

    Logits beyond the vocabulary are not allowed.
    """
    flags = np.unpackbits(bits.view(np.uint8), bitorder="little")[:width].view(np.bool_)
    if len(flags) == width:
        return flags
    wide = np.zeros(width, dtype=np.bool_)
    wide[: len(flags)] = flags
    return wide
