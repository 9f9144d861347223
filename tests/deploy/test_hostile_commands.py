"""All that a producer's own user of Redis can run: every command, every script, on every key.

The server has the limits of `redis-config/redis.conf`, so what the limits are for is tried too.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import time
from collections import defaultdict
from collections.abc import Iterator

import pytest
import redis as redis_py

import redis_acl as acl
from forebay.routing.jobs import new_id
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.routing.store.scripts import digest, names
from ledger_jobs import BELL, job, put
from local.fleet import ROOT, Fleet
from patience import until

pytestmark = pytest.mark.slow

CONF = dict(
    line.split(maxsplit=1)
    for line in (ROOT / "deploy" / "redis-config" / "redis.conf").read_text().splitlines()
    if line and not line.startswith("#")
)
LIMITS = ("maxmemory-clients", "proto-max-bulk-len", "acllog-max-len")
CONNECTIONS = 60

#: What the producers of one tenant may run on keys that are not of their tenant: SECURITY.md says
#: what that does to others. On all other keys they may run nothing.
RIGHTS = {
    "route": {"llen", "lpush"},
    "local.default": {"llen"},
    "embed": {"llen"},
    "bedrock": {"llen"},
    "fb:depth": {"hget", "hgetall", "hlen", "hincrby"},
    "fb:clock": {"hget", "hlen"},
    "fb:rings": {"get", "incr"},
    "fb:leases": {"zcard", "zrem"},
    "fb:later": {"zcard", "zrem"},
    "fb:deadlines": {"zcard", "zadd", "zrem"},
    "fb:turn:route:interactive": {"zcard", "zrange"},
    "fb:newcomers:route:interactive": {"scard", "srandmember", "sadd"},
    "fb:newcomers:bedrock:interactive": {"scard", "srandmember"},
    "fb:newcomers:route:junk": {"scard", "srandmember"},
    "fb:waiting:route:interactive:globex": {"zcard"},
    "fb:waiting:bedrock:interactive:globex": {"zcard"},
    "fb:serving:bedrock": {"zcount"},
    "fb:full": {"get", "exists"},
    "fb:free": {"get", "exists"},
    "fb:quota": {"get", "exists"},
    "fb:counted": {"hmget"},
    "fb:rates:embed": {"hgetall"},
    "fb:cancelled": {"llen", "lpush"},
    # Of its own tenant, but for others to write:
    "fb:moved:acme": {"get"},
    "fb:waiting:bedrock:interactive:acme": {"exists", "zcard", "zrank", "zrem"},
    "fb:waiting:route:interactive:acme": {"exists", "zcard", "zrank", "zrem", "zadd"},
    "fb:waiting:route:junk:acme": {"exists", "zcard", "zrank", "zrem"},
}
#: Commands without a key.
KEYLESS = {
    "client|id", "client|setinfo", "client|setname", "echo", "ping", "script|exists", "time",
}  # fmt: skip
SESSION = {"auth", "hello", "select", "quit", "reset", "multi", "exec", "discard"}
#: Families of keys; those on which producers have rights are in `RIGHTS` by their names.
PRELUDE = (ROOT / "routing" / "store" / "prelude.lua").read_text()
SHARED = re.compile(r"fb:(newcomers|rates|serving|turn|waiting):")
FAMILIES = [
    *(family for family in re.findall(r"fb:[a-z:-]*", PRELUDE) if not SHARED.match(family)),
    "fb:spend:day:", "fb:spend:job:", "fb:spillway:", "fb:pace:", "fb:keys", "fb:cache-secret",
    "fb:egress:", "fb:webhooks", "fb:batch:", "fb:lease:", "fb:rate:", "fb:cache:",
]  # fmt: skip
KEYS = sorted(
    {f"{family}globex.1" if family.endswith(":") else family for family in FAMILIES}
    | {f"{family}globex" for family in FAMILIES if family.endswith(":")}
    | {"fb:audited:acme", "fb:move:acme", "fb:carried:acme", "precious",
       "sweep", "unacked", "_kombu.binding.route", "celeryev.x", "x.celery.pidbox"}
    | RIGHTS.keys()
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Start a Redis as `redis.conf` describes it; return the URL of each user."""
    folder = tmp_path_factory.mktemp("hostile")
    passwords = acl.write(folder / "users", ["acme", "globex"])
    limits = {name.replace("-", "_"): CONF[name] for name in LIMITS}
    with Fleet(folder / "fleet") as fleet:
        fleet.start_redis(
            aclfile=str(folder / "users" / "users.acl"), maxmemory="400mb",
            maxclients=str(CONNECTIONS), **limits,
        )  # fmt: skip
        place = fleet.url.removeprefix("redis://")
        yield {name: f"redis://{name}:{word}@{place}" for name, word in passwords.items()}


@pytest.fixture
def users(server):
    """Return a client for each user, of an empty Redis that knows the scripts."""
    clients = {name: redis_py.Redis.from_url(url) for name, url in server.items()}
    operator = clients["operator"]
    operator.delete("fb:none", *operator.scan_iter("*"))
    Ledger(clients["worker"], Settings(), BELL).load_scripts()
    yield clients
    for client in clients.values():
        client.close()


