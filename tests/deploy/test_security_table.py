"""SECURITY.md's table of who may do what in Redis, each cell tried as that user.

"yes" means that it worked, with an effect; "no" that Redis or a script refused it and that nothing
changed. A row that is not tried here fails, and so does a trial that has no row.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import pytest
import redis as redis_py

from egress import leaving
from forebay.routing.books.egress_log import EgressLog
from forebay.routing.books.job_book import JobBook
from forebay.routing.books.packed_hours import PackedHours
from forebay.routing.errors import ForebayError, Misconfigured, UnknownJob
from forebay.routing.jobs import new_id
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from ledger_jobs import BELL, SURE, answer, job, put, walk
from local.fleet import ROOT

pytestmark = pytest.mark.slow

SECURITY = (ROOT / "SECURITY.md").read_text()
PRODUCER = "producer-acme"
NO_SUCH_RIGHT = re.compile(r"no permissions|ACL failure|NOPERM", re.IGNORECASE)


@dataclass
class World:
    """Jobs of a tenant, in each state that matters."""

    waiting: str
    running: str
    delayed: str
    escalated: str
    done: str


@dataclass
class Scene:
    """The jobs of both tenants, and one user's ways to them."""

    redis: redis_py.Redis
    ledger: Ledger
    acme: World
    globex: World


def populate(ledger: Ledger, tenant: str) -> World:
    (done,) = put(ledger, job(tenant))
    ledger.settle(claim := ledger.claim("route"), answer(claim))
    (escalated,) = put(ledger, job(tenant, egress="allow"))
    ledger.route(ledger.claim("route"), "local.default", "allow", "r", SURE)
    ledger.escalate(claim := ledger.claim("local.default"), "r", answer(claim))
    (delayed,) = put(ledger, job(tenant))
    ledger.retry(ledger.claim("route"), "unavailable", delay_s=1000)
    (running,) = put(ledger, job(tenant))
    ledger.claim("route")
    return World("", running, delayed, escalated, done)


@pytest.fixture
def scene(users, request):
    """Return a Redis with jobs, as a user sees it."""
    users.empty()
    workers = Ledger(users["worker"], Settings(), BELL)
    workers.load_scripts()
    users["worker"].set("fb:cache-secret", "s")
    users["worker"].hset("fb:spend:day:1", "acme", 1)
    users["worker"].hset("fb:books:jobs:0", "x", 1)
    users["worker"].hset("fb:egress:days", "2026-01-01", "1 a")
    users["worker"].xadd("fb:books:calls", {"id": "c"})
    EgressLog(users["worker"]).append(leaving())
    worlds = [populate(workers, tenant) for tenant in ("acme", "globex")]
    for world in worlds:
        (world.waiting,) = put(workers, job(world.done.partition(".")[0]))
    name = PRODUCER if request.param == "producer" else request.param
    with redis_py.Redis.from_url(users.urls[name]) as redis:
        yield Scene(redis, Ledger(redis, Settings(), BELL), *worlds)


# --- what is tried --------------------------------------------------------------------------------


def jobs_of(tenant: str):
    """Return attempts at using a tenant's jobs as a client does."""

    def world(scene: Scene) -> World:
        return getattr(scene, tenant)

    def submit(scene):
        (made,) = scene.ledger.create([job(tenant)])
        if isinstance(made, ForebayError):
            raise made

    def watch(scene):
        stream = f"fb:wake:{tenant}:1"
        assert scene.ledger.watch(world(scene).waiting, stream) == "waiting"

    def cancel(scene):
        assert scene.ledger.cancel(world(scene).waiting)

    def forget(scene):
        if not scene.ledger.forget(world(scene).done):
            raise UnknownJob("no such job")

    return (submit, watch, cancel), (forget,)


def content_of(family: str, tenant: str, job_id: str):
    def read(scene):
        assert scene.redis.get(f"fb:{family}:{getattr(getattr(scene, tenant), job_id)}")

    return read


