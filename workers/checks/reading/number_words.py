"""Numbers in words: English, German, French, Spanish, Italian, Portuguese, Dutch and Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal

MAX_WORD_CHARS = 50  # of a German number in one word
_EN_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_EN_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_DE_UNITS = "ein zwei drei vier fünf sechs sieben acht neun"
_DE_TENS = "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig"
_IT_UNITS = "uno due tre quattro cinque sei sette otto nove"
_IT_TENS = "venti trenta quaranta cinquanta sessanta settanta ottanta novanta"
_NL_UNITS = "een twee drie vier vijf zes zeven acht negen"
_NL_TENS = "twintig dertig veertig vijftig zestig zeventig tachtig negentig"
#: Words in the order of their numbers, by the first number and the step between two of them.
_SERIES = (
    (0, 1, "zero one two three four five six seven eight nine"),
    (10, 1, _EN_TEENS),
    (20, 10, "twenty thirty forty fifty sixty seventy eighty ninety"),
    (1, 1, _EN_ORDINALS),
    (0, 1, "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn"),
    (15, 1, "fünfzehn sechzehn siebzehn achtzehn neunzehn"),
    (20, 10, _DE_TENS),
    (1, 1, "erste zweite dritte vierte fünfte sechste siebte achte neunte zehnte"),
    (0, 1, "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze"),
    (15, 1, "quinze seize"),
    (20, 10, "vingt trente quarante cinquante soixante"),
    (0, 1, "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce"),
    (15, 1, "quince dieciséis diecisiete dieciocho diecinueve veinte veintiuno veintidós"),
    (23, 1, "veintitrés veinticuatro veinticinco veintiséis veintisiete veintiocho veintinueve"),
    (30, 10, "treinta cuarenta cincuenta sesenta setenta ochenta noventa"),
    (0, 1, "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici"),
    (14, 1, "quattordici quindici sedici diciassette diciotto diciannove"),
    (20, 10, _IT_TENS),
    (200, 100, "doscientos trescientos cuatrocientos quinientos seiscientos setecientos"),
    (800, 100, "ochocientos novecientos"),
    (
        200,
        100,
        "duecento trecento quattrocento cinquecento seicento settecento ottocento novecento",
    ),
    (200, 100, "duzentos trezentos quatrocentos quinhentos seiscentos setecentos oitocentos"),
    (1, 1, "um dois três quatro cinco seis sete oito nove dez onze doze treze catorze quinze"),
    (16, 1, "dezesseis dezessete dezoito dezenove"),
    (20, 10, "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa"),
    (0, 1, "nul een twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien"),
    (15, 1, "vijftien zestien zeventien achttien negentien"),
    (20, 10, _NL_TENS),
    (2, 1, "två tre fyra fem sex sju åtta nio tio elva tolv"),
    (0, 1, "zero jeden dwa trzy cztery pięć sześć siedem osiem dziewięć dziesięć jedenaście"),
    (0, 1, "ноль один два три четыре пять шесть семь восемь девять десять одиннадцать двенадцать"),
    (1, 1, "bir iki üç dört beş altı yedi sekiz dokuz"),  # noqa: RUF001 - Turkish
    (1, 1, "한 두 세 네 다섯 여섯 일곱 여덟 아홉 열"),
)
_OTHERS: dict[str, int | str] = {
    "free": 0, "gratis": 0, "gratuit": 0, "gratuite": 0, "gratuita": 0, "gratuito": 0,
    "kostenlos": 0, "kostenfrei": 0, "aucun": 0, "aucune": 0, "ningún": 0, "ninguna": 0,
    "nessun": 0, "nessuna": 0, "nenhum": 0, "nenhuma": 0, "geen": 0, "no": 0,
    "none": 0, "nobody": 0, "nothing": 0, "kein": 0, "keine": 0, "a": 1, "an": 1, "ein": 1,
    "eine": 1, "une": 1, "una": 1, "uma": 1, "duas": 2, "once": 1, "twice": 2, "both": 2,
    "dreissig": 30, "vingts": 20, "half": "0.5", "quarter": "0.25",
}  # fmt: skip
_HUNDREDS = frozenset(
    ["hundred", "hundert", "cent", "cents", "cien", "ciento", "cento", "cem", "honderd"]
)
_SCALE_WORDS = {
    "1e3": "thousand thousands grand tausend mille mil mila duizend тысяч",
    "1e5": "lakh lakhs lac lacs",
    "1e6": "million millions millionen millón millones milione milioni milhão milhões miljoen",
    "1e7": "crore crores",
    "1e9": "billion billions milliard milliards milliarde milliarden miliardo miliardi miljard",
    "1e12": "trillion trillions billionen",
}
#: The factor of each scale that is written out, in small letters.
SCALES = {word: Decimal(factor) for factor, names in _SCALE_WORDS.items() for word in names.split()}
_THOUSANDS = frozenset({"thousand", "tausend", "mille", "mil", "duizend"})
#: Parts of a number in one word, the largest first.
_COMPOUNDS = (("tausend", 1000), ("mila", 1000), ("mille", 1000), ("hundert", 100), ("cento", 100))
_DOZENS = frozenset(
    {"dozen", "dozens", "dutzend", "douzaine", "douzaines", "docena", "docenas", "dozzina"}
    | {"dozzine", "dúzia", "dúzias", "dozijn", "tuzin"}
)
#: A half behind the unit of a number: `3 kilos et demi`.
_HALF_BEHIND = re.compile(
    r"\b(\d{1,6})\s(?:[^\W\d_]{1,12}\s)?"
    r"(?:et demie?|e mezz[oa]|y medi[oa]|e mei[oa]|and a half|en een half)\b",
    re.IGNORECASE,
)
_JOINTS = frozenset({"and", "und", "et", "y", "e"})
PERCENT = frozenset({"percent", "prozent", "procent"})
_PER, _CENT = frozenset({"per", "pour", "por"}), frozenset({"cent", "ciento", "cento"})
_MINUSES = frozenset({"minus", "negative", "moins", "menos", "meno"})
_ARTICLES = frozenset({"a", "an"})
_PARTS = frozenset({Decimal("0.5"), Decimal("0.25")})
_SIXTY, _EIGHTY = 60, 80  # after which French goes on to count to 19
_CJK_DIGITS = {char: number for number, char in enumerate("〇一二三四五六七八九")} | {
    "零": 0,
    "两": 2,
}
_CJK_UNITS = {"十": 10, "百": 100, "千": 1000}
_CJK_SCALES = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_CJK = re.compile(rf"[{''.join([*_CJK_DIGITS, *_CJK_UNITS, *_CJK_SCALES])}]{{1,20}}")


def _small_numbers() -> dict[str, Decimal]:
    numbers = {
        word: Decimal(start + step * index)
        for start, step, names in _SERIES
        for index, word in enumerate(names.split())
    }
    for ten, tens_word in enumerate(_DE_TENS.split(), 2):
        for unit, word in enumerate(_DE_UNITS.split(), 1):
            numbers[f"{word}und{tens_word}"] = Decimal(10 * ten + unit)
    for unit, word in enumerate(_DE_UNITS.split(), 1):
        numbers |= {f"{word}hundert": Decimal(100 * unit), f"{word}tausend": Decimal(1000 * unit)}
    numbers |= _italian() | _dutch()
    return numbers | {word: Decimal(value) for word, value in _OTHERS.items()}


def _italian() -> dict[str, Decimal]:
    """Return the numbers from 21 to 99, whose tens lose their vowel before another."""
    numbers: dict[str, Decimal] = {}
    for ten, tens in enumerate(_IT_TENS.split(), 2):
        for unit, word in enumerate(_IT_UNITS.split(), 1):
            head = tens[:-1] if word[0] in "uo" else tens
            numbers |= {head + word: Decimal(10 * ten + unit)}
    return numbers


def _dutch() -> dict[str, Decimal]:
    """Return the numbers from 21 to 99 that are one word."""
    return {
        f"{word}{'ën' if word.endswith('e') else 'en'}{tens}": Decimal(10 * ten + unit)
        for ten, tens in enumerate(_NL_TENS.split(), 2)
        for unit, word in enumerate(_NL_UNITS.split(), 1)
    }


_NUMBERS = {word.replace("ß", "ss"): number for word, number in _small_numbers().items()}


def spelled_numbers(words: Iterable[str], text: str) -> Iterator[Decimal]:
    """Yield the numbers that are written in words.

    Each word of `twenty five` stands for a number of its own too, as in a list.

    Args:
        words: the words of the text, in small letters.
        text: the text, for numbers in Chinese characters.
    """
    run, last, ended = _Run(), "", Decimal(0)
    for word in words:
        if word in PERCENT or (word in _CENT and last in _PER):
            yield (run.value or ended) / 100
            yield from run.total()
            run, last = _Run(), word
            continue
        ended = run.value or (ended if word in _PER else Decimal(0))
        value = _value(word)
        if value is not None:
            if run.is_empty or not run.continues_with(word, value):
                yield from run.total()
                run = _Run(-1 if last in _MINUSES else 1)
                run.continues_with(word, value)
            yield run.sign * value
        elif not run.scaled_by(word, after_digits=last.isdecimal()) and word not in _JOINTS:
            yield from run.total()
            run = _Run()
        last = word
    yield from run.total()
    yield from (cjk_number(match[0]) for match in _CJK.finditer(text))


class _Run:
    """Adds up the words of one number."""

    def __init__(self, sign: int = 1) -> None:
        self.sign = sign
        self._group: Decimal | None = None
        self._total = Decimal(0)

    @property
    def is_empty(self) -> bool:
        """Whether no word has been added."""
        return self._group is None

    @property
    def value(self) -> Decimal:
        """The number; 0 if no word has been added."""
        return self.sign * (self._total + (self._group or 0))

    def total(self) -> Iterator[Decimal]:
        """Yield the number, if there is one."""
        if self._group is not None:
            yield self.value

    def continues_with(self, word: str, value: Decimal) -> bool:
        """Add a small number; return False if it begins a number of its own."""
        group = self._group or Decimal(0)
        if word in _ARTICLES and self._group is not None:
            return True  # `half a million`, `two and a half`
        if value in _PARTS and self._group is not None:
            self._group = group + value
            return True
        tens = group % 100
        if word in ("vingt", "vingts") and tens == 4:  # noqa: PLR2004 - quatre-vingts
            self._group = group - 4 + _EIGHTY
            return True
        is_unit = value < 10 <= tens and tens % 10 == 0  # noqa: PLR2004
        is_french = tens in (_SIXTY, _EIGHTY) and value < 20  # noqa: PLR2004
        if self._group is not None and tens and not is_unit and not is_french:
            return False
        self._group = group + value
        return True

    def scaled_by(self, word: str, *, after_digits: bool) -> bool:
        """Multiply by a word such as `hundred`; return False if the word is none."""
        if word in _HUNDREDS or word in _DOZENS:
            self._group = (self._group or Decimal(1)) * (100 if word in _HUNDREDS else 12)
        elif (
            word in SCALES and (self._group is not None or word in _THOUSANDS) and not after_digits
        ):
            self._total += (self._group or Decimal(1)) * SCALES[word]
            self._group = Decimal(0)
        else:
            return False
        return True


def _value(word: str) -> Decimal | None:
    """Return the small number that a word is; German and Italian write larger ones in one word."""
    if word in _NUMBERS or len(word) > MAX_WORD_CHARS:
        return _NUMBERS.get(word)
    for name, factor in _COMPOUNDS:
        head, found, tail = word.partition(name)
        if found and (head or tail):
            rest = _value(tail.removeprefix("und")) if tail else Decimal(0)
            many = _multiple(head, name)
            return None if many is None or rest is None else many * factor + rest
    return None


def _multiple(head: str, name: str) -> Decimal | None:
    """Return how many hundreds or thousands a number in one word begins with."""
    if name == "hundert" or not head:
        return _NUMBERS.get(head, Decimal(1))
    return _NUMBERS.get(head) if name == "cento" else _value(head)


def cjk_number(digits: str) -> Decimal:
    """Return the number of a run such as 三万五千; without units, as digits: 二〇二六 is 2026."""
    if not any(char in _CJK_UNITS or char in _CJK_SCALES for char in digits):
        return Decimal("".join(str(_CJK_DIGITS[char]) for char in digits))
    total = section = digit = 0
    for char in digits:
        if char in _CJK_DIGITS:
            digit = _CJK_DIGITS[char]
        elif char in _CJK_UNITS:
            section, digit = section + (digit or 1) * _CJK_UNITS[char], 0
        else:
            total, section, digit = total + (section + digit or 1) * _CJK_SCALES[char], 0, 0
    return Decimal(total + section + digit)


def halves_beside_units(text: str) -> Iterator[Decimal]:
    """Yield the numbers whose half is a word: 3.5 for `3 kilos et demi`."""
    return (Decimal(match[1]) + Decimal("0.5") for match in _HALF_BEHIND.finditer(text))


def speaks_of_a_scale(text: str) -> bool:
    """Return whether a text, such as a schema's, asks for numbers in thousands or millions."""
    names = SCALES.keys() | {"mio", "mrd", "mn", "bn", "tsd", "k"}
    return not names.isdisjoint(re.findall(r"[^\W_]+", text.casefold()))
