"""Hand-made features of a text: numbers with names.

Only the start and the end of a text are read, so that a verdict costs the same for a page and a
book.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from operator import itemgetter

HEAD, TAIL = 1_500, 500  # characters that are read at the start and at the end


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Words that show which sort of work a text asks for; each list is a feature `<name>_words`.
LISTS: dict[str, frozenset[str]] = {
    "maths": _words(
        "calculate compute equation integral derivative probability ratio percent sum product "
        "theorem prove proof polynomial matrix vector function solve determine value total average "
        "velocity temperature pressure energy mass volume radius angle minimum maximum"
    ),
    "logic": _words(
        "if then each every all none exactly only unless either neither not must cannot different "
        "same before after between following true false statements given"
    ),
    "fact": _words("who whom whose when where which"),
    "reason": _words("why how explain describe compare analyze analyse evaluate discuss"),
    "writing": _words(
        "write story poem email letter essay blog article rewrite translate summarize summarise "
        "reply draft create imagine"
    ),
    "coding": _words(
        "python javascript java sql code program algorithm regex class api return def assert "
        "list string array implement bug html css"
    ),
    "proof": _words("prove proof derive derivation theorem lemma integral derivative"),
    "negation": _words("not no never none neither nor cannot except without least incorrect"),
    "science": _words(
        "cell acid reaction species protein gene electron atom molecule force light wave current "
        "heat gas liquid metal bond enzyme blood tissue disease patient hormone"
    ),
    "law": _words(
        "court law contract plaintiff defendant liability statute constitutional rights state "
        "government policy crime evidence trial property tax"
    ),
    "trade": _words(
        "price cost market demand supply firm profit rate bank interest income stock capital "
        "investment company customer sold buy sell pay dollars"
    ),
    "people": _words("he she they him her his their man woman mother father brother friend"),
    "common": _words("the of and to in a is that for it as was with be by on are this an or at"),
}
_SUMS = _words("much many calculate compute total average far fast old long percent")
_WORD = re.compile(r"[^\W\d_]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_OPTION = re.compile(r"^\s{0,4}(?:[A-Ja-j]|\d{1,2})[.):]\s", re.MULTILINE)
#: Marks of code. They are counted one by one, because no two of them can share a character.
_CODE_MARKS = ("```", *"{}[];")
_CODE_PATTERNS = {  # by a text that occurs in each match
    "def ": re.compile(r"\bdef "),
    "(": re.compile(r"\((?<=\w\()"),  # a call: a search for the bracket is faster than for the word
    "=": re.compile(r"==|=>"),
    "->": re.compile("->"),
}
_MATHS_MARKS = "=+*/^<>\\$%°√∑∫π"
_SENTENCE_ENDS = str.maketrans(".!?", "\n\n\n")
_LONG_WORD = 9  # letters
_first = itemgetter(0)


class Glance:
    """The part of a text that is read, split into words and numbers.

    Attributes:
        length: characters of the whole text.
        seen: the part that is read.
        names: its words as they are written.
        words: its words in lower case.
        lengths: their lengths.
        counts: how often each word occurs.
        numbers: its numbers.
    """

    def __init__(self, text: str) -> None:
        self.length = len(text)
        self.seen = text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"
        self.names: list[str] = _WORD.findall(self.seen)
        self.words = list(map(str.lower, self.names))
        self.lengths = list(map(len, self.words))
        self.counts = Counter(self.words)
        self.numbers: list[str] = _NUMBER.findall(self.seen)

    def per_100(self, count: float) -> float:
        """Return a count per 100 characters read."""
        return 100 * count / (len(self.seen) or 1)

    def count(self, marks: Iterable[str]) -> int:
        """Return how often these occur."""
        return sum(map(self.seen.count, marks))

    def among(self, words: frozenset[str]) -> float:
        """Return log(1 + n) for the n words that are among these."""
        counts = self.counts
        return math.log1p(sum(counts[word] for word in counts.keys() & words))

    def mean(self, values: Iterable[float]) -> float:
        """Return the sum of the values, divided by the number of words."""
        return sum(values) / (len(self.words) or 1)


def _code_marks(glance: Glance) -> float:
    count = glance.count(_CODE_MARKS)
    for part, pattern in _CODE_PATTERNS.items():
        if part in glance.seen:
            count += len(pattern.findall(glance.seen))
    return glance.per_100(count)


def _foreign(glance: Glance) -> float:
    return (
        0.0 if glance.seen.isascii() else glance.mean(not word.isascii() for word in glance.words)
    )


def _sentence_length(glance: Glance) -> float:
    parts = glance.seen.translate(_SENTENCE_ENDS).split("\n")
    sentences = sum(map(bool, map(str.strip, parts)))
    return math.log1p(len(glance.words) / (sentences or 1))


def _last_line(glance: Glance) -> float:
    return math.log1p(len(glance.seen.rstrip().rpartition("\n")[2]))


def _digits(glance: Glance) -> float:
    return sum(map(len, glance.numbers)) / (len(glance.numbers) or 1)


def _sum(glance: Glance) -> float:
    return math.log1p(len(glance.numbers)) if glance.among(_SUMS) else 0.0


def _among(words: frozenset[str]) -> Callable[[Glance], float]:
    return lambda glance: glance.among(words)


TEXT_FEATURES: dict[str, Callable[[Glance], float]] = {
    "length": lambda glance: math.log1p(glance.length),
    "lines": lambda glance: math.log1p(glance.seen.count("\n")),
    "last_line": _last_line,
    "word_length": lambda glance: glance.mean(glance.lengths),
    "long_words": lambda glance: glance.mean(map(_LONG_WORD.__le__, glance.lengths)),
    "sentence_length": _sentence_length,
    "variety": lambda glance: len(glance.counts) / math.sqrt(len(glance.words) or 1),
    "capitals": lambda glance: glance.mean(map(str.isupper, map(_first, glance.names))),
    "acronyms": lambda glance: glance.mean(map(str.isupper, glance.names)),
    "foreign": _foreign,
    "questions": lambda glance: math.log1p(glance.seen.count("?")),
    "commas": lambda glance: glance.per_100(glance.seen.count(",")),
    "quotes": lambda glance: glance.per_100(glance.count("\"'")),
    "numbers": lambda glance: glance.per_100(len(glance.numbers)),
    "digits": _digits,
    "decimals": lambda glance: math.log1p(sum(["." in number for number in glance.numbers])),
    "options": lambda glance: math.log1p(len(_OPTION.findall(glance.seen))),
    "code_marks": _code_marks,
    "maths_marks": lambda glance: glance.per_100(glance.count(_MATHS_MARKS)),
    "sum": _sum,
} | {f"{name}_words": _among(words) for name, words in LISTS.items()}


def text_features(text: str) -> dict[str, float]:
    """Return the features of a text, by name, in the order of `TEXT_FEATURES`."""
    glance = Glance(text)
    return {name: feature(glance) for name, feature in TEXT_FEATURES.items()}
