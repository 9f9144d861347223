"""Names in one place of a file that must stand in another: no schema compares the two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Manifest = dict[str, Any]

#: What a trigger of this type needs (https://keda.sh/docs/latest/scalers/prometheus/).
PROMETHEUS = ("serverAddress", "query", "threshold")


def undeclared(file: dict[str, Any]) -> Iterator[str]:
    """Yield the networks, volumes and services that a compose file uses and does not declare."""
    services = file.get("services", {})
    for name, service in services.items():
        for other in service.get("depends_on", ()):
            if other not in services:
                yield f"{name} depends on {other}, which is no service"
        for network in service.get("networks", ()):
            if network not in file.get("networks", {}):
                yield f"{name} is on {network}, which is not below networks:"
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source[0] not in "./$~" and source not in file.get("volumes", {}):
                yield f"{name} mounts {source}, which is not below volumes:"


def loose_ends(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Yield what manifests name among themselves, and what is not there."""
    known = {(each["kind"], each["metadata"]["name"]) for each in manifests}
    pods = [each["spec"]["template"] for each in manifests if "template" in each.get("spec", {})]
    labels = [pod["metadata"].get("labels", {}) for pod in pods]
    for each in manifests:
        name = f"{each['kind']} {each['metadata']['name']}"
        if not all(_fits(wanted, labels) for wanted in _wanted(each)):
            yield f"{name} selects no pod"
        if each["kind"] == "ScaledObject":
            yield from (f"{name} {fault}" for fault in _of_scaling(each["spec"], known))
    for pod in pods:
        for kind, wanted in _needs(pod["spec"]):
            if (kind, wanted) not in known:
                yield f"a pod needs the {kind} {wanted}, which is not there"


def _wanted(manifest: Manifest) -> Iterator[dict[str, str]]:
    """Yield the labels by which a manifest selects pods; an empty selector means all of them."""
    spec = manifest.get("spec", {})
    if manifest["kind"] == "Service":
        yield spec["selector"]
        return
    for key in ("selector", "podSelector"):
        yield spec.get(key, {}).get("matchLabels", {})


def _fits(wanted: dict[str, str], labels: Sequence[dict[str, str]]) -> bool:
    return not wanted or any(wanted.items() <= each.items() for each in labels)


def _of_scaling(spec: Manifest, known: set[tuple[str, str]]) -> Iterator[str]:
    target = spec["scaleTargetRef"]
    if (target.get("kind", "Deployment"), target["name"]) not in known:
        yield f"scales {target['name']}, which is not there"
    for trigger in spec["triggers"]:
        missing = [key for key in PROMETHEUS if key not in trigger["metadata"]]
        if trigger["type"] == "prometheus" and missing:
            yield f"has a trigger without {', '.join(missing)}"


def _needs(pod: Manifest) -> Iterator[tuple[str, str]]:
    """Yield kind and name of what a pod needs. Secrets and models are the operator's."""
    if account := pod.get("serviceAccountName"):
        yield "ServiceAccount", account
    for volume in pod.get("volumes", ()):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
    for container in pod["containers"]:
        for source in container.get("envFrom", ()):
            if "configMapRef" in source:
                yield "ConfigMap", source["configMapRef"]["name"]
