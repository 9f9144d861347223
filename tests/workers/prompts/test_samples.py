"""The demo's samples are valid jobs, and their reference answers pass all checks."""

import json
from collections import Counter

import pytest

from forebay.routing.base import KINDS
from forebay.routing.jobs import Job, parse_job
from forebay.routing.questions.state import state_text
from forebay.workers.checks.answer_checks import check
from forebay.workers.engines.engine import EngineInfo
from forebay.workers.prompts.parsing import parse_answer
from forebay.workers.prompts.prompts import frontier, local
from local.fleet import ROOT

LINES = (ROOT / "deploy" / "local" / "samples.jsonl").read_text("utf-8").splitlines()
SAMPLES = [json.loads(line) for line in LINES]
ANSWERED = [sample for sample in SAMPLES if sample["request"]["kind"] != "embed"]
INFO = EngineInfo(engine="echo", model="m", revision="r", context_tokens=2_048, slots=1)


def job(sample) -> Job:
    return parse_job({key: sample[key] for key in ("tenant", "egress", "priority", "request")})


def text_of(sample) -> str:
    request = sample["request"]
    if "state" in request:
        return state_text(request["state"])
    return request["text"] if "text" in request else request["messages"][-1]["content"]


def named(samples):
    return pytest.mark.parametrize("sample", samples, ids=[sample["name"] for sample in samples])


@named(SAMPLES)
def test_every_sample_is_a_valid_job(sample):
    keys = {"name", "egress", "priority", "tenant", "request", "note", "reference"}
    optional = {"reference"} if sample["request"]["kind"] == "embed" else set()
    assert set(sample) == keys - optional
    assert job(sample).kind == sample["request"]["kind"]
    assert sample["note"]


@named(ANSWERED)
def test_every_reference_passes_all_checks(sample):
    reference = sample["reference"]
    text = reference if isinstance(reference, str) else json.dumps(reference)
    content = parse_answer(job(sample), text)
    assert [result for result in check(job(sample), content) if not result.passed] == []


@named(ANSWERED)
def test_every_text_is_in_the_prompt_for_a_frontier_model(sample):
    prompt = frontier(job(sample), prompt_id="p")
    assert text_of(sample) in prompt.messages[-1].content


@named(ANSWERED)
def test_every_local_prompt_is_short(sample):
    prompt = local(job(sample), INFO, prompt_id="p")
    assert sum(len(turn.content) for turn in prompt.messages) < 4_000
    assert prompt.max_tokens <= 500


def test_no_text_contains_another():
    texts = [text_of(sample) for sample in ANSWERED]
    assert not [(a, b) for a in texts for b in texts if a is not b and a in b]


def test_the_names_of_samples_are_unique():
    assert len({sample["name"] for sample in SAMPLES}) == len(SAMPLES)


def test_every_kind_has_samples_that_may_leave_and_samples_that_may_not():
    spread = Counter((sample["request"]["kind"], sample["egress"]) for sample in SAMPLES)
    assert set(spread) == {(kind, egress) for kind in KINDS for egress in ("deny", "allow")}
    assert min(spread[kind, egress] for kind in KINDS[:4] for egress in ("deny", "allow")) >= 3
    assert 40 <= len(SAMPLES) <= 50
