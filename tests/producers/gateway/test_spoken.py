"""What a stream says: never a word that the answer would have to take back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forebay.producers.gateway.asking.spoken import Spoken
from forebay.routing.store.text_stream import Piece


def test_white_space_waits_for_what_follows_it():
    spoken = Spoken()
    assert spoken.hear(Piece("a", "  one ")) == "one"
    assert spoken.hear(Piece("a", "\n")) == ""
    assert spoken.hear(Piece("a", "two ")) == " \ntwo"
    assert spoken.end("one \ntwo") == ""


def test_another_attempt_goes_on_where_it_says_the_same():
    spoken = Spoken()
    assert spoken.hear(Piece("a", "one two")) == "one two"
    assert spoken.hear(Piece("b", "one")) == ""
    assert spoken.hear(Piece("b", " two three")) == " three"
    assert spoken.end("one two three four") == " four"


def test_another_attempt_with_other_words_is_not_mixed_in():
    spoken = Spoken()
    spoken.hear(Piece("a", "one two"))
    assert spoken.hear(Piece("b", "uno dos tres")) == ""
    assert spoken.text == "one two"
    assert spoken.end("uno dos tres") is None


@given(st.lists(st.text(alphabet="ab \n", max_size=4)), st.lists(st.text("ab ", max_size=3)))
def test_what_is_sent_is_always_the_beginning_of_an_attempt_or_the_answer(first, second):
    spoken, sent = Spoken(), ""
    for attempt, pieces in (("a", first), ("b", second)):
        for piece in pieces:
            sent += spoken.hear(Piece(attempt, piece))
    heard = ["".join(first).strip(), "".join(second).strip()]
    assert any(text.startswith(sent) for text in heard)
    answer = heard[1]
    rest = spoken.end(answer)
    assert (rest is None) == (not answer.startswith(sent))
    assert rest is None or sent + rest == answer
