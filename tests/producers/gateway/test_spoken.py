"""What a stream says: never a word that the answer would have to take back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forebay.producers.gateway.asking.spoken import Spoken
from forebay.routing.receipts import TokenLogprob
from forebay.routing.store.text_stream import Piece


def test_white_space_waits_for_what_follows_it():
    spoken = Spoken()
    assert spoken.hear(Piece("a", "  one ")).text == "one"
    assert spoken.hear(Piece("a", "\n")).text == ""
    assert spoken.hear(Piece("a", "two ")).text == " \ntwo"
    assert spoken.end("one \ntwo") == ("", ())


def test_another_attempt_goes_on_where_it_says_the_same():
    spoken = Spoken()
    assert spoken.hear(Piece("a", "one two")).text == "one two"
    assert spoken.hear(Piece("b", "one")).text == ""
    assert spoken.hear(Piece("b", " two three")).text == " three"
    assert spoken.end("one two three four") == (" four", ())


def test_another_attempt_with_other_words_is_not_mixed_in():
    spoken = Spoken()
    spoken.hear(Piece("a", "one two"))
    assert spoken.hear(Piece("b", "uno dos tres")).text == ""
    assert spoken.text == "one two"
    assert spoken.end("uno dos tres") is None


@given(st.lists(st.text(alphabet="ab \n", max_size=4)), st.lists(st.text("ab ", max_size=3)))
def test_what_is_sent_is_always_the_beginning_of_an_attempt_or_the_answer(first, second):
    spoken, sent = Spoken(), ""
    for attempt, pieces in (("a", first), ("b", second)):
        for piece in pieces:
            sent += spoken.hear(Piece(attempt, piece)).text
    heard = ["".join(first).strip(), "".join(second).strip()]
    assert any(text.startswith(sent) for text in heard)
    answer = heard[1]
    rest = spoken.end(answer)
    assert (rest is None) == (not answer.startswith(sent))
    assert rest is None or sent + rest.text == answer


def tokens(*words):
    return tuple(TokenLogprob(token=word, logprob=-1.0) for word in words)


def test_each_token_is_sent_once_with_a_text_that_is_not_shorter():
    spoken = Spoken()
    assert spoken.hear(Piece("a", " \n", tokens(" \n"))) == ("", ())
    assert spoken.hear(Piece("a", "one ", tokens("one "))) == ("one", list(tokens(" \n", "one ")))
    assert spoken.hear(Piece("a", "", tokens("half"))) == ("", ())
    assert spoken.end("one", tokens(" \n", "one ", "half")) == ("", tokens("half"))


def test_another_attempt_goes_on_after_the_tokens_that_were_sent():
    spoken = Spoken()
    spoken.hear(Piece("a", "one ", tokens("one ")))
    assert spoken.hear(Piece("b", "one two", tokens("one ", "two"))).tokens == list(tokens("two"))
    assert spoken.end("one two", tokens("one ", "two")) == ("", ())


def test_the_same_text_in_other_tokens_is_not_what_was_sent():
    spoken = Spoken()
    spoken.hear(Piece("a", "one ", tokens("one ")))
    assert spoken.hear(Piece("b", "one two", tokens("on", "e two"))) == ("", ())
    assert spoken.end("one two", tokens("on", "e two")) is None
