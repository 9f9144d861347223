"""The files that operators copy agree with the settings, with each other and with the promises."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml

import redis_acl
from forebay.producers.gateway.settings import GatewaySettings
from forebay.routing.settings import Settings
from forebay.workers.commands import doctor
from forebay.workers.runtime.drain import CLOSE_S
from forebay.workers.runtime.settings import ActorSettings
from local.fleet import ROOT

DEPLOY = ROOT / "deploy"
FILES = [
    path
    for pattern in ("Dockerfile.*", "compose*.yaml", "kubernetes/**/*.*", "systemd/**/*", "*.md")
    for path in DEPLOY.glob(pattern)
    if path.is_file()
]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
WORKERS = ("router", "local", "bedrock", "sweeper")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def manifests():
    for path in sorted((DEPLOY / "kubernetes" / "base").glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text())


def manifest(kind, name):
    (found,) = [m for m in manifests() if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found["spec"]


DEPLOYMENTS = {
    each["metadata"]["name"]: each["spec"]["template"]["spec"]
    for each in manifests()
    if each["kind"] == "Deployment"
}


def test_every_variable_in_any_file_is_a_setting():
    named = {
        (path.name, name)
        for path in FILES
        for name in re.findall(r"FOREBAY_[A-Z0-9_]*[A-Z0-9](?![A-Z0-9_*])", path.read_text())
    }
    assert len(named) > 20
    unknown = {(file, name) for file, name in named if name not in doctor.known_settings()}
    assert unknown == set()


def test_every_image_has_a_version_and_ours_has_the_version_of_the_package():
    images = re.findall(
        r"(?:image: |-t |newTag: |FROM )(\S+)", "\n".join(path.read_text() for path in FILES)
    )
    assert len(images) > 10
    for image in images:
        name, _, tag = image.replace("${VERSION:-", "").strip("}").rpartition(":")
        if "forebay" in name:
            assert tag == VERSION, image
        elif name:
            assert re.search(r"\d+\.\d+|\$\{", tag), image
    text = (DEPLOY / "kubernetes/overlays/gpu/kustomization.yaml").read_text()
    assert re.findall(r"newTag: (\S+)}", text) == [VERSION, VERSION]


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_has_longer_to_end_than_it_takes_to_drain(name):
    drained_s = ActorSettings().grace_s + CLOSE_S
    assert DEPLOYMENTS[name]["terminationGracePeriodSeconds"] > drained_s
    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > drained_s
    unit = (DEPLOY / "systemd" / "forebay-.service.d" / "10-part.conf").read_text()
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[1]) > drained_s
    assert SERVICES[name]["environment"]["FOREBAY_GRACE_S"] == f"{ActorSettings().grace_s:g}"


def test_a_gateway_has_longer_to_end_than_its_requests():
    grace_s = GatewaySettings().gateway_grace_s
    pod = DEPLOYMENTS["gateway"]
    before_s = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > before_s + grace_s
    assert int(SERVICES["gateway"]["stop_grace_period"].removesuffix("s")) > grace_s


@pytest.mark.parametrize("name", [*WORKERS, "gateway", "flower"])
def test_all_ways_of_running_a_part_run_the_same_command(name):
    command = SERVICES[name]["command"]
    assert DEPLOYMENTS[name]["containers"][0]["command"] == command
    units = [*(DEPLOY / "systemd").glob(f"forebay-{name}*.service")]
    for unit in units:
        started = re.search(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)[1]
        words = started.removeprefix("/opt/forebay/venv/bin/").replace("%%", "%").split()
        # A machine runs several of a part, each under a name of its own; its gateway stands alone.
        named = [word.replace(f"{name}%i@", f"{name}@") for word in words]
        assert named == [word.replace("0.0.0.0", "127.0.0.1") for word in command]
    assert bool(units) == (name != "flower")


def test_only_the_bedrock_worker_has_a_network_with_a_way_out():
    networks = COMPOSE["networks"]
    assert networks["inside"] == {"internal": True}
    masquerade = "com.docker.network.bridge.enable_ip_masquerade"
    assert networks["edge"]["driver_opts"] == {masquerade: "false"}
    assert {name for name, each in SERVICES.items() if "outside" in each["networks"]} == {"bedrock"}
    assert {name for name, each in SERVICES.items() if "ports" in each} == {
        name for name, each in SERVICES.items() if "edge" in each["networks"]
    }
    unlocked = [
        unit.name
        for unit in (DEPLOY / "systemd").glob("*.service")
        if "IPAddressAllow=any" in unit.read_text().splitlines()
    ]
    assert unlocked == ["forebay-bedrock@.service"]


def test_only_the_bedrock_pod_may_reach_addresses_beyond_the_cluster():
    allowed = {
        each["metadata"]["name"]: (each["spec"]["podSelector"], rule["to"])
        for each in manifests()
        if each["kind"] == "NetworkPolicy"
        for rule in each["spec"].get("egress", ())
    }
    assert allowed.keys() == {"clients-to-redis", "bedrock-to-aws"}
    assert allowed["clients-to-redis"][1] == [{"podSelector": {"matchLabels": {"app": "redis"}}}]
    assert allowed["bedrock-to-aws"][0] == {"matchLabels": {"app": "bedrock"}}
    nothing = manifest("NetworkPolicy", "nothing")
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_a_local_pod_is_never_scaled_away_without_figures_or_with_jobs_in_flight():
    scaled = yaml.safe_load((DEPLOY / "kubernetes/components/autoscaling/local.yaml").read_text())
    spec = scaled["spec"]
    assert spec["fallback"]["replicas"] >= 1
    deployment = manifest("Deployment", spec["scaleTargetRef"]["name"])
    assert "replicas" not in deployment, "apply would set back what the autoscaler has set"
    for trigger in spec["triggers"]:
        assert trigger["metadata"]["ignoreNullValues"] == "false"
    query = spec["triggers"][0]["metadata"]["query"]
    assert {"forebay_queue_jobs", "forebay_queue_shards", "forebay_jobs_running"} <= metrics(query)


def test_every_metric_that_a_file_names_is_documented():
    documented = metrics((ROOT / "docs" / "metrics.md").read_text())
    named = metrics("\n".join(path.read_text() for path in FILES))
    assert named
    assert named <= documented


def metrics(text):
    return set(re.findall(r"\bforebay_[a-z_]+\b", text))


def test_each_user_of_redis_gets_a_file_of_settings(tmp_path):
    passwords = redis_acl.write(tmp_path, ["support"])
    redis_acl.write_settings(tmp_path, "rediss://redis.example:6380/2", passwords)
    for user in ("worker", "sweeper", "flower", "gateway", "operator", "producer-support"):
        path = tmp_path / f"{user}.env"
        assert path.stat().st_mode & 0o077 == 0
        name, url = path.read_text().strip().split("=", 1)
        assert name == "FOREBAY_REDIS_URL"
        assert url == f"rediss://{user}:{passwords[user]}@redis.example:6380/2"
        assert Settings(redis_url=url).redis_url == url


@pytest.mark.parametrize("url", ["http://redis", "redis://", "redis://me:secret@redis", "redis"])
def test_an_address_that_is_no_redis_is_refused(url, tmp_path):
    words = [sys.executable, DEPLOY / "redis_acl.py", "--out", tmp_path, "--url", url, "support"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "argument --url: must be redis://HOST:PORT/DATABASE" in done.stderr
    assert not [*tmp_path.iterdir()]


def test_the_units_are_installed_and_settings_that_are_there_are_kept(tmp_path):
    settings = tmp_path / "etc" / "forebay"
    install_units(tmp_path, "10.0.0.5")
    assert (settings / "policy.toml").read_text() == (DEPLOY / "policy.toml").read_text()
    mine = {"forebay.env": "FOREBAY_POOL=mine\n", "policy.toml": "[defaults]\n"}
    for name, text in mine.items():
        (settings / name).write_text(text)
    install_units(tmp_path, "10.0.0.6")
    assert {name: (settings / name).read_text() for name in mine} == mine
    installed = tmp_path / "etc" / "systemd" / "system"
    names = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    ours = DEPLOY / "systemd"
    units = {str(path.relative_to(ours)) for path in ours.rglob("*") if path.is_file()}
    assert names == units - {"forebay.sysusers"} | {"forebay-.service.d/20-redis.conf"}
    drop_in = (installed / "forebay-.service.d" / "20-redis.conf").read_text()
    assert drop_in == "[Service]\nIPAddressAllow=10.0.0.6\n"


def install_units(folder, address):
    words = ["make", "install-systemd", f"DESTDIR={folder}", f"REDIS={address}"]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)


def test_no_two_local_workers_of_compose_share_a_card():
    cards = yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text())["services"]
    assert len(cards) == 2
    taken = []
    for service in cards.values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        taken += device["device_ids"]
        assert service["image"].startswith("forebay-gpu:")
        assert service["environment"] == cards["local"]["environment"]
    differs = {"profiles", "command", "networks"}
    assert {
        key for key, value in SERVICES["local1"].items() if value != SERVICES["local"].get(key)
    } == differs
    assert SERVICES["local1"]["command"][:-1] == SERVICES["local"]["command"][:-1]
    assert SERVICES["local1"]["command"][-1] == "local1@%h"
    assert "local" in SERVICES["local1"]["networks"]["inside"]["aliases"]
    assert len(set(taken)) == len(cards)


def test_the_files_of_the_gateway_are_in_a_volume_that_outlives_it():
    gateway = COMPOSE["services"]["gateway"]
    path = gateway["environment"]["FOREBAY_GATEWAY_FILES"]
    volumes = dict(volume.split(":")[:2] for volume in gateway["volumes"])
    (kept,) = (name for name, target in volumes.items() if path.startswith(f"{target}/"))
    assert kept in COMPOSE["volumes"]
    folder = DEPLOY / "kubernetes" / "components" / "files"
    patch = yaml.safe_load((folder / "gateway.yaml").read_text())["spec"]["template"]["spec"]
    (mount,) = patch["containers"][0]["volumeMounts"]
    assert path.startswith(f"{mount['mountPath']}/")
    assert f"value: {path}" in (DEPLOY / "kubernetes" / "base" / "gateway.yaml").read_text()
    claim = yaml.safe_load((folder / "claim.yaml").read_text())
    (volume,) = patch["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert mount["mountPath"] in (DEPLOY / "Dockerfile.cpu").read_text()
