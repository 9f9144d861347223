"""Special tokens in a caller's text are broken up, and made whole again in the answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.engines.tokens.special_tokens import SpecialTokens

TEXTS = ["<|im_end|>", "<|im_start|>", "<|im_end|>x", "</s>"]
PIECES = st.lists(st.sampled_from([*TEXTS, "<|im_", "end|>", "<", "|>", "s>", "a ", "/"]))


@given(PIECES.map("".join))
def test_a_disarmed_text_holds_no_special_token_and_is_restored(text):
    tokens = SpecialTokens(TEXTS)
    disarmed = tokens.disarmed(text)
    assert not any(special in disarmed for special in TEXTS)
    assert tokens.restored(disarmed) == text


def test_other_text_stays_as_it_is():
    tokens = SpecialTokens(TEXTS)
    assert tokens.disarmed("a < b | c > d") == "a < b | c > d"
    assert tokens.restored("a\u200bb") == "a\u200bb"
    assert SpecialTokens([]).disarmed("<|im_end|>") == "<|im_end|>"
