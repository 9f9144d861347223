"""Numbers in digits: the values that each may stand for, with its sign and its scale.

The spelling of a number is ambiguous: `1,234` is 1234 or 1.234 by country, `(12.50)` is negative in
a ledger. If the text does not tell which is meant, all readings count.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from forebay.workers.checks.reading.normal_form import nfkc
from forebay.workers.checks.reading.number_words import SCALES

_CODES = (
    "AED AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD HUF IDR ILS INR JPY KRW MXN NOK NZD PLN RUB SEK"
    " SGD THB TRY UAH USD VND ZAR"
)
_CURRENCY = (
    r"(?:(?!(?:[kKMB]|Md)[$\u20ac\u00a3])[A-Z]{0,3}[$\u20ac\u00a3\u00a5\u20b9\u20bd\u20ba\u20a9\u20aa\u20ab]|\bRs\.?|\bkr\b"
    rf"|\b(?:{_CODES.replace(' ', '|')})\b)"
)
#: The names of each currency, in small letters.
CURRENCIES = tuple(
    frozenset(names.split())
    for names in (
        "€ eur euro euros", "$ usd dollar dollars dollari dólar dólares", "¥ jpy yen cny yuan",
        "£ gbp pound pounds pfund livre livres libra libras sterling sterlina sterline",
        "₹ inr rs rupee rupees", "chf franc francs franken franchi francos", "zł pln",
        "₽ rub", "₩ krw won", "kr sek nok dkk kronor kroner", "₺ try lira",
    )
)  # fmt: skip
CURRENCY_NAMES = frozenset().union(*CURRENCIES)
_DIGITS = r"(?:\d{1,3}(?:[ '\u2019]\d{3}(?!\d))+(?:[.,]\d+)?|\d+(?:[.,]\d+)*|(?<![\w.,])\.\d+)"
_MENTION = re.compile(
    rf"(?P<open>\()?\s?(?P<minus>(?<![\w)%])[-\u2212\u2012\u2013\u2011]\s?"
    r"|\b(?:minus|negative|moins|menos|meno|min)\s)?"
    rf"(?:(?P<currency>{_CURRENCY}\s?)(?P<inner>[-\u2212\u2013]\s?)?)?\+?"
    rf"(?P<digits>{_DIGITS})(?:[eE](?P<power>[-+\u2212]?\d{{1,3}})(?!\w))?"
    r"(?:\s{0,2}(?<=\s)(?P<part>\d+)\s?(?P<slash>[/\u2044])\s?(?P<whole>\d+)"
    r"|\s?(?P<line>[/\u2044])\s?(?P<divisor>\d+))?"
    rf"(?P<trail>[-\u2212](?![\w(.,]))?(?P<tail>\s?{_CURRENCY})?(?P<close>\))?"
)
_SURE_SCALES = SCALES | {
    name: Decimal(factor)
    for factor, names in {
        "1e3": "tsd tys тыс 千", "1e4": "万 萬 만", "1e6": "mio mn mln млн 百万",
        "1e7": "千万", "1e8": "亿 億 억", "1e9": "bn bln mrd mds mld млрд", "1e12": "trn 兆",
    }.items()
    for name in names.split()
}  # fmt: skip
#: Scales that may be something else as well: a share, metres, a credit entry, kelvins.
_UNSURE_SCALES = {
    "%": Decimal("0.01"), "percent": Decimal("0.01"), "per cent": Decimal("0.01"),
    "prozent": Decimal("0.01"), "pour cent": Decimal("0.01"), "por ciento": Decimal("0.01"),
    "\u2030": Decimal("0.001"), "k": Decimal("1e3"), "m": Decimal("1e6"), "b": Decimal("1e9"),
    "cr": Decimal("1e7"), "l": Decimal("1e5"), "tn": Decimal("1e12"), "dozen": Decimal(12),
    "md": Decimal("1e9"), "hundred": Decimal(100), "hundert": Decimal(100),
}  # fmt: skip
_NAMES = "|".join(sorted({*_SURE_SCALES, *_UNSURE_SCALES}, key=len, reverse=True))
_SCALE = re.compile(rf"[\s-]?(?:(?P<name>{_NAMES})(?![^\W\d_\u3000-\u9fff])\.?)", re.IGNORECASE)
_PER = re.compile(r"\s?(?:/|per\b|pro\b|je\b|par\b|por\b|al\b)", re.IGNORECASE)
_RANGE = re.compile(rf"\s?(?:-|\u2013|to|bis|\u00e0|and|und|et|a)\s?{_CURRENCY}?{_DIGITS}")
_LEDGER = re.compile(rf"(?:^|[:|=\t;]|  |{_CURRENCY})\s?$", re.MULTILINE)
_CREDIT = re.compile(r"\s?(?:DR|CR|Dr|Cr)\b")
_CJK_SCALES = "\u4e07\u842c\u4ebf\u5104\u5343\u767e"
_VULGAR = re.compile("[\u00bc-\u00be\u2150-\u215f\u2189]")
_NOTE_MARK = re.compile("(?<=\\d)[\u00b9\u00b2\u00b3\u2070\u2074-\u2079]+")
_POWER = re.compile(
    "(\\d)\\s?[x\u00d7\u00b7*]\\s?10(?:(?:\\^|\\*\\*)(-?\\d{1,3})"
    "|(\u207b?[\u00b9\u00b2\u00b3\u2070\u2074-\u2079]{1,3}))"
)
_FIXED_SPACE = re.compile("(?<=\\d)[\u00a0\u2009\u202f](?=\\d{3})")
_ARABIC_MARKS = {0x066B: ".", 0x066C: ","}
_SPACES = re.compile("[ '\u2019]")
_THOUSANDS = r"\d{1,3}(?:\%s\d{3})+"
_INDIAN = re.compile(r"\d{1,2}(?:,\d{2})+,\d{3}")
_MAX_SCALES = 3  # as in `2 hundred thousand million`


class Mention(NamedTuple):
    """A number in a text.

    Attributes:
        span: its place, with sign and scale.
        values: what it may stand for.
        unscaled: the same without a scale such as `million`; equal to `values` without a scale.
        is_number: False for a version or an address such as `10.0.4`.
        is_marked: whether it has a sign, a decimal mark, digit groups, a currency or a scale.
    """

    span: tuple[int, int]
    values: frozenset[Decimal]
    unscaled: frozenset[Decimal]
    is_number: bool
    is_marked: bool

    def plus(self, other: Mention) -> Mention:
        """Return the number that two parts make together: `12\u4e07` and `3\u5343`."""
        sums = frozenset(one + rest for one in self.values for rest in other.values)
        span = self.span[0], other.span[1]
        return self._replace(span=span, values=sums, unscaled=sums)


def normalized(text: str) -> str:
    """Return the text in NFKC, except that `1½` stays one and a half, and `5¹` stays five."""
    text = _POWER.sub(lambda match: f"{match[1]}e{match[2] or match[3]}", text)
    text = _NOTE_MARK.sub(" ", _FIXED_SPACE.sub("'", text))
    text = _VULGAR.sub(lambda match: f" {nfkc(match[0])} ", text)
    return nfkc(text).translate(_ARABIC_MARKS)


def mentions(text: str) -> list[Mention]:
    """Return the numbers in digits of a normalized text, in order."""
    matches = list(_MENTION.finditer(text))
    point = _decimal_mark(matches)
    found: list[Mention] = []
    for match in matches:
        mention = _mention(text, match, point)
        last = found[-1] if found else None
        if last and last.span[1] == mention.span[0] and text[mention.span[0] - 1] in _CJK_SCALES:
            found[-1] = last.plus(mention)
        else:
            found.append(mention)
    return found


def _decimal_mark(matches: list[re.Match[str]]) -> str | None:
    """Return the mark that the text's unambiguous numbers have before their decimals."""
    found = set()
    for match in matches:
        digits = _SPACES.sub("", match["digits"])
        marks = re.findall("[.,]", digits)
        has_cents = (match["currency"] or match["tail"]) and re.search(r"[.,]\d\d$", digits)
        has_tenths = re.fullmatch(r"\d+,\d\d?", digits)  # nobody groups digits so
        if (len(set(marks)) > 1 and marks.count(marks[-1]) == 1) or (
            len(marks) == 1 and (has_cents or has_tenths)
        ):
            found.add(marks[-1])
    return found.pop() if len(found) == 1 else None


