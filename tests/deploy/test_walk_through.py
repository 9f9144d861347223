"""deploy/README.md can be followed: its blocks run, and leave what the files that it starts need.

`docker` and `kubectl` write down how they were called; the rest of each block runs as it stands.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import deploy_files
from hosts import copy_of_deploy
from local.fleet import ROOT

README = (ROOT / "deploy" / "README.md").read_text()
SHIM = f"""#!{sys.executable}
import json, os, sys
def words():
    for word in sys.argv[1:]:
        option, is_file, path = word.partition("--from-env-file=")
        yield word if not is_file else option + is_file + open(path).read()
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([os.path.basename(sys.argv[0]), *words()]) + "\\n")
"""


def block(heading: str, number: int) -> str:
    """Return a block of commands below a heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)[number]


@pytest.fixture
def follow(tmp_path):
    """Return a function that runs a block in a folder, and returns how the tools were called."""
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    for name in ("docker", "kubectl"):
        (programs / name).write_text(SHIM)
        (programs / name).chmod(0o755)
    (programs / "python").symlink_to(sys.executable)

    def run(commands: str, folder: Path) -> list[list[str]]:
        env = {"PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(calls)}
        command = ["bash", "-euo", "pipefail", "-c", commands]
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return [json.loads(line) for line in calls.read_text().splitlines()]

    return run


def test_the_images_are_built_of_files_that_are_there(follow):
    for call in follow(block("One box", 0), ROOT):
        assert call[:3] == ["docker", "build", "-f"]
        assert (ROOT / call[3]).is_file()
        assert call[-1] == "."


def test_one_box_has_all_that_compose_mounts_and_reads(follow, tmp_path):
    deploy = copy_of_deploy(tmp_path)
    calls = follow(block("One box", 1), deploy)
    services = yaml.safe_load((deploy / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        for file in service.get("env_file", ()):
            assert (deploy / file["path"]).is_file(), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (deploy / source).exists(), (name, source)
    given = dict(line.split("=", 1) for line in (deploy / ".env").read_text().splitlines())
    deploy_files.interpolated(services, given)
    assert (deploy / "secrets" / "users.acl").stat().st_mode & 0o004, "Redis' own user reads it"
    assert calls[0] == ["docker", "compose", "up", "-d"]
    for call in calls[1:]:
        assert call[:4] == ["docker", "compose", "run", "--rm"]
        assert call[4] in services


def test_a_cluster_gets_the_secrets_that_the_manifests_name(follow, tmp_path):
    copy_of_deploy(tmp_path)
    calls = follow(block("A cluster", 0), tmp_path)
    made = {}
    for call in calls:
        if call[3:6] == ["create", "secret", "generic"]:
            made[call[6]] = keys(call[7])
        if call[1] == "apply":
            assert (tmp_path / call[3]).exists(), call
    for name, key in named_secrets(tmp_path / "deploy" / "kubernetes"):
        assert key in made[name], (name, key)


def keys(option: str) -> set[str]:
    """Return the keys that an option of `kubectl create secret` puts into the secret."""
    if option.startswith("--from-env-file="):
        lines = option.removeprefix("--from-env-file=").splitlines()
        return {line.partition("=")[0] for line in lines}
    if option.startswith("--from-literal="):
        return {option.removeprefix("--from-literal=").partition("=")[0]}
    return {Path(option.removeprefix("--from-file=")).name}


def named_secrets(folder: Path) -> list[tuple[str, str]]:
    """Return the secrets that manifests refer to, by name and key."""
    text = "\n".join(path.read_text() for path in folder.rglob("*.yaml"))
    found = re.findall(r"secretKeyRef: {name: ([\w-]+), key: ([\w-]+)}", text)
    found += [(name, "users.acl") for name in re.findall(r"secretName: ([\w-]+)", text)]
    assert len(found) > 5
    return found


def test_the_units_of_the_three_boxes_are_there():
    units = set(re.findall(r"`(forebay-\w+(?:@\d)?)`", README))
    assert len(units) > 5
    for unit in units:
        name = re.sub(r"@\d", "@", unit)
        assert (ROOT / "deploy" / "systemd" / f"{name}.service").is_file(), unit
