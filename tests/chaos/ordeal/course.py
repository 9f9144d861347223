"""Run the fleet, its producers and all faults, and wait until every job has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from books.causes import of_causes
from books.diary import Diary
from books.ending import await_ends
from books.evidence import Evidence, close, gather
from books.finding import Told
from doom.doomedfleet import DoomedFleet
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect
from forebay.workers.frontier.settings import BedrockSettings
from local.process import PartFailed
from ordeal.conductor import Conductor
from ordeal.options import Options
from ordeal.schedule import Amounts, plan
from ordeal.workload import POLICY, SHARES, Order, orders

LEASE_S = 2.0
BEDROCK_TIMEOUT_S = 3.0
TERM_S = BedrockSettings(bedrock_timeout_s=BEDROCK_TIMEOUT_S).bedrock_term_s
SUBMIT_S = 120.0  # seconds after the schedule's end
IDLE_S = TERM_S + 15  # seconds without the end of any job, after which no more will end
WORKERS = {"router": 2, "sweeper": 2, "bedrock": 2}
ENGINES = ("echo", "echo", "echo", "llamacpp")
PATIENT = {"FOREBAY_HANG_S": "10"}  # a busy machine gives a real model no processor for seconds
ECHO = {"FOREBAY_ENGINE": "echo", "FOREBAY_POOL": "echo", "FOREBAY_SLOTS": "16"}


def undergo(options: Options, folder: Path, say: Callable[[str], None]) -> Evidence:
    """Run once, from the start of the fleet to its stop; return the evidence."""
    with DoomedFleet(folder, _environment(options, folder)) as fleet:
        _start(fleet, options)
        say(f"{len(fleet.procs)} parts are ready")
        began = time.monotonic()
        for share in range(SHARES):
            fleet.start_producer(share, options.seed, options.jobs, options.span_s)
        host_dies = options.durability == "everysec"
        conductor = Conductor(fleet, Diary(folder / "diary"), LEASE_S, host_dies=host_dies)
        amounts = Amounts.of(options.kills, options.points)
        conductor.run(plan(options.seed, amounts, options.span_s))
        conductor.quiet()
        _await_submits(fleet)
        say(f"calm after {time.monotonic() - began:.0f} s")
        client = connect(Settings(redis_url=fleet.url))
        told = Told.read(Diary(folder / "told").entries(), Diary(folder / "diary").entries())
        await_ends(client, told, IDLE_S)
        say(f"settled after {time.monotonic() - began:.0f} s")
        evidence = gather(folder, client, fleet.mock_url, told, conductor.done)
    close(evidence, folder, TERM_S)
    made = _made(Diary(folder / "told"), options)
    evidence.findings += of_causes(
        made, evidence.ends, evidence.entries, evidence.calls, evidence.journal
    )
    return evidence


def _made(told: Diary, options: Options) -> dict[str, Order]:
    """Return what was ordered by each job's id."""
    numbers = {entry.about: int(entry.more) for entry in told.entries() if entry.more.isdigit()}
    some = islice(orders(options.seed, options.jobs, options.span_s), max(numbers.values()) + 1)
    wanted = list(some)
    return {job_id: wanted[number] for job_id, number in numbers.items()}


def _environment(options: Options, folder: Path) -> dict[str, str]:
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    return {
        "CHAOS_WITHOUT": options.without,
        "FOREBAY_POLICY_FILE": str(policy),
        "FOREBAY_LEASE_S": str(LEASE_S),
        "FOREBAY_SWEEP_S": "0.5",
        "FOREBAY_HANG_S": "3",
        "FOREBAY_BEDROCK_TIMEOUT_S": str(BEDROCK_TIMEOUT_S),
        "FOREBAY_BEDROCK_CONCURRENCY": "6",
    }


def _start(fleet: DoomedFleet, options: Options) -> None:
    # Redis never rewrites the file, so it holds every change.
    fleet.start_redis(appendfsync=options.durability, auto_aof_rewrite_percentage="0")
    fleet.start("mock_bedrock")
    for role, number in WORKERS.items():
        for _ in range(0 if role == options.without else number):
            fleet.start(role)
    for engine in ENGINES:
        fleet.start(
            "local", **(ECHO if engine == "echo" else {"FOREBAY_ENGINE": engine, **PATIENT})
        )
    fleet.wait_ready()


def _await_submits(fleet: DoomedFleet) -> None:
    for producer in fleet.of("producer"):
        if not producer.wait(SUBMIT_S):
            raise PartFailed(f"{producer.name} is not done\n{producer.tail()}")
