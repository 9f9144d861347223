"""Fields whose number may be computed from those of the text, by what their names ask for.

`total` may well be a sum. `chair` is none if the text says `chair 120 EUR`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from forebay.workers.checks.reading.dates import MONTHS
from forebay.workers.checks.reading.words import words

MIN_NAME_CHARS = 3  # of a word by which a field is looked for in the text

#: What can only be known by computing, if the text does not give it.
_ASKS_TO_COMPUTE = re.compile(
    r"(?<!sub)total|(?:\b|_)sum(?:me|ma|me of)?(?:\b|_)|overall|altogether|combined|aggregat"
    r"|differen|delta|change|growth|increase|decrease|(?:\b|_)left|remain|(?:\b|_)rest|balance"
    r"|outstanding|(?:\b|_)due|average|(?:\b|_)(?:mean|avg|net|gross|vat|tax|age)(?:\b|_)|ratio|share"
    r"|percent|(?:\b|_)pct|proportion|fraction|margin|profit|duration|elapsed|(?:\b|_)area|volume"
    r"|discount|savings?_|saved|missing|shortfall|surplus|value|result|answer|gesamt|differenz"
    r"|(?:ä|ae)nderung|zuwachs|durchschnitt|anteil|prozent|rabatt|steuer|mwst|saldo|offen|übrig"
    r"|verbleib|dauer|alter|fläche|somme|différence|écart|reste|moyenne|pourcent|remise|tva|solde"
    r"|durée|(?:\b|_)âge|hausse|baisse|suma|diferencia|restante|promedio|porcentaje|descuento"
    r"|(?:\b|_)iva|duraci|edad|aumento|somma|resto|percentual|sconto|durata|età|diferença|desconto"
    r"|média|verschil|gemiddelde|korting|razem|różnica|średnia|итого|сумма|разница|всего|остаток"
    r"|合計|総|差|残|总|合计|共|余",
    re.IGNORECASE,
)
#: Between a name and its number: `chair: 120`, `rent is 960`, `desk (EUR 340)`.
_BETWEEN = (
    r"\W{0,3}(?:(?:is|was|of|minus|ist|war|von|est|de|es|è|di|usd|eur|gbp|chf|kr|zł)\W{1,2}){0,2}"
)
#: After a number that is a rate or a share, and so not what the field asks for.
_NO_RATE = r"(?![\d.,]*\s?(?:%|percent|prozent|per\b|/|[x\u00d7]\s|each|je\b|pro\b|apiece))"


def may_compute(name: str, description: str, text: str) -> bool:
    """Return whether a field may hold a computed number.

    It may not if the text states the field, unless its name asks for a total, a rest or the like.

    Args:
        name: the name of the field.
        description: what the schema says of the field.
        text: the text, in small letters.
    """
    if _ASKS_TO_COMPUTE.search(f"{name} {description}"):
        return True
    parts = [part for part in words(_spaced(name)) if len(part) >= MIN_NAME_CHARS]
    stems = [part[: _stem_size(part)] for part in parts]
    # Looked for as they are first, since that is much faster.
    return not stems or not all(stem in text and _stated(stem).search(text) for stem in stems)


def _stem_size(part: str) -> int:
    return MIN_NAME_CHARS if part in MONTHS else max(MIN_NAME_CHARS, len(part) - 2)


@lru_cache(maxsize=512)
def _stated(stem: str) -> re.Pattern[str]:
    """Return a pattern for a name beside its number: `desk 340 EUR`, `3 eggs`."""
    word = rf"(?<!\w){re.escape(stem)}\w{{0,4}}"
    return re.compile(rf"{word}{_BETWEEN}\d{_NO_RATE}|\d\s{word}")


def _spaced(name: str) -> str:
    """Return a name in snake case or camel case as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ")
