"""A new kind of job has one checklist, and a test that names each place that was forgotten.

To add a kind, add it to `Kind` in routing/base.py and run this file. CONTRIBUTING.md lists the same
places in the order in which to change them.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args

import pytest
from tests.fuzz import inputs
from tests.whole import test_egress, test_silence
from typer.testing import CliRunner

import forebay
import policy_cases
from forebay.producers.cli import display, job_input, main
from forebay.routing.base import KINDS, FrozenModel
from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Classification, Classify, Content, Job, Request, parse_job
from forebay.routing.learning import job_types
from forebay.routing.policy import policy_file
from forebay.routing.policy.policy_file import TenantPolicy
from forebay.routing.scoring import request_features
from forebay.routing.scoring.router_model import RouterModel
from forebay.testing import engine as scripted_engine
from forebay.testing import script
from forebay.workers.checks import agreement, answer_checks
from forebay.workers.engines.engine import EngineInfo
from forebay.workers.prompts import parsing, prompts, rewording
from local.fleet import ROOT
from mock_bedrock.canned_answers import References
from ordeal import workload

#: `embed` jobs never go to Bedrock and have no prompt, no text for an answer and no second opinion.
WITHOUT_PROMPT = {"embed"}
INFO = EngineInfo(engine="echo", model="m", revision="r", context_tokens=4_096, slots=1)
PRIORS = "workers/training/fitting/priors.json"
CHECKLIST = ROOT / "CONTRIBUTING.md"
SAMPLE_FILE = "deploy/local/samples.jsonl"
POLICY_EXAMPLE = "deploy/policy.toml"


class Sample(NamedTuple):
    """A job of the demo, and its reference answer."""

    job: Job
    reference: Any


def classes_by_kind(union: object) -> dict[str, type[FrozenModel]]:
    """Return the classes of `Request` or `Content` by their kind."""
    classes = get_args(get_args(union)[0])
    return {cls.model_fields["kind"].default: cls for cls in classes}


def samples_by_kind() -> dict[str, list[Sample]]:
    samples = defaultdict(list)
    for line in (ROOT / SAMPLE_FILE).read_text("utf-8").splitlines():
        fields = json.loads(line)
        job = parse_job({"request": fields["request"], "egress": fields["egress"]})
        samples[job.kind].append(Sample(job, fields.get("reference")))
    return dict(samples)


REQUESTS = classes_by_kind(Request)
CONTENTS = classes_by_kind(Content)
SAMPLES = samples_by_kind()


# --- how to find out whether a place has a kind ---------------------------------------------------


def file_of(thing: object) -> str:
    """Return the path of the file that defines a module or a class."""
    path = Path(inspect.getsourcefile(thing))
    return str(path.resolve().relative_to(ROOT))


def has_case(module: ModuleType, classes: dict[str, type[FrozenModel]]) -> Callable[[str], bool]:
    """Return a check that a `match` statement of the module has a case for the kind's class."""

    def knows(kind: str) -> bool:
        patterns = {
            node.cls.id
            for node in ast.walk(ast.parse(inspect.getsource(module)))
            if isinstance(node, ast.MatchClass) and isinstance(node.cls, ast.Name)
        }
        return classes[kind].__name__ in patterns

    return knows


def has_field_or_branch(
    module: ModuleType, classes: dict[str, type[FrozenModel]]
) -> Callable[[str], bool]:
    """Return a check that the kind's class has a `text`, or else the module the kind's name."""

    def knows(kind: str) -> bool:
        tree = ast.walk(ast.parse(inspect.getsource(module)))
        strings = {node.value for node in tree if isinstance(node, ast.Constant)}
        return "text" in classes[kind].model_fields or kind in strings

    return knows


def uses_class(module: ModuleType, classes: dict[str, type[FrozenModel]]) -> Callable[[str], bool]:
    """Return a check that the module uses the kind's class."""

    def knows(kind: str) -> bool:
        tree = ast.walk(ast.parse(inspect.getsource(module)))
        return classes[kind].__name__ in {node.id for node in tree if isinstance(node, ast.Name)}

    return knows


def names_kind(path: str) -> Callable[[str], bool]:
    """Return a check that the document has the kind's name: as `kind`, or in a list of kinds."""

    def knows(kind: str) -> bool:
        name = rf"`{kind}`|[(,]\s*(and )?{kind}\s*[,)]"
        return re.search(name, (ROOT / path).read_text("utf-8")) is not None

    return knows


def has_policy_key(table: str) -> Callable[[str], bool]:
    """Return a check that a table of the policy has a key for the kind."""
    return lambda kind: kind in type(getattr(TenantPolicy(), table)).model_fields


