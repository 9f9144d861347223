"""Dates and times of day in a text, in the spellings of several languages.

Month names are English, German, French, Spanish, Italian, Portuguese and Dutch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal

from forebay.workers.checks.reading.number_words import cjk_number

Date = tuple[int | None, int, int]  # year if it is given, month, day
Time = tuple[int, int, int]  # hour, minute, second
Found = tuple[tuple[int, int], frozenset[Date]]  # the place of a date, and what it may mean

_MONTH_NAMES = (
    "jan january januar jänner janvier janv enero ene gennaio gen januari janeiro",
    "feb february februar février févr fév febrero febbraio februari fevereiro fev",
    "mar march märz mrz mär mars marzo maart mrt março",
    "apr april avril avr abril abr aprile",
    "may mai mayo maggio mag mei maio",
    "jun june juni juin junio giugno giu junho",
    "jul july juli juillet juil julio luglio lug julho",
    "aug august août aout agosto ago augustus",
    "sep sept september septembre septiembre settembre set setembro",
    "oct october oktober okt octobre octubre ottobre ott outubro out",
    "nov november novembre noviembre novembro",
    "dec december dezember dez décembre déc diciembre dic dicembre dezembro",
)
#: The number of each month by its name, in small letters.
MONTHS = {name: number for number, names in enumerate(_MONTH_NAMES, 1) for name in names.split()}
WEEKDAYS = frozenset({"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"})
_MONTH = rf"({'|'.join(sorted(MONTHS, key=len, reverse=True))})\b\.?"
_YEAR_FIRST = re.compile(r"(?<!\d)(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)")
_COMPACT = re.compile(r"\b((?:19|20)\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])\b")
_YEAR_LAST = re.compile(r"\b(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{2})\b")
#: As in Swedish and Czech: `1/5 2026`, `1. 5. 2026`.
_SPACED = re.compile(r"\b(\d{1,2})(?:/|\.\s?)(\d{1,2})\.?\s((?:19|20)\d\d)\b")
_CJK = re.compile(r"(?:(\d{4})\s?[\u5e74\ub144]\s?)?(\d{1,2})\s?[\u6708\uc6d4]\s?(\d{1,2})(?!\d)")
_CJK_DIGIT = "[〇零一二三四五六七八九十]"
_CJK_WORDS = re.compile(
    rf"(?:({_CJK_DIGIT}{{4}})年)?({_CJK_DIGIT}{{1,3}})月({_CJK_DIGIT}{{1,3}})[日号號]"
)
_DAY_MONTH = re.compile(
    rf"\b(\d{{1,2}})(?:st|nd|rd|th|er|[.o\u00ba\u00b0])?(?:\s+|-)(?:(?:of|de)\s+)?{_MONTH}"
    r"(?:,?(?:\s+|-)(?:del?\s+)?(\d{4})\b)?",
    re.IGNORECASE,
)
_DAY = r"\d{1,2}(?:st|nd|rd|th|er|[.\u00ba])?"
_AND = (
    r"\s?(?:[-\u2013&/]|(?:to|and|or|till|until|through|bis|bis zum|und|oder|et|ou|au|y|al?|e|i|en"
    r"|tot|och)\s)\s?(?:(?:the|le|der|dem|el|il|den)\s)?"
)
#: Days before or after the day of a date, in its month: `1-15 May`, `May 1 and 15`.
_EARLIER_DAY = re.compile(rf"(?<![\w.])({_DAY}){_AND}$", re.IGNORECASE)
_LISTED_DAY = re.compile(rf"(?<![\w.])({_DAY}),\s?$")
_LATER_DAY = re.compile(
    rf"{_AND}({_DAY})(?=,?\s\d{{4}}\b|[.;)\n]|$)(?:,?\s(\d{{4}}))?", re.IGNORECASE
)
_LISTED_CHARS = 20  # of a day that is listed, and the words that join it to the next one
_MAX_LISTED = 10  # days of one month
_MONTH_DAY = re.compile(
    rf"\b{_MONTH}\s+(?:the\s+)?(\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(\d{{4}}))?\b"
    r"(?!\s?(?:%|percent|prozent))",
    re.IGNORECASE,
)
_MONTH_YEAR = re.compile(rf"\b{_MONTH},?\s+(?:del?\s+)?(\d{{4}})\b", re.IGNORECASE)
_DURATION = re.compile(r"P(?=[\dT])(?:\d+[YMWD])*(?:T(?:\d+(?:\.\d+)?[HMS])+)?")
_UNKNOWN_MONTH = re.compile(r"\b(\d{1,2})\.?\s+([^\W\d_]{3,})\.?\s+(\d{4})\b")
_HALF_DAY = r"(?:([ap])\.?m\b\.?|uhr\b)"
_CLOCK = re.compile(
    r"(?<![\d:.,])(\d{1,2})(?:"
    r"(?:[:h]|\sh\s?)(\d{2})(?::(\d{2})(?:\.\d+)?)?(?![\d:])|\.(\d{2})(?=\s?(?:[ap]\.?m\b|uhr\b))"
    rf"|(?=\s?(?:[ap]\.?m\b|uhr\b)))(?:\s?{_HALF_DAY})?",
    re.IGNORECASE,
)
_HOUR_WORDS = {
    word: hour
    for names in (
        "one two three four five six seven eight nine ten eleven twelve",
        "eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
    )
    for hour, word in enumerate(names.split(), 1)
}
_HOUR = rf"({'|'.join(_HOUR_WORDS)}|\d{{1,2}})\b"
#: `quarter past three`, `half past 2`, `Viertel vor drei`, `halb drei`.
_SPOKEN = re.compile(
    rf"\b(?:(quarter|viertel|half|five|ten|twenty)\s(past|after|to|nach|vor)|(halb))\s{_HOUR}",
    re.IGNORECASE,
)
_PARTS_OF_HOUR = {"quarter": 15, "viertel": 15, "half": 30, "five": 5, "ten": 10, "twenty": 20}
#: An hour without minutes that may be a time: `at 8`, `9h`, and the 7 of `7-10:30`.
_BARE_HOUR = re.compile(
    r"(?:(?<=\bat )|(?<=\bum ))\d{1,2}(?![\d:.,]?\d|\s?(?:%|[ap]\.?m\b|uhr\b))"
    r"|(?<![\d:.,])(\d{1,2})(?:\s?(?:h|hrs?|heures?|horas?|ore)\b"
    r"|\s?(?:[-\u2013]|to|bis|à|a)\s?(?=\d{1,2}(?::\d\d|h|\s?[ap]\.?m\b|\s?uhr\b)))",
    re.IGNORECASE,
)
#: Hour and minute behind a word that says so: `ore 20 e 15`, `kl. 14.30`, `20 Uhr 15`.
_CJK_TIME = re.compile(
    r"(午前|上午|早上|凌晨|午後|下午|晚上|夜|오전|오후)?\s?(\d{1,2}|[〇零一二三四五六七八九十两]{1,3})"
    r"\s?(?:時|时|点|點|시)(?!間|间)(?:(半|반)|\s?(\d{1,2}|[〇零一二三四五六七八九十]{1,3})\s?(?:分|분))?"
)
_AFTERNOON = frozenset({"午後", "下午", "晚上", "夜", "오후"})
_FOUR_DIGITS = re.compile(
    r"(?<![\d.,:/-])([01]\d|2[0-3])([0-5]\d)(?![\d.,:/-]\d|\d)"
)  # `dep. 1730`
_ANNOUNCED = re.compile(
    r"\b(?:ore|[ad]?alle|delle|kl|klo|godz|um|gegen|at|om|las|às|о|в)\b\.?\s"  # noqa: RUF001 - Russian
    r"(\d{1,2})(?:[.:,]|\s(?:e|y|og|och)\s)(\d{2})\b(?![.:,]\d|\s?[ap]\.?m\b)"
    r"|\b(\d{1,2})\s(?:uhr|uur)\s(\d{2})\b",
    re.IGNORECASE,
)
_NUMERIC_MONTH = re.compile(r"(?<![\d./-])(0?[1-9]|1[0-2])[/.-]((?:19|20)\d\d)(?![\d/.-]\d?)")
_ZONE = re.compile(
    r"(?<=[\d\s])(?:Z|UTC|GMT)\b|(?:(?<=:\d\d)|(?<=\.\d{3})|(?<=\.\d{6}))[+\u2212-]\d\d:?\d\d\b",
    re.IGNORECASE,
)
_NAMED_TIMES = {"noon": (12, 0, 0), "midday": (12, 0, 0), "midnight": (0, 0, 0)}
_LAST_HOUR, _LAST_MINUTE, _NOON = 24, 59, 12


def dates(text: str) -> Iterator[Found]:
    """Yield the place of each date, and the dates it may mean (3/4 is in March or in April)."""
    for pattern in (_YEAR_FIRST, _COMPACT, _CJK):
        for match in pattern.finditer(text):
            year_digits, month, day = match.groups()
            year = int(year_digits) if year_digits else None
            yield match.span(), frozenset({(year, int(month), int(day))})
    for match in (*_YEAR_LAST.finditer(text), *_SPACED.finditer(text)):
        first, second, last = map(int, match.groups())
        last += 2000 if last < 100 else 0  # noqa: PLR2004 - two digits
        yield match.span(), frozenset({(last, first, second), (last, second, first)})
    for match in _CJK_WORDS.finditer(text):
        year, month, day = (int(cjk_number(part)) if part else None for part in match.groups())
        yield match.span(), frozenset({(year, month or 0, day or 0)})
    for match in _DAY_MONTH.finditer(text):
        yield match.span(), frozenset({_date(*match.group(3, 2, 1))})
        yield from _earlier_days(text, match)
    for match in _MONTH_DAY.finditer(text):
        yield match.span(), frozenset({_date(*match.group(3, 1, 2))})
        if later := None if match[3] else _LATER_DAY.match(text, match.end()):
            yield later.span(), frozenset({_date(later[2], match[1], _digits(later[1]))})


def _earlier_days(text: str, date: re.Match[str]) -> Iterator[Found]:
    """Yield the days that are listed before a date: the first of `1-15 May`."""
    end, pattern = date.start(), _EARLIER_DAY
    for _ in range(_MAX_LISTED):
        start = max(0, end - _LISTED_CHARS)
        match = pattern.search(text[start:end])
        if match is None:
            return
        yield (start + match.start(), end), frozenset({_date(date[3], date[2], _digits(match[1]))})
        end, pattern = start + match.start(), _LISTED_DAY


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def blanked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return the text with spaces in these places."""
    chars = list(text)
    for start, end in spans:
        chars[start:end] = " " * (end - start)
    return "".join(chars)


