"""The Kubernetes manifests: built by kustomize, then held against the schemas of their kinds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from pydantic import BaseModel, ValidationError

from checks.tools import Problem, run

#: Kinds of KEDA, which no schema of Kubernetes knows.
KEDA: dict[str, type[BaseModel]] = {"ScaledObject": ScaledObject}


def check(deploy: Path) -> Iterator[Problem]:
    """Yield what is wrong with any manifest of any overlay."""
    for overlay in sorted((deploy / "kubernetes" / "overlays").iterdir()):
        done = run("kubectl", "kustomize", overlay)
        if done.code:
            yield Problem(f"overlay {overlay.name}", done.errors)
            continue
        for manifest in yaml.safe_load_all(done.output):
            name = f"overlay {overlay.name}, {manifest['kind']} {manifest['metadata']['name']}"
            yield from (Problem(name, message) for message in faults(manifest))


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
