"""Hosts on this machine, as containers are: each with a network and a root folder of its own.

They are made of network and mount namespaces, which takes root. Addresses of the world outside are
those that are set aside for documentation; nothing leaves this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from local.fleet import ROOT
from local.process import Process

WORLD = "world"  # the host outside
WORLD_ADDRESS = "203.0.113.10"
PROGRAMS = f"{ROOT}/.venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin"


def missing() -> str:
    """Return why hosts cannot be made here, or an empty text."""
    if os.geteuid():
        return "network namespaces need root"
    words = ["unshare", "--net", "--mount", "true"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stderr.strip()


@dataclass(frozen=True)
class Container:
    """A process as a compose file or a manifest describes it.

    Attributes:
        networks: the networks that it is on.
        mounts: by path in the container, the file or folder here.
        writable: paths that it may write to; everything else is read-only.
        probes: by name, the command of a probe, run inside.
        stop_s: so long after a SIGTERM it would be killed.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    networks: tuple[str, ...] = ("inside",)
    mounts: Mapping[str, Path] = field(default_factory=dict)
    writable: tuple[str, ...] = ("/tmp", "/run/forebay")
    probes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stop_s: float = 10.0


class Hosts:
    """A host for each container and one outside, wired as their networks say.

    A host on `outside` reaches the world; a host that is on internal networks only has no route
    beyond them.
    """

    def __init__(self, folder: Path, containers: Sequence[Container]) -> None:
        self.folder = folder
        self.containers = {each.name: each for each in containers}
        self.processes: dict[str, Process] = {}
        self._prefix = f"fb{os.getpid()}"
        networks = sorted({name for each in containers for name in each.networks} | {"outside"})
        self._numbers = {name: 210 + i for i, name in enumerate(networks)}
        self._made: list[str] = []
        members = {each.name: each.networks for each in containers} | {WORLD: ("outside",)}
        self._addresses = {
            name: {network: f"10.{self._numbers[network]}.0.{i}" for network in names}
            for i, (name, names) in enumerate(members.items(), start=2)
        }

    def __enter__(self) -> Self:
        self._namespace("switch")
        for network in self._numbers:
            self._ip("switch", f"link add {network} type bridge")
            self._ip("switch", f"link set {network} up")
        for name, addresses in self._addresses.items():
            self._namespace(name)
            for network, address in addresses.items():
                self._plug(name, network, address)
        self._ip(WORLD, f"addr add {WORLD_ADDRESS}/32 dev lo")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill_group()
        for name in self._made:
            subprocess.run(["ip", "netns", "del", name], check=False)

    def address(self, name: str, network: str = "inside") -> str:
        """Return the address of a host on a network."""
        return self._addresses[name][network]

    def start(self, name: str) -> Process:
        """Start the container of a host."""
        container = self.containers[name]
        place = self.folder / name
        script = self._enter_root(container, place)
        words = [*self._inside(name), "unshare", "--mount", "sh", "-c", script, *container.command]
        env = {"PATH": PROGRAMS, **container.env}
        self.processes[name] = Process(
            name, words, env=env, log=place / "log", ready=lambda _: True
        )
        return self.processes[name]

    def start_outside(self, name: str, *command: str | Path, **env: str) -> Process:
        """Start a process in a host's network and in this machine's folders."""
        words = [*self._inside(name), *command]
        log = self.folder / f"{name}.outside.log"
        given = {"PATH": PROGRAMS, **env}
        process = Process(name, words, env=given, log=log, ready=lambda _: True)
        self.processes[f"{name} outside"] = process
        return process

    def run(self, name: str, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command where the container of a host runs, with its environment."""
        pid = str(self.processes[name].pid)
        words = ["nsenter", "--target", pid, "--mount", "--net", "--root", "--wd", *command]
        given = {"PATH": PROGRAMS, **self.containers[name].env, **env}
        return subprocess.run(
            words, env=given, capture_output=True, text=True, timeout=60, check=False
        )

    def well(self, name: str) -> bool:
        """Return whether all probes of a container pass."""
        probes = self.containers[name].probes.values()
        return all(self.run(name, *probe).returncode == 0 for probe in probes)

    def _enter_root(self, container: Container, place: Path) -> str:
        """Lay out a root folder; return the script that enters it and becomes the command."""
        skeleton, root = place / "skeleton", place / "root"
        for each in (skeleton / "etc", root):
            each.mkdir(parents=True)
        (skeleton / "etc" / "hosts").write_text(self._hosts_file(container))
        # Layers of an overlay may not lie within each other, so what goes on top is copied out.
        layer = place / "layer"
        layer.mkdir()
        lines = ["set -e", f"mount -t tmpfs tmpfs {layer}", f"cp -a {skeleton}/. {layer}"]
        lines.append(f"mount -t overlay overlay -o lowerdir={layer}:/ {root}")
        lines += [f"mount --rbind /{name} {root}/{name}" for name in ("proc", "dev")]
        for path in container.writable:
            (skeleton / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
            lines.append(f"mount -t tmpfs -o mode=1777 tmpfs {root}{path}")
        for path, source in container.mounts.items():
            point = skeleton / path.lstrip("/")
            point.parent.mkdir(parents=True, exist_ok=True)
            point.mkdir(exist_ok=True) if source.is_dir() else point.touch()
            lines.append(f"mount --bind -o ro {source} {root}{path}")
        # The checkout, if one of the folders above has hidden it.
        lines += [f"mkdir -p {root}{ROOT}", f"mount --rbind {ROOT} {root}{ROOT}"]
        leash = "setpriv --pdeathsig KILL --no-new-privs --"
        lines.append(f'exec chroot {root} {leash} "$0" "$@"')
        return "\n".join(lines)

    def _hosts_file(self, container: Container) -> str:
        lines = ["127.0.0.1 localhost"]
        for name, addresses in self._addresses.items():
            shared = [addresses[network] for network in container.networks if network in addresses]
            lines += [f"{shared[0]} {name}"] if shared else []
        return "\n".join(lines) + "\n"

    def _plug(self, name: str, network: str, address: str) -> None:
        """Connect a host with a network."""
        port = f"{self._addresses[name][network].rpartition('.')[2]}n{self._numbers[network]}"
        switch = f"{self._prefix}-switch"
        self._ip(name, f"link add {network} type veth peer name {port} netns {switch}")
        self._ip("switch", f"link set {port} master {network}")
        self._ip("switch", f"link set {port} up")
        self._ip(name, f"addr add {address}/24 dev {network}")
        self._ip(name, f"link set {network} up")
        if network == "outside" and name != WORLD:
            self._ip(name, f"route add default via {self._addresses[WORLD]['outside']}")

    def _namespace(self, name: str) -> None:
        full = f"{self._prefix}-{name}"
        subprocess.run(["ip", "netns", "add", full], check=True)
        self._made.append(full)
        self._ip(name, "link set lo up")

    def _ip(self, name: str, words: str) -> None:
        subprocess.run(["ip", "-n", f"{self._prefix}-{name}", *words.split()], check=True)

    def _inside(self, name: str) -> list[str]:
        return ["ip", "netns", "exec", f"{self._prefix}-{name}"]


def copy_of_deploy(folder: Path) -> Path:
    """Return a copy of what an operator copies."""
    unwanted = shutil.ignore_patterns("requirements", "local", "mock_bedrock", "__pycache__")
    return Path(shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=unwanted))
