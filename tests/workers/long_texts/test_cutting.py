"""A text is cut where it hurts the least, and nothing of it is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.long_texts.cutting import cut


@given(st.text(alphabet="ab .,\n。", max_size=400), st.integers(min_value=1, max_value=60))
def test_the_pieces_are_the_text_but_for_white_space(text, max_chars):
    pieces = cut(text, max_chars)
    assert all(0 < len(piece) <= max_chars for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_a_piece_ends_with_a_paragraph_or_else_a_sentence_or_else_a_word():
    assert cut("one two three\n\nfour. five six", 20) == ["one two three", "four. five six"]
    assert cut("one two three. four five six", 20) == ["one two three.", "four five six"]
    assert cut("one two three four five six", 20) == ["one two three four", "five six"]
    assert cut("a" * 45, 20) == ["a" * 20, "a" * 20, "a" * 5]


def test_cutting_a_long_text_takes_linear_time():
    assert len(cut("word " * 100_000, 1_000)) <= 700