def record_of(tenant: str):
    def key(scene):
        return f"fb:job:{getattr(scene, tenant).waiting}"

    def read(scene):
        assert scene.redis.hgetall(key(scene))

    def write(scene):
        assert scene.redis.hset(key(scene), "x", "1")

    return read, write


def work(scene):
    claim = scene.ledger.claim("route")
    assert claim
    scene.ledger.settle(claim, answer(claim))


def sweep(scene):
    scene.ledger.redis.evalsha(*_script("sweep"), 500, 4, 1000, BELL, 0.85, 1000, 0.7)


def _script(name: str):
    from forebay.routing.store.scripts import digest  # noqa: PLC0415 - beside its only use

    return digest(name), 0


def zset_entry(key: str, state: str):
    """Return an attempt at removing the entry of another tenant's job."""

    def remove(scene):
        assert scene.redis.zrem(key, getattr(scene.globex, state))

    return remove


def read_own_script(scene):
    sha = scene.redis.script_load("return 41 + 1")
    assert scene.redis.evalsha(sha, 0) == 42


def command(*words):
    """Return an attempt at a command, which may reply anything."""

    def run(scene):
        scene.redis.execute_command(*words)

    return run


def read_users_again(scene):
    try:
        scene.redis.execute_command("ACL", "LOAD")
    except redis_py.ResponseError as error:  # this Redis has no such file
        if "not configured to use an ACL file" not in str(error):
            raise


def subscribe(scene):
    with scene.redis.pubsub() as channel:
        channel.psubscribe("/0.celeryev/*")
        assert channel.get_message(timeout=5)["type"] == "psubscribe"


