"""Numbers that a text calls negative in words: `down 1.2 kg`, `overdrawn by £1,209.15`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal

from forebay.workers.checks.reading.numerals import Mention

CHARS_BEFORE, CHARS_AFTER = 60, 25  # around a number, within its clause

#: Words of a debt, a loss or a fall, in seven languages.
_LOSS = re.compile(
    r"\b(?:down|fall(?:s|en|ing)?|fell|drop(?:s|ped)?|declin\w+|decreas\w+|reduc\w+|lower\w*|lost"
    r"|los[es]\w*|loss(?:es)?|deficit|shortfall|overdra\w+|ow(?:e|es|ed|ing)|debts?|debit\w*|below"
    r"|shr[aiu]nk\w*|slipp\w+|discount\w*|off|refund\w*|withdr\w+|less|weniger|sank\w*|gesunken"
    r"|sinkt|fiel\w*|gefallen|r\u00fcckgang|verlust\w*|verlor\w*|minus\w*|\u00fcberzogen|abz\u00fcg\w+"
    r"|schulden|rabatt|unter|baiss\w+|recul\w*|perte\w*|perdu\w*|d\u00e9ficit|d\u00e9couvert|chut\w+"
    r"|diminu\w+|remise|dette\w*|baja\w*|baj[\u00f3o]|ca[i\u00ed]\w+|p\u00e9rdida\w*|perdi\w+|d\u00e9fic\w*"
    r"|descen\w+|deuda\w*|descuento|menos|calo|cal\w+|perdit\w+|sces[oaei]|scend\w+|sconto|ribass\w+"
    r"|debito|queda\w*|perd\w+|desconto|d\u00edvida|daling|daalde|verlies|korting|schuld)\b",
    re.IGNORECASE,
)
#: Before a number that was reached, which keeps its sign: `fell to -4`.
_LEVEL = re.compile(r"\b(?:to|from|at|auf|von|\u00e0|till|naar)\W{0,3}$", re.IGNORECASE)
_CLAUSE_END = re.compile(r"[;!?\n]|[.,](?=\s)")


def lost(text: str, found: Iterable[Mention]) -> Iterator[Decimal]:
    """Yield numbers with the other sign if a word of a loss stands beside them.

    A number that is written with a sign keeps it, unless it is a share: `a discount of -20 %`.
    """
    if not _LOSS.search(text):
        return
    for mention in found:
        start, end = mention.span
        before = _CLAUSE_END.split(text[max(0, start - CHARS_BEFORE) : start])[-1]
        after = _CLAUSE_END.split(text[end : end + CHARS_AFTER])[0]
        is_signed = any(value < 0 for value in mention.values) and "%" not in text[start:end]
        if is_signed or not mention.is_number or _LEVEL.search(before):
            continue
        if _LOSS.search(before) or _LOSS.search(after):
            yield from (-value for value in mention.values | mention.unscaled)
