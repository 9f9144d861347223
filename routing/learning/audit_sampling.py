"""Which of the local answers that were kept are audited."""

from __future__ import annotations

import logging

from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Answer, Job
from forebay.routing.learning.audits import Audits, chosen
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.frontier_status import FrontierStatus
from forebay.routing.policy.egress import may_audit
from forebay.routing.policy.policy_file import PolicyFile

_log = logging.getLogger(__name__)


class AuditSampler:
    """A share of the jobs that may leave; the same jobs whoever looks, and none that could choose.

    Of a job with a second thought about it (degraded, cached, pinned, with a secret, over budget)
    no audit is made.
    """

    def __init__(self, ledger: Ledger, secret: bytes) -> None:
        self._audits = Audits(ledger)
        self._policy = PolicyFile(ledger.settings.policy_file)
        self._outlook = FrontierStatus(ledger.redis)
        self._secret = secret

    def take(self, job: Job, answer: Answer) -> None:
        """Have the answer audited, where it is in the sample. Never raises: it is only an audit."""
        try:
            if self._wants(job, answer):
                self._audits.begin(job)
        except ForebayError as error:
            _log.warning("no audit of %s: %s", job.id, error)

    def _wants(self, job: Job, answer: Answer) -> bool:
        if answer.degraded or answer.cached or answer.egress != "allow":
            return False
        rules = self._policy.current()
        if not chosen(job.id, rules.tenant(job.tenant).audit.share, self._secret):
            return False
        return may_audit(job, rules, self._outlook.state(job, rules))
