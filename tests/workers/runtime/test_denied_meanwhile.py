"""Jobs whose record is set to `deny` while they are worked: the policy decides on them again."""

from __future__ import annotations

import pytest

from forebay.routing.jobs import Answer, Extract, Job
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.engines.batching.echo import EchoEngine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.local import Local
from forebay.workers.router import Router
from forebay.workers.runtime.outcomes import Escalated, Routed
from ledger_jobs import BELL
from locallane import LIKELY, TOTAL
from working import work_next

TEN, NINE = '{"total": 10}', '{"total": 9}'
#: Two local answers to this text differ.
UNSURE = f"Bill total: 10 and not 9. [[echo: say={TEN}]] [[echo: warm={NINE}]]"
#: No local answer to this text can be read.
NONSENSE = "The bill is 10. [[echo: say=nothing]] [[echo: warm=nothing]]"


class House:
    """A ledger, and the workers on it, which notice a change only in what they claim."""

    def __init__(self, redis, folder) -> None:
        self.policy = folder / "policy.toml"
        self.policy.write_text("[defaults.thresholds]\nextract = 1.0\n")
        settings = Settings(policy_file=self.policy, max_attempts=2)
        self.redis = redis
        self.ledger = Ledger(redis, settings, BELL)
        engine = EchoEngine(EngineSettings(engine="echo", slots=2))
        self.router = Router(self.ledger)
        self.local = Local(self.ledger, lambda: Answerer(engine))

    def submit(self, text=UNSURE, **options) -> str:
        request = Extract(text=text, schema=TOTAL)
        (job_id,) = self.ledger.create([Job(egress="allow", request=request, **options)])
        return job_id

    def to_local(self, job_id) -> None:
        claim = self.ledger.claim("route")
        assert claim.id == job_id
        self.ledger.route(claim, "local.default", "allow", "verdict_easy", LIKELY)

    def forbid(self, job_id) -> None:
        self.redis.hset(f"fb:job:{job_id}", "egress", "deny")

    def run(self, queue, work):
        return work_next(self.ledger, queue, work)

    def run_forbidden(self, queue, worker):
        """Work the next job, whose record is set to `deny` before its outcome is recorded."""
        outcomes = []

        def work(claim):
            outcomes.append(worker.work(claim))
            self.forbid(claim.id)
            return outcomes[0]

        result = self.run(queue, work)
        return outcomes[0], result

    def result(self, job_id):
        (result,) = self.ledger.results([job_id])
        return result


@pytest.fixture
def house(redis, tmp_path):
    house = House(redis, tmp_path)
    yield house
    house.local.close()


def test_a_job_on_its_way_to_bedrock_goes_to_the_local_lane(house, caplog):
    job_id = house.submit()
    outcome, result = house.run_forbidden("route", house.router)
    assert isinstance(outcome, Routed)
    assert outcome.queue == "bedrock"
    assert (result.id, result.outcome.code, result.state) == (job_id, "egress_denied", "waiting")
    assert f"{job_id} may not leave any more" in caplog.text
    again = house.run("route", house.router.work)  # at once: nobody waits for the lease to end
    assert (again.outcome.queue, again.outcome.reason) == ("local.default", "egress_denied")
    assert house.ledger.record(job_id).egress == "deny"


def test_a_job_that_is_pinned_to_bedrock_fails(house):
    job_id = house.submit(lane="bedrock")
    assert house.run_forbidden("route", house.router)[1].state == "waiting"
    assert house.run("route", house.router.work).state == "failed"
    assert (house.result(job_id).error, house.result(job_id).reason) == (
        "egress_denied",
        "egress_denied",
    )


def test_a_doubtful_local_answer_is_given_after_all(house):
    job_id = house.submit()
    house.to_local(job_id)
    outcome, result = house.run_forbidden("local.default", house.local)
    assert isinstance(outcome, Escalated)
    assert (result.id, result.outcome.code, result.state) == (job_id, "egress_denied", "waiting")
    assert house.run("local.default", house.local.work).state == "done"
    answer = house.result(job_id)
    assert isinstance(answer, Answer)
    assert (answer.lane, answer.egress) == ("local", "deny")
    assert (answer.reasons, answer.degraded) == (("verdict_easy",), False)
    assert not house.redis.exists(f"fb:draft:{job_id}")


def test_a_job_without_a_local_answer_fails_with_the_reason_why_it_stays(house):
    job_id = house.submit(NONSENSE)
    house.to_local(job_id)
    outcome, _ = house.run_forbidden("local.default", house.local)
    assert isinstance(outcome, Escalated)
    assert house.run("local.default", house.local.work).state == "failed"
    receipt = house.result(job_id)
    assert receipt.error == "bad_answer"
    assert receipt.reasons[-2:] == ("egress_denied", "bad_answer")


def test_a_worker_that_sends_a_forbidden_job_up_each_time_is_stopped(house):
    job_id = house.submit()
    house.forbid(job_id)

    def defective(_claim):
        return Routed("bedrock", "allow", "verdict_hard", LIKELY)

    ends = [house.run("route", defective).state for _ in range(2)]
    assert ends == ["waiting", "failed"]
    assert house.ledger.record(job_id).state == "failed"
    assert house.ledger.record(job_id).error == "egress_denied"
    assert house.ledger.claim("route") is None


@pytest.mark.parametrize("worker", ["router", "local"])
def test_a_job_that_was_cancelled_too_is_dropped(house, worker):
    job_id, queue = house.submit(), "route"
    if worker == "local":
        house.to_local(job_id)
        queue = "local.default"

    def work(claim):
        outcome = getattr(house, worker).work(claim)
        house.forbid(job_id)
        house.ledger.cancel(job_id)
        return outcome

    assert house.run(queue, work).state == "cancelled"
    assert house.ledger.record(job_id).state == "cancelled"
