"""`make up` and `make down`: keep a fleet on this machine after the command returns.

One process holds the fleet and a lock on a file for as long as it lives. The kernel knows who holds
the lock, so a pid that a crash left behind is never mistaken for a running fleet.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shlex
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local.fleet import GRACE_S, READY_S, STOP_ORDER, Fleet, free_port
from local.process import POLL_S, ROOT, TAIL_LINES, PartFailed

REVIVE_S = 2.0
FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux: kind, whence, start, length, pid
DEFAULT_PORTS = {"redis": 6379, "flower": 5555, "gateway": 8080}  # of their clients
MAX_PORT = 65_535
PARTS = ("mock_bedrock", "router", "local", "sweeper", "bedrock")


class FleetFolder:
    """The folder of a background fleet.

    It holds `lock`, which the process that runs the fleet keeps locked; `fleet.json`, the addresses
    of its parts while it is up; and `ports.json`, `logs` and `redis`, which are kept after it
    stops.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        for each in (self.path, self.logs):
            each.mkdir(mode=0o700, exist_ok=True)
        self.address_file = path / "fleet.json"
        self.log = self.logs / "fleet.log"
        self._ports_file = path / "ports.json"
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)

    def take(self) -> bool:
        """Lock the folder until this process ends. Return False if another process has it."""
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def ports(self) -> dict[str, int]:
        """Return the ports that the last fleet had: exports in open shells still name them."""
        try:
            kept = json.loads(self._ports_file.read_text())
        except (OSError, ValueError):
            return DEFAULT_PORTS
        known = {name: kept.get(name) for name in DEFAULT_PORTS} if isinstance(kept, dict) else {}
        return DEFAULT_PORTS | {
            name: port for name, port in known.items() if type(port) is int and 0 < port <= MAX_PORT
        }

    def keep_ports(self, ports: dict[str, int]) -> None:
        """Write the ports for the next fleet of this folder."""
        self._ports_file.write_text(json.dumps(ports))

    def holder(self) -> int:
        """Return the pid of the process that runs the fleet, or 0 if none does."""
        query = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, *_, pid = struct.unpack(FLOCK, fcntl.fcntl(self._lock, fcntl.F_GETLK, query))
        return 0 if kind == fcntl.F_UNLCK else int(pid)


