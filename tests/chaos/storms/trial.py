"""One trial of a storm: the jobs of others in a fleet of its own, and the storm in the middle."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import redis

from books.causes import of_causes
from books.diary import Diary
from books.ending import await_ends
from books.evidence import Evidence, close, gather, plan_faults
from books.finding import Finding, Told, finding
from forebay.workers.frontier.settings import BedrockSettings
from local.process import PartFailed, Process
from storms.fleet import BEDROCK_TIMEOUT_S, StormFleet
from storms.latency import BAR, Comparison, Windows
from storms.neighbours import Attacker, NeighbourJob, Timing, neighbour_jobs, timings
from storms.storm import ATTACKER, CALM, Storm

LANES = ("local", "bedrock")
WARM_S = 3.0  # before the first measurement: caches, connections, first calls
RECOVERY_S = 4.0  # after the storm, before the second measurement
DRAIN_S = 20.0  # seconds without the end of a job of the attacker, after which no more will end
START_S = 30.0  # for a client to start on a busy machine
IDLE_S = 60.0  # seconds without the end of a job, after which no more will end
WAIT_S = 180.0  # for the clients of others to get their last answers
TERM_S = BedrockSettings(bedrock_timeout_s=BEDROCK_TIMEOUT_S).bedrock_term_s


@dataclass(frozen=True, slots=True)
class Plan:
    """How a trial is run: jobs of others a second, and seconds of calm and of the storm."""

    seed: int
    rate: float
    calm_s: float
    storm_s: float

    @property
    def span_s(self) -> float:
        """Seconds for which others submit jobs, at most."""
        return WARM_S + 2 * self.calm_s + self.storm_s + RECOVERY_S + 120

    def orders(self) -> Iterator[NeighbourJob]:
        """Return the jobs of others."""
        return neighbour_jobs(self.seed, self.rate, self.span_s)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a trial: how long others waited, how their jobs ended, what the storm did."""

    storm: Storm
    comparisons: tuple[Comparison, ...]
    statuses: Counter[str]
    evidence: Evidence
    summary: str

    @property
    def findings(self) -> list[Finding]:
        """All books, those of the latency last."""
        spared = (one for one in self.comparisons if one.lane in self.storm.spares)
        slow = [one.fault for one in spared if one.fault]
        return [*self.evidence.findings, finding(f"lanes slower than x {BAR:g} for others", slow)]


def try_out(storm: Storm, plan: Plan, folder: Path) -> Outcome:
    """Run one trial."""
    with StormFleet(storm, folder) as fleet:
        fleet.start_all()
        plan_faults(fleet.mock_url, CALM, 0)
        client = redis.Redis.from_url(fleet.url_for("operator"))
        windows = _run(fleet, plan, client)
        told = _told(storm, fleet.folder)
        await_ends(client, told, IDLE_S)
        evidence = gather(fleet.folder, client, fleet.mock_url, told, Counter())
        evidence.findings.append(finding("parts that ended by themselves", fleet.gone()))
    close(evidence, fleet.folder, TERM_S)
    evidence.findings += _causes(plan, fleet.folder, evidence)
    timed = timings(fleet.folder / "timings")
    compared = tuple(Comparison.of(lane, timed, windows) for lane in LANES)
    *_, summary = (fleet.folder / "logs" / "attack.log").read_text().splitlines()
    return Outcome(storm, compared, _statuses(timed), evidence, summary)


def _run(fleet: StormFleet, plan: Plan, client: redis.Redis) -> Windows:
    """Let others work: undisturbed, beside the storm until its last job ended, undisturbed."""
    others = fleet.start_neighbours(plan.seed, plan.rate, plan.span_s)
    time.sleep(WARM_S)
    before = _window(plan.calm_s)
    attack = fleet.start_attack(plan.seed, plan.storm_s)
    began = time.time()
    _await(attack, plan.storm_s + START_S)
    await_ends(client, _attackers(fleet), DRAIN_S)
    storm = began, time.time()
    time.sleep(RECOVERY_S)
    after = _window(plan.calm_s)
    (fleet.folder / "enough").touch()
    _await(others, WAIT_S)
    return Windows((before, after), storm)


def _attackers(fleet: StormFleet) -> Told:
    """Return what an honest attacker was told."""
    entries = Diary(fleet.folder / "told").entries()
    return Told.read([one for one in entries if one.about.startswith(f"{ATTACKER}.")], [])


def _window(seconds: float) -> tuple[float, float]:
    began = time.time()
    time.sleep(seconds)
    return began, time.time()


def _await(client: Process, seconds: float) -> None:
    if not client.wait(seconds):
        raise PartFailed(f"{client.name} is not done\n{client.tail()}")


def _told(storm: Storm, folder: Path) -> Told:
    """Return what the clients were told, those of an honest attacker included."""
    told = Told.read(Diary(folder / "told").entries(), Diary(folder / "diary").entries())
    return replace(told, forger=ATTACKER if storm.guarded else "")


def _causes(plan: Plan, folder: Path, evidence: Evidence) -> Iterator[Finding]:
    """Check that each job ended for a reason of its own."""
    wanted = {order.number: order for order in plan.orders()}
    made = {
        entry.about: wanted.get(entry.more, Attacker())
        for entry in Diary(folder / "told").entries()
    }
    yield from of_causes(made, evidence.ends, evidence.entries, evidence.calls, evidence.journal)


def _statuses(timed: list[Timing]) -> Counter[str]:
    return Counter(f"{one.lane} {one.status}" for one in timed)
