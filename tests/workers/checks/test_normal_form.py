"""Texts are normalized as Unicode says, although in pieces."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.checks.reading.normal_form import MAX_PIECE_CHARS, nfkc

#: Letters with what may be absorbed into them.
CLUSTERS = (
    "e\u0301", "a\u0323\u0302", "\u1100\u1161\u11a8", "\uff76\uff9e", "\u0995\u09c7\u09be",
    "\u0b15\u0b47\u0b56", "\u0b95\u0bc6\u0bbe", "\ufb01", "\u00bd", "\u2460", "x", " ", "\u4e00",
    "\U0001f468\u200d\U0001f469",
)  # fmt: skip


@pytest.mark.parametrize("offset", range(4))
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_no_letter_is_cut_from_what_belongs_to_it(cluster, offset):
    text = "x" * offset + cluster * MAX_PIECE_CHARS
    assert nfkc(text) == unicodedata.normalize("NFKC", text)


@given(st.lists(st.sampled_from(CLUSTERS) | st.characters(), max_size=400).map("".join))
def test_any_text_is_normalized_as_unicode_says(text):
    assert nfkc(text) == unicodedata.normalize("NFKC", text)


def test_marks_without_number_are_kept():
    marks = "\u0301\u0316" * 5_000
    assert sorted(nfkc(marks)) == sorted(marks)