def _mention(text: str, match: re.Match[str], point: str | None) -> Mention:
    digits = match["digits"]
    has_currency = bool(match["currency"] or match["tail"])
    is_price = has_currency and not _PER.match(text, match.end())
    values = _fractions(match, _values(digits, point, is_amount=has_currency, is_price=is_price))
    values = _raised(match["power"], values)
    signs, end = _signs(text, match), match.end()
    scaled, end = _scaled(text, end, values, is_money=bool(match["currency"]))
    marks = set(re.findall("[.,]", digits))
    return Mention(
        span=(match.start(), end),
        values=frozenset(sign * value for sign in signs for value in scaled),
        unscaled=frozenset(sign * value for sign in signs for value in values),
        is_number=len(re.findall("[.,]", digits)) < 2 or len(marks) > 1 or _is_grouped(digits),  # noqa: PLR2004
        is_marked=not match[0].strip().isdecimal() or scaled != values,
    )


# --- digits --------------------------------------------------------------------------------------


def _values(digits: str, point: str | None, *, is_amount: bool, is_price: bool) -> set[Decimal]:
    groups = _SPACES.split(digits)
    number = "".join(groups)
    values = _marked_values(number, point)
    if is_price and len(values) > 1 and _is_grouped(number):
        values = {max(values)}  # nobody pays thousandths
    may_be_list = " " in digits and len(groups) == 2 and not is_amount  # noqa: PLR2004
    if may_be_list and groups[-1].isdecimal() and groups[-1][0] != "0":
        values |= {Decimal(group) for group in groups}  # `room 1 234 beds`
    return values