def arguments(name: str, info: dict, key: str) -> list[str]:
    """Return words with which a command of one key names this key."""
    if "movablekeys" in info["flags"]:
        return ["COUNT", "1", "STREAMS", key, "0"] if name == "xread" else ["1", key]
    words = ["1"] * max(abs(info["arity"]) - 1, info["first_key_pos"])
    if info["first_key_pos"]:
        words[info["first_key_pos"] - 1] = key
    return words


def is_refused(error: Exception | None, info: dict) -> bool:
    """Return whether a command was refused; one that finds no key in its words was not tried."""
    unparsed = "movablekeys" in info["flags"] and "WRONGTYPE" not in str(error)
    return isinstance(error, redis_py.exceptions.NoPermissionError) or (
        error is not None and unparsed
    )


def attempts(client: redis_py.Redis, commands: list[list[str]]) -> list[Exception | None]:
    """Run commands, and return the error of each."""
    pipe = client.pipeline(transaction=False)
    for words in commands:
        pipe.execute_command(*words)
    replies = pipe.execute(raise_on_error=False)
    return [reply if isinstance(reply, Exception) else None for reply in replies]


def test_every_command_on_every_key_is_refused_unless_security_md_says_what_it_does(users):
    commands = users["operator"].execute_command("COMMAND")
    rights = defaultdict(set)
    for name, info in commands.items():
        if name in SESSION or not (info["first_key_pos"] or "movablekeys" in info["flags"]):
            continue
        words = [[name, *arguments(name, info, key)] for key in KEYS]
        errors = attempts(users["producer-acme"], words)
        for key, error in zip(KEYS, errors, strict=True):
            if not is_refused(error, info):
                rights[key].add(name)
    assert rights == RIGHTS


def keyless(commands: dict) -> Iterator[tuple[str, list[str]]]:
    """Yield each command and subcommand without a key, and words that it can have."""
    for name, info in commands.items():
        if name in SESSION or info["first_key_pos"] or "movablekeys" in info["flags"]:
            continue
        if not info.get("subcommands"):
            yield name, [name, *arguments(name, info, "")]
        for sub in info.get("subcommands", ()):
            path = sub[0].decode().split("|")
            yield sub[0].decode(), path + ["1"] * (abs(sub[1]) - len(path))


def test_commands_without_a_key_tell_nothing_and_stop_nothing(users):
    tried = dict(keyless(users["operator"].execute_command("COMMAND")))
    assert {"flushall", "config|set", "client|kill", "script|load"} <= tried.keys()
    errors = attempts(users["producer-acme"], list(tried.values()))
    refused = re.compile("(?i)no permissions|not allowed")  # the second: for nobody, by the server
    done = {
        name for name, error in zip(tried, errors, strict=True) if not refused.search(str(error))
    }
    assert done == KEYLESS


HOSTILE = (
    "", "0", "1", "-1", "nan", "-inf", "1e400", str(2**63), str(-(2**63)), "0x10", "\0", "x\0y",
    "*", "%s%n", "x" * 1_000_000, "[" * 5_000, "{}", '{"held": {"acme": "nan"}}', "1" * 400,
    "route", "bedrock", "local.default", "interactive", "fb:leases", "fb:wake:globex:1",
    "fb:cache-secret", "fb:idempotency:globex:1", "globex", "acme", "globex.1", "acme.\n", "deny",
    "allow", "failed",
)  # fmt: skip
#: Shared keys on which producers have rights to write; the others are compared.
WRITABLE = re.compile(
    rb"route|fb:(rings|depth|deadlines|leases|later|cancelled|newcomers:route:.*)"
)


def others(operator: redis_py.Redis) -> dict[bytes, bytes]:
    """Return all keys that are neither the attacker's nor among those which it may write."""
    return {
        key: operator.dump(key)
        for key in operator.scan_iter("*")
        if b"acme" not in key and not WRITABLE.fullmatch(key)
    }


@pytest.mark.parametrize("script", sorted(names()))
def test_no_script_of_the_fleet_does_for_a_producer_what_the_producer_may_not_do(users, script):
    workers = Ledger(users["worker"], Settings(), BELL)
    mine, theirs, held = put(workers, job("acme"), job("globex"), job("acme"))
    claims = {(claim := workers.claim("route")).id: claim for _ in range(2)}
    token = next(claim.token for claim in claims.values())
    operator, dice = users["operator"], random.Random(script)
    operator.set("fb:cache-secret", "s")
    before, words = others(operator), (*HOSTILE, mine, theirs, held, token)
    for _ in range(25):
        drawn = [dice.choice(words) for _ in range(dice.randint(0, 16))]
        drawn[: dice.randint(0, 1)] = [dice.choice((mine, theirs, held))]
        with contextlib.suppress(redis_py.ResponseError):
            users["producer-acme"].evalsha(digest(script), 0, *drawn)
    assert others(operator) == before
    assert workers.claim("route") or theirs in claims, "the job of another tenant is served"


