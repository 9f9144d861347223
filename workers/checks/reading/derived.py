"""Values that follow from those of a text: computed from two of them, or given in another unit.

An answer may state a sum or a date some days later. Such a value is no evidence of a wrong answer.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from itertools import accumulate, combinations, pairwise, permutations
from operator import mul

from forebay.workers.checks.reading.dates import Date, Time
from forebay.workers.checks.reading.number_words import spelled_numbers
from forebay.workers.checks.reading.numerals import mentions

MAX_NUMBERS = 12  # of a text with more, too many values follow to tell anything
MAX_DATES = 6  # likewise
MAX_STEPS = 10_000  # units between two dates, so that no date is out of range
_DECIMALS = (Decimal("0.1"), Decimal("0.01"))
_SCALES = frozenset(Decimal(10) ** power for power in range(2, 16))
_MAX_DIGITS = 15  # of a number that anybody computes with
_TOKEN = re.compile(r"(?<![$\u20ac\u00a3\d.,])\d+(?:[.,]\d+)*|[^\W\d_]+")
_SYMBOL_CHARS = 2  # a unit of so few characters counts in its case: `2.5M` is no length

#: The units of each dimension, with their size. The names are in small letters.
_DIMENSIONS: tuple[dict[str, tuple[str, str]], ...] = (
    {
        "mm": ("0.001", "millimetre millimetres millimeter millimètres"),
        "cm": ("0.01", "centimetre centimetres centimeter centimeters centimètres centímetros"),
        "m": ("1", "metre metres meter meters mètre mètres metro metros metri"),
        "km": ("1000", "kilometre kilometres kilometer kilometers kilomètres kilómetros"),
        "mi": ("1609.344", "mile miles meile meilen"),
        "ft": ("0.3048", "foot feet"),
    },
    {
        "mg": ("0.001", "milligram milligrams milligramm"),
        "g": ("1", "gram grams gramm grammes gramos grammi gramas"),
        "kg": ("1000", "kilo kilos kilogram kilograms kilogramm kilogrammes kilogramos chili"),
        "t": ("1000000", "tonne tonnes tonnen toneladas tonnellate"),
        "lb": ("453.59237", "lbs"),
    },
    {
        "ml": ("0.001", "millilitre millilitres milliliter milliliters"),
        "cl": ("0.01", "centilitres centiliter"),
        "l": ("1", "litre litres liter liters litro litros litri"),
    },
    {
        "s": ("1", "sec second seconds sekunde sekunden seconde secondes segundos secondi"),
        "min": ("60", "minute minutes minuten minuto minutos minuti"),
        "h": ("3600", "hr hrs hour hours stunde stunden heure heures hora horas ora ore uur"),
        "d": ("86400", "day days tag tage tagen jour jours día días dia dias giorno giorni dagen"),
        "night": ("86400", "nights nacht nächte nächten nuit nuits noche noches notte notti"),
        "w": ("604800", "week weeks woche wochen semaine semaines semana semanas settimane"),
    },
    {
        "mo": ("1", "month months monat monate monaten mois mes meses mese mesi mês maanden"),
        "q": ("3", "quarter quarters quartal quartale trimestre trimestres"),
        "y": ("12", "year years jahr jahre jahren ans année années año años anno anni ano anos"),
    },
)  # fmt: skip
_UNITS = {
    name: (dimension, Decimal(size))
    for dimension, units in enumerate(_DIMENSIONS)
    for symbol, (size, names) in units.items()
    for name in (symbol, *names.split())
}
_CLOCK, _CALENDAR = 3, 4
#: Words that halve a number, double it, and so on.
_FACTORS = {
    word: Decimal(factor)
    for factor, names in {
        "0.5": "half halve halved halves hälfte halbiert halb moitié mitad metà metade helft",
        "0.25": "quarter viertel quart cuarto quarto kwart",
        "2": "double doubled twice doppelt verdoppelt doppelte double doublé doble doppio dobro",
        "3": "triple tripled dreifach verdreifacht triplé triplo",
    }.items()
    for word in names.split()
}
_DAY = _UNITS["d"][1]
_ALL = Decimal(100)
_FIRST_YEAR, _LAST_YEAR = 1500, 2200
#: Parts of an hour that are one word or two.
_PARTS_OF_HOUR = tuple(
    (Decimal(part), re.compile(names, re.IGNORECASE))
    for part, names in {
        "0.25": r"quarter of an hour|viertelstunde|quart d.heure|cuarto de hora",
        "0.5": r"half an hour|half.hour|halbe\w? stunde|demi.heure|media hora|mezz.ora|meia hora",
    }.items()
)


def computed(numbers: Sequence[Decimal]) -> frozenset[Decimal]:
    """Return what follows from numbers in the order of the text: sums, shares, differences, ...

    Results are rounded as people do. With more than `MAX_NUMBERS` numbers nothing is returned.
    """
    distinct = set(numbers)
    if len(distinct) > MAX_NUMBERS or any(len(n.as_tuple().digits) > _MAX_DIGITS for n in distinct):
        return frozenset()
    results = set(_sums(numbers[: 2 * MAX_NUMBERS]))
    results.update(_of_all(numbers))
    for first, second in permutations(distinct, 2):
        results.update(_of_two(first, second))
    return _rounded(results)


def _of_all(numbers: Sequence[Decimal]) -> Iterator[Decimal]:
    """Yield what is left of the largest number, and the price of several things together."""
    if not 2 < len(numbers) <= MAX_NUMBERS:  # noqa: PLR2004 - two are handled as a pair
        return
    yield 2 * max(numbers) - sum(numbers)
    for size in (4, 6):
        for start in range(len(numbers) - size + 1):
            row = numbers[start : start + size]
            # `18 each, 9 each: 2 and 3 of them`, or `2 at 18 and 3 at 9`
            yield sum(map(mul, row[: size // 2], row[size // 2 :]), Decimal(0))
            yield sum(map(mul, row[::2], row[1::2]), Decimal(0))


def multiples(numbers: Sequence[Decimal], spelled: Iterable[Decimal]) -> Iterator[Decimal]:
    """Yield the multiples of numbers by numbers in words, and the years before and after others.

    As in `three months' rent`, and `born in 1984, moved aged nine`.
    """
    words = {factor for factor in spelled if factor > 1}
    if len({*numbers}) <= MAX_NUMBERS:
        times = [factor for factor in words if factor <= MAX_NUMBERS]
        yield from (number * factor for number in numbers for factor in times)
        years = [number for number in numbers if _FIRST_YEAR < number < _LAST_YEAR]
        yield from (year + by for year in years for word in words for by in (word, -word))


def rests(shares: Sequence[Decimal]) -> Iterator[Decimal]:
    """Yield what shares leave of 100, as a percentage and as a fraction."""
    known = [share for share in {*shares} if 0 < share < _ALL]
    left = (_ALL - sum(some) for size in (1, 2) for some in combinations(known, size))
    yield from (form for rest in left if rest > 0 for form in (rest, rest / _ALL))


def parts(numbers: Iterable[Decimal], found: Collection[str]) -> Iterator[Decimal]:
    """Yield the halves and so on of numbers, if the text has such a word."""
    factors = {_FACTORS[word] for word in _FACTORS.keys() & found}
    yield from (number * factor for number in numbers for factor in factors)


def _sums(numbers: Sequence[Decimal]) -> Iterator[Decimal]:
    """Yield the sums of numbers that stand in a row."""
    for start in range(len(numbers)):
        yield from list(accumulate(numbers[start:]))[1:]


def _of_two(first: Decimal, second: Decimal) -> Iterator[Decimal]:
    """Yield what people compute from two numbers, the first of which may be a percentage."""
    yield from (first + second, first - second)
    if any(number in _SCALES for number in (first, second)):
        return  # `thousand` is no number to multiply another by: that would excuse a wrong scale
    yield first * second
    yield from (second * first / 100, second + second * first / 100, second - second * first / 100)
    if second:
        share = first / second
        yield from (share, 100 * share, 100 * (share - 1))
        yield from (Decimal(round(100 * share)), Decimal(round(100 * (share - 1))))


def quantities(text: str) -> list[tuple[Decimal, str]]:
    """Return the numbers of a text, in digits or as a word, that stand before a unit of measure."""
    found = []
    for number, word in pairwise(_TOKEN.findall(text)):
        unit = word if len(word) <= _SYMBOL_CHARS else word.casefold()
        if unit in _UNITS:
            found += [(value, unit) for value in _values(number.casefold())]
    return found + [(part, "h") for part, words in _PARTS_OF_HOUR if words.search(text)]


def _values(token: str) -> Iterable[Decimal]:
    if token[0].isdecimal():
        return [value for mention in mentions(token) for value in mention.values]
    return spelled_numbers([token], "")


def converted(given: Iterable[tuple[Decimal, str]]) -> frozenset[Decimal]:
    """Return the sizes of quantities in the other units of their dimension."""
    results = set()
    for value, unit in given:
        dimension, size = _UNITS[unit]
        sizes = {other for of, other in _UNITS.values() if of == dimension}
        results |= {value * size / other for other in sizes}
    return _rounded(results)


def moved(dates: Collection[Date], given: Iterable[tuple[Decimal, str]]) -> frozenset[Date]:
    """Return the dates that lie a quantity of time after or before those of a text."""
    whole = _whole(dates)
    results: set[Date] = set()
    for value, unit in given:
        dimension, size = _UNITS[unit]
        if not 0 < value <= MAX_STEPS or value % 1 or (dimension == _CLOCK and size < _DAY):
            continue
        for day, sign in ((day, sign) for day in whole for sign in (1, -1)):
            steps = sign * int(value * (size / _DAY if dimension == _CLOCK else size))
            if dimension in (_CLOCK, _CALENDAR) and abs(steps) <= MAX_STEPS:
                results.update(_around(_later(day, steps, by_month=dimension == _CALENDAR)))
    return frozenset(results)


def moved_times(times: Collection[Time], given: Iterable[tuple[Decimal, str]]) -> frozenset[Time]:
    """Return the times that lie minutes or hours after or before those of a text."""
    results: set[Time] = set()
    for value, unit in given:
        dimension, size = _UNITS[unit]
        if dimension != _CLOCK or not 0 < value * size < _DAY or value * size % 60:
            continue
        for hour, minute, second in times:
            for sign in (1, -1):
                minutes = (60 * hour + minute + sign * int(value * size) // 60) % (24 * 60)
                results.add((minutes // 60, minutes % 60, second))
    return frozenset(results)


def spans(dates: Collection[Date], times: Collection[Time]) -> frozenset[Decimal]:
    """Return how long it is from one date of a text to another, and from one time to another."""
    results: set[Decimal] = set()
    for first, second in combinations(sorted(_whole(dates)), 2):
        days = (second - first).days
        months = 12 * (second.year - first.year) + second.month - first.month
        months -= second.day < first.day
        results |= {Decimal(days), Decimal(days + 1), Decimal(days) / 7, Decimal(months)}
        results |= {Decimal(months // 12), Decimal(second.year - first.year)}
    clock = sorted({3600 * hour + 60 * minute + second for hour, minute, second in times})
    for start, end in combinations(clock[:MAX_DATES], 2):
        results |= {Decimal(end - start) / unit for unit in (60, 3600)}
    return _rounded(results)


def _whole(dates: Collection[Date]) -> list[date]:
    """Return the dates that have a year, unless there are too many."""
    found = []
    for year, month, day in dates:
        with suppress(ValueError):  # a spelling that would be no day of the calendar
            found += [date(year, month, day)] if year else []
    return found if len(found) <= MAX_DATES else []


def _later(day: date, steps: int, *, by_month: bool) -> date:
    if not by_month:
        return day + timedelta(days=steps)
    year, month = divmod(12 * day.year + day.month - 1 + steps, 12)
    year = max(1, min(year, 9998))  # the years that a date can have
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _around(day: date) -> Iterator[Date]:
    """Yield a day, and the one before: a term of a year ends on the day before."""
    for each in (day, day - timedelta(days=1)):
        yield each.year, each.month, each.day


def _rounded(values: Iterable[Decimal]) -> frozenset[Decimal]:
    kept = [value for value in values if abs(value.adjusted()) <= _MAX_DIGITS]
    return frozenset(kept).union(value.quantize(step) for value in kept for step in _DECIMALS)