def policy_example_has(kind: str) -> bool:
    defaults = tomllib.loads((ROOT / POLICY_EXAMPLE).read_text("utf-8"))["defaults"]
    tables = ("thresholds", "second_opinion", "max_doubt", "pools")
    return all(kind in defaults[table] for table in tables)


def has_prompts(kind: str) -> bool:
    job = SAMPLES[kind][0].job
    return bool(
        prompts.local(job, INFO, prompt_id="p").messages
        and prompts.frontier(job, prompt_id="p").messages
    )


def has_priors(kind: str) -> bool:
    priors = json.loads((ROOT / PRIORS).read_text())
    is_fitted = kind == "generate"  # its prior comes from the training data
    return kind in priors["text_share"] and (is_fitted or kind in priors["kinds"])


def router_model_has(kind: str) -> bool:
    weights = json.loads(RouterModel.packaged.read_text())
    return kind in weights["kinds"] and kind in weights["text_share"]


def mock_answers_samples(kind: str) -> bool:
    """Return whether the mock answers the prompt of each sample with the sample's reference."""
    references = References(ROOT / SAMPLE_FILE)
    answers = []
    for job, reference in SAMPLES[kind]:
        prompt = prompts.frontier(job, prompt_id="p")
        text = "\n".join(turn.content for turn in prompt.messages)
        answer = references.answer(text, getattr(prompt.constraint, "schema_", None))
        answers.append(answer if isinstance(reference, str) else json.loads(answer))
    return answers == [sample.reference for sample in SAMPLES[kind]]


def submit_help_shows(kind: str) -> bool:
    shown = CliRunner().invoke(main.app, ["submit", "--help"]).output
    return f"forebay submit {kind} " in shown


def is_public(kind: str) -> bool:
    classes = (REQUESTS[kind], CONTENTS[kind])
    return all(getattr(forebay, cls.__name__, None) is cls for cls in classes)


def fuzz_makes(kind: str) -> bool:
    dice = inputs.Inputs(seed=7)
    return kind in {dice.request()["kind"] for _ in range(200)}


def chaos_submits(kind: str) -> bool:
    return kind in {order.request.kind for order in islice(workload.orders(7, 500, 60), 500)}


# --- the places, in the order in which to change them ---------------------------------------------


class Place(NamedTuple):
    """A place that every kind needs.

    Attributes:
        file: the file to change.
        change: what to do there.
        knows: whether the place has the kind; may raise if it has not.
        exempt: the kinds that do not need the place.
    """

    file: str
    change: str
    knows: Callable[[str], bool]
    exempt: set[str] = set()  # noqa: RUF012 - never changed

    def has(self, kind: str) -> bool:
        try:
            return self.knows(kind)
        except (InvalidJob, KeyError):
            return False


