"""The router: `celery -A workers.router worker`. A verdict on each job, then its lane.

A few milliseconds of work a job, in the process itself, so `solo`; start more of them for more.
"""

from __future__ import annotations

from routing import policy
from routing.difficulty import Difficulty
from routing.lanes import ROUTE
from routing.ledger import Claim, Ledger
from routing.policy import PolicyFile
from workers.actor import Actor
from workers.execute import Routed
from workers.outlook import Outlook


class Router:
    """Decides by the policy, the verdict, and how it looks on Bedrock."""

    def __init__(self, ledger: Ledger) -> None:
        self._difficulty = Difficulty.load()
        self._policy = PolicyFile(ledger.settings.policy_file)
        self._outlook = Outlook(ledger.redis)

    def work(self, claim: Claim, /) -> Routed:
        """The lane of one job.

        Raises:
            EgressDenied: It is pinned to a lane where the policy does not let it go.
        """
        job, rules = claim.job(), self._policy.current()
        egress = policy.egress(job, rules)
        verdict = self._difficulty.verdict(job)
        decision = policy.choose_lane(job, verdict, rules, self._outlook.state(job, rules))
        return Routed(decision.queue, egress, decision.reason.value, verdict)

    def close(self) -> None:
        """Nothing is held."""


app = Actor([ROUTE], Router, pool="solo", concurrency=1).app
