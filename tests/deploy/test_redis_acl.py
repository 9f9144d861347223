"""The users of Redis: each role can do its own work and nothing else."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request

import httpx2
import openai
import pytest
import redis as redis_py
from prometheus_client import CollectorRegistry

import redis_acl as acl
from forebay.producers.client import Client
from forebay.producers.gateway.api_keys import KeyStore
from forebay.routing.bedrock_batches.groups import WaitingGroups
from forebay.routing.broker.app import celery_app
from forebay.routing.errors import ForebayError, Misconfigured, Unavailable, UnknownJob
from forebay.routing.fleets.moving import state
from forebay.routing.jobs import Job, Summarize, new_id
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.reader import LedgerReader
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect
from forebay.workers.telemetry.metrics.ledger_metrics import LedgerMetrics
from forged_broadcasts import BROADCASTS, NO_MESSAGES, events
from local.fleet import ROOT, Fleet
from patience import until
from receiver import receiving

pytestmark = pytest.mark.slow

TENANTS = ("acme", "globex")
BELL = '{"id": "@RING@"}'


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """Start a fleet whose parts have users of their own; yield it with the URL of each user."""
    folder = tmp_path_factory.mktemp("acl")
    passwords = acl.write(folder / "users", TENANTS)
    with Fleet(folder / "fleet") as fleet:
        fleet.start_redis(aclfile=str(folder / "users" / "users.acl"))
        place = fleet.url.removeprefix("redis://")
        urls = {user: f"redis://{user}:{word}@{place}" for user, word in passwords.items()}
        for part in ("router", "bedrock"):
            fleet.start(part, FOREBAY_REDIS_URL=urls["worker"])
        fleet.start("local", FOREBAY_REDIS_URL=urls["worker"], FOREBAY_ENGINE="echo")
        fleet.start("sweeper", FOREBAY_REDIS_URL=urls["sweeper"])
        fleet.wait_ready()
        fleet.start("flower", FOREBAY_REDIS_URL=urls["flower"])  # runs scripts of the workers
        fleet.wait_ready()
        yield fleet, urls


@pytest.fixture(scope="module")
def urls(guarded):
    return guarded[1]


def user(urls, name: str) -> redis_py.Redis:
    return redis_py.Redis.from_url(urls[name])


def as_tenant(urls, tenant: str) -> Client:
    return Client(tenant=tenant, settings=Settings(redis_url=urls[f"producer-{tenant}"]))


def request(text: str = "[[echo: say=We met at noon.]] We met at noon.") -> Summarize:
    return Summarize(text=text)


def test_a_producer_can_use_the_whole_client_for_its_tenant(urls):
    with as_tenant(urls, "acme") as client:
        answer = client.run(request(), timeout=30, cache=True, idempotency_key="once")
        assert answer.status == "done"
        assert client.submit(request(), cache=True, idempotency_key="once") == answer.id
        assert client.result(answer.id, timeout=5).content == answer.content
        assert all(answer.status == "done" for answer in client.map([request()] * 5, timeout=30))
        slow = client.submit(request("[[echo: delay=20]] We met at noon."), priority="bulk")
        assert client.status(slow).state in {"waiting", "running"}
        assert client.cancel(slow)
        assert client.forget(slow)
        assert client.forget(answer.id)
        with pytest.raises(UnknownJob):
            client.status(answer.id)


def test_a_producer_that_cancels_a_shard_keeps_the_answers_so_far_and_writes_none(urls):
    """Its rights turn a draft into the answer, and an answer into nothing."""
    record = {
        "state": "running", "queue": "local.default", "hop": "local", "priority": "bulk",
        "egress": "deny", "kind": "classify", "rows": "2", "created_us": "1",
    }  # fmt: skip
    shard_id = new_id("acme")
    with user(urls, "worker") as worker, user(urls, "producer-acme") as producer:
        worker.set(f"fb:draft:{shard_id}", "the rows so far")
        worker.hset(f"fb:job:{shard_id}", mapping=record)
        assert Ledger(producer, Settings(), lambda: BELL).cancel(shard_id)
        assert worker.get(f"fb:answer:{shard_id}") == b"the rows so far"
        for source in (f"fb:answer:{shard_id}", f"fb:content:{shard_id}"):
            with pytest.raises(redis_py.exceptions.NoPermissionError):
                producer.rename(source, f"fb:answer:{shard_id}x")


def test_a_producer_can_run_a_bulk_of_its_tenant_and_see_how_far_it_is(urls):
    with as_tenant(urls, "acme") as client:
        texts = ["[[echo: delay=0.5]] We met at noon."] * 3
        with client.bulk(texts, kind="summarize") as bulk:
            assert len(list(bulk)) == 3
            assert client.bulk_progress(bulk.id).over == 3


def test_the_operator_has_the_users_read_again(urls):
    assert user(urls, "operator").acl_load()
    assert user(urls, "operator").ping()


def test_the_fence_holds_a_producer_whose_tenant_has_moved(urls):
    operator, producer = user(urls, "operator"), user(urls, "producer-globex")
    operator.set("fb:moved:globex", "east draining")
    try:
        moved = pytest.raises(Unavailable, match="belong to fleet east now")
        with as_tenant(urls, "globex") as client, moved:
            client.submit(request())
        with as_tenant(urls, "acme") as client:
            assert client.cancel(client.submit(request()))
        with pytest.raises(redis_py.exceptions.NoPermissionError):
            producer.delete("fb:moved:globex")
        with pytest.raises(redis_py.exceptions.NoPermissionError):
            producer.get("fb:moved:acme")
    finally:
        operator.delete("fb:moved:globex")


def ask_flower(fleet, path: str, **headers: str) -> int | dict:
    """Return the reply of Flower's API, or the status if it is an error."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(fleet.flower_url + path, headers=headers)) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code