TRIALS = {
    "submit, watch and cancel jobs of its tenant": jobs_of("acme")[0],
    "forget jobs of its tenant": jobs_of("acme")[1],
    "submit, watch and cancel jobs of another tenant": jobs_of("globex")[0],
    "forget jobs of another tenant": jobs_of("globex")[1],
    "read requests of its tenant": [content_of("content", "acme", "waiting")],
    "read answers of its tenant": [content_of("answer", "acme", "done")],
    "read requests of another tenant": [content_of("content", "globex", "waiting")],
    "read answers of another tenant": [content_of("answer", "globex", "done")],
    "read drafts of another tenant": [content_of("draft", "globex", "escalated")],
    "write answers of its tenant": [command("SET", "fb:answer:acme.1", "x")],
    "read and write records of its tenant": record_of("acme"),
    "read or write records of another tenant": record_of("globex"),
    "list the names of keys": [command("SCAN", 0), command("RANDOMKEY")],
    "claim and settle jobs": [work],
    "sweep": [sweep, lambda scene: walk(scene.ledger)],
    "put a job into a lane without the router": [
        lambda scene: scene.redis.zadd("fb:waiting:bedrock:bulk:acme", {new_id("acme"): 0}),
        lambda scene: scene.redis.zadd("fb:waiting:local.default:bulk:acme", {new_id("acme"): 0}),
        lambda scene: scene.redis.sadd("fb:newcomers:bedrock:bulk", "acme"),
    ],
    "write turns and their clock": [
        lambda scene: scene.redis.zadd("fb:turn:route:interactive", {"acme": -9}),
        lambda scene: scene.redis.hset("fb:clock", "route:interactive", 9),
        lambda scene: scene.redis.hset("fb:since", "route:bulk", 9),
        lambda scene: scene.redis.srem("fb:newcomers:route:interactive", "globex"),
    ],
    "write what the sweeper counted": [
        lambda scene: scene.redis.hset("fb:counted", "*", 9),
        lambda scene: scene.redis.hset("fb:tenants", "x", 9),
        lambda scene: scene.redis.sadd("fb:queues", "local.x"),
        lambda scene: scene.redis.set("fb:full", 99),
        lambda scene: scene.redis.set("fb:free", 0),
        lambda scene: scene.redis.set("fb:quota", 0),
        lambda scene: scene.redis.hset("fb:depth", "route", 9),
    ],
    "lift the fence of a tenant that has moved to another fleet": [
        lambda scene: scene.redis.set("fb:moved:acme", "x"),
        lambda scene: scene.redis.set("fb:moved:globex", "x"),
    ],
    "add to the memory counted for another tenant": [
        lambda scene: scene.redis.incrby("fb:held:globex", 9),
        lambda scene: scene.redis.incrby("fb:promised:globex", 9),
    ],
    "add to the numbers of waiting jobs, and to the tenants that come": [
        lambda scene: scene.redis.hincrby("fb:depth", "route", 1),
        lambda scene: scene.redis.sadd("fb:newcomers:route:interactive", "x"),
        lambda scene: scene.redis.incrby("fb:promised:acme", 9),
        lambda scene: scene.redis.incrby("fb:held:acme", -9),
    ],
    "remove the lease or retry of another tenant's job": [
        zset_entry("fb:leases", "running"),
        zset_entry("fb:later", "delayed"),
    ],
    "read who waits, and how many jobs": [
        lambda scene: scene.redis.hgetall("fb:depth")[b"route"],
        lambda scene: scene.redis.zrange("fb:turn:route:interactive", 0, -1),
        lambda scene: scene.redis.zcard("fb:waiting:route:interactive:globex"),
    ],
    "read how many doorbells wait": [
        lambda scene: scene.redis.llen("route"),
        lambda scene: scene.redis.llen("local.default"),
    ],
    "ring the router's doorbell": [lambda scene: scene.redis.lpush("route", "{}")],
    "ring the doorbell of a lane": [
        lambda scene: scene.redis.lpush("bedrock", "{}"),
        lambda scene: scene.redis.lpush("local.default", "{}"),
        lambda scene: scene.redis.lpush("fb:express:local.default", "acme"),
    ],
    "take doorbells": [lambda scene: scene.redis.rpop("route")],
    "read money and budgets": [lambda scene: scene.redis.hgetall("fb:spend:day:1")],
    "write money and budgets": [lambda scene: scene.redis.hset("fb:spend:day:1", "acme", 0)],
    "read the book of calls, or the egress log": [
        lambda scene: scene.redis.xrange("fb:books:calls")[0],
        lambda scene: scene.redis.xrange("fb:egress:log")[0],
        lambda scene: scene.redis.hgetall("fb:egress:head")[b"seq"],
        lambda scene: scene.redis.hgetall("fb:egress:days")[b"2026-01-01"],
    ],
    "write the book of calls, or the egress log": [
        lambda scene: scene.redis.xadd("fb:books:calls", {"id": "x"}),
        lambda scene: scene.redis.xtrim("fb:books:calls", maxlen=0),
        lambda scene: EgressLog(scene.redis).append(leaving()),
        lambda scene: scene.redis.xtrim("fb:egress:log", maxlen=0),
        lambda scene: scene.redis.hset("fb:egress:head", "seq", 9),
        lambda scene: scene.redis.hset("fb:egress:days", "2026-01-01", "9"),
    ],
    "read the counts of jobs": [lambda scene: scene.redis.hgetall("fb:books:jobs:0")[b"x"]],
    "write the counts of jobs": [
        lambda scene: JobBook(scene.redis, days=36_500).add({"[]": 1}, time.time()),
        lambda scene: scene.redis.hincrby("fb:books:jobs:0", "x", 9),
        lambda scene: PackedHours(scene.redis, 36_500)._pack(0),
    ],
    "read what a tenant spent in a day": [command("HMGET", "fb:spend:day:1", "acme")],
    "look up an API key of the gateway": [lambda scene: scene.redis.hget("fb:keys", "k")],
    "make or list API keys of the gateway": [
        lambda scene: scene.redis.hset("fb:keys", "k", "{}"),
        lambda scene: scene.redis.hgetall("fb:keys"),
    ],
    "count the use of an API key": [
        lambda scene: scene.redis.hset("fb:rate:k", "requests", 1),
        lambda scene: scene.redis.pexpire("fb:rate:k", 60_000),
    ],
    "read the secret of the cache": [lambda scene: scene.redis.get("fb:cache-secret")],
    "run a script of its own": [read_own_script],
    "send Celery's control commands": [command("PUBLISH", "/0.celery.pidbox", "{}")],
    "receive the events of workers": [subscribe],
    "`INFO`": [command("INFO")],
    "`CONFIG GET`": [command("CONFIG", "GET", "maxmemory")],
    "read the file of users again: `ACL LOAD`": [read_users_again],
    "end or forget scripts": [command("SCRIPT", "FLUSH")],
    "administer: `CONFIG SET`, `ACL`, `FLUSHALL`, `KEYS`, `SHUTDOWN`, `MONITOR`": [
        command("CONFIG", "SET", "maxmemory", 0), command("ACL", "LIST"), command("FLUSHALL"),
        command("FLUSHDB"), command("KEYS", "*"), command("SHUTDOWN", "NOSAVE"),
        command("MONITOR"), command("CLIENT", "KILL", "TYPE", "normal"), command("SAVE"),
        command("REPLICAOF", "NO", "ONE"),
        command("ACL", "SETUSER", "default", "on", "nopass", "~*", "+@all"),
    ],
    "combine keys: `ZUNIONSTORE`, `SINTERSTORE`": [
        command("ZUNIONSTORE", "fb:dead:acme", 1, "fb:dead:acme"),
        command("SINTERSTORE", "fb:watchers:acme.1", "fb:watchers:acme.2"),
    ],
}  # fmt: skip


