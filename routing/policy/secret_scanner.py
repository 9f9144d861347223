"""Find what looks like a secret in a job: private keys, cloud keys, tokens, card numbers.

The scanner uses patterns of its own, and those detectors of bc-detect-secrets (the maintained fork
of detect-secrets) whose time grows no faster than the text. It never uses the package's
verification, which asks a provider whether a secret is valid: that would send the secret out of the
building.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import import_module

from forebay.routing import json_tree
from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import Content, Job
from forebay.routing.policy.secret_patterns import PATTERNS

#: Module and class of the detectors of bc-detect-secrets in use. Left out are those that guess by
#: entropy or by a word such as "password": they raise many false alarms in ordinary letters.
DETECTORS = (
    ("aws", "AWSKeyDetector"),
    ("basic_auth", "BasicAuthDetector"),
    ("discord", "DiscordBotTokenDetector"),
    ("github_token", "GitHubTokenDetector"),
    ("mailchimp", "MailchimpDetector"),
    ("private_key", "PrivateKeyDetector"),
    ("sendgrid", "SendGridDetector"),
    ("slack", "SlackDetector"),
)

CARD = "card_number"
#: Digits in one piece, or in groups as on a card; not the end of a decimal number or of a digest.
_CARD = re.compile(
    r"(?<![0-9])(?<![0-9][.])(?:[0-9]{14,19}|(?:[0-9]{4}[ .\u00a0-]){3}[0-9]{4}"
    r"|[0-9]{4}[ .\u00a0-][0-9]{6}[ .\u00a0-][0-9]{4,5})(?![0-9A-Za-z])"
)
#: The first characters of an id, a digest or a bank account number that ends in the number.
_BEGINNING_OF_ID = re.compile(
    r"(?:[A-Za-z-]{0,20}[0-9][0-9A-Za-z]{0,30}-?|[0-9][0-9A-Za-z-]{0,40}[A-Za-z-])\Z"
    r"|\b[A-Z]{2}[0-9]{2} (?:[A-Z0-9]{4} ){0,6}\Z"
)
_OTHER_NUMBER = (
    r"(?:order|invoice|ticket|tracking|parcel|shipment|booking|reservation|referen[cz]|referencia"
    r"|r\u00e9f\u00e9rence|riferimento|serial|imei|policy|policen|police|case n|aktenz|vorgang"
    r"|isbn|ean|gtin|sku|contract|bestell|auftrag|rechnung|sendung|kundenn|vertrag|commande|facture"
    r"|colis|pedido|factura|ordine|fattura|bestelling|factuur|zamówieni|customer n|customer id)"
)
#: What a text says right before or after a number in one piece that is no card.
_NAMED_BEFORE = re.compile(rf"(?i:\b{_OTHER_NUMBER}[^0-9\n;]{{0,25}})\Z")
_NAMED_AFTER = re.compile(rf"(?i:\s?(?:is|was|as|\()[^0-9\n.;]{{0,20}}\b{_OTHER_NUMBER})")
_CARD_WORDS = re.compile(
    r"(?i:card|visa|master|maestro|amex|american express|credit|debit|cvv|cvc|expir|karte|kaart"
    r"|carte|carta|tarjeta|cartão|karta|paid with|pay with)"
)
CHARS_BEFORE, CHARS_AFTER = 60, 40  # characters that say what a number is
#: First digits and lengths of the cards of Visa, Mastercard, American Express, Discover, Diners
#: Club, JCB and UnionPay.
_ISSUED = re.compile(
    r"4(?:\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
    r"|3[47]\d{13}|6(?:011|5\d\d|4[4-9]\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}"
    r"|62\d{14,17}"
)
#: A bank account number (ISO 13616); its groups of digits can look like a card number.
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?")

Detector = Callable[[str], bool]


class Scanner:
    """Looks for secrets in contents. It returns the kind of a secret, never the secret."""

    def __init__(self) -> None:
        """Load the detectors; takes about 0.1 s.

        Raises:
            Misconfigured: The package bc-detect-secrets is missing.
        """
        self._detectors: list[tuple[str, Detector]] = [
            *((pattern.kind, pattern.detector()) for pattern in PATTERNS),
            (CARD, has_card),
            *(_library_detector(module, name) for module, name in DETECTORS),
        ]

    def find(self, job: Job, answer: Content | None = None) -> str | None:
        """Return the kind of a secret in the request or the metadata, or None.

        If `answer` is given, which leaves together with its job, it is scanned too.
        """
        answer_texts = json_tree.texts(answer.model_dump()) if answer else ()
        return self.find_in("\n".join([*texts(job), *answer_texts]))

    def find_in(self, text: str) -> str | None:
        """Return the kind of the first secret that is detected in a text, or None."""
        return next((kind for kind, detects in self._detectors if detects(text)), None)


def texts(job: Job) -> Iterator[str]:
    """Yield every text, number and key of a job's content, at any depth."""
    yield from json_tree.texts(job.request.model_dump(by_alias=True))
    yield from json_tree.texts(job.metadata)


def has_card(text: str) -> bool:
    """Return True if a text contains a number that a payment card can have."""
    return _has_card(text) and _has_card(_IBAN.sub(_unless_iban, text))


def luhn(number: str) -> bool:
    """Return True if the last digit is the check digit of the others (ISO/IEC 7812-1)."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in number[-2::-2])
    return (sum(doubled) + sum(map(int, number[-1::-2]))) % 10 == 0


def _has_card(text: str) -> bool:
    return any(_is_card(match, text) for match in _CARD.finditer(text))


def _is_card(match: re.Match[str], text: str) -> bool:
    number = re.sub(r"[^0-9]", "", match[0])
    before = text[max(0, match.start() - CHARS_BEFORE) : match.start()]
    after = text[match.end() : match.end() + CHARS_AFTER]
    return bool(
        _ISSUED.fullmatch(number)
        and luhn(number)
        and not _BEGINNING_OF_ID.search(before)
        and not (match[0] == number and _is_named_otherwise(before, after))
    )


def _is_named_otherwise(before: str, after: str) -> bool:
    """Return True if the words around a number call it an order, a ticket and the like."""
    if _CARD_WORDS.search(before) or _CARD_WORDS.search(after):
        return False
    return bool(_NAMED_BEFORE.search(before) or _NAMED_AFTER.match(after))


def _unless_iban(match: re.Match[str]) -> str:
    """Return the matched text, or an empty text if its check digits make it a bank account."""
    number = match[0].replace(" ", "")
    digits = "".join(str(int(char, 36)) for char in number[4:] + number[:4])
    return "" if int(digits) % 97 == 1 else match[0]


def _library_detector(module: str, name: str) -> tuple[str, Detector]:
    """Return the kind and the detector of a class of bc-detect-secrets."""
    try:
        detector = getattr(import_module(f"detect_secrets.plugins.{module}"), name)()
    except ImportError:
        hint = "needs bc-detect-secrets: install the extra `secrets`, or set it to false"
        raise Misconfigured(hint, field="scan_secrets") from None
    kind = str(detector.secret_type).lower().replace(" ", "_")
    return kind, lambda text: any(True for _ in detector.analyze_string(text))