def test_flower_sees_the_events_of_workers_under_its_user(guarded):
    fleet, urls = guarded
    with as_tenant(urls, "acme") as client:
        client.run(request(), timeout=30)
        # Events that Flower missed before its queue was there are lost, so the jobs go on.
        until(lambda: client.run(request(), timeout=30) and ask_flower(fleet, "/api/tasks"), 30)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/tasks", "/api/workers", "/static/css/flower.css"])
def test_flower_answers_no_page_of_another_site(guarded, path, headers):
    assert ask_flower(guarded[0], path, **headers) == 403


COMMANDS = {
    "shutdown": {}, "rate_limit": {"task_name": "forebay.route", "rate_limit": "1/h"},
    "cancel_consumer": {"queue": "route"}, "add_consumer": {"queue": "x"}, "pool_shrink": {"n": 1},
    "revoke": {"task_id": "route.1"}, "time_limit": {"task_name": "forebay.route", "hard": 1},
    "disable_events": {}, "autoscale": {"max": 0, "min": 0}, "pool_restart": {}, "hello": {
        "from_node": "x", "revoked": {}}, "terminate": {"signal": "KILL", "task_id": "route.1"},
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_no_worker_takes_a_control_command_that_changes_something(guarded, command):
    fleet, urls = guarded
    control = celery_app(Settings(redis_url=urls["worker"])).control
    replies = control.broadcast(
        command, arguments=COMMANDS[command], reply=True, timeout=3, limit=4
    )
    assert len(replies) == 4
    assert all("error" in reply for each in replies for reply in each.values())
    assert all(process.alive for process in fleet.procs)


def test_the_fleet_outlives_forged_commands_and_events(guarded):
    fleet, urls = guarded
    forger = user(urls, "operator")
    for payload in (NO_MESSAGES | BROADCASTS).values():
        forger.publish("/0.celery.pidbox", payload)
    for payload in (NO_MESSAGES | events()).values():
        forger.publish("/0.celeryev/task.received", payload)
    with as_tenant(urls, "acme") as client:
        done = client.run(request(), timeout=30)
        until(lambda: done.id in ask_flower(fleet, "/api/tasks?limit=1000"), 30)
    replies = celery_app(Settings(redis_url=urls["worker"])).control.ping(timeout=2)
    assert len(replies) == 4
    assert not forger.exists("victim")
    workers = ask_flower(fleet, "/api/workers")
    assert not any(len(name) > 255 for name in workers)


def test_flower_can_send_no_control_command_at_all(urls):
    control = celery_app(Settings(redis_url=urls["flower"])).control
    with pytest.raises(Exception, match=r"no permissions|No permissions|NOPERM"):
        control.broadcast("shutdown")
    with user(urls, "flower") as redis, pytest.raises(redis_py.exceptions.NoPermissionError):
        redis.publish("/0.celery.pidbox", "{}")


def test_the_sweeper_may_read_all_that_it_serves_as_metrics(urls):
    operator, settings = user(urls, "operator"), Settings(redis_url=urls["sweeper"])
    groups = WaitingGroups(operator)
    operator.sadd("fb:bedrock:groups", "acme m")
    operator.zadd("fb:bedrock:group:acme m", {"acme.1": 1})
    groups.rest("m", 60, "refused")
    state.write(operator, "acme", state.begin("west", "east"))
    registry = CollectorRegistry()
    registry.register(LedgerMetrics(LedgerReader(connect(settings), settings), 5))
    try:
        read = registry.get_sample_value
        assert read("forebay_bedrock_group_jobs", {"model": "m"}) == 1
        assert read("forebay_bedrock_batches_refused", {"model": "m"}) == 1
        assert read("forebay_tenant_move_seconds", {"tenant": "acme", "step": "hold"}) is not None
        assert read("forebay_ledger_read") == 1
    finally:
        state.forget(operator, "acme")
        operator.delete("fb:bedrock:groups", "fb:bedrock:group:acme m", "fb:bedrock:rests")


def test_the_sweeper_and_the_workers_work_under_their_users(guarded):
    fleet, urls = guarded
    with as_tenant(urls, "acme") as client:
        late = client.submit(request("[[echo: delay=20]] We met at noon."))
        user(urls, "operator").hset(f"fb:job:{late}", "deadline", 1)
        Transitions(user(urls, "gateway")).run("keep_asked", late, b"what was asked")
        user(urls, "operator").zadd("fb:deadlines:acme", {late: 1})
        with pytest.raises(ForebayError) as ended:
            client.result(late, timeout=20)
        assert ended.value.code == "expired"
        assert user(urls, "operator").ttl(f"fb:asked:{late}") > 0
        lost = client.submit(request())
        operator = user(urls, "operator")
        assert client.result(lost, timeout=20).status == "done"
        operator.delete("route")
        operator.zadd("fb:leases", {lost: 1})  # it has ended already, so the sweeper removes it
        until(lambda: operator.zscore("fb:leases", lost) is None, 10)
    logs = {
        path.name: path.read_text() for path in fleet.logs.iterdir() if path.name != "redis.log"
    }
    refused = re.compile(r"NOPERM|No permissions|ACL failure|refuses|Traceback")
    # Flower asks workers for their settings, which its user may not: it shows what events tell.
    logs["flower.log"] = re.sub(r".* inspector:.*", "", logs["flower.log"])
    # Before a worker has loaded kombu's script, kombu says that it will try again.
    retries = r".* maybe_refresh_binding_expiry: Redis error, will retry\n(?: {4}.*\n)*"
    logs["flower.log"] = re.sub(retries, "", logs["flower.log"])
    assert [
        line for log in logs.values() for line in log.splitlines() if refused.search(line)
    ] == []


# --- what is refused -----------------------------------------------------------------------------


@pytest.fixture
def other_job(urls):
    """Yield the id of a waiting job of another tenant."""
    ledger = Ledger(user(urls, "operator"), Settings(), BELL)
    job = Job(tenant="globex", request=request("[[echo: delay=20]] We met at noon."))
    assert ledger.create([job]) == [job.id]
    yield job.id
    ledger.forget(job.id)


def test_a_producer_cannot_read_end_or_forget_the_job_of_another_tenant(urls, other_job):
    ledger = Ledger(user(urls, "producer-acme"), Settings(), BELL)
    attempts = [
        lambda: ledger.record(other_job),
        lambda: ledger.status(other_job),
        lambda: ledger.results([other_job]),
        lambda: ledger.cancel(other_job),
        lambda: ledger.watch(other_job, "fb:wake:acme:me"),
    ]
    for attempt in attempts:
        with pytest.raises((Misconfigured, UnknownJob)):
            attempt()
    assert ledger.forget(other_job) is False
    (outcome,) = ledger.create([Job(tenant="globex", request=request())])
    assert isinstance(outcome, Misconfigured)
    assert outcome.field == "FOREBAY_REDIS_URL"
    assert Ledger(user(urls, "operator"), Settings(), BELL).status(other_job).state != "cancelled"


FORBIDDEN = {
    "flushall": lambda redis, _: redis.flushall(),
    "flushdb": lambda redis, _: redis.flushdb(),
    "keys": lambda redis, _: redis.keys(),
    "scan": lambda redis, _: redis.scan(),
    "randomkey": lambda redis, _: redis.randomkey(),
    "config": lambda redis, _: redis.config_get("*"),
    "shutdown": lambda redis, _: redis.execute_command("SHUTDOWN"),
    "acl": lambda redis, _: redis.acl_list(),
    "monitor": lambda redis, _: redis.execute_command("MONITOR"),
    "compare": lambda redis, _: redis.execute_command("LCS", "fb:dead:acme", "fb:dead:acme"),
    "sort": lambda redis, _: redis.execute_command("SORT", "fb:dead:acme", "GET", "fb:answer:*"),
    "dump": lambda redis, job: redis.dump(f"fb:job:{job}"),
    "their exists": lambda redis, job: redis.exists(f"fb:job:{job}"),
    "rename theirs": lambda redis, job: redis.rename(f"fb:answer:{job}", "fb:answer:acme.x"),
    "rename onto a queue": lambda redis, _: redis.rename("fb:watchers:acme.x", "route"),
    "move": lambda redis, _: redis.move("fb:watchers:acme.x", 1),
    "subscribe": lambda redis, _: redis.execute_command("SUBSCRIBE", "x"),
    "script load": lambda redis, _: redis.script_load("while true do end"),
    "eval": lambda redis, _: redis.eval("while true do end", 0),
    "eval_ro": lambda redis, _: redis.eval_ro("while true do end", 0),
    "fcall": lambda redis, _: redis.fcall("x", 0),
    "script kill": lambda redis, _: redis.script_kill(),
    "script flush": lambda redis, _: redis.script_flush(),
    "function": lambda redis, _: redis.function_load("#!lua name=x\nreturn 1"),
    "client list": lambda redis, _: redis.client_list(),
    "their record": lambda redis, job: redis.hgetall(f"fb:job:{job}"),
    "their content": lambda redis, job: redis.get(f"fb:content:{job}"),
    "their answer": lambda redis, job: redis.get(f"fb:answer:{job}"),
    "their egress": lambda redis, job: redis.hset(f"fb:job:{job}", "egress", "allow"),
    "their waiting": lambda redis, _: redis.zrange("fb:waiting:route:interactive:globex", 0, -1),
    "their wake-ups": lambda redis, _: redis.xread({"fb:wake:globex:1": 0}),
    "the leases": lambda redis, _: redis.zrange("fb:leases", 0, -1),
    "the deadlines": lambda redis, _: redis.zrange("fb:deadlines:globex", 0, -1),
    "the doorbells": lambda redis, _: redis.lrange("route", 0, -1),
    "another queue": lambda redis, _: redis.lpush("bedrock", "forged"),
    "the money": lambda redis, _: redis.hgetall("fb:spend:day:1"),
    "the cache's secret": lambda redis, _: redis.get("fb:cache-secret"),
    "a turn": lambda redis, _: redis.zadd("fb:turn:route:interactive", {"acme": -1e15}),
    "the turn of another": lambda redis, _: redis.zrem("fb:turn:route:interactive", "globex"),
    "the clock": lambda redis, _: redis.hset("fb:clock", "route:interactive", "x"),
    "the ageing": lambda redis, _: redis.hset("fb:since", "route:bulk", "x"),
    "the newcomers": lambda redis, _: redis.srem("fb:newcomers:route:interactive", "globex"),
    "past the router": lambda redis, _: redis.zadd("fb:waiting:bedrock:bulk:acme", {"acme.1": 0}),
    "a turn past the router": lambda redis, _: redis.sadd("fb:newcomers:bedrock:bulk", "acme"),
    "a lease": lambda redis, job: redis.zadd("fb:leases", {job: 0}),
    "all counters": lambda redis, _: redis.delete("fb:depth"),
    "publish": lambda redis, _: redis.publish("/0.celery.pidbox", "{}"),
    "a copy": lambda redis, job: redis.copy(f"fb:content:{job}", "fb:content:acme.x"),
}  # fmt: skip


@pytest.mark.parametrize("command", FORBIDDEN)
def test_a_producer_is_refused(urls, other_job, command):
    with user(urls, "producer-acme") as redis, pytest.raises(redis_py.exceptions.NoPermissionError):
        FORBIDDEN[command](redis, other_job)


def test_a_script_that_others_loaded_gives_a_producer_no_more_rights(urls, other_job):
    sha = user(urls, "worker").script_load("return redis.call('GET', ARGV[1])")
    with user(urls, "producer-acme") as redis:
        with pytest.raises(redis_py.ResponseError, match=r"[Nn]o permission"):
            redis.evalsha(sha, 0, f"fb:content:{other_job}")
        assert redis.evalsha(sha, 0, "fb:content:acme.none") is None


@pytest.mark.parametrize("role", ["worker", "sweeper", "flower", "producer-acme"])
@pytest.mark.parametrize("command", ["flushall", "keys", "config", "acl", "shutdown", "function"])
def test_only_the_default_user_can_administer(urls, role, command):
    with user(urls, role) as redis, pytest.raises(redis_py.exceptions.NoPermissionError):
        FORBIDDEN[command](redis, "")


@pytest.mark.parametrize("role", ["sweeper", "flower"])
def test_roles_that_answer_no_jobs_cannot_read_content(urls, other_job, role):
    with user(urls, role) as redis, pytest.raises(redis_py.exceptions.NoPermissionError):
        redis.get(f"fb:content:{other_job}")


def test_flower_sees_no_job_at_all(urls, other_job):
    with user(urls, "flower") as redis, pytest.raises(redis_py.exceptions.NoPermissionError):
        redis.hgetall(f"fb:job:{other_job}")


def test_a_client_without_a_user_is_refused(guarded):
    fleet, _ = guarded
    with Client(tenant="acme", settings=Settings(redis_url=fleet.url)) as client:
        with pytest.raises(Misconfigured) as refused:
            client.submit(request())
        assert refused.value.field == "FOREBAY_REDIS_URL"


def test_a_wrong_password_gives_a_clear_error_that_does_not_repeat_it(urls):
    wrong = urls["producer-acme"].replace("@", "-canary@")
    settings = Settings(redis_url=wrong)
    with (
        Client(tenant="acme", settings=settings) as client,
        pytest.raises(Misconfigured) as refused,
    ):
        client.submit(request())
    assert "canary" not in str(refused.value)


def test_a_gateway_is_a_producer_for_all_tenants_and_reads_their_keys(guarded):
    fleet, urls = guarded
    with user(urls, "operator") as redis:
        tokens = [
            KeyStore(redis).create(
                name, tokens_per_minute=9000, scopes=("submit", "read", "admin")
            )[1]
            for name in TENANTS
        ]
    networks = '["127.0.0.0/8"]'
    fleet.start(
        "gateway", FOREBAY_REDIS_URL=urls["gateway"], FOREBAY_GATEWAY_WEBHOOK_NETWORKS=networks
    )
    fleet.wait_ready()
    for tenant, token in zip(TENANTS, tokens, strict=True):
        with openai.OpenAI(base_url=f"{fleet.gateway_url}/v1", api_key=token) as client:
            chat = [{"role": "user", "content": "[[echo: delay=0.2]] We met at noon."}]
            made = client.chat.completions.create(model="auto", messages=chat)
            assert made.forebay["job_id"].startswith(f"{tenant}.")
            stream = client.chat.completions.create(model="auto", messages=chat, stream=True)
            texts = [chunk.choices[0].delta.content for chunk in stream]
            assert len([text for text in texts if text]) > 1
            kept = client.responses.create(model="auto", input="Noon.", metadata={"ticket": "7"})
            assert client.responses.retrieve(kept.id).metadata == {"ticket": "7"}
            again = client.responses.create(
                model="auto", input="[[echo: delay=0.1]] At noon.", stream=True, background=True
            )
            assert list(again)[-1].response.output_text == "At noon."
            stored = client.chat.completions.create(model="auto", messages=chat, store=True)
            assert client.chat.completions.update(stored.id, metadata={"a": "b"}).id == stored.id
            assert [each.id for each in client.chat.completions.list()] == [stored.id]
            assert client.chat.completions.delete(stored.id).deleted
            check_files_and_webhooks(fleet, client)


def check_files_and_webhooks(fleet, client):
    """Have the gateway's user of Redis do all that batches, bulks and webhooks need."""
    with receiving() as receiver:
        headers = {"authorization": f"Bearer {client.api_key}"}
        with httpx2.Client(base_url=fleet.gateway_url, headers=headers) as http:
            made = http.post("/webhooks", json={"url": receiver.url}).json()
            body = {"model": "auto", "messages": [{"role": "user", "content": "We met at noon."}]}
            line = {"custom_id": "a", "url": "/v1/chat/completions", "body": body}
            file = client.files.create(file=("a", json.dumps(line).encode()), purpose="batch")
            batch = client.batches.create(
                input_file_id=file.id, endpoint=line["url"], completion_window="24h"
            )
            until(lambda: client.batches.retrieve(batch.id).status == "completed", within_s=40)
            until(lambda: len(receiver.got) == 1, within_s=20)
            assert json.loads(receiver.got[0][1])["type"] == "batch.completed"
            assert [each.id for each in client.batches.list()] == [batch.id]
            assert http.get("/bulks").json() == {"bulks": []}
            assert http.post(f"/webhooks/{made['id']}/rotate", json={}).json()["secret"]
            assert http.delete(f"/webhooks/{made['id']}").json()["removed"]


@pytest.mark.parametrize(
    "command",
    [
        ["HSET", "fb:keys", "0123456789ab", "{}"],
        ["HGETALL", "fb:keys"],
        ["ZADD", "fb:turn:route:interactive", "0", "acme"],
        ["LPUSH", "bedrock", "x"],
        ["HSET", "fb:spend:day:1", "acme:settled", "0"],
        ["SCRIPT", "LOAD", "return 1"],
        ["CONFIG", "GET", "*"],
    ],
)
def test_a_gateway_may_do_nothing_else(urls, command):
    with user(urls, "gateway") as redis, pytest.raises(redis_py.exceptions.NoPermissionError):
        redis.execute_command(*command)


# --- the files -----------------------------------------------------------------------------------


def test_every_key_of_the_ledger_is_known_to_the_rules():
    """A role needs a rule for each new family of keys, or its workers fail."""
    sources = [*(ROOT / "routing").rglob("*.lua"), *(ROOT / "routing").rglob("*.py")]
    used = {name for path in sources for name in re.findall(r"'fb:([a-z]+)", path.read_text())}
    ruled = set(
        re.findall(
            r"fb:([a-z]+)", " ".join([*acl.users({"sweeper": "", "producer-x": "", "gateway": ""})])
        )
    )
    assert used - ruled <= {
        "picks",
        "spend",
        "quiet",
        "pace",
        "audits",
        "audited",
        "types",
        "recovered",
        "egress",
    }
    assert {"job", "content", "waiting", "leases"} <= used


def test_passwords_are_kept_and_only_their_owner_can_read_them(tmp_path):
    first = acl.write(tmp_path / "users", ["acme"])
    again = acl.write(tmp_path / "users", ["acme", "globex"])
    assert first.items() < again.items()
    assert len(set(again.values())) == len(again)
    for name in ("users.acl", "passwords.txt"):
        assert (tmp_path / "users" / name).stat().st_mode & 0o077 == 0
    rules = (tmp_path / "users" / "users.acl").read_text()
    assert not any(password in rules for password in again.values())
