"""Answers that are known to be right, or to have a known fault, in six languages.

Most come from templates with a seed; the hard ones are written by hand. The texts are this
project's own. `score` says how often each check finds its fault, and how often it errs.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from forebay.routing.jobs import Content, Job, parse_job
from forebay.routing.receipts import (
    Check,
    Classification,
    Embedding,
    Extraction,
    Generation,
    Summary,
)
from forebay.workers.checks.answer_checks import check
from forebay.workers.engines.engine import Ending
from labelled_texts import BY_HAND, HARD, LOOPS, NEWS, REFUSALS, News

SEED = 7
_checks: dict[str, tuple[Check, ...]] = {}  # by what was checked


@dataclass(frozen=True)
class Labelled:
    """An answer.

    Attributes:
        language: the code of the text's language.
        fault: the name of the check that the answer should fail; empty for a right answer.
    """

    language: str
    request: dict[str, Any]
    content: Content
    fault: str = ""
    finish: Ending = "stop"

    @property
    def job(self) -> Job:
        return parse_job({"request": self.request})

    def checks(self) -> tuple[Check, ...]:
        """Return the checks of the answer; most answers are alike for all seeds."""
        key = repr((self.request, self.content.model_dump(), self.finish))
        if key not in _checks:
            _checks[key] = check(self.job, self.content, finish=self.finish)
        return _checks[key]

    def failed(self) -> set[str]:
        """Return the names of the checks that the answer fails."""
        return {each.name for each in self.checks() if not each.passed}


@dataclass
class Score:
    """How a check did: on right answers, on answers with its fault, on other wrong ones."""

    caught: int = 0
    missed: int = 0
    on_right: int = 0
    on_other_faults: int = 0

    @property
    def precision(self) -> float:
        """The share of wrong answers among those that fail the check."""
        fired = self.caught + self.on_other_faults + self.on_right
        return (self.caught + self.on_other_faults) / fired if fired else 1.0

    @property
    def recall(self) -> float:
        """The share of the answers with its fault that fail the check."""
        return self.caught / (self.caught + self.missed)


def scores(answers: list[Labelled]) -> dict[str, Score]:
    """Return the score of each check that some answer should fail."""
    result: dict[str, Score] = defaultdict(Score)
    for answer in answers:
        failed = answer.failed()
        for name in failed - {answer.fault}:
            if answer.fault:
                result[name].on_other_faults += 1
            else:
                result[name].on_right += 1
        if answer.fault:
            result[answer.fault].caught += answer.fault in failed
            result[answer.fault].missed += answer.fault not in failed
    return dict(result)


def labelled_answers(seed: int = SEED) -> list[Labelled]:
    """Return all answers; the same seed makes the same answers."""
    draw = random.Random(seed)
    return [
        *_amounts(draw), *_scales(draw), *_words(), *_dates(draw), *_fields(draw), *_codes(draw),
        *_denied_options(), *_empty(), *_equal(draw), *_loops(draw), *_formats(draw),
        *_summaries(draw), *_generations(), *_others(), *_hard(), *by_hand(),
    ]  # fmt: skip


def _extract(
    language: str, text: str, properties: dict[str, Any], *answers: Any
) -> Iterator[Labelled]:
    """Yield the first answer as right, and each other one, a pair with its fault, as wrong."""
    schema = {"type": "object", "properties": properties}
    request = {"kind": "extract", "text": text, "schema": schema}
    right, *wrong = answers
    yield Labelled(language, request, Extraction(data=right))
    for fault, data in wrong:
        yield Labelled(language, request, Extraction(data=data), fault)


NUMBER = {"n": {"type": "number"}}

# --- numbers -------------------------------------------------------------------------------------


def _amounts(draw: random.Random) -> Iterator[Labelled]:
    """Negative and positive amounts in the spellings of several countries."""
    forms = {
        "en": [("{:,.2f}", ["Balance: {} USD", "Balance of ${}", "Amount due\t{} GBP"])],
        "de": [("{:,.2f}", ["Saldo: {} EUR", "Betrag {} \u20ac"])],
        "fr": [("{:,.2f}", ["Solde : {} EUR", "Montant : {} \u20ac"])],
        "es": [("{:,.2f}", ["Saldo: {} EUR", "Importe: {} \u20ac"])],
        "ch": [("{:,.2f}", ["Saldo: CHF {}", "Total CHF {}"])],
    }
    marks = {"en": ",.", "de": ".,", "fr": "\u202f,", "es": ".,", "ch": "\u2019."}
    signs = ["{}", "{}", "-{}", "\u2212{}", "{}-", "({})", "minus {}"]
    for language, ((form, texts),) in forms.items():
        for _ in range(12):
            value = Decimal(draw.randint(1_001, 9_999_999)) / 100
            sign = draw.choice(signs)
            group, point = marks[language]
            written = form.format(value).translate({44: group, 46: point})
            number = float(value) * (1 if sign == "{}" else -1)
            text = draw.choice(texts)
            if sign == "minus {}":
                text = text.replace("${}", "{}")
            wrong = draw.choice([-number, number * 10, round(number / 1000, 5), number + 1])
            yield from _extract(
                language, text.format(sign.format(written)), NUMBER,
                {"n": number}, ("grounded", {"n": wrong}),
            )  # fmt: skip


def _scales(draw: random.Random) -> Iterator[Labelled]:
    scales = {
        "en": [("million", 6), ("bn", 9), ("k", 3), ("thousand", 3), ("lakh", 5), ("crore", 7)],
        "de": [("Mio.", 6), ("Tausend", 3), ("Millionen", 6), ("Mrd.", 9)],
        "fr": [("millions", 6), ("milliards", 9)],
        "es": [("millones", 6), ("mil", 3)],
        "zh": [("万", 4), ("亿", 8)],
    }
    texts = {
        "en": "Revenue was {} last year.", "de": "Der Umsatz betrug {} im Jahr.",
        "fr": "Le chiffre atteint {} en tout.", "es": "La venta fue de {} en total.",
        "zh": "收入为{}\u3002",
    }  # fmt: skip
    for language, names in scales.items():
        for name, places in names:
            for _ in range(2):
                tenths = draw.randint(11, 99)
                digits = f"{tenths // 10}.{tenths % 10}".replace(
                    ".", "," if language in ("de", "fr", "es") else "."
                )
                written = digits + ("" if name == "k" or language == "zh" else " ") + name
                value = int(Decimal(tenths) / 10 * 10**places)
                wrong = draw.choice([tenths / 10, value * 10, value // 1000, -value])
                yield from _extract(
                    language, texts[language].format(written), NUMBER,
                    {"n": value}, ("grounded", {"n": wrong}),
                )  # fmt: skip


def _words() -> Iterator[Labelled]:
    for language, text, right, wrong in (
        ("en", "We shipped twenty-five crates.", 25, 52),
        ("en", "One hundred and twelve people came.", 112, 120),
        ("en", "Two million three hundred thousand votes.", 2_300_000, 2_000_300),
        ("en", "Add 1\u00bd cups of flour.", 1.5, 11.5),
        ("en", "Use \u00be of the oil.", 0.75, 0.25),
        ("en", "He came in third.", 3, 5),
        ("de", "Es kamen fünfundzwanzig Kisten.", 25, 52),
        ("de", "Drei Millionen Menschen sahen zu.", 3_000_000, 3_000),
        ("fr", "Il y avait trois cents boîtes.", 300, 3_000),
        ("fr", "Elle a quarante-deux ans.", 42, 24),
        ("es", "Llegaron treinta y cinco cajas.", 35, 53),
        ("it", "Sono arrivate venti scatole.", 20, 12),
        ("zh", "共有三万五千人参加\u3002", 35_000, 3_500),
        ("en", "Humidity rose by 12.5 percent.", 12.5, 125),
        ("en", "A range of 10-12 metres.", 12, -12),
        (
            "hi",
            "क\u0941ल \u20b912,34,567 प\u094dर\u093eप\u094dत\u0964",
            1_234_567,
            1_234.567,
        ),
        ("ar", "\u0627\u0644\u0648\u0632\u0646 \u0663\u066b\u0665 \u0643\u063a", 3.5, 35),
    ):
        yield from _extract(language, text, NUMBER, {"n": right}, ("grounded", {"n": wrong}))


# --- dates and fields ----------------------------------------------------------------------------

MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
    "diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre "
    "dicembre",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro "
    "dezembro",
}
DAY_FORMS = {
    "en": ["Due on {d} {m} {y}.", "Due {m} {d}, {y}.", "Due {y}/{n:02}/{d:02}."],
    "de": ["Fällig am {d}. {m} {y}.", "Fällig am {d:02}.{n:02}.{y}."],
    "fr": ["À payer le {d} {m} {y}.", "À payer le {d:02}/{n:02}/{y}."],
    "es": ["Vence el {d} de {m} de {y}."],
    "it": ["Scade il {d} {m} {y}."],
    "pt": ["Vence em {d} de {m} de {y}."],
    "zh": ["截止日期\uff1a{y}年{n}月{d}日\u3002"],
}


def _dates(draw: random.Random) -> Iterator[Labelled]:
    for language, forms in DAY_FORMS.items():
        for form in forms * 3:
            day = date(2024, 1, 1) + timedelta(draw.randrange(700))
            other = day + timedelta(draw.choice([1, -1, 30, 365]))
            name = MONTHS.get(language, MONTHS["en"]).split()[day.month - 1]
            text = form.format(d=day.day, m=name, n=day.month, y=day.year)
            yield from _extract(
                language, text, {"due": {"type": "string", "format": "date"}},
                {"due": day.isoformat()}, ("grounded", {"due": other.isoformat()}),
                ("schema", {"due": text}), ("filled", {"due": ""}), ("filled", {}),
            )  # fmt: skip


PEOPLE = [
    "Ada Byron",
    "Tom Hale",
    "Ines Varga",
    "Jörg Müller",
    "Chloé Martin",
    "Oskar Lind",
]
FIELD_FORMS = {
    "en": "Order {o} for {p} leaves on Monday.", "de": "Auftrag {o} für {p} geht am Montag ab.",
    "fr": "La commande {o} de {p} part lundi.", "es": "El pedido {o} de {p} sale el lunes.",
    "it": "L'ordine {o} di {p} parte lunedì.", "ja": "注文{o}は{p}様の分です\u3002",
}  # fmt: skip


def _fields(draw: random.Random) -> Iterator[Labelled]:
    properties = {"order": {"type": "string"}, "customer": {"type": "string"}}
    for language, form in FIELD_FORMS.items():
        for _ in range(3):
            order = f"PK-{draw.randint(1000, 9999)}"
            person, other = draw.sample(PEOPLE, 2)
            right = {"order": order, "customer": person}
            wrong_order = order[:-1] + str((int(order[-1]) + 1) % 10)
            yield from _extract(
                language, form.format(o=order, p=person), properties, right,
                ("grounded", {**right, "customer": other}),
                ("grounded", {**right, "order": wrong_order}),
                ("distinct", {"order": person, "customer": person}),
            )  # fmt: skip


def _codes(draw: random.Random) -> Iterator[Labelled]:
    codes = ["EUR", "USD", "GBP", "CHF"]
    properties = {"currency": {"enum": codes}}
    for language, form in (
        ("en", "The lamp costs 40 {}."), ("de", "Die Lampe kostet 40 {}."),
        ("fr", "La lampe coûte 40 {}."), ("es", "La lámpara cuesta 40 {}."), ("it", "Costa 40 {}."),
    ):  # fmt: skip
        right, wrong = draw.sample(codes, 2)
        yield from _extract(
            language, form.format(right), properties,
            {"currency": right}, ("grounded", {"currency": wrong}),
        )  # fmt: skip
    moods = {"mood": {"enum": ["positive", "negative", "neutral"]}}
    for language, text, mood in (
        ("en", "I expected a negative experience, but it was wonderful.", "positive"),
        ("en", "Nothing positive to say about it.", "negative"),
        ("de", "Die Kritik war negativ, ich fand es toll.", "positive"),
        ("fr", "Un avis positif? Non, jamais.", "negative"),
    ):
        other = "negative" if mood == "positive" else "positive"
        wrong = [("grounded", {"mood": other})] if other in text else []
        yield from _extract(language, text, moods, {"mood": mood}, *wrong)


def _denied_options() -> Iterator[Labelled]:
    """Yield answers whose options are ordinary words that the text denies, or seems to deny."""
    states = {"state": {"enum": ["open", "closed", "late", "urgent", "damaged", "normal"]}}
    for language, text, right, wrong in (
        ("en", "Not urgent, any day will do.", "normal", "urgent"),
        ("en", "The ticket is not closed yet.", "open", "closed"),
        ("en", "I thought the parcel was damaged, but it is fine.", "normal", "damaged"),
        ("en", "We feared it would be late. However, it came on Monday.", "normal", "late"),
        ("en", "The box wasn\u2019t damaged at all.", "normal", "damaged"),
        ("en", "It never was late.", "normal", "late"),
        ("en", "Neither late nor damaged: thanks!", "normal", "damaged"),
        ("de", "Ist nicht urgent, eher normal.", "normal", "urgent"),
        ("fr", "Ce n'est pas urgent.", "normal", "urgent"),
        ("es", "No es urgent, gracias.", "normal", "urgent"),
        ("it", "Temevo che fosse urgent, ma non lo era.", "normal", "urgent"),
    ):
        yield from _extract(
            language, text, states, {"state": right}, ("grounded", {"state": wrong})
        )
    for language, text, right in (
        ("en", "No, it is urgent!", "urgent"),
        ("en", "No doubt urgent.", "urgent"),
        ("en", "It could not be more urgent.", "urgent"),
        ("en", "Not only late but damaged.", "late"),
        ("en", "I did not expect it to be late, but it is.", "late"),
        ("en", "I expected it to be late, but it was even later.", "late"),
        ("en", "Why is it not closed? Please say.", "closed"),
        ("en", "Not late. Well, a bit late.", "late"),
        ("en", "Not sure if urgent.", "urgent"),
        ("en", "We never had a late delivery until today.", "late"),
        ("de", "Nicht nur urgent, sondern sehr urgent.", "urgent"),
        ("fr", "Pas de doute, c'est urgent.", "urgent"),
        ("es", "No, est\u00e1 damaged.", "damaged"),
    ):
        yield from _extract(language, text, states, {"state": right})


def _empty() -> Iterator[Labelled]:
    properties = {
        "errors": {"type": "array", "items": {"type": "string"}},
        "contact": {"type": ["string", "null"]},
        "email": {"anyOf": [{"type": "string", "format": "email"}, {"type": "null"}]},
    }
    nothing: dict[str, Any] = {"errors": [], "contact": None, "email": None}
    for language, text in (
        ("en", "Thanks, all good."), ("en", "Errors: none"), ("de", "Danke, alles in Ordnung."),
        ("fr", "Merci, tout va bien."), ("es", "Gracias, todo bien."),
        ("it", "Tutto bene, grazie."),
        ("zh", "谢谢\uff0c一切正常\u3002"), ("en", "Contact: n/a"),
    ):  # fmt: skip
        yield from _extract(language, text, properties, nothing)
        yield from _extract(language, text, properties, {}, ("filled", {"contact": ""}))
    for language, text, right in (
        ("en", "Contact: Ada Byron", {"contact": "Ada Byron"}),
        ("en", "Please write to ada@example.org.", {"email": "ada@example.org"}),
        ("de", "Kontakt per Mail an ada@example.org bitte.", {"email": "ada@example.org"}),
        ("fr", "Contact : Chloé Martin", {"contact": "Chloé Martin"}),
        ("es", "Escriba a ines@example.org, por favor.", {"email": "ines@example.org"}),
        ("en", "Ada will call you back.", {"contact": "Ada"}),
    ):
        yield from _extract(language, text, properties, right, ("filled", nothing))


def _equal(draw: random.Random) -> Iterator[Labelled]:
    properties = {"bill": {"type": "string"}, "ship": {"type": "string"}}
    places = ["Leeds", "Delft", "Lyon", "Bergen"]
    for language, same, different in (
        ("en", "Bill to: {a}. Ship to: {a}.", "Bill to: {a}. Ship to: {b}."),
        ("en", "Bill and ship to {a}.", "Invoice goes to {a}, goods to {b}."),
        ("de", "Rechnung und Lieferung nach {a}.", "Rechnung nach {a}, Lieferung nach {b}."),
        ("fr", "Facture et livraison à {a}.", "Facture à {a}, livraison à {b}."),
        ("es", "Factura y entrega en {a}.", "Factura en {a}, entrega en {b}."),
        ("it", "Fattura e consegna a {a}.", "Fattura a {a}, consegna a {b}."),
    ):
        for _ in range(2):
            a, b = draw.sample(places, 2)
            yield from _extract(language, same.format(a=a), properties, {"bill": a, "ship": a})
            yield from _extract(
                language, different.format(a=a, b=b), properties, {"bill": a, "ship": b},
                ("distinct", {"bill": a, "ship": a}),
            )  # fmt: skip


def _loops(draw: random.Random) -> Iterator[Labelled]:
    properties = {"lines": {"type": "array", "items": {"type": "object"}}}
    for language, words in (
        ("en", ["nail", "screw", "bolt", "hinge"]),
        ("de", ["Nagel", "Schraube", "Bolzen", "Dübel"]),
        ("fr", ["clou", "vis", "boulon", "charnière"]),
        ("es", ["clavo", "tornillo", "perno", "gozne"]),
    ):  # fmt: skip
        draw.shuffle(words)
        text = ", ".join(f"{word} {number}" for number, word in enumerate(words, 2))
        lines = [{"article": word, "quantity": number} for number, word in enumerate(words, 2)]
        yield from _extract(
            language, text, properties, {"lines": lines}, ("repetition", {"lines": lines[:1] * 6}),
        )  # fmt: skip
        yield from _extract(
            language, "; ".join([f"{words[0]} 2"] * 4), properties, {"lines": lines[:1] * 4}
        )


def _formats(draw: random.Random) -> Iterator[Labelled]:
    for language, text, name, right, wrong in (
        ("en", "Start: 2025-03-01 14:30 UTC", "date-time", "2025-03-01T14:30:00Z", "yesterday"),
        ("en", "1 March 2025 at 2:30 pm", "date-time", "2025-03-01T14:30:00Z", "1 March 2025"),
        ("de", "Am 1. März 2025 um 14.30 Uhr", "date-time", "2025-03-01T14:30:00Z", "14.30 Uhr"),
        ("fr", "Le 2 mai 2025 à 9h05", "date-time", "2025-05-02T09:05:00Z", "9h05"),
        ("en", "Call at 14:30.", "time", "14:30:00Z", "2:30 pm"),
        ("en", "See example.org/help", "uri", "https://example.org/help", "example.org/help"),
        ("en", "Mail ada@example.org", "email", "ada@example.org", "ada at example.org"),
        ("de", "Server 10.0.0.7 antwortet nicht", "ipv4", "10.0.0.7", "10.0.0"),
        ("en", "Host fe80::1 is down", "ipv6", "fe80::1", "fe80:1"),
        ("en", "Host db-07.example.org is down", "hostname", "db-07.example.org", "db_07 is down"),
        ("en", "It lasts 3 hours.", "duration", "PT3H", "3 hours"),
        ("es", "Dura 14 días", "duration", "P14D", "14 días"),
    ):  # fmt: skip
        part = {"type": "string", "format": name}
        yield from _extract(language, text, {"v": part}, {"v": right}, ("schema", {"v": wrong}))
        optional = {"anyOf": [part, {"type": "null"}]}
        yield from _extract(
            language,
            text,
            {"v": optional},
            {"v": right},
            ("schema", {"v": draw.choice([wrong, 5])}),
        )


# --- prose ---------------------------------------------------------------------------------------


def _summary(
    news: News, text: str, fault: str = "", finish: Ending = "stop", max_words: int = 40
) -> Labelled:
    request = {"kind": "summarize", "text": news.text, "max_words": max_words}
    return Labelled(news.language, request, Summary(text=text), fault, finish)


def _summaries(draw: random.Random) -> Iterator[Labelled]:
    for index, news in enumerate(NEWS):
        for summary in news.summaries:
            yield _summary(news, summary)
            yield _summary(news, f"{summary} {summary}", "once")
            yield _summary(news, summary[: len(summary) * 2 // 3], "whole", "length")
        for summary in NEWS[index ^ 1].summaries:  # two news of a language follow each other
            yield _summary(news, summary, "on_topic")
        yield _summary(news, news.text[: len(news.text) // 2], "own_words", max_words=400)
        for right, wrong in news.numbers:
            yield _summary(news, news.summaries[0].replace(right, wrong), "numbers")
        for right, wrong in news.names:
            yield _summary(news, news.summaries[0].replace(right, wrong), "names")
        yield _summary(news, " ".join(news.summaries), "length", max_words=8)
        yield _summary(news, draw.choice(["", "\u200b", "...", " \n"]), "present")
        yield _summary(news, draw.choice(REFUSALS)[1], "answers")


def _generate(
    language: str, text: str, fault: str = "", finish: Ending = "stop", **form: Any
) -> Labelled:
    messages = [{"role": "user", "content": "q"}]
    request = {"kind": "generate", "messages": messages, **form}
    return Labelled(language, request, Generation(text=text, finish=finish), fault, finish)


def _generations() -> Iterator[Labelled]:
    for language, text in REFUSALS:
        yield _generate(language, text, "answers")
    for language, text in LOOPS:
        yield _generate(language, text, "repetition")
    for text in ("", " \n", "\u200b\u200d", "\ufeff", "\u3164", "\u00ad", "\u2800"):
        yield _generate("und", text, "present")
    for text in (
        "[]",
        "{}",
        "+",
        "-",
        "\U0001f44d",
        "7",
        "是",
        "ใช\u0e48",
        "\u2713",
        "?",
        "0.5",
        "नह\u0940\u0902",
    ):
        yield _generate("und", text)
        yield _generate("und", text + "x", "regex", regex=r"[^x]+")
    for text in ("and then", "und dann", "et puis", "y luego"):
        yield _generate("en", text, "whole", "length")
    array = {"type": "array", "items": {"type": "integer"}}
    for text, fault in (
        ("[]", ""), ("[1, 2]", ""), ('["a"]', "schema"), ("{}", "schema"), ("[1e999]", "schema"),
        ("[NaN]", "schema"), ("no", "schema"), ('["\\ud83d"]', "schema"),
    ):  # fmt: skip
        yield _generate("und", text, fault, schema=array)


def _others() -> Iterator[Labelled]:
    labels = {"kind": "classify", "text": "t", "labels": ["a", "b"]}
    embed = {"kind": "embed", "texts": ["a", "b"]}
    for label in "ab":
        yield Labelled("en", labels, Classification(label=label))
    for label in ("c", "", "A"):
        yield Labelled("en", labels, Classification(label=label), "label")
    yield Labelled("en", labels, Summary(text="a"), "kind")
    yield Labelled("en", embed, Embedding(vectors=((0.6, 0.8), (1.0, 0.0))))
    for rows in (((1.0,),), ((1.0,), (0.5,)), ((1.0, 0.0), (1.0,)), ((float("nan"),), (1.0,))):
        yield Labelled("en", embed, Embedding(vectors=rows), "vectors")


def _hard() -> Iterator[Labelled]:
    for language, request, answer, fault in HARD:
        kinds = {"extract": Extraction, "summarize": Summary, "generate": Generation}
        field = "data" if request["kind"] == "extract" else "text"
        yield Labelled(language, request, kinds[request["kind"]](**{field: answer}), fault)


def by_hand() -> Iterator[Labelled]:
    """Yield answers that were written without a look at the checks."""
    for form in BY_HAND["extractions"]:
        schema = {"type": "object", "properties": form["fields"]}
        request = {"kind": "extract", "text": form["text"], "schema": schema}
        for fault, data in [*(("", right) for right in form["right"]), *form["wrong"]]:
            yield Labelled(form["language"], request, Extraction(data=data), fault)
    for news in BY_HAND["summaries"]:
        request = {"kind": "summarize", "text": news["text"], "max_words": 60}
        for fault, text in [*(("", right) for right in news["right"]), *news["wrong"]]:
            yield Labelled(news["language"], request, Summary(text=text), fault)
    for answer in BY_HAND["texts"]:
        yield _generate(answer["language"], answer["text"], answer["fault"])