def _date(year: str | None, month: str, day: str) -> Date:
    return int(year) if year else None, MONTHS[month.lower()], int(day)


def days_of_unknown_months(text: str) -> Iterator[tuple[int, int]]:
    """Yield the year and day of what may be a date with a month in another language."""
    for match in _UNKNOWN_MONTH.finditer(text):
        if match[2].casefold() not in MONTHS:
            yield int(match[3]), int(match[1])


def months(text: str) -> Iterator[tuple[int, int]]:
    """Yield the year and month of each month with its year: `April 2026`, `04/2026`."""
    for match in _MONTH_YEAR.finditer(text):
        yield int(match[2]), MONTHS[match[1].lower()]
    for match in _NUMERIC_MONTH.finditer(text):
        yield int(match[2]), int(match[1])


def duration_numbers(value: str) -> set[Decimal] | None:
    """Return the numbers in an ISO 8601 duration, such as 3 in `PT3H`; `None` if it is none."""
    if not _DURATION.fullmatch(value):
        return None
    return set(map(Decimal, re.findall(r"\d+(?:\.\d+)?", value)))


def times(text: str) -> Iterator[tuple[tuple[int, int], frozenset[Time]]]:
    """Yield the place of each time of day, and the times it may mean (2:30 may be 14:30)."""
    for match in _CLOCK.finditer(text):
        minute, second = int(match[2] or match[4] or 0), int(match[3] or 0)
        if int(match[1]) <= _LAST_HOUR and minute <= _LAST_MINUTE:
            hours = _hours(match[1], (match[5] or "").lower())
            yield match.span(), frozenset((hour % _LAST_HOUR, minute, second) for hour in hours)
    for match in re.finditer(r"\b(?:noon|midday|midnight)\b", text, re.IGNORECASE):
        yield match.span(), frozenset({_NAMED_TIMES[match[0].lower()]})


