"""Make jobs with known answers from templates; the same seed makes the same jobs.

The sentences are this project's own, not from a data set. The jobs are those of an office: labels
for messages, fields of documents, and small sums in words.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay.routing.jobs import Classify, Extract, Generate, Message, parse_request
from forebay.workers.checks import final_answer

Request = Classify | Extract | Generate
Gold = str | dict[str, Any]

OWN = "own"

LABELS = {
    "billing": "An invoice, a charge, a payment or a refund.",
    "delivery": "A parcel is late, lost or damaged.",
    "access": "The customer cannot log in.",
    "defect": "The product does not work or is broken.",
}
SAID = {
    "billing": ["you took {n} EUR from my account twice", "the invoice lists {n} items too many"],
    "delivery": ["order {n} has not arrived", "the courier left parcel {n} in the rain"],
    "access": ["my password is refused since {n} days", "account {n} is locked and I am outside"],
    "defect": ["the {thing} stops after {n} minutes", "the new {thing} makes a noise and gets hot"],
}
OPENINGS = ["Hello,", "Good morning,", "Dear team,", "It is the third time that I write:", "Well,"]
ENDINGS = ["Please help.", "What now?", "I am waiting.", "Thank you.", "{name}, customer {n}"]
MOODS = {
    "positive": ["I would buy the {thing} again at once", "the {thing} is a joy every morning"],
    "negative": ["the {thing} broke in a week and nobody cares", "I regret the day I bought it"],
}
TURNS = ["", "To be fair, the box was nice, but ", "My brother warned me, yet ", "As always, "]
NAMES = ["Ines Varga", "Tom Hale", "Oskar Lind", "Mara Devi", "Paul Okoro", "Lena Brandt"]
THINGS = ["kettle", "lamp", "radio", "heater", "toaster", "scale", "drill", "clock"]


@dataclass(frozen=True)
class Labelled:
    """A job, its right answer, and the frontier's wrong one.

    Attributes:
        wrong: a wrong answer of the same form.
        errs: True if the frontier gives the wrong answer; None leaves it to chance.
        source: `own` for the project's jobs, or the origin of the job.
    """

    request: Request
    gold: Gold
    wrong: Gold
    errs: bool | None = None
    source: str = OWN

    def said(self, *, lucky: bool) -> Gold:
        """Return the frontier's answer."""
        return self.wrong if (not lucky if self.errs is None else self.errs) else self.gold


def generated(count: int, seed: int) -> list[Labelled]:
    """Return `count` jobs, from all templates in turn."""
    draw = random.Random(seed)
    makes: list[Callable[[random.Random], Labelled]] = [
        _ticket,
        _sum,
        _invoice,
        _mood,
        _sum,
        _visit,
    ]
    return [makes[number % len(makes)](draw) for number in range(count)]


def samples(path: Path) -> Iterator[Labelled]:
    """Return the demo's samples whose answers can be compared with a reference."""
    for line in path.read_text("utf-8").splitlines():
        sample = json.loads(line)
        request, gold = parse_request(sample["request"]), sample.get("reference")
        prose = isinstance(gold, str) and not final_answer.decides(gold)
        if isinstance(request, Classify | Extract) or (isinstance(request, Generate) and not prose):
            yield Labelled(request, gold, _another(request, gold))


def _another(request: Request, gold: Gold) -> Gold:
    if isinstance(request, Classify):
        return next(label.name for label in request.options if label.name != gold)
    return dict.fromkeys(gold) if isinstance(gold, dict) else "I do not know."


def _classify(text: str, labels: dict[str, str], gold: str) -> Labelled:
    options = [{"name": name, "description": about} for name, about in labels.items()]
    request = Classify.model_validate({"text": text, "labels": options})
    return Labelled(request, gold, next(name for name in labels if name != gold))


def _ticket(draw: random.Random) -> Labelled:
    gold = draw.choice(list(LABELS))
    words = f"{draw.choice(OPENINGS)} {draw.choice(SAID[gold])}. {draw.choice(ENDINGS)}"
    return _classify(_filled(words, draw), LABELS, gold)


def _mood(draw: random.Random) -> Labelled:
    gold = draw.choice(list(MOODS))
    moods = {"positive": "The customer is pleased.", "negative": "The customer is angry."}
    return _classify(_filled(draw.choice(TURNS) + draw.choice(MOODS[gold]), draw), moods, gold)


def _invoice(draw: random.Random) -> Labelled:
    number = f"{draw.choice(string.ascii_uppercase)}-{draw.randint(1000, 9999)}"
    total, days = round(draw.uniform(10, 900), 2), draw.choice([14, 30, 60])
    text = f"Invoice {number} of {draw.choice(NAMES)}. Sum: {total:.2f} EUR, due in {days} days."
    gold = {"invoice_number": number, "total": total, "days": days}
    return _extract(text, gold, {"invoice_number": "X-0000", "total": total + 1, "days": days})


def _visit(draw: random.Random) -> Labelled:
    name, thing, hour = draw.choice(NAMES), draw.choice(THINGS), draw.randint(8, 17)
    other = draw.choice([one for one in NAMES if one != name])
    text = f"{other} here at the desk: {name} brings the {thing} at {hour}:00, not tomorrow."
    gold = {"customer": name, "item": thing, "time": f"{hour}:00"}
    return _extract(text, gold, {**gold, "customer": other})


def _extract(text: str, gold: dict[str, Any], wrong: dict[str, Any]) -> Labelled:
    types = {str: "string", int: "integer", float: "number"}
    members = {name: {"type": types[type(value)]} for name, value in gold.items()}
    schema = {"type": "object", "properties": members, "required": list(gold)}
    return Labelled(Extract(text=text, schema=schema), gold, wrong)


def _sum(draw: random.Random) -> Labelled:
    name, thing = draw.choice(NAMES).split()[0], draw.choice(THINGS)
    many, more, each = draw.randint(2, 9), draw.randint(2, 9), draw.randint(2, 12)
    text, right = draw.choice(
        [
            (f"{name} buys {many} {thing}s at {each} EUR each. What is the price?", many * each),
            (f"{name} has {many} {thing}s and gets {more} more. How many now?", many + more),
            (
                f"{name} buys {many} {thing}s at {each} EUR, then {more} more. What does it cost?",
                (many + more) * each,
            ),
        ]
    )
    asked = f"{text} Reply with the number alone."
    messages = (Message(role="user", content=asked),)
    request = Generate(messages=messages, max_tokens=24, regex="[0-9]{1,4}")
    return Labelled(request, str(right), str(right + each))


def _filled(text: str, draw: random.Random) -> str:
    return text.format(n=draw.randint(3, 97), thing=draw.choice(THINGS), name=draw.choice(NAMES))