# --- sizes ---------------------------------------------------------------------------------------


def many_fields(client, mine):
    client.hset(f"fb:job:{mine}", mapping={f"field{i}": "x" for i in range(300)})


def large_fields(client, mine):
    client.hset(f"fb:job:{mine}", mapping={f"field{i}": "x" * 100_000 for i in range(30)})


def large_known_field(client, mine):
    client.hset(f"fb:job:{mine}", "reasons", "x" * 2_000_000)


@pytest.mark.parametrize("enlarge", [many_fields, large_fields, large_known_field])
def test_a_worker_is_given_no_job_that_its_tenant_made_larger_than_a_job(users, enlarge):
    workers = Ledger(users["worker"], Settings(), BELL)
    mine, theirs = put(workers, job("acme"), job("globex"))
    enlarge(users["producer-acme"], mine)
    assert workers.claim("route").id == theirs
    assert workers.claim("route") is None
    state, note = users["operator"].hmget(f"fb:job:{mine}", "state", "error_note")
    assert (state, b"larger" in note) == (b"failed", True)


def test_no_value_is_larger_than_the_server_allows(users):
    raw = own_socket(users["producer-acme"])
    raw.sendall(b"*3\r\n$3\r\nSET\r\n$17\r\nfb:content:acme.1\r\n$101000000\r\n")
    assert b"invalid bulk length" in raw.recv(1_000)


def test_one_run_of_a_script_creates_a_bounded_number_of_jobs(users):
    def words(count):
        fields = ["kind", "summarize"]
        for _ in range(count):
            yield from (new_id("acme"), "zx", "", "", "", str(len(fields)), *fields)

    client = users["producer-acme"]
    began = time.monotonic()
    made = client.evalsha(digest("create"), 0, "route", BELL, 100_000, 0, *words(5_000))
    assert len(made) == 100
    assert time.monotonic() - began < 5
    assert client.zcard("fb:waiting:route:interactive:acme") == 100


@pytest.mark.parametrize("script", ["create", "replay"])
def test_a_doorbell_is_no_larger_than_a_message(users, script):
    bell, client, new = "x" * 10_000, users["producer-acme"], new_id("acme")
    workers = Ledger(users["worker"], Settings(), BELL)
    (dead,) = put(workers, job("acme"))
    workers.cancel(dead)
    client.hset(f"fb:job:{dead}", "state", "failed")
    rung = client.llen("route")
    words = {
        "create": ["route", bell, 100, 0, new, "zx", "", "", "", 0],
        "replay": [dead, new, "route", bell, "zx", 100],
    }[script]
    try:
        (reply,) = client.evalsha(digest(script), 0, *words)
    except redis_py.ResponseError as error:
        reply = error
    assert "bell: must have at most 8192 bytes" in str(reply)
    assert client.llen("route") == rung


# --- the server's own means ----------------------------------------------------------------------


def own_socket(client: redis_py.Redis) -> socket.socket:
    """Return a connection of this user over which anything can be sent."""
    connection = redis_py.Connection(**client.connection_pool.connection_kwargs)
    connection.connect()
    raw: socket.socket = connection._sock
    raw.settimeout(20)
    client.raw = connection  # lives as long as the client
    return raw


def test_replies_that_a_producer_does_not_read_cost_it_its_connection(users):
    users["producer-acme"].set("fb:content:acme.1", "x" * 5_000_000)
    raw = own_socket(users["producer-acme"])
    with contextlib.suppress(OSError):
        for _ in range(100):  # 500 MB of replies, of which none is read
            raw.sendall(b"*2\r\n$3\r\nGET\r\n$17\r\nfb:content:acme.1\r\n")
            time.sleep(0.005)
    assert users["operator"].info("memory")["used_memory"] < 150_000_000
    assert put(Ledger(users["producer-globex"], Settings(), BELL), job("globex"))


def test_the_log_of_refusals_keeps_few_of_the_names_that_a_producer_tried(users):
    def used() -> int:
        return users["operator"].info("memory")["used_memory_dataset"]

    before = used()
    for number in range(40):
        with pytest.raises(redis_py.exceptions.NoPermissionError):
            users["producer-acme"].get(f"{number}" + "x" * 1_000_000)
    assert used() - before < 8_000_000


def connections(address: str) -> Iterator[redis_py.Redis]:
    """Yield clients that hold a connection each, until the server takes no more."""
    with contextlib.suppress(redis_py.ConnectionError):
        while True:
            yield redis_py.Redis.from_url(address, single_connection_client=True)


def test_a_producer_can_take_all_connections_until_it_is_stopped(server):
    """SECURITY.md says so: Redis has no limit for each user."""
    held = list(connections(server["producer-acme"]))
    worker = redis_py.Redis.from_url(server["worker"])
    with pytest.raises(redis_py.ConnectionError):
        worker.ping()
    for client in held:
        client.close()
    until(worker.ping)