def _marked_values(number: str, point: str | None) -> set[Decimal]:
    marks = [char for char in number if char in ".,"]
    if len(marks) > 1 and len(set(marks)) == 1:
        whole = Decimal(_without_marks(number))
        if _is_grouped(number):
            return {whole}
        return {whole, *(Decimal(part) for part in re.split("[.,]", number))}
    with_point = Decimal(_with_point(number, marks))
    if len(marks) == 1 and re.fullmatch(_THOUSANDS % marks[0], number) and number[0] != "0":
        whole = Decimal(_without_marks(number))  # 1,234 is 1234 or 1.234, by country
        return {whole, with_point} if point is None else {with_point if point in number else whole}
    return {with_point}


def _raised(power: str | None, values: set[Decimal]) -> set[Decimal]:
    if not power:
        return values
    exponent = int(power.replace("\u2212", "-"))
    return {value.scaleb(exponent) for value in values}


def _is_grouped(number: str) -> bool:
    number = _SPACES.sub("", number)
    return bool(
        re.fullmatch(_THOUSANDS % ",", number)
        or re.fullmatch(_THOUSANDS % ".", number)
        or _INDIAN.fullmatch(number)
    )


def _without_marks(number: str) -> str:
    return re.sub("[.,]", "", number)


def _with_point(number: str, marks: list[str]) -> str:
    """Return the number with a point for its last mark, and without its other marks."""
    if not marks:
        return number
    head, _, tail = number.rpartition(marks[-1])
    return f"{_without_marks(head)}.{tail}"


def _fractions(match: re.Match[str], values: set[Decimal]) -> set[Decimal]:
    """Return the values with a fraction that follows: `1 ½`, `¾`, `3/4`."""
    divisor, sign = match["divisor"] or match["whole"], match["line"] or match["slash"]
    if not divisor or not Decimal(divisor):
        return values
    if match["part"]:
        part = Decimal(match["part"]) / Decimal(divisor)
        whole = {value + part for value in values}
        others = {*values, Decimal(match["part"]), Decimal(divisor), part}
    else:
        whole = {value / Decimal(divisor) for value in values}
        others = {*values, Decimal(divisor)}
    whole |= {rounded for value in whole for rounded in _roundings(value)}
    return whole if sign == "\u2044" else whole | others


def _roundings(value: Decimal) -> tuple[Decimal, ...]:
    """Return what a third may be written as: in full, or with two or three decimals."""
    if value == round(value, 6):
        return ()
    return (Decimal(repr(float(value))), round(value, 2), round(value, 3))


# --- signs and scales ----------------------------------------------------------------------------


def _signs(text: str, match: re.Match[str]) -> tuple[int, ...]:
    """Return -1, 1 or both, if the text does not tell."""
    before = text[max(0, match.start() - 12) : match.start()]
    if match["trail"]:
        return (-1,) if re.search("[.,]", match["digits"]) else (-1, 1)
    if match["minus"] or match["inner"]:
        return _dash_signs(match, before)
    if match["open"] and (match["close"] or re.match(r"\s?\)", text[match.end() :])):
        is_amount = re.search("[.,' ]", match["digits"]) or match["currency"] or match["tail"]
        if is_amount:
            return (-1,) if _LEDGER.search(before) else (-1, 1)
    return (1, -1) if _CREDIT.match(text, match.end()) else (1,)


def _dash_signs(match: re.Match[str], before: str) -> tuple[int, ...]:
    """Tell a minus from a dash between words or numbers, and from the mark of a list."""
    minus = match["minus"] or match["inner"]
    if minus[0].isalpha() or minus[0] == "\u2212":
        return (-1,)
    last = before.rstrip(" ")[-1:]
    if minus[-1].isspace():
        if last in ("", "\n"):
            return (1, -1)
        return (1,) if last.isdigit() else (-1,) if last in ":=|($\u20ac\u00a3" else (1, -1)
    return (-1, 1) if last.isdigit() else (-1,)


def _scaled(
    text: str, end: int, values: set[Decimal], *, is_money: bool
) -> tuple[set[Decimal], int]:
    """Return the values at the scales that follow, and where the last one ends."""
    result, start = set(values), end
    for _ in range(_MAX_SCALES):
        match = _SCALE.match(text, end)
        if match is None:
            break
        name = match["name"].lower()
        factor = _SURE_SCALES.get(name) or _UNSURE_SCALES[name]
        is_sure = name in _SURE_SCALES or (is_money and name in {"m", "b", "k"})
        is_sure = is_sure or (name == "k" and match[0] == "k")
        result = {value * factor for value in result} | (set() if is_sure else result)
        end = match.end()
    if end == start and (other := _RANGE.match(text, end)):
        scale = _SCALE.match(text, other.end())  # `1.5 to 2 million`: both are millions
        name = scale["name"].lower() if scale else ""
        result |= {value * _SURE_SCALES[name] for value in result if name in _SURE_SCALES}
    return result, end
