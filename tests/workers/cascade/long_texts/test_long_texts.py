"""A job whose text is longer than the model's context, and may not leave, is answered in parts."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from forebay.routing.jobs import Job
from forebay.workers.cascade.long_texts import long_texts

pytest_plugins = ["waterfall"]

SENTENCES = " ".join(f"On day {i} the water rose by {i} inches." for i in range(900))
LONG = {"kind": "summarize", "text": SENTENCES, "max_words": 20}


def ended(lanes, request, **options):
    job = Job(request=request, **{"egress": "deny", **options})
    lanes.ledger.create([job])
    lanes.work()
    [result] = lanes.ledger.results([job.id])
    return result


def parts_of(answer):
    [code] = [code for code in answer.reasons if code.startswith("in_parts:")]
    return int(code.partition(":")[2])


@pytest.mark.parametrize("options", [{"egress": "deny"}, {"egress": "allow", "lane": "local"}])
def test_a_long_text_that_stays_is_summarized_in_parts(lanes, options):
    answer = ended(lanes, LONG, **options)
    assert (answer.status, answer.lane) == ("done", "local")
    assert parts_of(answer) > 1
    assert not answer.reason.startswith("in_parts")
    assert 0 < len(answer.content.text.split()) <= 20
    assert answer.tokens_in > 6_000  # of all parts together
    assert not lanes.mock.calls


def test_a_text_of_460_kilobytes_is_answered(lanes):
    text = (SENTENCES + "\n\n") * 13
    assert len(text) > 460_000
    lanes.rules("[tenants.default]\nmax_parts = 500\n")
    answer = ended(lanes, {**LONG, "text": text[:480_000]})
    assert answer.status == "done"
    assert parts_of(answer) > 30


def test_a_long_text_is_labelled_by_what_is_left_of_it(lanes):
    request = {"kind": "classify", "text": SENTENCES, "labels": ["water", "fire"]}
    answer = ended(lanes, request)
    assert answer.status == "done"
    assert answer.content.label in {"water", "fire"}
    assert parts_of(answer) > 1


def test_a_text_that_may_leave_goes_up_as_before(lanes):
    lanes.mock.answer = "The water rose."
    answer = ended(lanes, LONG, egress="allow")
    assert answer.lane == "bedrock"


@pytest.mark.parametrize(("max_parts", "says"), [(0, "context of"), (2, r"2 \(max_parts\)")])
def test_the_policy_bounds_the_parts(lanes, max_parts, says):
    lanes.rules(f"[tenants.default]\nmax_parts = {max_parts}\n")
    receipt = ended(lanes, LONG)
    assert (receipt.status, receipt.error, receipt.error_field) == ("failed", "too_long", "text")
    assert re.search(says, receipt.error_note)


def test_a_kind_whose_answer_depends_on_every_detail_is_not_answered_in_parts(lanes):
    schema = {"type": "object", "properties": {"day": {"type": "integer"}}}
    receipt = ended(lanes, {"kind": "extract", "text": SENTENCES, "schema": schema})
    assert receipt.error == "too_long"


def test_parts_that_have_more_tokens_than_was_estimated_are_halved(lanes, monkeypatch):
    monkeypatch.setattr(long_texts, "CHARS_PER_TOKEN", 12)
    assert parts_of(ended(lanes, LONG)) > 1


def test_a_deadline_that_passes_ends_the_parts(lanes):
    slow = {**LONG, "text": f"[[echo: delay=0.05]] {SENTENCES}"}
    receipt = ended(lanes, slow, deadline=timedelta(seconds=0.5))
    assert receipt.status == "expired"
