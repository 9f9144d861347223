"""The stop string that ends a text which comes in pieces."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from forebay.workers.engines.stop_strings import StopStrings

STOPS = st.lists(st.text("ab", min_size=1, max_size=3), max_size=3)


@given(st.lists(st.text("abc", max_size=3)), STOPS)
@example(["a", "b"], ["abc", "b"])
@example(["aab"], ["ab"])
def test_text_is_given_out_up_to_the_first_stop_string(pieces, stops):
    strings, given_out = StopStrings(stops), 0
    for piece in pieces:
        strings.feed(piece)
        assert strings.safe >= given_out, "what was given out is never taken back"
        given_out = strings.safe
        if strings.found:
            break
    starts = [at for stop in stops if (at := strings.text.find(stop)) >= 0]
    assert (strings.found is not None) == bool(starts)
    if starts:
        assert strings.safe == min(starts)
        assert strings.text.startswith(strings.found, strings.safe)


def test_what_may_begin_a_stop_string_waits_for_the_next_piece():
    strings = StopStrings(["###"])
    strings.feed("Hello ##")
    assert strings.safe == len("Hello ")
    strings.feed(" there")
    assert (strings.safe, strings.found) == (len(strings.text), None)
