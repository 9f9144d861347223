"""The check step: an answer passes, is doubtful, or is of no use at all."""

from __future__ import annotations

from forebay.routing.jobs import Classification, Classify, Extract, Job
from forebay.workers.cascade.check import check
from forebay.workers.cascade.stages import RawAnswer
from locallane import BILL, TOTAL, raw

JOB = Job(request=Extract(text=BILL, schema=TOTAL))


def test_a_right_answer_passes():
    checked = check(JOB, raw(10))
    assert checked.passed
    assert checked.checks
    assert checked.content.data == {"total": 10}


def test_an_answer_that_fails_a_check_can_still_be_given():
    checked = check(JOB, raw(None))
    assert not checked.passed
    assert checked.content is not None
    assert [each.name for each in checked.checks if not each.passed] == ["filled"]


def test_an_answer_that_fails_an_indispensable_check_has_no_content():
    job = Job(request=Classify(text="the sky", labels=["red", "blue"]))
    answer = RawAnswer("m", "r", 3, 1, Classification(label="green", probability=0.9))
    checked = check(job, answer)
    assert (checked.passed, checked.content) == (False, None)
    assert [each.name for each in checked.checks] == ["label"]
    assert checked.raw is answer


def test_a_text_that_cannot_be_read_is_not_checked():
    checked = check(JOB, raw("no JSON"))
    assert (checked.passed, checked.content, checked.checks) == (False, None, ())
