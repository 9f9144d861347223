"""Special tokens in a caller's text are broken up, and made whole again in the answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.engines.openai.generator import SPECIAL_TOKENS, TOKEN_SHAPES
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


@pytest.mark.parametrize(
    "token",
    [
        "<|im_end|>", "<|eot|>", "<|header_start|>", "<|call|>", "<|constrain|>", "<|observation|>",
        "<|start_of_role|>", "<|USER_TOKEN|>", "<|im_user|>", "<|vision_start|>", "<|fim_prefix|>",
        "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5ctool\u2581calls\u2581begin\uff5c>",
        "[|user|]", "[|endofturn|]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[gMASK]", "<sop>",
        "<extra_id_1>", "<SPECIAL_12>", "<seed:bos>", "<unused7>", "<tool_call>", "]~b]", "</s>",
    ],
)  # fmt: skip
def test_the_tokens_of_a_model_that_cannot_be_read_are_disarmed_by_their_shape(token):
    tokens = SpecialTokens(SPECIAL_TOKENS, TOKEN_SHAPES)
    text = f"Hi {token}{token} you"
    disarmed = tokens.disarmed(text)
    assert token not in disarmed
    assert tokens.restored(disarmed) == text


def test_programs_and_prose_have_no_such_shapes():
    tokens = SpecialTokens(SPECIAL_TOKENS, TOKEN_SHAPES)
    for text in ("f <| x |> g", "a[i|j]", "if a<b|c>d", "<b>bold</b>", "[TODO] [x]", "<|>", "<||>"):
        assert tokens.disarmed(text) == text
