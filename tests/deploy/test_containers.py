"""What compose.yaml and the manifests name is there: commands, variables, probes and networks.

Each container is a process here, with the same command, environment, mounts, read-only root and
networks (`hosts.py`), beside a mock of Bedrock in a network that only a bedrock worker reaches.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

import deploy_files
import redis_acl
from hosts import PROGRAMS, WORLD, WORLD_ADDRESS, Hosts, copy_of_deploy, missing
from local.fleet import MOCK_ENV, ROOT, get_binary_path
from patience import until

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(400)]

BEDROCK_PORT = 8443
#: The mock listens on loopback only; here it stands for AWS.
MOCK = """
from mock_bedrock import server
loopback = server.Server
server.Server = lambda address, handler: loopback(("0.0.0.0", address[1]), handler)
server.main()
"""
PING = """#!/bin/sh
exec python -c '
import redis
try:
    print(redis.Redis().ping() and "PONG")
except redis.AuthenticationError:
    print("NOAUTH")
except redis.RedisError as error:
    print(error)
'
"""
REACH = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
except OSError as error:
    print(error)
else:
    print("reached")
"""
RESOLVE = (
    "import socket\ntry: print(socket.gethostbyname('example.org'))\nexcept OSError: print('no')"
)
SCRAPE = (
    "import sys, urllib.request as web; print(web.urlopen(sys.argv[1], timeout=5).read().decode())"
)
ASK = """
import sys, urllib.request as web
url, name, value = sys.argv[1:]
print(web.urlopen(web.Request(url, headers={name: value}), timeout=5).status)
"""
UPLOAD = """
import sys, urllib.error, urllib.request as web
head = "--x\\r\\ncontent-disposition: form-data; name="
parts = ('"purpose"\\r\\n\\r\\nbatch', '"file"; filename="a"\\r\\n\\r\\n{}')
body = "".join(f"{head}{part}\\r\\n" for part in parts) + "--x--\\r\\n"
request = web.Request("http://127.0.0.1:8080/v1/files", body.encode(), {
    "authorization": f"Bearer {sys.argv[1]}", "content-type": "multipart/form-data; boundary=x"})
try:
    print(web.urlopen(request, timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""
WORKERS = ("router", "local", "bedrock", "sweeper")


@pytest.fixture(scope="module", params=["compose", "kubernetes"])
def hosts(request, tmp_path_factory):
    """Start all containers that the files of one kind describe; wait until their probes pass."""
    if why := missing():
        assert not os.environ.get("CI"), why
        pytest.skip(why)
    folder = tmp_path_factory.mktemp(request.param)
    deploy = copy_of_deploy(folder)
    containers = prepare_compose(deploy) if request.param == "compose" else prepare_pods(deploy)
    shims(containers["redis"], folder)
    with Hosts(folder, list(containers.values())) as running:
        samples = ROOT / "deploy" / "local" / "samples.jsonl"
        words = ["-c", MOCK, "--port", str(BEDROCK_PORT), "--samples", samples]
        running.start_outside(WORLD, sys.executable, *words, PYTHONPATH=str(ROOT / "deploy"))
        for name in running.containers:
            if name not in {"doctor", "flower"}:
                running.start(name)
        for name in running.processes.keys() & running.containers.keys():
            wait_well(running, name)
        running.start("flower")
        wait_well(running, "flower")
        yield running


def wait_well(running, name):
    process = running.processes[name]

    def well():
        assert process.alive, process.tail()
        return running.well(name)

    until(well, 150)


def prepare_compose(deploy):
    """Do what the README says before `docker compose up`."""
    passwords = redis_acl.write(deploy / "secrets", ["support"])
    redis_acl.write_settings(deploy / "secrets", "redis://redis:6379/0", passwords)
    (deploy / "secrets" / "aws.env").write_text(lines_of(aws()))
    (deploy / "policy").mkdir()
    (deploy / "policy" / "policy.toml").write_text((deploy / "policy.toml").read_text())
    (deploy / "models").mkdir()
    given = {
        "FLOWER_BASIC_AUTH": "ops:secret", "GRAFANA_PASSWORD": "secret", "FOREBAY_ENGINE": "echo",
    }  # fmt: skip
    return deploy_files.compose(deploy, given)


def prepare_pods(deploy):
    """Do what the README says before `kubectl apply -k`."""
    passwords = redis_acl.write(deploy / "secrets", ["support"])
    engine = deploy / "kubernetes" / "overlays" / "cpu" / "local.yaml"
    engine.write_text(engine.read_text().replace("value: llamacpp", "value: echo"))
    secrets = {
        "redis-users": {"users.acl": (deploy / "secrets" / "users.acl").read_text()},
        "redis-passwords": passwords,
        "flower": {"basic-auth": "ops:secret"},
    }
    services = {"REDIS_SERVICE_HOST": "redis", "REDIS_SERVICE_PORT": "6379"}
    containers = deploy_files.kubernetes(deploy, "cpu", secrets, services)
    containers["bedrock"].env.update(aws())
    return containers


def aws():
    return MOCK_ENV | {"FOREBAY_BEDROCK_ENDPOINT": f"http://{WORLD_ADDRESS}:{BEDROCK_PORT}"}


def lines_of(env):
    return "".join(f"{name}={value}\n" for name, value in env.items())


def shims(redis, folder):
    """Put the server that tests use, and a client that can ping, where the image has its own."""
    (folder / "valkey-cli").write_text(PING)
    (folder / "valkey-cli").chmod(0o755)
    programs = {"valkey-server": get_binary_path(), "valkey-cli": folder / "valkey-cli"}
    redis.mounts.update({f"/usr/local/bin/{name}": path for name, path in programs.items()})
    redis.env.setdefault("PATH", PROGRAMS)


def forebay(hosts, user, *words, **env):
    """Run the command line under a user of Redis, in the network of the gateway."""
    url = hosts.containers["gateway"].env["FOREBAY_REDIS_URL"]
    password = (hosts.folder / "deploy" / "secrets" / "passwords.txt").read_text()
    known = dict(line.split() for line in password.splitlines())
    url = f"redis://{user}:{known[user]}@{url.rpartition('@')[2]}"
    return hosts.run("gateway", "forebay", *words, FOREBAY_REDIS_URL=url, **env)


def submit(hosts, *words):
    done = forebay(hosts, "gateway", "submit", *words, "--wait", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def test_every_probe_of_every_container_passes(hosts):
    probed = {name for name, each in hosts.containers.items() if each.probes}
    assert probed == {"redis", *WORKERS, "gateway", "flower"}
    for name in sorted(probed):
        assert hosts.well(name), hosts.processes[name].tail()


def test_jobs_that_stay_and_jobs_that_leave_are_answered(hosts):
    stays = submit(hosts, "classify", "twice", "--label", "billing", "--label", "login")
    assert stays["lane"] == "local"
    leaves = submit(hosts, "summarize", "a text", "--egress", "allow", "--lane", "bedrock")
    assert (leaves["lane"], leaves["stand_in"]) == ("bedrock", True)


def test_only_the_bedrock_worker_reaches_beyond_the_fleet(hosts):
    reached = {
        name: hosts.run(name, "python", "-c", REACH, WORLD_ADDRESS, str(BEDROCK_PORT)).stdout
        for name in hosts.processes.keys() & hosts.containers.keys()
    }
    assert reached.pop("bedrock") == "reached\n"
    assert set(reached.values()) == {"[Errno 101] Network is unreachable\n"}


def test_the_gateway_takes_keys_and_flower_a_password(hosts):
    made = forebay(hosts, "operator", "keys", "create", "--tenant", "support")
    assert made.returncode == 0, made.stderr
    flower = "http://127.0.0.1:5555/api/workers"
    denied = hosts.run("flower", "python", "-c", ASK, flower, "X-None", "1")
    assert "401" in denied.stderr
    basic = "Basic b3BzOnNlY3JldA=="
    shown = hosts.run("flower", "python", "-c", ASK, flower, "Authorization", basic)
    assert shown.stdout == "200\n", shown.stderr
    keyless = hosts.run(
        "gateway", "python", "-c", ASK, "http://127.0.0.1:8080/v1/models", "X-None", "1"
    )
    assert "401" in keyless.stderr


def test_the_gateway_keeps_files_where_a_volume_is_or_says_what_is_missing(hosts, request):
    made = forebay(hosts, "operator", "keys", "create", "--tenant", "support", "--json")
    done = hosts.run("gateway", "python", "-c", UPLOAD, json.loads(made.stdout)["key"])
    if request.node.callspec.params["hosts"] == "compose":
        assert done.stdout == "200\n", done.stdout + done.stderr
    else:  # without the component `files`
        assert done.stdout.startswith("503 "), done.stdout + done.stderr
        assert "FOREBAY_GATEWAY_FILES: the folder /var/lib/forebay/files" in done.stdout


def test_every_worker_and_the_gateway_can_be_scraped(hosts):
    for name, port in {**dict.fromkeys(WORKERS, 9101), "gateway": 8080}.items():
        url = f"http://{hosts.address(name)}:{port}/metrics"
        done = hosts.run("redis", "python", "-c", SCRAPE, url)
        assert "forebay_" in done.stdout, f"{name}: {done.stderr}"


def test_doctor_finds_nothing_that_fails(hosts):
    done = forebay(hosts, "operator", "doctor", "--json", FOREBAY_HEARTBEAT_FILE="", **aws())
    found = json.loads(done.stdout)["checks"]
    failed = [one for one in found if one["state"] == "fail"]
    assert failed == [], failed
    served = {one["name"] for one in found if one["state"] == "ok"}
    assert served >= {"queue route", "queue local.default", "queue bedrock", "queue sweep"}


def test_every_container_ends_in_time_after_a_sigterm(hosts):
    names = [name for name in hosts.processes if name in hosts.containers and name != "redis"]
    for name in names:
        hosts.processes[name].send(signal.SIGTERM)
    for name in names:
        process = hosts.processes[name]
        assert process.wait(hosts.containers[name].stop_s), f"{name}\n{process.tail()}"
    hosts.processes["redis"].send(signal.SIGTERM)
    assert hosts.processes["redis"].wait(hosts.containers["redis"].stop_s)
