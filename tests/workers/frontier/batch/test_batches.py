"""Bulk jobs go to Bedrock in batches, and come back with their answers at half the price."""

import json
from datetime import timedelta

import pytest

from batch_lane import BUCKET, HAIKU, KMS_KEY, NOVA, ROLE, bill, billed
from forebay.routing.bedrock_batches.batch_record import LOST
from forebay.routing.books.call_book import CallBook
from forebay.routing.books.egress_log import EgressLog
from forebay.routing.books.verification import of_calls, of_chain, of_denied
from forebay.routing.errors import EgressDenied, Throttled, Unavailable
from forebay.routing.jobs import Answer, Generate, Generation, Job, Message
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.reasons import Reason
from forebay.workers.frontier.batch import collection
from forebay.workers.frontier.bedrock.batch_checkup import state
from forebay.workers.frontier.calling.no_answer import NoAnswer
from forebay.workers.frontier.provider import ModelFault
from forebay.workers.runtime.outcomes import Retry
from mock_bedrock.batches import BatchPlan

pytestmark = pytest.mark.slow


def of_batch(mock):
    return [call for call in mock.calls if call.operation == "batch"]


def one_by_one(mock):
    return [call for call in mock.calls if call.operation.startswith("converse")]


def ended(spillway, jobs):
    """Work and sweep until all jobs have ended; return their answers."""
    for _ in range(3):
        spillway.work()
        spillway.sweep()
    answers = spillway.answers(jobs)
    assert all(isinstance(answer, Answer) for answer in answers)
    return answers


def bucket(s3):
    """Return all objects by name."""
    names = [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ())]
    return {name: s3.get_object(Bucket=BUCKET, Key=name) for name in names}


def records(s3):
    """Return the records of all files in the bucket."""
    files = [found["Body"].read() for name, found in bucket(s3).items() if "input.jsonl" in name]
    return [json.loads(line) for body in files for line in body.splitlines()]


def test_a_batch_answers_bulk_jobs_at_half_the_price(spillway, mock, redis, s3):
    jobs = spillway.submit(5)
    assert spillway.work() == ["Deferred"] * 5
    spillway.rounds()
    assert spillway.work() == ["Answered"] * 5
    answers = spillway.answers(jobs)
    assert all(answer.lane == "bedrock" and not answer.degraded for answer in answers)
    assert all("in_batch" in answer.reasons for answer in answers)
    assert [answer.content.text[-7:-1] for answer in answers] == [f"Word {i}" for i in range(5)]
    assert not one_by_one(mock)
    total = sum(map(bill, of_batch(mock)))
    assert spillway.budget.spent() == (total, 0)
    assert sum(answer.cost_nusd for answer in answers) == total > 0
    calls = list(CallBook(redis).calls())
    assert {(call.tier, call.state) for call in calls} == {("batch", "settled")}
    assert all(call.stand_in for call in calls)
    assert {call.call_id for call in of_batch(mock)} == {call.id for call in calls}
    assert bucket(s3) == {}
    (record,) = spillway.batches.ended()
    assert (record.answered, record.failed, record.unknown) == (5, 0, 0)
    assert redis.keys("fb:bedrock:group*") == []


def test_the_file_is_made_as_the_policy_says(spillway, mock, s3):
    mock.batches.plan.hold = True
    more = 'bucket_owner = "123456789012"\nturnaround_s = 90_000.0\nmin_records'
    spillway.rules(("min_records", more))
    spillway.submit(3, tenant="acme")
    spillway.work()
    spillway.rounds(2)
    ((name, found),) = bucket(s3).items()
    assert name.startswith("forebay/acme/")
    assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", KMS_KEY)
    (job,) = mock.batches.jobs.values()
    request, of_input = job.request, job.request["inputDataConfig"]["s3InputDataConfig"]
    assert (request["roleArn"], request["modelId"]) == (ROLE, HAIKU)
    assert (request["modelInvocationType"], request["timeoutDurationInHours"]) == ("Converse", 25)
    assert of_input["s3Uri"] == f"s3://{BUCKET}/{name}"
    assert of_input["s3BucketOwner"] == "123456789012"
    assert request["outputDataConfig"]["s3OutputDataConfig"]["s3EncryptionKeyId"] == KMS_KEY
    lines = records(s3)
    assert [line["recordId"] for line in lines] == [f"R{i:010d}" for i in range(3)]
    assert all({"modelId", "serviceTier"}.isdisjoint(line["modelInput"]) for line in lines)


