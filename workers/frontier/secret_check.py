"""The last scan for secrets, where content leaves: a record may have come here past the router."""

from __future__ import annotations

from forebay.routing.errors import EgressDenied
from forebay.routing.jobs import Content, Job
from forebay.routing.policy.policy_file import Policy
from forebay.routing.policy.secret_scanner import Scanner
from forebay.routing.reasons import Reason
from forebay.workers.frontier.calling.no_answer import NoAnswer


class SecretCheck:
    """Scans what is about to leave. Whether a record says that it was scanned is not believed."""

    def __init__(self, policy: Policy) -> None:
        """Raise `Misconfigured` if the policy asks for scans and their package is missing."""
        self._scanner = Scanner() if policy.scans else None

    def check(self, job: Job, policy: Policy, answer: Content | None = None) -> None:
        """Raise `NoAnswer` if a secret is found in the job, or in an answer that leaves with it."""
        if not policy.tenant(job.tenant).scan_secrets:
            return
        if self._scanner is None:  # the policy asked for no scans when we started
            self._scanner = Scanner()
        if self._scanner.find(job, answer) is not None:
            denied = EgressDenied("the content holds what looks like a secret", field="egress")
            raise NoAnswer(denied, Reason.SECRET_FOUND)
