"""Jobs whose lane is no question: they go there at once, and a change of the policy is caught."""

from __future__ import annotations

import pytest

from forebay.routing.bulk.shards import Shards
from forebay.routing.jobs import Classify, Embed, Job, Summarize
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits import pauses as pauses_module
from forebay.routing.limits.lanes.lane_check import LaneCheck
from forebay.routing.limits.lanes.published_lanes import KEPT_S, KEY, PublishedLanes
from forebay.routing.limits.pauses import Pauses
from forebay.routing.policy.policy_file import PolicyFile
from forebay.routing.settings import Settings
from forebay.workers.runtime.outcomes import Retry, Routed
from forebay.workers.runtime.retries import PAUSED, outcome_of_place
from ledger_jobs import BELL, SURE, answer, job, put, walk
from shards import shard as shard_of

EMBED = Embed(texts=("a",))
RULES = """
[tenants.homely]
force_deny = true
[tenants.picky.pools]
classify = "small"
[tenants.bare]
models = []
"""


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(RULES)
    return PolicyFile(path)


@pytest.fixture
def ledger(redis, policy):
    PublishedLanes(redis, policy).publish()
    return Ledger(redis, Settings(lease_s=0.2, max_attempts=3), BELL)


def where(ledger, job_id):
    record = ledger.record(job_id)
    return record.queue, record.hop, record.egress, ",".join(record.reasons)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (job(), ("local.default", "local", "deny", "routed_at_submit,egress_denied")),
        (job(request=EMBED), ("embed", "local", "deny", "routed_at_submit,embed_is_local")),
        (
            job(request=EMBED, egress="allow"),
            ("embed", "local", "allow", "routed_at_submit,embed_is_local"),
        ),
        (
            job("homely", egress="allow"),
            ("local.default", "local", "deny", "routed_at_submit,tenant_forced_deny"),
        ),
        (
            job("picky", request=Classify(text="t", labels=("a", "b"))),
            ("local.small", "local", "deny", "routed_at_submit,egress_denied"),
        ),
        (
            job(egress="allow", lane="local"),
            ("local.default", "local", "allow", "routed_at_submit,pinned_local"),
        ),
        (
            job(egress="allow", lane="bedrock"),
            ("bedrock", "bedrock", "allow", "routed_at_submit,pinned_bedrock"),
        ),
    ],
)
def test_a_job_whose_lane_is_no_question_goes_there_at_once(ledger, redis, made, expected):
    (job_id,) = put(ledger, made)
    assert where(ledger, job_id) == expected
    queue = expected[0]
    assert redis.lrange(queue, 0, -1) == [
        b'{"id": "%b.1", "queue": "%b", "task": "%b"}'
        % (queue.encode(), queue.encode(), queue.partition(".")[0].encode())
    ]
    assert redis.llen("route") == 0
    assert ledger.depths() == {queue: 1}
    assert ledger.claim("route") is None
    claim = ledger.claim(queue)
    assert (claim.id, claim.record.verdict, claim.record.attempts) == (job_id, None, 1)
    assert ledger.settle(claim, answer(claim)) == "done"


@pytest.mark.parametrize(
    "made",
    [
        job(egress="allow"),
        job("homely", egress="allow", lane="bedrock"),
        job("bare", egress="allow", lane="bedrock"),
        job(lane="local", model="a-model"),
        job(egress="allow", lane="bedrock", model="a-model"),
    ],
)
def test_a_job_whose_lane_is_a_question_goes_before_the_router(ledger, made):
    (job_id,) = put(ledger, made)
    assert where(ledger, job_id)[::3] == ("route", "")
    claim = ledger.claim("route")
    assert claim.id == job_id


def test_without_a_published_policy_every_job_goes_before_the_router(ledger, redis):
    assert redis.ttl(KEY) == KEPT_S
    redis.delete(KEY)
    (job_id,) = put(ledger, job())
    assert where(ledger, job_id) == ("route", "route", "deny", "")
    assert ledger.claim("route").id == job_id


