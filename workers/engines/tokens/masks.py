"""Constraints as masks over tokens, for every engine that lets its candidates be narrowed.

llguidance says at each step which tokens may come next. It is the same library, with the same
grammars, that holds llama.cpp to a constraint (`grammars.py`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

from forebay.routing.errors import InvalidJob, Unavailable
from forebay.workers.engines.engine import Constraint
from forebay.workers.engines.tokens import grammars
from forebay.workers.engines.tokens.tokenizer import Tokenizer

Bits = npt.NDArray[np.int32]

_MAX_GRAMMARS_KEPT = 256  # compiled grammars; jobs of one kind share theirs
_BITS = 32  # in a word of a mask


class Matcher:
    """One text on its way through a grammar. Never raises: what goes wrong is in `failed`.

    Once it failed or is `complete`, its mask allows nothing but the end of the text. A library may
    still be making a mask in the background when the text has ended: calls wait for each other.
    """

    def __init__(self, machine: Any, words: int) -> None:
        self._machine = machine
        self._bits: Bits = np.zeros(words, dtype=np.int32)
        self._alone = threading.Lock()

    @property
    def failed(self) -> bool:
        """It left the grammar, or the grammar outgrew the library's limits on the way."""
        with self._alone:
            return bool(self._machine.is_error())

    @property
    def complete(self) -> bool:
        """Nothing more can follow."""
        with self._alone:
            return bool(self._machine.is_stopped() and not self._machine.is_error())

    def mask(self) -> Bits:
        """Which tokens may come next: bit `i % 32` of word `i // 32` stands for token `i`.

        The array is used again for the next mask.
        """
        with self._alone:
            self._machine.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        return self._bits

    def take(self, token: int) -> None:
        """The token that was chosen."""
        with self._alone:
            self._machine.consume_token(token)


class Masks:
    """Compiles constraints against one vocabulary. May be called from any thread.

    Raises:
        Unavailable: llguidance is not installed.
    """

    def __init__(self, vocabulary: Tokenizer) -> None:
        try:
            from llguidance import LLMatcher, LLTokenizer  # noqa: PLC0415 - only where it is used
        except ImportError:
            raise Unavailable("constraints need llguidance: `pip install llguidance`") from None
        self._new: Any = LLMatcher
        self._tokens = LLTokenizer(
            vocabulary.json, n_vocab=vocabulary.size, eos_token=list(vocabulary.ends)
        )
        self._words = -(-vocabulary.size // _BITS)
        self._lock = threading.Lock()
        self._compiled: OrderedDict[str, Any] = OrderedDict()

    def matcher(self, constraint: Constraint, max_tokens: int) -> Matcher:
        """A matcher at the beginning of a text.

        Raises:
            InvalidJob: The constraint cannot be held.
        """
        grammar = grammars.grammar(grammars.body_of(constraint, max_tokens))
        machine = self._machine(grammar)
        if machine.is_error():
            name = grammars.field_of(constraint)
            raise InvalidJob("asks for something this engine cannot hold an answer to", field=name)
        return Matcher(machine.deep_copy(), self._words)

    def _machine(self, grammar: str) -> Any:
        with self._lock:
            if grammar in self._compiled:
                self._compiled.move_to_end(grammar)
                return self._compiled[grammar]
        machine = self._new(self._tokens, grammar, log_level=0)  # it would log the grammar
        with self._lock:
            self._compiled[grammar] = machine
            if len(self._compiled) > _MAX_GRAMMARS_KEPT:
                self._compiled.popitem(last=False)
        return machine


def allowed(bits: Bits, width: int) -> npt.NDArray[np.bool_]:
    """The mask, one element a token, for logits of this width; what is beyond it is not allowed."""
    flags = np.unpackbits(bits.view(np.uint8), bitorder="little")[:width].view(np.bool_)
    if len(flags) == width:
        return flags
    wide = np.zeros(width, dtype=np.bool_)
    wide[: len(flags)] = flags
    return wide
