"""Find what looks like a secret in a job: private keys, cloud keys, tokens, card numbers.

The scanner uses those detectors of detect-secrets whose time grows no faster than the text, and
patterns of its own for the rest. It never uses detect-secrets' verification, which asks a provider
whether a secret is valid: that would send the secret out of the building.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import import_module

from forebay.routing import json_tree
from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import Content, Job

#: Module and class of the detectors of detect-secrets in use. Left out are those that guess by
#: entropy or by a word such as "password": they raise many false alarms in ordinary letters.
DETECTORS = (
    ("aws", "AWSKeyDetector"),
    ("azure_storage_key", "AzureStorageKeyDetector"),
    ("basic_auth", "BasicAuthDetector"),
    ("discord", "DiscordBotTokenDetector"),
    ("github_token", "GitHubTokenDetector"),
    ("gitlab_token", "GitLabTokenDetector"),
    ("mailchimp", "MailchimpDetector"),
    ("private_key", "PrivateKeyDetector"),
    ("pypi_token", "PypiTokenDetector"),
    ("sendgrid", "SendGridDetector"),
    ("slack", "SlackDetector"),
    ("square_oauth", "SquareOAuthDetector"),
    ("stripe", "StripeDetector"),
    ("telegram_token", "TelegramBotTokenDetector"),
    ("twilio", "TwilioKeyDetector"),
)

#: Our own patterns, by kind. Each looks at a fixed number of characters at most.
PATTERNS = {
    "private_key": r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY",
    "aws_secret_key": r"(?i:aws.{0,20}secret.{0,20}?)[\s=:\"'][0-9a-zA-Z/+]{40}(?![0-9a-zA-Z/+])",
    "anthropic_key": r"sk-ant-[\w-]{20}",
    "github_token": r"github_pat_\w{22}",
    "google_api_key": r"AIza[0-9A-Za-z_-]{35}",
    "hugging_face_token": r"hf_[A-Za-z]{34}",
    "json_web_token": r"(?<=[\w-]{10})\.eyJ[\w-]{10}",  # two JSON objects in base64
    "npm_token": r"npm_[0-9A-Za-z]{36}",
    "openai_key": r"(?<=[A-Za-z0-9]{20})T3BlbkFJ[A-Za-z0-9]{20}|sk-proj-[\w-]{40}",
}

CARD = "card_number"
#: Digits in one piece, or in groups as on a card.
_CARD = re.compile(
    r"(?<![0-9])(?:[0-9]{14,19}|(?:[0-9]{4}[ .\u00a0-]){3}[0-9]{4}"
    r"|[0-9]{4}[ .\u00a0-][0-9]{6}[ .\u00a0-][0-9]{4,5})(?![0-9])"
)
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
            Misconfigured: The package detect-secrets is missing.
        """
        self._detectors: list[tuple[str, Detector]] = [
            *((kind, _pattern_detector(pattern)) for kind, pattern in PATTERNS.items()),
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
    numbers = (re.sub(r"[^0-9]", "", match[0]) for match in _CARD.finditer(text))
    return any(_ISSUED.fullmatch(number) and luhn(number) for number in numbers)


def _unless_iban(match: re.Match[str]) -> str:
    """Return the matched text, or an empty text if its check digits make it a bank account."""
    number = match[0].replace(" ", "")
    digits = "".join(str(int(char, 36)) for char in number[4:] + number[:4])
    return "" if int(digits) % 97 == 1 else match[0]


def _pattern_detector(pattern: str) -> Detector:
    compiled = re.compile(pattern)
    return lambda text: compiled.search(text) is not None


def _library_detector(module: str, name: str) -> tuple[str, Detector]:
    """Return the kind and the detector of a class of detect-secrets."""
    try:
        detector = getattr(import_module(f"detect_secrets.plugins.{module}"), name)()
    except ImportError:
        hint = "needs the package detect-secrets: install the extra `secrets`, or set it to false"
        raise Misconfigured(hint, field="scan_secrets") from None
    kind = str(detector.secret_type).lower().replace(" ", "_")
    return kind, lambda text: any(True for _ in detector.analyze_string(text))