def test_a_shard_goes_to_its_pool_at_once(ledger):
    shard = shard_of("a text", tenant="homely", egress="allow")
    assert Shards(ledger).create([shard]) == [shard.id]
    assert where(ledger, shard.id) == (
        "local.default", "local", "deny", "routed_at_submit,bulk",
    )  # fmt: skip
    assert ledger.claim("local.default", shards=True).id == shard.id


def test_the_limit_on_waiting_jobs_counts_the_queue_of_the_lane(redis, policy):
    PublishedLanes(redis, policy).publish()
    ledger = Ledger(redis, Settings(max_waiting=1), BELL)
    put(ledger, job(), job(egress="allow"))
    refused = ledger.create([job(), job(egress="allow")])
    assert [str(error) for error in refused] == ["1 jobs are waiting already"] * 2


def test_a_new_policy_is_published_as_a_whole(ledger, redis, policy, tmp_path):
    before = redis.hget(KEY, "epoch")
    PublishedLanes(redis, policy).publish()
    assert redis.hget(KEY, "epoch") == before
    (tmp_path / "new.toml").write_text('[defaults.pools]\nclassify = "other"\n')
    PublishedLanes(redis, PolicyFile(tmp_path / "new.toml")).publish()
    assert redis.hget(KEY, "epoch") != before
    assert redis.hget(KEY, "/classify") == b"local.other"
    assert not redis.hexists(KEY, "homely/deny")


@pytest.mark.parametrize("queue", [b"nowhere", b"fb:job:acme.x", b""])
def test_a_forged_queue_is_no_lane(ledger, redis, queue):
    redis.hset(KEY, "/summarize", queue)
    (job_id,) = put(ledger, job())
    assert ledger.record(job_id).queue == "route"


def test_a_key_of_the_wrong_type_creates_nothing_in_part(ledger, redis):
    redis.set("fb:newcomers:local.default:interactive", "not ours")
    before = {key: redis.dump(key) for key in redis.keys()}
    (refused,) = ledger.create([job()])
    assert not isinstance(refused, str)
    after = {key: redis.dump(key) for key in redis.keys() if key != b"fb:queues"}
    assert after == before


# --- what a change of the policy moved ------------------------------------------------------------


def claimed(ledger, made, queue="local.default"):
    put(ledger, made)
    return ledger.claim(queue)


def test_the_lane_sends_a_job_on_if_another_pool_answers_its_kind_by_now(ledger, redis, tmp_path):
    (tmp_path / "new.toml").write_text('[defaults.pools]\nsummarize = "other"\n')
    check = LaneCheck(redis, PolicyFile(tmp_path / "new.toml"))
    claim = claimed(ledger, job())
    outcome = outcome_of_place(check, claim)
    assert outcome == Routed("local.other", "deny", "routed_at_submit,egress_denied", None)
    ledger.route(claim, outcome.queue, outcome.egress, outcome.reason, outcome.verdict)
    again = ledger.claim("local.other")
    assert again.id == claim.id
    assert outcome_of_place(check, again) is None


def test_the_lane_holds_a_job_whose_kind_is_paused(ledger, redis, policy, monkeypatch):
    monkeypatch.setattr(pauses_module, "LOOK_EVERY_S", 0)
    Pauses(redis).pause("kind:summarize")
    outcome = outcome_of_place(LaneCheck(redis, policy), claimed(ledger, job()))
    assert isinstance(outcome, Retry)
    assert (outcome.code, outcome.counted) == (PAUSED, False)


def test_a_job_that_the_router_sent_is_not_looked_at_again(ledger, redis, tmp_path):
    (tmp_path / "new.toml").write_text('[defaults.pools]\nsummarize = "other"\n')
    put(ledger, job(egress="allow"))
    ledger.route(ledger.claim("route"), "local.default", "allow", "verdict_easy", SURE)
    check = LaneCheck(redis, PolicyFile(tmp_path / "new.toml"))
    assert outcome_of_place(check, ledger.claim("local.default")) is None


