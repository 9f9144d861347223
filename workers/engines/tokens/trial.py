"""A trial of a grammar in an isolated process: compiling some takes for ever.

llguidance builds automata for patterns. If a text must match several of them at once, their number
is exponential in the size of the patterns.
"""

from __future__ import annotations

from forebay.workers.isolation.limits import OverBudget
from forebay.workers.isolation.pool import call


def compiles_in_time(grammar: str) -> bool:
    """Return whether the grammar compiles, or is refused, within the budget of a check.

    Without llguidance that is not known, and the answer is True.
    """
    try:
        call(_compile, grammar)
    except OverBudget:
        return False
    return True


def compiles(grammar: str) -> bool:
    """Return whether the grammar compiles within the budget of a check; needs llguidance."""
    try:
        return call(_compile, grammar)
    except OverBudget:
        return False


def accepts(grammar: str, text: str) -> bool:
    """Return whether a text that fits the grammar may begin so; needs llguidance."""
    try:
        return call(_accept, grammar, text)
    except OverBudget:
        return False


def _accept(grammar: str, text: str) -> bool:
    try:
        from llguidance import LLMatcher, LLTokenizer  # noqa: PLC0415 - only where it is installed
    except ImportError:
        return False
    tokens = LLTokenizer("byte")
    matcher = LLMatcher(tokens, grammar, log_level=0)
    return matcher.consume_tokens(tokens.tokenize_str(text)) and not matcher.is_error()


def _compile(grammar: str) -> bool:
    try:
        from llguidance import LLMatcher  # noqa: PLC0415 - only where it is installed
    except ImportError:
        return False
    return not LLMatcher.validate_grammar(grammar)
