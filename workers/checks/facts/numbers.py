"""The numbers of a text, and those that follow from them."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cached_property

from forebay.workers.checks.facts.computed_fields import Computable
from forebay.workers.checks.facts.losses import lost
from forebay.workers.checks.facts.moments import Moments
from forebay.workers.checks.reading.derived import computed, converted, parts, quantities, spans
from forebay.workers.checks.reading.number_words import spelled_numbers
from forebay.workers.checks.reading.numerals import Mention, mentions
from forebay.workers.checks.reading.vocabulary import Vocabulary
from forebay.workers.checks.reading.words import words

_SENTENCE_END = re.compile(r"[.!?;](?=\s)|\n|[\u3002\uff01\uff1f]")


class Numbers:
    """The numbers of a text. Each index of them is built once, when first needed."""

    def __init__(self, text: str, vocabulary: Vocabulary, moments: Moments) -> None:
        """Take a normalized text, its words, and its dates and times."""
        self._text, self._vocabulary, self._moments = text, vocabulary, moments

    def has(self, number: Decimal, *, unscaled: bool = False, computed: Computable = "any") -> bool:
        """Return whether the number occurs, in any formatting or as a word, or may be computed.

        Args:
            number: the number; its sign counts.
            unscaled: also accept `1.5` for `1.5 million`.
            computed: which computed numbers to accept.
        """
        known = number in (self._unscaled if unscaled else self._given) or number in self._lost
        if known or computed == "any":
            return known or number in self._derived
        return number in self._restated or (computed == "sums" and number in self._totals)

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
        spelled = spelled_numbers(self._vocabulary.words, self._text)
        return frozenset(spelled).union(*(mention.values for mention in self._mentions))

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
        numbers = _values_of(self._mentions)
        halves = parts(numbers, self._vocabulary.exact)
        return self._restated | computed(numbers).union(halves)

    @cached_property
    def _restated(self) -> frozenset[Decimal]:
        """The numbers of the text in other units, and how long it is between its dates or times."""
        between = spans(self._moments.dates, self._moments.times)
        return converted(quantities(self._text)) | between

    @cached_property
    def _totals(self) -> frozenset[Decimal]:
        """The sums of all numbers of a sentence."""
        sentences = (_values_of(mentions(part)) for part in _SENTENCE_END.split(self._text))
        return frozenset(sum(numbers, Decimal(0)) for numbers in sentences if len(numbers) > 1)


def _values_of(found: list[Mention]) -> list[Decimal]:
    """Return one value of each number."""
    numbers = (one for one in found if one.is_number and one.values)
    return [max(one.values & one.unscaled or one.values) for one in numbers]
