"""`make check-deploy` accepts the files that are there, and each of its tools catches a mistake."""

import shutil
import subprocess

import pytest

from local.fleet import ROOT

pytestmark = pytest.mark.deploy

PYTHON = ROOT / ".check" / "bin" / "python"
NOT_FILES_OF_OPERATORS = ("requirements", "local", "mock_bedrock", "__pycache__")

#: By tool: a file, what stands in it, the mistake in its place, and a word of the complaint.
MISTAKES = {
    "hadolint: a version that is not pinned": (
        "Dockerfile.cpu", "FROM python:${PYTHON}-slim-bookworm\n", "FROM python\n", "DL3006",
    ),
    "hadolint: a shell that is wrong": (
        "Dockerfile.cpu", "awk '/^[a-z]/", "cd /nowhere; awk '/^[a-z]/", "DL3003",
    ),
    "compose: a key that is misspelt": (
        "compose.yaml", "stop_grace_period", "stop_grace", "stop_grace",
    ),
    "compose: a health check of another type": (
        "compose.yaml", "interval: 5s", "interval: [5]", "interval",
    ),
    "compose: a network that is not declared": (
        "compose.yaml", "networks: [inside, edge]", "networks: [inside, egde]", "egde",
    ),
    "compose: a volume that is not declared": (
        "compose.yaml", "files:/var/lib", "flies:/var/lib", "flies",
    ),
    "kustomize: a patch of what is not there": (
        "kubernetes/components/files/gateway.yaml", "name: gateway\nspec", "name: gatewy\nspec",
        "gatewy",
    ),
    "kustomize: a file that is not there": (
        "kubernetes/base/kustomization.yaml", "router.yaml", "rooter.yaml", "rooter.yaml",
    ),
    "Kubernetes: a field that is misspelt": (
        "kubernetes/base/router.yaml", "livenessProbe", "livelinessProbe", "livelinessProbe",
    ),
    "Kubernetes: text in place of a number": (
        "kubernetes/base/network.yaml", "port: 443", "port: [443]", "port",
    ),
    "KEDA: a field that is misspelt": (
        "kubernetes/components/autoscaling/local.yaml", "minReplicaCount", "minReplicas",
        "minReplicas",
    ),
    "KEDA: a value of another type": (
        "kubernetes/components/autoscaling/local.yaml", "cooldownPeriod: 300",
        "cooldownPeriod: soon", "cooldownPeriod",
    ),
    "KEDA: a target that is not there": (
        "kubernetes/components/autoscaling/local.yaml", "scaleTargetRef: {name: local}",
        "scaleTargetRef: {name: lokal}", "lokal",
    ),
    "KEDA: a trigger without its threshold": (
        "kubernetes/components/autoscaling/local.yaml", 'threshold: "32"', 'treshold: "32"',
        "threshold",
    ),
    "Kubernetes: labels that no pod has": (
        "kubernetes/base/disruption.yaml", "app: router", "app: rooter", "selects no pod",
    ),
    "systemd: a key that is misspelt": (
        "systemd/forebay-.service.d/10-part.conf", "KillMode", "KilMode", "KilMode",
    ),
    "systemd: a unit that is not hardened": (
        "systemd/forebay-.service.d/10-part.conf",
        "SystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM\n", "", "exposure",
    ),
    "promtool: a key that is misspelt": (
        "prometheus/compose.yaml", "dns_sd_configs", "dns_configs", "dns_configs",
    ),
    "promtool: an alert that never fires": (
        "prometheus/alerts.yaml", "max(forebay_submits_refused) == 1",
        "max(forebay_submits_refused) == 7", "ForebaySubmitsRefused",
    ),
    "promtool: a query that is no PromQL": (
        "grafana/forebay.json", "sum by", "sum sum by", "parse",
    ),
}  # fmt: skip


#: The check that runs a tool.
CHECK_OF = {
    "hadolint": "images", "compose": "compose", "kustomize": "manifests", "Kubernetes": "manifests",
    "KEDA": "manifests", "systemd": "units", "promtool": "metrics",
}  # fmt: skip


def check(folder, *words):
    command = [PYTHON, ROOT / "deploy" / "checks" / "run.py", "--folder", folder, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


def test_the_files_have_no_mistake():
    done = check(ROOT / "deploy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok  ") == 5


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_caught(name, tmp_path):
    file, right, wrong, word = MISTAKES[name]
    deploy = tmp_path / "deploy"
    unwanted = shutil.ignore_patterns(*NOT_FILES_OF_OPERATORS)
    shutil.copytree(ROOT / "deploy", deploy, ignore=unwanted)
    text = (deploy / file).read_text()
    assert right in text
    (deploy / file).write_text(text.replace(right, wrong))
    done = check(deploy, "--only", CHECK_OF[name.partition(":")[0]])
    assert done.returncode == 1, done.stdout
    assert word in done.stdout