def possible_times(text: str) -> Iterator[Time]:
    """Yield the times that a text may mean besides those of `times`: in words, or an hour alone."""
    for match in _SPOKEN.finditer(text):
        word = match[4].lower()
        hour, part = (
            _HOUR_WORDS.get(word) or int(word),
            _PARTS_OF_HOUR.get((match[1] or "").lower(), 30),
        )
        minutes = hour * 60 + (
            part if (match[2] or "").lower() in {"past", "after", "nach"} else -part
        )
        for half_day in (0, _NOON * 60):
            yield ((minutes + half_day) // 60 % _LAST_HOUR, minutes % 60, 0)
    for match in _ANNOUNCED.finditer(text):
        hour, minute = int(match[1] or match[3]), int(match[2] or match[4])
        if hour <= _LAST_HOUR and minute <= _LAST_MINUTE:
            yield from ((each % _LAST_HOUR, minute, 0) for each in _hours(str(hour), ""))
    for match in _FOUR_DIGITS.finditer(text):
        yield int(match[1]), int(match[2]), 0
    for match in _CJK_TIME.finditer(text):
        hour, minute = (_cjk_or_digits(part) if part else 0 for part in match.group(2, 4))
        hour += _NOON if match[1] in _AFTERNOON and hour < _NOON else 0
        yield hour % _LAST_HOUR, 30 if match[3] else minute, 0
    for match in _BARE_HOUR.finditer(text):
        for hour in _hours(match[1] or match[0], ""):
            yield hour % _LAST_HOUR, 0, 0


def _cjk_or_digits(number: str) -> int:
    return int(number) if number.isdecimal() else int(cjk_number(number))


def _hours(digits: str, half: str) -> set[int]:
    """Return the hours of 24 that an hour means before or after noon; both if it is not said."""
    hour = int(digits)
    if half:
        return {hour % _NOON + (_NOON if half == "p" else 0)}
    is_exact = hour >= _NOON or digits.startswith("0")
    return {hour} if is_exact else {hour, hour + _NOON}


def without_zones(text: str) -> str:
    """Return the text without offsets from UTC."""
    return _ZONE.sub(" ", text)
