"""Reads compose.yaml and the manifests into the processes that they describe."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from hosts import Container
from local.fleet import ROOT

KUBECTL = ROOT / ".check" / "bin" / "kubectl"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
ASK = """
import sys, urllib.request as web
host, url = sys.argv[1:]
web.urlopen(web.Request(url, headers={"Host": host} if host else {}), timeout=5)
"""
_VARIABLE = re.compile(r"\$\{(\w+)(?::(-|\?)([^}]*))?\}")
_REFERENCE = re.compile(r"\$\((\w+)\)")


def image_env(image: str) -> dict[str, str]:
    """Return the variables that the last stage of an image's Dockerfile sets."""
    suffix = "gpu" if image.startswith("forebay-gpu") else "cpu"
    if not image.startswith("forebay"):
        return {}
    text = (ROOT / "deploy" / f"Dockerfile.{suffix}").read_text().replace("\\\n", " ")
    stage = text.split("\nFROM ")[-1]
    pairs = [
        word for line in stage.splitlines() if line.startswith("ENV ") for word in line.split()[1:]
    ]
    found = dict(pair.split("=", 1) for pair in pairs)
    return {name: value for name, value in found.items() if name != "PATH"}


def image_files(image: str, deploy: Path) -> dict[str, Path]:
    """Return what an image holds besides the packages: by path in it, the file here."""
    if not image.startswith("forebay:"):
        return {}
    line = "COPY deploy/flowerconfig.py /opt/forebay/flowerconfig.py\n"
    assert line in (ROOT / "deploy" / "Dockerfile.cpu").read_text()
    return {"/opt/forebay/flowerconfig.py": deploy / "flowerconfig.py"}


# --- compose --------------------------------------------------------------------------------------