def up(folder: FleetFolder) -> int:
    """Start a background fleet, wait until it is ready and print its addresses."""
    if folder.holder():
        print("The fleet is up already.")
        return _introduce(folder)
    folder.address_file.unlink(missing_ok=True)  # left by a fleet that was killed
    command = [sys.executable, "-m", "local.background", "run", "--folder", str(folder.path)]
    with folder.log.open("wb") as log:
        holder = subprocess.Popen(  # noqa: S603 - ourselves
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    while not folder.address_file.exists():
        if holder.poll() is not None:
            print(_failed_start(folder.log.read_text().splitlines()))
            return 1
        time.sleep(POLL_S)
    return _introduce(folder)


def _failed_start(lines: list[str]) -> str:
    """Return why the fleet did not start, the cause first, from the log of this start."""
    # A traceback is not the message of a part that failed; its cause stands at its end.
    cause = lines[-1] if any(line.startswith("Traceback") for line in lines[:1]) else ""
    return "\n".join(["The fleet did not start:", *filter(None, [cause]), *lines[: 2 * TAIL_LINES]])


def down(folder: FleetFolder) -> int:
    """Stop the fleet in order, or kill it if that takes too long."""
    pid = folder.holder()
    if not pid:
        print("No fleet is up.")
        return 0
    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(pid, signal.SIGTERM)
        if not _let_go(folder, GRACE_S * (len(STOP_ORDER) + 1)):
            os.kill(pid, signal.SIGKILL)
            _let_go(folder, GRACE_S)
    print(f"The fleet is down. Its jobs are kept in {_short(folder.path / 'redis')}.")
    return 0


def _let_go(folder: FleetFolder, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while folder.holder():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True


def run(folder: FleetFolder) -> int:
    """Run a fleet until a signal ends this process. Restart each part that ends by itself."""
    aws = _wants_aws()
    if not folder.take():
        print("Another process runs the fleet of this folder.")
        return 1
    try:
        with Fleet(folder.path) as fleet:
            ports = {name: free_port(port) for name, port in folder.ports().items()}
            _start(fleet, ports, aws=aws)
            folder.keep_ports(ports)
            _write(folder, fleet, aws=aws)
            while True:
                time.sleep(REVIVE_S)
                for proc in fleet.procs:
                    proc.rotate_log()
                for proc in fleet.revive():
                    print(f"{proc.name} had ended and was restarted", flush=True)
    except PartFailed as error:
        print(error)
        return 1
    finally:
        folder.address_file.unlink(missing_ok=True)


def _start(fleet: Fleet, ports: dict[str, int], *, aws: bool) -> None:
    fleet.start_redis(ports["redis"])
    for part in PARTS:
        if part != "mock_bedrock" or not aws:
            fleet.start(part)
    fleet.wait_ready(READY_S)
    # Flower starts last: it lists only queues that are served when it starts.
    fleet.start("flower", FLOWER_PORT=str(ports["flower"]))
    # Without keys: it listens on loopback only.
    tenant = os.environ.get("FOREBAY_TENANT", "default")
    fleet.start("gateway", PORT=str(ports["gateway"]), FOREBAY_GATEWAY_TENANT=tenant)
    fleet.wait_ready(READY_S)


def _write(folder: FleetFolder, fleet: Fleet, *, aws: bool) -> None:
    """Write the addresses atomically, so that no reader sees half a file."""
    policy = os.environ.get("FOREBAY_POLICY_FILE")
    addresses = {
        "redis": fleet.url, "flower": fleet.flower_url, "gateway": fleet.gateway_url, "aws": aws,
        "policy": str(Path(policy).absolute()) if policy else "",
    }  # fmt: skip
    draft = folder.address_file.with_suffix(".draft")
    draft.write_text(json.dumps(addresses))
    draft.rename(folder.address_file)


def _introduce(folder: FleetFolder) -> int:
    try:
        addresses: dict[str, Any] = json.loads(folder.address_file.read_text())
    except FileNotFoundError:
        print("The fleet is starting or stopping; see", _short(folder.log))
        return 0
    policy = addresses["policy"]  # without it, commands would show the budgets of the defaults
    settings = f" FOREBAY_POLICY_FILE={shlex.quote(policy)}" if policy else ""
    programs = shlex.quote(str(Path(sys.executable).parent))
    bedrock = "AWS, which costs money" if addresses["aws"] else "the local mock"
    hint = "" if addresses["aws"] else "  (for the real one: FOREBAY_BEDROCK=aws make up)"
    print(f"""
  Redis    {addresses["redis"]}
  Flower   {addresses["flower"]}
  Gateway  {addresses["gateway"]}  (OpenAI's clients: {addresses["gateway"]}/v1, any key)
  Status   {addresses["gateway"]}/status
  Bedrock  {bedrock}{hint}
  Logs     {_short(folder.logs)}

Submit a job:
  export FOREBAY_REDIS_URL={addresses["redis"]}{settings} PATH={programs}:"$PATH"
  forebay submit classify --text "My card was charged twice" --label billing --label login --wait

Stop it: make down""")
    return 0


def _wants_aws() -> bool:
    """Return True if real money may be spent. Credentials alone do not mean that it may."""
    wanted = os.environ.get("FOREBAY_BEDROCK", "mock")
    if wanted not in {"aws", "mock"}:
        raise SystemExit("FOREBAY_BEDROCK: must be aws or mock")
    return wanted == "aws"


def _short(path: Path) -> str:
    """Return the path as a person would type it in the checkout."""
    path = path.absolute()
    return shlex.quote(str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; return its exit code."""
    verbs = {"up": up, "down": down, "run": run}
    parser = argparse.ArgumentParser(description="Keep a fleet on this machine.")
    parser.add_argument("verb", choices=verbs, help="run is up in the foreground")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".forebay", help="where the fleet keeps its files"
    )
    options = parser.parse_args(arguments)
    return verbs[options.verb](FleetFolder(options.folder.absolute()))


if __name__ == "__main__":
    sys.exit(main())
