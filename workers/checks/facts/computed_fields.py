"""Fields whose number may be computed from those of the text, by what their names ask for.

`total` may well be a sum. `chair` is none if the text says `chair 120 EUR`.
"""

from __future__ import annotations

import re
from typing import Literal

from forebay.workers.checks.reading.vocabulary import Vocabulary
from forebay.workers.checks.reading.words import words

#: What a field may hold: any computed number, the sum of a row of numbers, or no computed number.
Computable = Literal["any", "sums", "none"]

MAX_WORDS_BETWEEN = 3  # between the name of a field in the text and the field's number
MIN_NAME_CHARS = 3  # of a word by which a field is looked for in the text

#: What can only be known by computing, if the text does not give it.
_ASKS_TO_COMPUTE = re.compile(
    r"(?<!sub)total|(?:\b|_)sum(?:me|ma|me of)?(?:\b|_)|overall|altogether|combined|aggregat"
    r"|differen|delta|change|growth|increase|decrease|(?:\b|_)left|remain|(?:\b|_)rest|balance|outstanding"
    r"|(?:\b|_)due|average|(?:\b|_)(?:mean|avg|net|gross|vat|tax|age)(?:\b|_)|ratio|share|percent"
    r"|(?:\b|_)pct|proportion|fraction|margin|profit|duration|elapsed|(?:\b|_)area|volume|discount"
    r"|savings?_|saved|missing|shortfall|surplus|value|result|answer|gesamt|differenz|(?:ä|ae)nderung"
    r"|zuwachs|durchschnitt|anteil|prozent|rabatt|steuer|mwst|saldo|offen|übrig|verbleib|dauer|alter"
    r"|fläche|somme|différence|écart|reste|moyenne|pourcent|remise|tva|solde|durée|(?:\b|_)âge|hausse"
    r"|baisse|suma|diferencia|restante|promedio|porcentaje|descuento|(?:\b|_)iva|duraci|edad|aumento"
    r"|somma|resto|percentual|sconto|durata|età|diferença|desconto|média|verschil|gemiddelde|korting"
    r"|razem|różnica|średnia|итого|сумма|разница|всего|остаток"
    r"|合計|総|差|残|总|合计|共|余",
    re.IGNORECASE,
)
#: What is often computed, and as often given.
_MAY_ASK = re.compile(
    r"price|cost|amount|count|number|quantity|(?:\b|_)qty|days|hours|minutes|weeks|months|years|rate"
    r"|paid|(?:\b|_)pay|spent|fee|preis|kosten|betrag|anzahl|menge|tage|stunden|prix|coût|montant"
    r"|nombre|jours|heures|precio|coste|importe|cantidad|número|días|horas|prezzo|costo|importo"
    r"|numero|giorni|preço|custo|valor|prijs|bedrag|aantal|uren|cena|kwota|liczba|価格|金額|数|价|额",
    re.IGNORECASE,
)


def computable(name: str, description: str, text: Vocabulary, *, alone: bool) -> Computable:
    """Return which computed numbers a field may hold.

    Args:
        name: the name of the field.
        description: what the schema says of the field.
        text: the words of the text.
        alone: whether the answer has no other number, so that the question is about this one.
    """
    asked = f"{name} {description}"
    if _ASKS_TO_COMPUTE.search(asked):
        return "any"
    if _is_stated(name, text):
        return "none"
    return "any" if alone or _MAY_ASK.search(asked) else "sums"


def _is_stated(name: str, text: Vocabulary) -> bool:
    """Return whether the text has the field's name beside a number: `desk 340 EUR`, `3 eggs`."""
    parts = [part for part in words(_spaced(name)) if len(part) >= MIN_NAME_CHARS]
    return any(_is_beside_number(part, text.words) for part in parts)


def _spaced(name: str) -> str:
    """Return a name in snake case or camel case as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ")


def _is_beside_number(part: str, found: list[str]) -> bool:
    near = range(-MAX_WORDS_BETWEEN, MAX_WORDS_BETWEEN + 1)
    return any(
        _are_alike(part, word)
        and any(found[at + by][0].isdecimal() for by in near if 0 <= at + by < len(found))
        for at, word in enumerate(found)
    )


def _are_alike(part: str, word: str) -> bool:
    """Return whether one of two words begins with the other: `january` and `jan`."""
    short, long = sorted((part, word), key=len)
    return len(short) >= MIN_NAME_CHARS and long.startswith(short)