CONTRACT = [
    Place(file_of(Classify), "add the request class to `Request`", lambda kind: kind in REQUESTS),
    Place(
        file_of(Classification), "add the content class to `Content`", lambda kind: kind in CONTENTS
    ),
]
SAMPLE = Place(SAMPLE_FILE, "add samples for the demo", lambda kind: kind in SAMPLES)
PLACES = [
    *CONTRACT,
    Place(file_of(forebay), "export both classes", is_public),
    Place(
        file_of(request_features), "add a case with the text and features of a request",
        has_case(request_features, REQUESTS),
    ),
    Place(
        file_of(job_types), "add a case with the fields that make a job type",
        has_case(job_types, REQUESTS), WITHOUT_PROMPT,
    ),
    *[
        Place(
            file_of(policy_file), f"add a key to the class of `{table}`",
            has_policy_key(table), WITHOUT_PROMPT,
        )
        for table in ("thresholds", "second_opinion", "max_doubt", "pools")
    ],
    Place(POLICY_EXAMPLE, "show and explain the new keys", policy_example_has, WITHOUT_PROMPT),
    Place(PRIORS, "state the kind's priors (`kinds`) and its `text_share`", has_priors),
    Place(
        "routing/scoring/router_model.json", "add the same numbers, or train the model anew",
        router_model_has,
    ),
    Place(
        file_of(prompts), "add a file with the kind's prompts, and name it in the table by kind",
        has_prompts, WITHOUT_PROMPT,
    ),
    Place(
        file_of(parsing), "add a case that makes content of a model's text",
        has_case(parsing, REQUESTS), WITHOUT_PROMPT,
    ),
    Place(
        file_of(rewording), "add a case that words the prompt of a second opinion",
        has_case(rewording, REQUESTS), WITHOUT_PROMPT,
    ),
    Place(
        file_of(answer_checks), "add a case with the checks of an answer",
        has_case(answer_checks, REQUESTS),
    ),
    Place(
        file_of(agreement), "add a case that compares two answers",
        has_case(agreement, CONTENTS), WITHOUT_PROMPT,
    ),
    Place(
        file_of(job_input), "make the request of what was typed",
        has_field_or_branch(job_input, REQUESTS),
    ),
    Place(file_of(main), "show the kind in the help of `forebay submit`", submit_help_shows),
    Place(
        file_of(display), "print the content for people", has_field_or_branch(display, CONTENTS)
    ),
    Place(
        file_of(script), "name the content that answers the request", uses_class(script, REQUESTS)
    ),
    Place(
        file_of(scripted_engine), "add a case with the text that stands for the content",
        has_case(scripted_engine, CONTENTS), WITHOUT_PROMPT,
    ),
    SAMPLE,
    Place(
        file_of(References), "find the text of the kind's samples in a prompt",
        mock_answers_samples, WITHOUT_PROMPT,
    ),
    Place(
        file_of(policy_cases), "add an example to `REQUESTS`",
        lambda kind: kind in policy_cases.REQUESTS,
    ),
    Place(file_of(inputs), "make a request of the kind in `request`", fuzz_makes),
    Place(file_of(workload), "add the kind to the jobs of a chaos run", chaos_submits),
    Place(
        file_of(test_egress), "add the kind to `WRONG` and `request`",
        lambda kind: test_egress.request(kind, test_egress.WRONG[kind] + "word").kind == kind,
    ),
    Place(
        file_of(test_silence), "add a request with canaries to `requests`",
        lambda kind: kind in {request.kind for request in test_silence.requests()},
    ),
    Place("README.md", "name the kind in the introduction", names_kind("README.md")),
    Place(
        "routing/scoring/MODEL_CARD.md", "say where the kind's prior comes from",
        names_kind("routing/scoring/MODEL_CARD.md"),
    ),
]  # fmt: skip
IDS = [f"{place.file}: {place.change}" for place in PLACES]
each_place = pytest.mark.parametrize("place", PLACES, ids=IDS)


@pytest.mark.parametrize("kind", KINDS)
@each_place
def test_every_kind_is_in_every_place(place, kind):
    assert kind in place.exempt or place.has(kind), (
        f"the kind {kind!r} is not in {place.file} yet: {place.change}"
    )


def test_the_classes_of_requests_and_contents_are_of_known_kinds():
    assert set(REQUESTS) == set(CONTENTS) == set(KINDS)


# --- each check can fail --------------------------------------------------------------------------


class MadeUp(FrozenModel):
    """The request of a kind that nothing but this file knows."""

    kind: Literal["made_up"] = "made_up"
    question: str = "Why?"


class MadeUpContent(FrozenModel):
    """Its content."""

    kind: Literal["made_up"] = "made_up"
    reply: str = "Because."


@pytest.fixture
def made_up(monkeypatch):
    """Add a kind to the contract and the samples, and to nothing else."""
    sample = Sample(SAMPLES["generate"][0].job.model_copy(update={"request": MadeUp()}), "Because.")
    monkeypatch.setitem(REQUESTS, "made_up", MadeUp)
    monkeypatch.setitem(CONTENTS, "made_up", MadeUpContent)
    monkeypatch.setitem(SAMPLES, "made_up", [sample])
    return "made_up"


@pytest.mark.parametrize("place", [*CONTRACT, SAMPLE], ids=lambda place: place.change)
def test_a_kind_without_classes_and_samples_is_found(place):
    assert not place.has("made_up")


@pytest.mark.parametrize(
    "place",
    [place for place in PLACES if place not in (*CONTRACT, SAMPLE)],
    ids=lambda place: f"{place.file}: {place.change}",
)
def test_a_kind_that_a_place_has_forgotten_is_found(place, made_up):
    assert not place.has(made_up)
    with pytest.raises(AssertionError, match=f"'made_up' is not in {re.escape(place.file)} yet"):
        test_every_kind_is_in_every_place(place, made_up)


@each_place
def test_every_place_is_a_file(place):
    assert (ROOT / place.file).is_file()


@each_place
def test_the_checklist_names_every_place(place):
    _, _, rest = CHECKLIST.read_text("utf-8").partition("## Add a kind of job")
    section = rest.partition("\n## ")[0]
    assert f"`{place.file}`" in section or f"`{Path(place.file).name}`" in section
