"""The numbers of a text, and those that follow from them."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cached_property

from forebay.workers.checks.facts.losses import lost
from forebay.workers.checks.facts.moments import Moments
from forebay.workers.checks.reading.derived import (
    computed,
    converted,
    multiples,
    parts,
    quantities,
    rests,
    spans,
)
from forebay.workers.checks.reading.number_words import (
    PERCENT,
    halves_beside_units,
    spelled_numbers,
)
from forebay.workers.checks.reading.numerals import Mention, mentions
from forebay.workers.checks.reading.vocabulary import Vocabulary
from forebay.workers.checks.reading.words import words


class Numbers:
    """The numbers of a text. Each index of them is built once, when first needed."""

    def __init__(self, text: str, vocabulary: Vocabulary, moments: Moments) -> None:
        """Take a normalized text, its words, and its dates and times."""
        self._text, self._vocabulary, self._moments = text, vocabulary, moments

    def has(self, number: Decimal, *, unscaled: bool = False, computed: bool = True) -> bool:
        """Return whether the number occurs, in any formatting or as a word, or may be computed.

        Args:
            number: the number; its sign counts.
            unscaled: also accept `1.5` for `1.5 million`.
            computed: whether to accept a number that follows from others.
        """
        known = number in (self._unscaled if unscaled else self._given) or number in self._lost
        return known or number in (self._derived if computed else self._restated)

    def has_size(self, number: Decimal) -> bool:
        """Return whether the number occurs with either sign."""
        return abs(number) in self._sizes

    def has_mention(self, mention: Mention, text: str, *, computed: bool = True) -> bool:
        """Return whether a number that another text mentions occurs, or may be computed.

        Its sign is ignored: prose has words for signs (`fell by 5 %`).
        """
        sizes = {abs(value) for value in mention.values}
        digits = text[slice(*mention.span)]  # a version such as 10.0.4, or a list such as 1,2,3
        parts_of = set(map(Decimal, re.findall(r"\d+", digits)))
        if mention.is_number and "/" in digits:  # both parts, or their quotient
            return parts_of <= self._sizes or not self._sizes.isdisjoint(sizes - parts_of)
        if mention.is_number:
            known = not self._sizes.isdisjoint(sizes)
            return known or (computed and not self._derived.isdisjoint(sizes))
        is_list = "," in digits and parts_of <= self._sizes
        return is_list or self._vocabulary.has_phrase(words(digits))

    @cached_property
    def _mentions(self) -> list[Mention]:
        return mentions(self._text)

    @cached_property
    def _given(self) -> frozenset[Decimal]:
        written = halves_beside_units(self._text)
        return self._spelled.union(written, *(mention.values for mention in self._mentions))

    @cached_property
    def _unscaled(self) -> frozenset[Decimal]:
        return self._given.union(*(mention.unscaled for mention in self._mentions))

    @cached_property
    def _lost(self) -> frozenset[Decimal]:
        return frozenset(lost(self._text, self._mentions))

    @cached_property
    def _sizes(self) -> frozenset[Decimal]:
        return frozenset(abs(value) for value in self._given)

    @cached_property
    def _derived(self) -> frozenset[Decimal]:
        """The numbers that follow from those of the text; made if an answer has others."""
        numbers, words_of = _values_of(self._mentions), self._vocabulary.exact
        results = computed(numbers).union(parts(numbers, words_of))
        shared = rests(numbers) if "%" in self._text or not words_of.isdisjoint(PERCENT) else ()
        return self._restated | results.union(multiples(numbers, self._spelled), shared)

    @cached_property
    def _spelled(self) -> frozenset[Decimal]:
        return frozenset(spelled_numbers(self._vocabulary.words, self._text))

    @cached_property
    def _restated(self) -> frozenset[Decimal]:
        """The numbers of the text in other units, and how long it is between its dates or times."""
        between = spans(self._moments.dates, self._moments.times)
        return converted(quantities(self._text)) | between


def _values_of(found: list[Mention]) -> list[Decimal]:
    """Return one value of each number."""
    numbers = (one for one in found if one.is_number and one.values)
    return [max(one.values & one.unscaled or one.values) for one in numbers]