def test_what_leaves_in_a_file_is_in_the_egress_log(spillway, redis):
    jobs = spillway.submit(4)
    spillway.work()
    spillway.rounds()
    spillway.work()
    entries, log = list(EgressLog(redis).read()), EgressLog(redis)
    assert sorted(entry.leaving.job for entry in entries) == sorted(jobs)
    assert {entry.leaving.region.partition(" by ")[2] for entry in entries} == {f"s3://{BUCKET}"}
    calls = list(CallBook(redis).calls())
    assert [*of_chain(entries, log.heads(), log.head()), *of_denied(entries)] == []
    assert list(of_calls(entries, calls)) == []


DENIED = 'force_deny = true\nmodels = ["x"]'


@pytest.mark.parametrize("how", ["policy", "record", "models", "secret"])
def test_a_job_that_may_not_leave_any_more_is_not_in_the_file(spillway, redis, mock, s3, how):
    mock.batches.plan.hold = True
    (canary,) = spillway.submit(1, text="The canary {} sings.", tenant="acme")
    others = spillway.submit(4)
    spillway.rules(("min_records", "by_tenant = false\nmin_records"))
    assert spillway.work() == ["Deferred"] * 5
    changes = {
        "policy": "[tenants.acme]\nforce_deny = true\n",
        "models": f'[tenants.acme]\nmodels = ["{NOVA}"]\n',
    }
    if how == "record":
        redis.hset(f"fb:job:{canary}", "egress", "deny")
    elif how == "secret":  # a record's content is scanned again, whatever was found before
        spillway.batcher._writer._calls._secrets.check = lambda job, rules: refuse(job, canary)
    with spillway.policy.open("a") as file:
        file.write(changes.get(how, ""))
    spillway.rounds(2)
    assert len(records(s3)) == len(others)
    assert "canary" not in "".join(json.dumps(line) for line in records(s3))
    assert canary not in {entry.leaving.job for entry in EgressLog(redis).read()}
    assert {call.job for call in CallBook(redis).calls() if call.state == "open"} == set(others)


def refuse(job, canary):
    if job.id == canary:
        raise NoAnswer(EgressDenied("the content holds a secret"), Reason.SECRET_FOUND)


def test_too_few_jobs_are_called_one_by_one(spillway, mock, s3):
    jobs = spillway.submit(2)
    assert spillway.work() == ["Deferred"] * 2
    spillway.rounds(1)
    assert spillway.work() == ["Answered"] * 2
    assert all("in_batch" not in answer.reasons for answer in spillway.answers(jobs))
    assert len(one_by_one(mock)) == 2
    assert not mock.batches.jobs
    assert bucket(s3) == {}


def test_jobs_wait_for_others_and_no_longer(spillway, mock):
    spillway.rules(("max_wait_s = 0.001", "max_wait_s = 900.0"))
    jobs = spillway.submit(4)
    assert spillway.work() == ["Deferred"] * 4
    spillway.rounds(3)
    assert not mock.batches.jobs
    spillway.rules(("max_wait_s = 0.001", "max_wait_s = 900.0\nmax_records = 4"))
    spillway.rounds()  # the file is full
    assert len(mock.batches.jobs) == 1
    assert len(ended(spillway, jobs)) == 4


def test_without_a_batcher_a_sweep_gives_the_jobs_back(spillway, mock, redis):
    jobs = spillway.submit(3)
    spillway.work()
    for job in jobs:
        redis.zadd("fb:later", {job: 1})
    spillway.sweep()
    assert spillway.work() == ["Answered"] * 3
    assert len(one_by_one(mock)) == 3
    spillway.rounds(1)  # they are in their group no more
    assert not mock.batches.jobs


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({"priority": "interactive"}, ()),
        ({"deadline": timedelta(hours=23)}, ()),
        ({"stream": True}, ()),
        ({}, (f'models = ["{HAIKU}", "{NOVA}"]', f'models = ["{NOVA}"]')),
        ({}, ('bucket = "forebay-batches"', 'bucket = ""')),
    ],
    ids=["interactive", "deadline", "stream", "model", "off"],
)
def test_what_cannot_wait_is_called_at_once(spillway, mock, options, change):
    if change and "bucket" in change[0]:
        spillway.rules(base=f'[defaults]\nmodels = ["{HAIKU}"]\n')
    elif change:
        spillway.rules(change)
    spillway.submit(3, **options)
    assert spillway.work() == ["Answered"] * 3
    assert len(one_by_one(mock)) == 3


