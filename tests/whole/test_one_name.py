"""No process knows a file of Forebay under a second name, such as `routing.jobs`."""

import os
import subprocess
import sys

import pytest

from forebay.producers.client import Client
from forebay.routing.jobs import Summarize
from forebay.routing.settings import Settings
from local.fleet import ROOT
from patience import until

#: Each Python process runs this at its start (`sitecustomize`), and then refuses the other names.
WATCH = """
import os, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"routing", "workers", "producers"}:
            note("refused-" + name)
            raise ImportError("imported under a second name: " + name)

def note(event):
    open(os.path.join(os.environ["WATCHED"], f"{os.getpid()}-{event}"), "w").close()

sys.meta_path.insert(0, Refuse())
note("watched")
"""
PARTS = ("mock_bedrock", "router", "local", "bedrock", "sweeper", "flower")


@pytest.fixture
def watched(tmp_path):
    """Return the environment of watched processes, and the folder for their notes."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WATCH)
    notes = tmp_path / "notes"
    notes.mkdir()
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT / "deploy")])
    return {"PYTHONPATH": path, "WATCHED": str(notes)}, notes


def refused_imports(notes):
    return [path.name for path in notes.iterdir() if "-refused-" in path.name]


def is_watched(notes, pid):
    return (notes / f"{pid}-watched").exists()


def test_actors_flower_and_mock_import_forebay_under_one_name(fleet, watched):
    env, notes = watched
    fleet.start_redis()
    for part in PARTS:
        fleet.start(part, **env, FOREBAY_ENGINE="echo")
    fleet.wait_ready()
    with Client(tenant="t", settings=Settings(redis_url=fleet.url)) as client:
        for lane in ("local", "bedrock"):
            text = Summarize(text="A parcel came wet. [[echo: says wet parcel]]", max_words=20)
            assert client.run(text, lane=lane, egress="allow", timeout=30).lane == lane
    pids = [proc.pid for proc in fleet.procs if proc.name != "redis"]
    assert len(pids) == len(PARTS)
    until(lambda: all(is_watched(notes, pid) for pid in pids))
    assert refused_imports(notes) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "forebay.producers.cli.main", "--help"],
        ["-m", "local.demo", "--help"],
        ["-m", "local.background", "--help"],
        ["-m", "forebay.workers.runtime.liveness"],
    ],
    ids=lambda arguments: arguments[1],
)
def test_programs_import_forebay_under_one_name(arguments, watched):
    env, notes = watched
    with subprocess.Popen(
        [sys.executable, *arguments], env=os.environ | env, cwd=ROOT, stdout=subprocess.DEVNULL
    ) as process:
        process.wait(60)
    assert is_watched(notes, process.pid)
    assert refused_imports(notes) == []


def test_the_watch_refuses_a_second_name(watched):
    env, notes = watched
    command = [sys.executable, "-c", "import routing.jobs"]
    done = subprocess.run(
        command, env=os.environ | env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "imported under a second name: routing" in done.stderr
    assert refused_imports(notes)