def test_the_sweeper_takes_jobs_out_of_a_pool_that_is_gone(ledger, redis, tmp_path):
    picky = job("picky", request=Classify(text="t", labels=("a", "b")))
    gone, *stay = put(ledger, picky, job())
    ledger.sweep()
    assert ledger.record(gone).queue == "local.small", "the policy names it"
    (tmp_path / "new.toml").write_text("[defaults]\n")
    PublishedLanes(redis, PolicyFile(tmp_path / "new.toml")).publish()
    ledger.serve("w", ["local.small"], 5)
    ledger.sweep()
    assert ledger.record(gone).queue == "local.small", "a worker serves it"
    redis.delete("fb:serving:local.small")
    ledger.sweep()
    assert [ledger.record(one).queue for one in (gone, *stay)] == ["route", "local.default"]
    assert ledger.depths() == {"route": 1, "local.default": 1, "local.small": 0}
    assert walk(ledger) == 0
    assert ledger.claim("route") is None, "its lane is no question"
    assert ledger.record(gone).queue == "local.default"


def test_a_claim_before_the_router_moves_what_a_confined_producer_put_there(ledger, redis):
    lanes = redis.dump(KEY)
    redis.delete(KEY)
    ids = put(ledger, *(job() for _ in range(3)), job(egress="allow"))
    redis.restore(KEY, 0, lanes)
    assert [claim.id for claim in ledger.claim_many("route", 10)] == ids[3:]
    assert redis.llen("route") == 1, "the bell that called the worker"
    for job_id in ids[:3]:
        assert where(ledger, job_id)[::3] == ("local.default", "routed_at_submit,egress_denied")
    assert [claim.id for claim in ledger.claim_many("local.default", 10)] == ids[:3]


def test_an_audit_is_not_moved_past_the_router(ledger, redis):
    (job_id,) = put(ledger, job("homely", egress="allow", lane="bedrock"))
    redis.hset(f"fb:job:{job_id}", mapping={"audit_of": job_id, "pin": ""})
    assert ledger.claim("route").id == job_id


# --- many in one round trip -----------------------------------------------------------------------


def test_many_jobs_are_claimed_in_the_order_of_single_claims(redis):
    ledger = Ledger(redis, Settings(), BELL)
    jobs = [
        job(tenant, priority=priority)
        for priority in ("bulk", "interactive")
        for tenant in ("b", "a", "a")
    ]

    def order(claim):
        redis.flushall()
        put(ledger, *jobs)
        return claim()

    one_by_one = order(lambda: [ledger.claim("route").id for _ in jobs])
    together = order(lambda: [claim.id for claim in ledger.claim_many("route", 10)])
    assert together == one_by_one
    assert len(set(together)) == len(jobs)


def test_jobs_that_are_claimed_together_have_claims_of_their_own(redis):
    ledger = Ledger(redis, Settings(), BELL)
    put(ledger, *(job() for _ in range(3)))
    claims = ledger.claim_many("route", 2)
    assert len({claim.token for claim in claims}) == 2
    assert redis.llen("route") == 2, "one for the job that waits, and the one that called"
    lost, moved = claims
    ledger.cancel(lost.id)
    refused = ledger.route_many(
        [Routed("local.default", "deny", "r", SURE).move(claim) for claim in (lost, moved)]
    )
    assert [type(error).__name__ for error in refused] == ["Lost", "NoneType"]
    assert ledger.record(moved.id).queue == "local.default"


def test_large_jobs_are_not_claimed_together(redis):
    import secrets  # noqa: PLC0415 - what cannot be compressed

    ledger = Ledger(redis, Settings(), BELL)
    large = [
        Job(tenant="acme", request=Summarize(text=secrets.token_hex(50_000))) for _ in range(3)
    ]
    put(ledger, *large)
    assert len(ledger.claim_many("route", 10)) == 2
