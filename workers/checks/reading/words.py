"""Words of any script: split, count and compare them, and guess a text's language.

Chinese, Japanese, Thai, Lao, Khmer and Burmese put no spaces between words, so their characters are
the words that are compared, and a fixed number of them counts as one word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import islice

from forebay.workers.checks.reading.normal_form import nfkc

HAN_CHARS_PER_WORD = 2  # of Chinese characters and Japanese kana
THAI_CHARS_PER_WORD = 5  # of Thai, Lao, Khmer and Burmese, vowel signs included
SCRIPT_CHARS = 1_000  # letters that show the script of a text
MIN_COMMON_WORDS = 2  # fewer common words of a language do not show the language

_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_THAI = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_WORD = re.compile(rf"[{_HAN}{_THAI}]|[^\W{_HAN}{_THAI}]+")
_INITIALS = re.compile(r"(?<![^\W_])([^\W\d_])\.(?:(?=[^\W\d_](?![^\W_]))|\s(?=[^\W\d_]\.))")
_COUNTED = re.compile(
    rf"[{_HAN}]{{1,{HAN_CHARS_PER_WORD}}}|[{_THAI}]{{1,{THAI_CHARS_PER_WORD}}}"
    rf"|[^\s{_HAN}{_THAI}]+"
)
#: Letters and symbols that show nothing: fillers of Hangul and the empty Braille pattern.
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_SENTENCE_END = re.compile(
    r"[.!?\u2026\u3002\uff01\uff1f\u0964\u061f][\"'\u201d\u2019)\]\u300d\u300f]*\s*\Z"
)
_COMMON_WORDS = {
    "en": "the of and to in is that for with was on are by it from this has will",
    "de": "der die das und ist nicht mit ein eine von zu den im auf für wird dem sich",
    "fr": "le la les des et est un une du pour dans que qui par sur au aux pas à en d l son jusqu",
    "es": "el la los las de y en es un una por con para que del se al su a hasta",
    "it": "il la di che e un una per con del della non sono le gli nel a al dal da è i",
    "pt": "o a os as de e em um uma para com não do da no na",
    "nl": "de het een en van is dat niet met voor op te zijn wordt",
    "sv": "och det att en ett som på är av för med den inte till",
    "pl": "i w na z do nie się jest że o po dla przez",
    "ru": "и в на не что как по для это из за от до",
}
#: Adjectives of places that begin in another way than the place's name.
DEMONYMS = frozenset(
    {"british", "chinese", "danish", "dutch", "english", "finnish", "flemish", "french", "greek"}
    | {"irish", "polish", "scottish", "spanish", "swiss", "turkish", "welsh"}
)
_LANGUAGES = {name: frozenset(common.split()) for name, common in _COMMON_WORDS.items()}


#: The common words of all languages.
COMMON_WORDS = frozenset().union(*_LANGUAGES.values())


def words(text: str) -> list[str]:
    """Return the words of a text, folded so that case, width and punctuation do not matter.

    Initials are one word: `b.v.` is `bv`, and `j. p.` is `jp`.
    """
    return _WORD.findall(_INITIALS.sub(r"\1", nfkc(text).casefold()))


def count_words(text: str) -> int:
    """Count the words: two Chinese or Japanese characters are a word, five Thai ones are."""
    return sum(1 for _ in counted_words(text))


def counted_words(text: str) -> Iterator[re.Match[str]]:
    """Yield each word that `count_words` counts, with its place."""
    return (
        match for match in _COUNTED.finditer(text) if any(char.isalnum() for char in match.group())
    )


def is_visible(text: str) -> bool:
    """Return whether the text shows anything, in any script: a letter, digit, mark or symbol."""
    return any(unicodedata.category(char)[0] in "LNPS" and char not in _BLANKS for char in text)


def ends_sentence(text: str) -> bool:
    """Return whether the text ends as a sentence does."""
    return _SENTENCE_END.search(text) is not None


def may_compare(one: str, other: str) -> bool:
    """Return whether two texts seem to be in one language, so that their words can be compared.

    `one` may be short: it then needs a common word of the other's language, and more of no other.
    """
    if _script(one) != _script(other):
        return False
    name, (most, *_) = language(other), _common_words(one)
    return language(one) == name or any((count, name) == most for count in range(1, most[0] + 1))


def language(text: str) -> str | None:
    """Return the code of the language whose common words the text has most; `None` if unclear."""
    (most, name), (second, _) = _common_words(text)[:2]
    return name if most >= MIN_COMMON_WORDS and most > second else None


def _common_words(text: str) -> list[tuple[int, str]]:
    """Return how many common words of each language the text has; the most first."""
    found = words(text)
    counts = ((sum(word in common for word in found), name) for name, common in _LANGUAGES.items())
    return sorted(counts, reverse=True)


def _script(text: str) -> str:
    """Return the Unicode name of the script of most letters, such as `LATIN`."""
    letters = (char for char in text if char.isalpha())
    scripts = [unicodedata.name(char, "").split(" ")[0] for char in islice(letters, SCRIPT_CHARS)]
    return max(set(scripts), key=lambda script: (scripts.count(script), script), default="")
