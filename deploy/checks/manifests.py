"""The Kubernetes manifests: built by kustomize, then held against the schemas of their kinds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from pydantic import BaseModel, ValidationError

from checks.references import loose_ends
from checks.tools import Problem, run

#: The base with one component.
WITH_COMPONENT = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: ["{folder}/base"]
components: ["{folder}/components/{name}"]
"""

#: Kinds of KEDA, which no schema of Kubernetes knows.
KEDA: dict[str, type[BaseModel]] = {"ScaledObject": ScaledObject}


def check(deploy: Path) -> Iterator[Problem]:
    """Yield what is wrong with any manifest of any overlay."""
    folder = deploy / "kubernetes"
    for overlay in sorted((folder / "overlays").iterdir()):
        yield from _of_build(f"overlay {overlay.name}", overlay)
    for component in sorted((folder / "components").iterdir()):
        with tempfile.TemporaryDirectory() as name:
            beside = os.path.relpath(folder, Path(name).resolve())  # kustomize takes no other path
            text = WITH_COMPONENT.format(folder=beside, name=component.name)
            (Path(name) / "kustomization.yaml").write_text(text)
            yield from _of_build(f"component {component.name}", Path(name))


def _of_build(name: str, folder: Path) -> Iterator[Problem]:
    """Yield what is wrong with what kustomize makes of a folder."""
    done = run("kubectl", "kustomize", folder)
    if done.code:
        yield Problem(name, done.errors)
        return
    made = list(yaml.safe_load_all(done.output))
    found = [
        Problem(f"{name}, {manifest['kind']} {manifest['metadata']['name']}", message)
        for manifest in made for message in faults(manifest)
    ]  # fmt: skip
    # What has another shape than its schema says cannot be read any further.
    yield from found or (Problem(name, message) for message in loose_ends(made))


def faults(manifest: dict[str, Any]) -> Iterator[str]:
    """Yield what the schema or the model of its kind has against a manifest."""
    try:
        if manifest["kind"] in KEDA:
            read = KEDA[manifest["kind"]].model_validate(manifest)
            known = read.model_dump(mode="json", by_alias=True, exclude_unset=True)
            yield from (f"{path} is not known" for path in unknown(manifest, known))
        else:
            version = kubernetes_validate.latest_version()
            kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        yield str(error)
    except ValidationError as error:
        yield str(error)


def unknown(given: Any, known: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of fields that a model ignored, because it does not know them."""
    if isinstance(given, dict):
        for key, value in given.items():
            place = f"{path}.{key}".lstrip(".")
            if not isinstance(known, dict) or key not in known:
                yield place
            else:
                yield from unknown(value, known[key], place)
    elif isinstance(given, list):
        for index, value in enumerate(given):
            yield from unknown(value, known[index], f"{path}[{index}]")
