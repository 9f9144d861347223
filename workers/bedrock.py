"""The bedrock lane: `celery -A forebay.workers.bedrock worker`. Its threads wait for calls.

The only worker that sends content out of the building. It checks egress itself, from the record and
from the job, sets money aside before each call, and books what the call cost after it, whatever has
become of the job meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from forebay.routing.books.bills.price_lists import PriceLists
from forebay.routing.errors import TooLong
from forebay.routing.jobs import Answer
from forebay.routing.lanes import BEDROCK
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.lanes.lane_check import LaneCheck
from forebay.routing.limits.price_file import PriceFile
from forebay.routing.limits.spillway import Spillway
from forebay.routing.logs import Event, event
from forebay.routing.policy.policy_file import Policy, PolicyFile
from forebay.routing.store.answer_cache import AnswerCache
from forebay.routing.store.fleet_secret import fleet_secret
from forebay.routing.store.text_stream import TextWriter
from forebay.workers.engines.engine import Prompt
from forebay.workers.frontier.answers import checked, read_answer, stored, with_earlier
from forebay.workers.frontier.auditor import Auditor
from forebay.workers.frontier.batch.candidates import Candidates
from forebay.workers.frontier.calling.assignment import Assignment
from forebay.workers.frontier.calling.call import Call
from forebay.workers.frontier.calling.calls import Calls
from forebay.workers.frontier.calling.no_answer import NoAnswer
from forebay.workers.frontier.calling.permission import allowed, paid
from forebay.workers.frontier.long_texts import LongTexts, can_be_cut
from forebay.workers.frontier.provider import Provider, Reply, open_provider
from forebay.workers.frontier.repair import ask_again, is_worth_a_repair, refuses_schema
from forebay.workers.frontier.secret_check import SecretCheck
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.frontier.way_down import way_down
from forebay.workers.isolation import pool
from forebay.workers.prompts import prompts
from forebay.workers.runtime.actor import Actor, app_on_demand
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.claims.leases import Leases
from forebay.workers.runtime.claims.reserve import ReserveTerms
from forebay.workers.runtime.outcomes import Answered, Outcome, recalled
from forebay.workers.runtime.retries import outcome_of_place
from forebay.workers.runtime.start_up import settings_of
from forebay.workers.telemetry.observers import observers

if TYPE_CHECKING:
    from forebay.workers.frontier.batch.batcher import Batcher

log = logging.getLogger(__name__)

NO_PRICE = (
    "the policy names %s, for which no price is listed: it is never called; add it to the prices "
    "file (FOREBAY_PRICES_FILE), or to [profiles] in the policy"
)
PromptOf = Callable[..., Prompt]  # from a job and a prompt's id


class Bedrock:
    """Answers jobs by calls to Bedrock.

    1. Allows: checks egress again, from the record, the job and the policy, and scans for secrets.
    2. Recalls: an answer that was paid for already, or an exact earlier one from the cache.
    3. Reserves the worst case of the cost, and calls the preferred model, then the next one if
       that makes sense. A schema that Bedrock refuses is asked for in words, with one repair. A
       text that is too long for all of them is answered in parts.
    4. Books the call's cost together with the answer, in one step, and then checks the answer:
       a check may fail or take long, and the money is spent in any case.
    5. Leaves bulk work that can wait to the batcher (`frontier/batch/`), if the policy says so.
    6. Takes the way down without an answer that will do: the job waits, is answered with its local
       draft, goes to the local lane, or fails.

    Audits are the `Auditor`'s.
    """

    def __init__(
        self, ledger: Ledger, settings: BedrockSettings, provider: Provider | None = None
    ) -> None:
        """Call models through `provider`; by default, through the one that the settings name."""
        key = fleet_secret(ledger.redis, ledger.settings)
        prices = PriceFile(settings.prices_file).current
        self._prices = PriceLists(ledger.redis).following(prices)
        self._settings, self._key = settings, key
        self._provider = provider or open_provider(settings)
        self._calls = Calls(ledger, self._provider, self._prices, key)
        self._spillway = Spillway(ledger.redis)
        self.announce()
        self._policy = PolicyFile(ledger.settings.policy_file)
        self._checked: Policy | None = None
        self._current_policy()
        self._lane_check = LaneCheck(ledger.redis, self._policy)
        self._leases = Leases(ledger)
        self._cache = AnswerCache(ledger.redis, key, ledger.settings.cache_s, ledger.seal)
        self._ledger, self._seal = ledger, ledger.seal
        self._texts = TextWriter(ledger.redis, ledger.seal)
        self._secrets = SecretCheck(self._policy.current())
        self._long_texts = LongTexts(self._calls)
        self._auditor = Auditor(ledger, self._calls, key, self._secrets)
        self._candidates = Candidates(ledger, settings, self._prices)
        self._batcher: Batcher | None = None

    def announce(self) -> None:
        """Tell others where this fleet calls Bedrock, again and again: Redis may lose it."""
        self._spillway.announce(self._settings.bedrock_endpoint or "")

    def start_batches(self) -> Batcher | None:
        """Begin to make batches of bulk work, on a thread; `None` if there can be none here."""
        if self._settings.takes_batches:
            from forebay.workers.frontier.batch.opening import open_batcher  # noqa: PLC0415 - needs boto3

            self._batcher = open_batcher(
                self._ledger, self._settings, self._provider, self._policy,
                self._prices, self._key, self._share,
            )  # fmt: skip
            self._batcher.start()
        return self._batcher

    def work(self, claim: Claim, /) -> Outcome:
        """Answer one job, or decide what becomes of it without an answer from Bedrock."""
        if held := outcome_of_place(self._lane_check, claim):
            return held
        attempt, policy = Attempt.of(claim), self._current_policy()
        # A call under way is billed anyway, so it goes on if the claim is lost, and its answer is
        # booked and kept. The checks that follow are stopped.
        cancel_checks = partial(pool.cancel, attempt.prompt_id)
        with pool.cancellable(attempt.prompt_id), self._leases.holding(claim, cancel_checks):
            if claim.record.audit_of:
                return self._auditor.work(claim, attempt.job, policy)
            try:
                return self._answer(attempt, policy)
            except NoAnswer as refusal:
                return way_down(attempt, policy, refusal)

    def close(self) -> None:
        """End the threads that renew leases, write texts and make batches."""
        if self._batcher is not None:
            self._batcher.close()
        self._texts.close()
        self._leases.close()

    def _current_policy(self) -> Policy:
        """Return the policy in force; log the models without a price that a new version names."""
        policy = self._policy.current()
        if policy is not self._checked:
            self._checked = policy
            self._spillway.keep_only(policy.all_models())
            for model in sorted(policy.all_models()):
                if not self._prices().has(policy.base_model(model)):
                    log.error(NO_PRICE, model, extra=event(Event.BEDROCK_NO_PRICE, model=model))
        return policy

    def _answer(self, attempt: Attempt, policy: Policy) -> Outcome:
        """Allow, recall a paid answer, or call one model after the other."""
        claim = attempt.claim
        models = allowed(claim, attempt.job, policy)
        if draft := paid(claim):
            return self._recall_paid(attempt, draft)
        if held := self._candidates.held(claim):
            return held
        self._secrets.check(attempt.job, policy)
        refusal, too_small = None, ""
        for model in models:
            try:
                return self._ask(attempt, policy, model)
            except NoAnswer as error:
                refusal, attempt = error.after(refusal), attempt.having_spent(error.spent_nusd)
                too_small = too_small or (model if isinstance(error.error, TooLong) else "")
                if not error.another:
                    break
        assert refusal is not None, "`allowed` returns at least one model"
        if too_small and isinstance(refusal.error, TooLong) and can_be_cut(attempt.job, policy):
            return self._in_parts(attempt, policy, too_small, refusal.error)
        raise refusal

    def _recall_paid(self, attempt: Attempt, draft: Answer) -> Answered:
        """Give the answer that a dead worker paid for, if it passes its checks."""
        try:
            return Answered(checked(attempt, draft))
        except NoAnswer:
            self._ledger.keep_draft(attempt.claim, b"")
            raise

    def _ask(self, attempt: Attempt, policy: Policy, model: str) -> Outcome:
        """Recall this model's earlier answer, wait for a batch, or call, book and check."""
        claim, job = attempt.claim, attempt.job
        cached = self._cache.get(job, "allow", model, model)
        if cached is not None:
            return recalled(claim, cached)
        if deferred := self._candidates.deferred(attempt, policy, model):
            return deferred
        try:
            answer = self._bought(attempt, policy, model, prompts.frontier)
        except NoAnswer as refusal:
            if not refuses_schema(refusal):
                raise
            answer = self._bought(attempt, policy, model, prompts.in_words)
        return Answered(answer, partial(self._share, attempt, answer))

    def _share(self, attempt: Attempt, answer: Answer) -> None:
        """Cache an answer that the ledger has, and learn how good the local one was."""
        self._cache.put(attempt.job, "allow", answer)
        self._auditor.learn_from_draft(attempt, answer, self._policy.current())

    def _bought(self, attempt: Attempt, policy: Policy, model: str, prompt_of: PromptOf) -> Answer:
        """Reserve the money, call, book and check.

        A schema that was asked for in words alone gets a second call if the answer does not fit.

        Raises:
            NoAnswer: There is no answer that will do.
        """
        job = attempt.job
        assignment = Assignment(attempt.claim, job, policy)
        call, reply = self._calls.ask(
            assignment, model,
            lambda name: prompt_of(job, prompt_id=name), on_text=self._texts.open_for(job),
        )  # fmt: skip
        try:
            return self._book(attempt, call, reply)
        except NoAnswer as refusal:
            if not is_worth_a_repair(job, reply):
                raise
            again, second = ask_again(self._calls, assignment, call, reply, refusal)
        return self._book(attempt, again, second, [(call, reply)])

    def _in_parts(self, attempt: Attempt, policy: Policy, model: str, error: TooLong) -> Outcome:
        """Answer a job whose text is too long for every model, in parts by one of them."""
        assignment = Assignment(attempt.claim, attempt.job, policy)
        parts, bought = self._long_texts.ask(assignment, model, error)
        *earlier, (call, reply) = bought
        answer = self._book(attempt, call, reply, earlier, parts)
        return Answered(answer, partial(self._share, attempt, answer))

    def _book(
        self,
        attempt: Attempt,
        call: Call,
        reply: Reply,
        earlier: Sequence[tuple[Call, Reply]] = (),
        parts: int = 0,
    ) -> Answer:
        """Book the call and keep its answer in one step, lest somebody pays again; then check it.

        `earlier` are calls for the same answer, and their replies; they are booked already.

        Raises:
            NoAnswer: The reply holds no answer that will do; its cost is booked all the same.
        """
        cost, draft = self._calls.cost(call, reply), b""
        try:
            answer = read_answer(attempt, reply, cost)
            costs = [(before, self._calls.cost(made, before)) for made, before in earlier]
            answer = with_earlier(answer, costs, parts)
            draft = self._seal.close(stored(answer))
        except NoAnswer as refusal:
            refusal.estimated = cost.estimated
            raise
        finally:
            self._calls.book(call, cost, draft)
        try:
            return checked(attempt, answer, finish=reply.finish)
        except NoAnswer as refusal:
            refusal.estimated = cost.estimated
            self._ledger.keep_draft(attempt.claim, attempt.claim.draft)  # the local one, if any
            raise


def _actor() -> Actor:
    settings = settings_of(BedrockSettings)

    def make(ledger: Ledger) -> Bedrock:
        worker = Bedrock(ledger, settings)
        worker.start_batches()
        return worker

    return Actor(
        [BEDROCK], make, pool="threads", concurrency=settings.bedrock_concurrency, shares=True,
        reserves=lambda _worker: [ReserveTerms(settings.shared_threads, shares=True)],
        hooks=observers(), quiet_s=settings.bedrock_term_s, on_beat=Bedrock.announce,
    )  # fmt: skip


__getattr__ = app_on_demand(_actor)
