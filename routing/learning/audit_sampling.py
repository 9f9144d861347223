"""Choose which of the kept local answers are audited."""

from __future__ import annotations

import logging
from collections.abc import Callable

from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Answer, Job
from forebay.routing.learning.audits import Audits, chosen
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.frontier_status import FrontierStatus
from forebay.routing.logs import Event, event
from forebay.routing.policy.egress import may_audit
from forebay.routing.policy.policy_file import PolicyFile

_log = logging.getLogger(__name__)


class AuditSampler:
    """Audits a random share of the kept local answers.

    1. Whether a job is in the sample depends on its id and the fleet's secret: every worker decides
       the same, and no caller can choose.
    2. An answer is left out if it is degraded or cached, or if its job is pinned, contains a
       secret, or cannot go to Bedrock now.
    """

    def __init__(self, ledger: Ledger, secret: bytes) -> None:
        self._audits = Audits(ledger)
        self._policy = PolicyFile(ledger.settings.policy_file)
        self._frontier = FrontierStatus(ledger.redis)
        self._secret = secret

    def take(self, job: Job, answer: Answer) -> None:
        """Start an audit of the answer if it is in the sample. Errors are only logged."""
        if not (answer.degraded or answer.cached or answer.egress != "allow"):
            self._begin(job, lambda: self._audits.begin(job))

    def take_row(self, claim: Claim, job: Job, answer: Callable[[], Answer]) -> None:
        """Start an audit of a row if it is in the sample, and its shard is still held.

        Errors are only logged.

        Args:
            claim: the claim of the shard.
            job: the row as a job of its own.
            answer: return its answer, which is kept and not degraded.
        """
        if claim.record.egress == job.egress == "allow":
            self._begin(job, lambda: self._audits.begin_row(claim, job, answer()))

    def _begin(self, job: Job, begin: Callable[[], object]) -> None:
        try:
            if self._is_wanted(job):
                begin()
        except ForebayError as error:
            _log.warning(
                "the answer of %s is not audited: %s",
                job.id,
                error,
                extra=event(Event.JOB_UNAUDITED, job=job.id),
            )

    def _is_wanted(self, job: Job) -> bool:
        rules = self._policy.current()
        if not chosen(job.id, rules.tenant(job.tenant).audit.share, self._secret):
            return False
        return may_audit(job, rules, self._frontier.state(job, rules))
