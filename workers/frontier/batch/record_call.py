"""One record of a batch as a call: planned, paid for in advance, and written down."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

from forebay.routing.base import NANO
from forebay.routing.bedrock_batches.batch_record import BatchRecord
from forebay.routing.books.egress_entry import BY_BUCKET
from forebay.routing.books.egress_log import EgressLog
from forebay.routing.errors import BudgetExceeded, InvalidJob
from forebay.routing.ledger.claim import Claim
from forebay.routing.limits.budget import MAX_NUSD, MAX_TERM_S, Budget
from forebay.routing.limits.prices import Prices
from forebay.routing.policy.policy_file import Policy
from forebay.routing.reasons import Reason
from forebay.workers.frontier.bedrock.converse_request import converse_request
from forebay.workers.frontier.calling.assignment import Assignment
from forebay.workers.frontier.calling.call import Call
from forebay.workers.frontier.calling.no_answer import NoAnswer
from forebay.workers.frontier.calling.permission import allowed, paid
from forebay.workers.frontier.calling.planner import JOB_LABEL, TENANT_LABEL
from forebay.workers.frontier.provider import Provider
from forebay.workers.frontier.secret_check import SecretCheck
from forebay.workers.frontier.terms import Terms
from forebay.workers.prompts import prompts

#: How long after its turnaround a batch may take to end and to be read.
READ_WITHIN_S = 86_400.0


def reserved_for_s(turnaround_s: float) -> float:
    """Return how long the money of a record is reserved, and its job called by nobody else."""
    return min(turnaround_s + READ_WITHIN_S, MAX_TERM_S)


class RecordCalls:
    """Makes records of jobs: what `Calls` does for a call, up to the moment it would be made."""

    def __init__(
        self,
        provider: Provider,
        budget: Budget,
        egress_log: EgressLog,
        secrets: SecretCheck,
        secret: bytes,
    ) -> None:
        self._provider, self._budget, self._egress_log = provider, budget, egress_log
        self._secrets, self._secret = secrets, secret

    def record(
        self, batch: BatchRecord, record_id: str, call_id: str, claim: Claim, policy: Policy,
        prices: Prices,
    ) -> bytes:  # fmt: skip
        """Check again that the job may leave, reserve its money, write down that it leaves.

        Returns:
            The line of the file.

        Raises:
            NoAnswer: The job must not be in the batch.
            ForebayError: Likewise; or Redis cannot be reached (`RedisUnavailable`).
        """
        job = claim.job()
        if batch.model not in allowed(claim, job, policy) or paid(claim):
            raise NoAnswer(InvalidJob("is for another model"), Reason.NO_MODEL_ALLOWED)
        self._secrets.check(job, policy)
        assignment = Assignment(claim, job, policy)
        call = self._planned(batch, call_id, assignment, prices)
        self._reserve(batch, call, assignment)
        region = f"{self._provider.region}{BY_BUCKET}{batch.bucket}"
        self._egress_log.append(call.leaving(assignment, region, self._secret))
        return _line(record_id, call)

    def release(self, call_id: str) -> None:
        """Give back what is reserved for a record, if anything is."""
        self._budget.release(call_id)

    def _planned(
        self, batch: BatchRecord, call_id: str, assignment: Assignment, prices: Prices
    ) -> Call:
        job, policy = assignment.job, assignment.policy
        base = policy.base_model(batch.model)
        effort = policy.tenant(job.tenant).effort
        prompt = prompts.frontier(job, prompt_id=call_id)
        terms = Terms(
            base=base,
            can=prices.capabilities(base),
            tier="batch",
            effort="" if effort == "default" else effort,
            labels={JOB_LABEL: job.id, TENANT_LABEL: job.tenant},
        )
        tokens_in, tokens_out = self._provider.bounds(prompt, base, terms)
        worst_nusd = prices.worst_case(base, tokens_in, tokens_out, tier="batch")
        if worst_nusd > (MAX_NUSD if job.max_cost_usd is None else job.max_cost_usd * NANO):
            too_dear = BudgetExceeded("a call might cost more than this", field="max_cost_usd")
            raise NoAnswer(too_dear, Reason.JOB_COST_CAP)
        return Call(call_id, prompt, batch.model, worst_nusd, prices, tokens_in, tokens_out, terms)

    def _reserve(self, batch: BatchRecord, call: Call, assignment: Assignment) -> None:
        self._budget.reserve(
            call.id,
            assignment.job.id,
            assignment.job.tenant,
            call.worst_nusd,
            limits_at=partial(call.limits, assignment),
            term_s=reserved_for_s(batch.turnaround_ms / 1_000),
            terms=call.stated(self._provider.region, assignment) | {"batch": batch.id},
        )


def _line(record_id: str, call: Call) -> bytes:
    """Return the line of a record. Batches are a tier of their own, which nobody asks for."""
    terms = replace(call.terms, tier="default")
    body = converse_request(call.prompt, call.model, call.id, terms)
    del body["modelId"]
    return json.dumps({"recordId": record_id, "modelInput": body}).encode() + b"\n"