# --- the table ------------------------------------------------------------------------------------


def table(heading: str) -> list[list[str]]:
    """Return the rows of the first table whose head begins with this cell."""
    lines = SECURITY.partition(f"\n| {heading} |")[2].splitlines()
    rows = [f"| {heading} |{lines[0]}"]
    rows += lines[2 : next(i for i, line in enumerate([*lines, ""]) if i and line[:1] != "|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


HEAD, *ROWS = table("may in Redis")
ROLES = [cell.strip("`").removesuffix("-<tenant>") for cell in HEAD[1:]]
CELLS = [
    pytest.param(role, row[0], said, id=f"{role}: {row[0]}")
    for row in ROWS
    for role, said in zip(ROLES, row[1:], strict=True)
]


def test_the_table_has_each_user_and_exactly_what_is_tried():
    import redis_acl as acl  # noqa: PLC0415 - beside its only use

    assert {"producer", *acl.ROLES} == set(ROLES)
    assert [row[0] for row in ROWS] == list(TRIALS)


def everything(users) -> dict[bytes, bytes]:
    operator = users["operator"]
    return {key: operator.dump(key) for key in operator.scan_iter("*")}


@pytest.mark.parametrize(("scene", "deed", "said"), CELLS, indirect=["scene"])
def test_each_cell_says_what_is_true(users, scene, deed, said):
    assert said in {"yes", "no"}
    for attempt in TRIALS[deed]:
        before = everything(users)
        error = error_of(attempt, scene)
        if said == "yes":
            assert error is None, attempt
        else:
            assert _refused(error), (attempt, error)
            assert everything(users) == before, "a refused attempt changed something"


def error_of(attempt, scene) -> Exception | None:
    try:
        attempt(scene)
    except (redis_py.ResponseError, ForebayError) as error:
        return error
    return None


def _refused(error: Exception | None) -> bool:
    """Return whether an error says that this user may not."""
    known = isinstance(error, redis_py.exceptions.NoPermissionError | Misconfigured | UnknownJob)
    return known or bool(NO_SUCH_RIGHT.search(str(error)))


def test_each_user_is_told_apart_by_the_table():
    columns = list(zip(*(row[1:] for row in ROWS), strict=True))
    assert len(set(columns)) == len(columns)


# --- where a promise is tested --------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    table("attacker")[1:] + table("a producer with a user of its own can")[1:],
    ids=lambda row: row[0],
)
def test_each_promise_and_each_gap_names_tests_that_exist(row):
    named = re.findall(r"`([\w/.]+)`", row[-1])
    assert named
    for name in named:
        found = [ROOT / name] if "/" in name else list((ROOT / "tests").rglob(name))
        assert found, name
        assert found[0].exists(), name
