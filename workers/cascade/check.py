"""Check: is the answer right, as far as it can be told without another answer?"""

from __future__ import annotations

from forebay.routing.jobs import Job
from forebay.workers.cascade.stages import CheckedAnswer, RawAnswer
from forebay.workers.checks import bounded
from forebay.workers.checks.answer_checks import INDISPENSABLE


def check(job: Job, raw: RawAnswer) -> CheckedAnswer:
    """Run the checks of the job's kind; drop a content that fails an indispensable one.

    Raises:
        Lost: The job was cancelled meanwhile.
    """
    checks = bounded.check(job, raw.content, finish=raw.finish) if raw.content else ()
    unusable = any(each.name in INDISPENSABLE for each in checks if not each.passed)
    return CheckedAnswer(raw, None if unusable else raw.content, checks)