def test_a_job_with_time_to_spare_waits(spillway):
    spillway.submit(1, deadline=timedelta(hours=25))
    assert spillway.work() == ["Deferred"]


def test_one_file_holds_one_tenant_and_one_model(spillway, mock, s3):
    mock.batches.plan.hold = True
    spillway.rules((f'models = ["{HAIKU}"]\n', f'models = ["{HAIKU}", "{NOVA}"]\n'))
    for tenant in ("acme", "other"):
        for model in (HAIKU, NOVA):
            spillway.submit(3, tenant=tenant, model=model, lane="bedrock")
    spillway.work()
    spillway.rounds(2)
    models = sorted(job.request["modelId"] for job in mock.batches.jobs.values())
    assert models == sorted([HAIKU, HAIKU, NOVA, NOVA])
    folders = sorted(name.split("/")[1] for name in bucket(s3))
    assert folders == ["acme", "acme", "other", "other"]


def test_a_budget_bounds_a_batch_at_the_price_of_batches(spillway, mock, redis):
    spillway.submit(1)
    spillway.work()
    spillway.submit(4)
    spillway.work()
    mock.batches.plan.hold = True
    spillway.rules()
    spillway.rounds(1)
    worst = spillway.budget.spent()[1] // 5  # of one record
    call = next(call for call in CallBook(redis).calls())
    spillway.rules()
    assert worst == call.reserved_nusd
    # A call by itself costs at most twice as much, so this budget has room for four records.
    limit = (worst * 9 + worst // 2) / 1e9
    spillway.rules(("daily_budget_usd = 50.0", f"daily_budget_usd = {limit:.12f}"))
    jobs = spillway.submit(5)
    spillway.work()
    spillway.rounds(1)
    assert len(mock.batches.jobs) == 2
    assert spillway.budget.spent()[1] == 9 * worst
    assert len([job for job in jobs if redis.hget(f"fb:job:{job}", "batch") == b"over"]) == 1


ENDINGS = {
    "Completed": (BatchPlan(), 5),
    "PartiallyCompleted": (BatchPlan("PartiallyCompleted", errors={0: 500, 3: 400}), 3),
    "Expired": (BatchPlan("Expired", answered=2), 2),
    "Stopped": (BatchPlan("Stopped", answered=0), 0),
    "Failed": (BatchPlan("Failed"), 0),
    "refused answers": (BatchPlan(spoiled={1: "refuse", 2: "malformed"}), 5),
    "odd tiers": (BatchPlan(spoiled={1: "tier_unpriced", 2: "tier_unknown"}), 5),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_batch_may_end_in_any_way(spillway, mock, name):
    mock.batches.plan, of_records = ENDINGS[name]
    spillway.rules(("[batch]", 'when_shut = "degrade"\n[batch]'))
    jobs = spillway.submit(5)
    spillway.work()
    spillway.rounds()
    for _ in range(3):
        spillway.work()
        spillway.sweep()
    results = spillway.answers(jobs)
    refused = len(mock.batches.plan.spoiled) if name == "refused answers" else 0
    assert len([one for one in results if isinstance(one, Answer)]) == 5 - refused
    assert len(of_batch(mock)) == of_records
    assert len(one_by_one(mock)) == 5 - of_records  # those without a result, and no other
    assert spillway.budget.spent() == (sum(map(bill, billed(mock.calls))), 0)
    (record,) = spillway.batches.ended()
    assert (record.answered, record.failed) == (of_records, 5 - of_records)


def test_a_record_whose_usage_cannot_be_priced_costs_its_worst_case(spillway, mock, redis):
    mock.batches.plan.spoiled = {1: "usage_missing"}
    jobs = spillway.submit(3)
    spillway.work()
    spillway.rounds()
    answers = ended(spillway, jobs)
    calls = {call.id: call for call in CallBook(redis).calls()}
    odd = [calls[call.call_id] for call in of_batch(mock) if call.fault]
    assert [call.settled_nusd for call in odd] == [call.reserved_nusd for call in odd]
    assert sum("cost_estimated" in answer.reasons for answer in answers) == 1


def test_a_billed_record_without_a_result_stays_reserved(spillway, mock, monkeypatch, caplog):
    mock.batches.plan.hidden = {2}
    jobs = spillway.submit(4)
    spillway.work()
    spillway.rounds()
    assert len(spillway.batches.open()) == 1  # the result may still come
    monkeypatch.setattr(collection, "LATE_RESULTS_S", 0.0)
    spillway.rounds(1)
    assert "bedrock.batch_unknown" in [getattr(one, "event", "") for one in caplog.records]
    spillway.work()
    waiting = [job for job, one in zip(jobs, spillway.answers(jobs), strict=True) if one is None]
    assert len(waiting) == 1
    seen = [call for call in of_batch(mock) if waiting[0] not in call.text]
    (unknown,) = spillway.budget.open()
    assert unknown.job_id == waiting[0]
    assert spillway.budget.spent() == (sum(map(bill, seen)), unknown.reserved_nusd)
    assert not one_by_one(mock)


def claimed_from_batch(spillway, mock, redis):
    """Return three jobs that a held batch has, and a worker's claim of the first one."""
    mock.batches.plan.hold = True
    jobs = spillway.submit(3)
    spillway.work()
    spillway.rounds(2)
    redis.zadd("fb:later", {jobs[0]: 1})
    spillway.sweep()
    claim = spillway.ledger.claim("bedrock")
    return jobs, claim


def test_a_worker_leaves_a_job_to_the_batch_that_has_it(spillway, mock, redis):
    _, claim = claimed_from_batch(spillway, mock, redis)
    outcome = spillway.worker.work(claim)
    assert isinstance(outcome, Retry)
    assert not outcome.counted
    assert not one_by_one(mock)


def damage_content(redis, job_id):
    redis.set(f"fb:content:{job_id}", "no content")


def damage_type(redis, job_id):
    redis.delete(f"fb:content:{job_id}")
    redis.lpush(f"fb:content:{job_id}", "no string")


def damage_record(redis, job_id):
    redis.set(f"fb:job:{job_id}", "no hash")


@pytest.mark.parametrize("damage", [damage_content, damage_type, damage_record])
def test_a_tenant_that_damages_its_job_keeps_no_other_from_its_answer(
    spillway, mock, redis, damage
):
    mock.batches.plan.hold = True
    forged, *others = spillway.submit(4)
    spillway.work()
    spillway.rounds(2)
    damage(redis, forged)
    mock.batches.plan.hold = False
    spillway.rounds()
    ended(spillway, others)
    assert spillway.budget.spent() == (sum(map(bill, of_batch(mock))), 0)
    assert not spillway.batches.open()
    assert not one_by_one(mock)


def test_a_job_that_a_worker_looks_at_while_results_come_gets_its_answer(spillway, mock, redis):
    jobs, claim = claimed_from_batch(spillway, mock, redis)
    mock.batches.plan.hold = False
    spillway.rounds()
    spillway.ledger.retry(claim, "unavailable", counted=False)
    ended(spillway, jobs)
    assert not one_by_one(mock)


def test_a_cancelled_job_is_in_no_file(spillway, mock, s3):
    mock.batches.plan.hold = True
    jobs = spillway.submit(4)
    spillway.work()
    spillway.ledger.cancel(jobs[1])
    spillway.rounds(2)
    assert len(records(s3)) == 3
    assert jobs[1] not in json.dumps(records(s3))


def test_a_batch_stops_once_nobody_waits_for_it(spillway, mock, s3):
    mock.batches.plan = BatchPlan(hold=True, answered=2)
    jobs = spillway.submit(4)
    spillway.work()
    spillway.rounds(5)
    for job in jobs[:3]:
        spillway.ledger.cancel(job)
    spillway.rounds(2)
    assert "StopModelInvocationJob" not in [call.operation for call in mock.calls]
    spillway.ledger.cancel(jobs[3])
    spillway.rounds(3)
    assert [call.operation for call in mock.calls].count("StopModelInvocationJob") == 1
    assert len(of_batch(mock)) == 2  # were answered before it stopped, and are paid
    assert spillway.budget.spent() == (sum(map(bill, of_batch(mock))), 0)
    assert spillway.batches.open() == []
    assert bucket(s3) == {}


def test_a_cancelled_bulk_stops_its_batch(spillway, mock, redis):
    mock.batches.plan.hold = True
    jobs = spillway.submit(3)
    redis.hset("fb:bulk:default.b1", mapping={"created": "1", "state": "running"})
    for job in jobs:
        redis.hset(f"fb:job:{job}", "bulk", "default.b1")
    spillway.work()
    spillway.rounds(5)
    redis.hset("fb:bulk:default.b1", "state", "cancelled")
    spillway.rounds(3)
    assert [job.status for job in mock.batches.jobs.values()] == ["Stopped"]
    spillway.work()
    assert {redis.hget(f"fb:job:{job}", "state") for job in jobs} == {b"cancelled"}
    assert not one_by_one(mock)


@pytest.mark.parametrize("state", ["paused", "cancelled"])
def test_rows_of_a_bulk_that_does_not_run_are_in_no_file(spillway, mock, redis, state):
    jobs = spillway.submit(3)
    spillway.work()
    redis.hset("fb:bulk:default.b1", mapping={"created": "1", "state": state})
    for job in jobs:
        redis.hset(f"fb:job:{job}", "bulk", "default.b1")
    spillway.rounds(2)
    spillway.sweep()
    assert spillway.work() == []
    assert not mock.batches.jobs
    states = {redis.hget(f"fb:job:{job}", "state") for job in jobs}
    assert states == {b"cancelled" if state == "cancelled" else b"waiting"}


def test_a_batch_that_takes_too_long_is_stopped(spillway, mock, redis):
    mock.batches.plan = BatchPlan(hold=True, answered=1)
    jobs = spillway.submit(3)
    spillway.work()
    spillway.rounds(5)
    (batch,) = spillway.batches.open()
    redis.hset(f"fb:bedrock:batch:{batch.id}", "created_at", "1")
    spillway.rounds(3)
    assert len(ended(spillway, jobs)) == 3
    assert (len(of_batch(mock)), len(one_by_one(mock))) == (1, 2)
    assert spillway.budget.spent() == (sum(map(bill, billed(mock.calls))), 0)


def test_the_prices_are_those_under_which_the_file_was_written(spillway, mock, redis):
    mock.batches.plan.hold = True
    jobs = spillway.submit(3)
    spillway.work()
    spillway.rounds(2)
    version = {call.prices for call in CallBook(redis).calls()}
    dear = spillway.worker._prices().model_copy(update={"models": {}})
    spillway.worker._prices = lambda: dear
    spillway.batcher._writer._prices = lambda: dear
    mock.batches.plan.hold = False
    spillway.rounds()
    ended(spillway, jobs)
    assert spillway.budget.spent() == (sum(map(bill, of_batch(mock))), 0)
    assert {call.prices for call in CallBook(redis).calls()} == version


REFUSALS = {"denied": 403, "invalid": 400, "unknown_model": 400, "expired": 403}


@pytest.mark.parametrize("fault", REFUSALS)
def test_a_refused_batch_is_called_one_by_one_and_its_model_rests(
    spillway, mock, fault, caplog, s3
):
    jobs = spillway.submit(3)
    spillway.work()
    mock.faults.plan([fault] * 3)
    spillway.rounds(1)
    mock.faults.plan()
    assert "bedrock.batch_failed" in [getattr(one, "event", "") for one in caplog.records]
    assert len(ended(spillway, jobs)) == 3
    assert len(one_by_one(mock)) == 3
    assert spillway.budget.spent() == (sum(map(bill, billed(mock.calls))), 0)
    assert bucket(s3) == {}
    spillway.worker._candidates._groups._resting._entries.clear()  # a second later
    spillway.submit(1)
    assert spillway.work() == ["Answered"]  # and does not wait for a batch


@pytest.mark.parametrize("fault", ["throttle", "quota", "unavailable", "internal", "drop", "half"])
def test_a_batch_that_cannot_be_begun_yet_is_begun_later_and_once(spillway, mock, fault):
    jobs = spillway.submit(3)
    spillway.work()
    mock.faults.plan([fault] * 3)
    spillway.rounds(1)
    mock.faults.plan()
    spillway.rounds()
    assert len(mock.batches.jobs) == 1
    ended(spillway, jobs)
    assert len(of_batch(mock)) == 3
    assert not one_by_one(mock)


def refused(*_):
    raise ModelFault("may not list batches")


def busy(*_):
    raise Throttled("slow down")


@pytest.mark.parametrize("find", [refused, busy])
def test_a_batch_that_may_have_been_begun_is_not_given_up_as_unbilled(
    spillway, mock, redis, monkeypatch, find
):
    mock.batches.plan.hold = True
    service = spillway.batcher._service
    create = service.create

    def unheard(batch):
        create(batch)
        raise Unavailable("no reply")

    jobs = spillway.submit(3)
    spillway.work()
    monkeypatch.setattr(service, "create", unheard)
    monkeypatch.setattr(service, "find", find)
    spillway.rounds(2)
    assert [batch.state for batch in spillway.batches.open()] == ["creating"]
    redis.hset(f"fb:bedrock:batch:{spillway.batches.open()[0].id}", "at", 1)
    spillway.rounds(1)
    assert spillway.batches.ended()[0].outcome == LOST
    assert spillway.budget.spent()[1] > 0
    spillway.work()
    assert len(mock.batches.jobs) == 1
    assert not one_by_one(mock)
    assert spillway.answers(jobs) == [None] * 3


def rest_of(spillway):
    """Return why the model rests, as doctor tells it."""
    (finding,) = [each for each in state(spillway.redis) if "no batches of" in each.seen]
    assert finding.state == "warn"
    return finding.seen


FAILURES = {
    "Access denied when calling KMS": "[batch] kms_key",
    "The role has no permission to read s3://bucket": "[batch] role_arn",
    "Fewer records than the minimum of 100": "[batch] min_records",
    "The model broke": "its message tells nothing to correct",
}


@pytest.mark.parametrize("message", FAILURES)
def test_a_batch_that_fails_as_a_whole_tells_why_and_its_model_rests(
    spillway, mock, caplog, message
):
    mock.batches.plan = BatchPlan("Failed", message=message)
    jobs = spillway.submit(3)
    spillway.work()
    spillway.rounds()
    (failed,) = [one for one in caplog.records if one.event == "bedrock.batch_failed"]
    for told in (failed.getMessage(), rest_of(spillway)):
        assert FAILURES[message] in told
    assert len(ended(spillway, jobs)) == 3
    assert len(one_by_one(mock)) == 3
    assert not of_batch(mock)
    assert spillway.budget.spent() == (sum(map(bill, billed(mock.calls))), 0)


@pytest.mark.parametrize("when", ["created", "running"])
def test_jobs_of_a_refused_batch_wait_for_the_next_if_the_policy_says_so(
    spillway, mock, redis, when
):
    spillway.rules(("min_records = 3", 'min_records = 3\nwhen_refused = "wait"'))
    jobs = spillway.submit(3)
    spillway.work()
    if when == "created":
        mock.faults.plan(["denied"] * 3)
    else:
        mock.batches.plan = BatchPlan("Failed", message="no permission")
    spillway.rounds_until(lambda: redis.exists("fb:bedrock:rests"))
    mock.faults.plan()
    mock.batches.plan = BatchPlan()
    spillway.sweep()
    assert spillway.work() == []
    assert spillway.budget.spent() == (0, 0)
    jobs += spillway.submit(1)
    assert spillway.work() == ["Deferred"]  # and is not called by itself
    redis.delete("fb:bedrock:rests")
    spillway.rounds_until(spillway.batches.open)  # a round may begin none
    spillway.rounds_until(lambda: not spillway.batches.open())
    assert len(ended(spillway, jobs)) == 4
    assert len(of_batch(mock)) == 4
    assert not one_by_one(mock)


def test_no_more_batches_of_a_model_are_open_than_the_policy_says(spillway, mock):
    spillway.rules(("min_records = 3", "min_records = 3\nmax_open = 1"))
    mock.batches.plan.hold = True
    for _ in range(2):
        spillway.submit(3)
        spillway.work()
        spillway.rounds(1)
    assert len(mock.batches.jobs) == 1
    mock.batches.plan.hold = False
    spillway.rounds()
    assert len(mock.batches.jobs) == 2


def test_a_bucket_that_refuses_the_file_costs_nothing(spillway, mock, s3):
    jobs = spillway.submit(3)
    spillway.work()
    s3.delete_bucket(Bucket=BUCKET)
    spillway.rounds(1)
    assert spillway.budget.spent() == (0, 0)
    assert len(ended(spillway, jobs)) == 3
    (rest,) = spillway.batcher._groups._rests().values()
    assert "[batch] bucket" in rest.why


def test_a_paused_lane_writes_no_file(spillway, mock, redis):
    spillway.submit(3)
    spillway.work()
    redis.hset("fb:paused", "lane:bedrock", '{"reason": "", "since": 0}')
    spillway.batcher._pauses._cached._entries.clear()
    spillway.rounds(1)
    assert not mock.batches.jobs
    redis.delete("fb:paused")
    spillway.batcher._pauses._cached._entries.clear()
    spillway.rounds(1)
    assert len(mock.batches.jobs) == 1


def test_only_one_process_makes_rounds(spillway, mock, s3_url, redis, tmp_path):
    spillway.submit(3)
    spillway.work()
    redis.set("fb:lease:bedrock-batches", "another", px=5_000)
    spillway.rounds(1)
    assert not mock.batches.jobs


def test_a_process_that_ends_gives_its_jobs_to_the_next_batch(spillway, mock, redis):
    jobs = spillway.submit(3)
    spillway.work()
    spillway.batcher._writer._calls.record, record = (
        lambda *args: (spillway.batcher._closed.set(), record(*args))[1],
        spillway.batcher._writer._calls.record,
    )
    spillway.rounds(1)
    assert not mock.batches.jobs
    assert spillway.budget.spent() == (0, 0)
    spillway.restart()
    spillway.rounds()
    assert len(ended(spillway, jobs)) == 3
    assert not one_by_one(mock)


def test_an_answer_that_fails_its_checks_leaves_the_local_draft(spillway, mock, lane_draft):
    jobs = lane_draft(3)
    spillway.work()
    mock.batches.plan.spoiled = {1: "malformed"}
    spillway.rounds()
    answers = ended(spillway, jobs)
    assert sorted(answer.degraded for answer in answers) == [False, False, True]
    assert [answer.lane for answer in answers if answer.degraded] == ["local"]
    assert spillway.budget.spent() == (sum(map(bill, of_batch(mock))), 0)


@pytest.fixture
def lane_draft(spillway):
    """Return what submits jobs that have a local answer, and went up after it."""

    def submit(count):
        ledger: Ledger = spillway.ledger
        ids = []
        for i in range(count):
            ask = Generate(messages=[Message(role="user", content=f"Word {i}.")])
            ids += ledger.create([job(ask)])
            ledger.route(ledger.claim("route"), "local.default", "allow", "verdict_easy", None)
            claim = ledger.claim("local.default")
            ledger.escalate(claim, "check_failed:length", draft(claim))
        return ids

    return submit


def job(ask):
    return Job(egress="allow", priority="bulk", request=ask)


def draft(claim):
    return Answer(
        **claim.record.heading(), status="done", lane="local", reasons=("verdict_easy",),
        content=Generation(text="A local word."),
    )  # fmt: skip


def test_the_local_answer_is_learned_from(spillway, mock, lane_draft, monkeypatch):
    learned = []
    monkeypatch.setattr(
        spillway.worker._auditor, "learn_from_draft",
        lambda attempt, answer, rules: learned.append(attempt.claim.drafted().lane),
    )  # fmt: skip
    lane_draft(3)
    spillway.work()
    spillway.rounds()
    assert learned == ["local"] * 3