def interpolated(value: Any, given: Mapping[str, str]) -> Any:
    """Return a part of a compose file with its variables in place."""

    def replaced(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if given.get(name):
            return given[name]
        assert kind == "-", f"{name} is required: {rest}"
        return rest

    if isinstance(value, str):
        return _VARIABLE.sub(replaced, value)
    if isinstance(value, list):
        return [interpolated(each, given) for each in value]
    if isinstance(value, dict):
        return {key: interpolated(each, given) for key, each in value.items()}
    return value


def compose(deploy: Path, given: Mapping[str, str]) -> dict[str, Container]:
    """Return the services of compose.yaml that run a process of ours, or Redis, on any box."""
    file = yaml.safe_load((deploy / "compose.yaml").read_text())
    services = interpolated(file["services"], given)
    return {
        name: _service(name, service, deploy)
        for name, service in services.items()
        if service["image"].startswith(("forebay", "valkey"))
        and "two-cards" not in service.get("profiles", ())
    }


def _service(name: str, service: dict[str, Any], deploy: Path) -> Container:
    env = image_env(service["image"])
    for file in service.get("env_file", ()):
        lines = (deploy / file["path"]).read_text().splitlines()
        env |= dict(line.split("=", 1) for line in lines if line)
    env |= service.get("environment", {})
    mounts, writable = image_files(service["image"], deploy), list[str]()
    for volume in service.get("volumes", ()):
        source, target = volume.split(":")[:2]
        if source.startswith("."):
            mounts[target] = deploy / source
        else:
            writable.append(target)
    writable += [entry.partition(":")[0] for entry in service.get("tmpfs", ())]
    kind, *words = service.get("healthcheck", {}).get("test", ["none"])
    health = {"CMD": tuple(words), "CMD-SHELL": ("sh", "-c", *words)}.get(kind)
    if health is None and "workers" in str(service["command"]):
        health = image_health(service["image"])
    return Container(
        name=name,
        command=tuple(service["command"]),
        env=env,
        networks=tuple(service["networks"]),
        mounts=mounts,
        writable=tuple(writable),
        probes={"healthcheck": health} if health else {},
        stop_s=float(service.get("stop_grace_period", "10s").removesuffix("s")),
    )


def image_health(image: str) -> tuple[str, ...]:
    """Return the command of the health check in an image's Dockerfile."""
    suffix = "gpu" if image.startswith("forebay-gpu") else "cpu"
    text = (ROOT / "deploy" / f"Dockerfile.{suffix}").read_text()
    words = re.search(r"^HEALTHCHECK .*CMD (\[.*\])$", text, re.MULTILINE)
    assert words
    return tuple(yaml.safe_load(words[1]))


# --- Kubernetes -----------------------------------------------------------------------------------


def manifests(deploy: Path, overlay: str) -> list[dict[str, Any]]:
    """Return what kustomize makes of an overlay."""
    words = [KUBECTL, "kustomize", deploy / "kubernetes" / "overlays" / overlay]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def kubernetes(
    deploy: Path,
    overlay: str,
    secrets: Mapping[str, Mapping[str, str]],
    services: Mapping[str, str],
) -> dict[str, Container]:
    """Return the pods of an overlay.

    Args:
        deploy: a copy of the folder; config maps and secrets are written beside it.
        overlay: its name.
        secrets: by name, what the operator puts into each secret.
        services: the variables that Kubernetes gives each pod for the Services of its namespace.
    """
    all_of = manifests(deploy, overlay)
    maps = {
        each["metadata"]["name"]: each["data"] for each in all_of if each["kind"] == "ConfigMap"
    }
    found = {}
    for each in all_of:
        if each["kind"] in {"Deployment", "StatefulSet"}:
            name = each["metadata"]["name"]
            folder = deploy.parent / "volumes" / name
            labels = each["spec"]["template"]["metadata"]["labels"]
            pod = Pod(each["spec"]["template"]["spec"], folder, maps, secrets, services)
            found[name] = pod.container(name, networks(all_of, labels), deploy)
    return found


def networks(all_of: list[dict[str, Any]], labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the networks that the policies amount to for a pod with these labels."""
    rules = list(egress(all_of, labels))
    blocks = [peer for rule in rules for peer in rule["to"] if "ipBlock" in peer]
    return ("inside", "outside") if blocks else ("inside",)


def egress(all_of: list[dict[str, Any]], labels: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the rules by which a pod with these labels may reach others."""
    for policy in (each["spec"] for each in all_of if each["kind"] == "NetworkPolicy"):
        if policy["podSelector"].get("matchLabels", {}).items() <= labels.items():
            yield from policy.get("egress", ())


class Pod:
    """The one container of a pod, and its volumes."""

    def __init__(
        self,
        spec: dict[str, Any],
        folder: Path,
        maps: Mapping[str, Mapping[str, str]],
        secrets: Mapping[str, Mapping[str, str]],
        services: Mapping[str, str],
    ) -> None:
        self._spec, self._folder = spec, folder
        self._maps, self._secrets, self._services = maps, secrets, services
        (self._container,) = spec["containers"]

    def container(self, name: str, networks: tuple[str, ...], deploy: Path) -> Container:
        """Return what the pod runs."""
        image = self._container["image"]
        mounts, writable = image_files(image, deploy), list[str]()
        volumes = {volume["name"]: volume for volume in self._spec.get("volumes", ())}
        for mount in self._container["volumeMounts"]:
            source = self._source(volumes.get(mount["name"], {}))
            if source is None:
                writable.append(mount["mountPath"])
            else:
                mounts[mount["mountPath"]] = source
        probes = {kind: self._container[kind] for kind in PROBES if kind in self._container}
        return Container(
            name=name,
            command=tuple(self._container["command"]),
            env=image_env(image) | self._env(),
            networks=networks,
            mounts=mounts,
            writable=tuple(writable),
            probes={kind: self._probe(probe) for kind, probe in probes.items()},
            stop_s=float(self._spec.get("terminationGracePeriodSeconds", 30)),
        )

    def _env(self) -> dict[str, str]:
        env = dict(self._services)
        for source in self._container.get("envFrom", ()):
            env |= self._maps[source["configMapRef"]["name"]]
        for entry in sorted(self._container.get("env", ()), key=lambda each: "value" in each):
            if "value" in entry:
                env[entry["name"]] = _REFERENCE.sub(lambda match: env[match[1]], entry["value"])
            else:
                reference = entry["valueFrom"]["secretKeyRef"]
                env[entry["name"]] = self._secrets[reference["name"]][reference["key"]]
        return env

    def _source(self, volume: dict[str, Any]) -> Path | None:
        """Return the folder of a volume with files in it; `None` for an empty one."""
        if "configMap" in volume:
            files = self._maps[volume["configMap"]["name"]]
        elif "secret" in volume:
            files = self._secrets[volume["secret"]["secretName"]]
        else:
            return None
        folder = self._folder / str(volume["name"])
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (folder / file).write_text(text)
        return folder

    def _probe(self, probe: dict[str, Any]) -> tuple[str, ...]:
        if "exec" in probe:
            return tuple(probe["exec"]["command"])
        get = probe["httpGet"]
        ports = {port["name"]: port["containerPort"] for port in self._container["ports"]}
        headers = {header["name"]: header["value"] for header in get.get("httpHeaders", ())}
        url = f"http://127.0.0.1:{ports[get['port']]}{get['path']}"
        return ("python", "-c", ASK, headers.get("Host", ""), url)
