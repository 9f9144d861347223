"""Flower in a real browser: its pages show jobs, and no content.

`make test-browser`; needs Chromium (on Debian and Ubuntu: apt-get install chromium).
"""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from urllib.parse import urlencode

import pytest

from forebay.producers.client import Client
from forebay.routing.jobs import Generate, Message
from forebay.routing.settings import Settings
from local.fleet import Fleet
from patience import until

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CANARY = "kanarie"


@pytest.fixture(scope="module")
def flower(tmp_path_factory):
    """Yield Flower's address after five jobs, of which one failed."""
    with Fleet(tmp_path_factory.mktemp("flower")) as fleet:
        run_jobs(fleet)
        yield fleet.flower_url


def run_jobs(fleet):
    fleet.start_redis()
    for part in ("router", "sweeper", "flower"):
        fleet.start(part)
    fleet.start("local", FOREBAY_ENGINE="echo")
    fleet.wait_ready()
    with Client(settings=Settings(redis_url=fleet.url), tenant="acme") as client:
        texts = [f"{CANARY} {i}" for i in range(4)] + [f"[[echo: say=]] {CANARY}"]
        asks = [Generate(messages=[Message(role="user", content=text)]) for text in texts]
        assert len(list(client.map(asks, timeout=60))) == 5
    until(lambda: [task["state"] for task in tasks(fleet.flower_url)].count("SUCCESS") == 4, 20)
    until(lambda: [task["state"] for task in tasks(fleet.flower_url)].count("FAILURE") == 1, 20)


def rendered(url: str, profile) -> str:
    """Return the page's DOM after its scripts have run."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--no-first-run", "--disable-component-update", "--disable-sync", "--disable-quic"]
    flags += [f"--user-data-dir={profile}", "--virtual-time-budget=4000", "--dump-dom"]
    done = subprocess.run(
        ["chromium", *flags, url], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def ask(url: str, data: bytes | None = None) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, data=data, timeout=10) as response:
        return response.read().decode()


def tasks(flower: str) -> list[dict]:
    return list(json.loads(ask(f"{flower}/api/tasks")).values())


def row(dom: str, job_id: str) -> str:
    """Return the words of a job's row in the list of tasks."""
    rows = [row for row in re.findall(r"<tr.*?</tr>", dom, re.DOTALL) if job_id in row]
    return re.sub(r"<[^>]+>", " ", rows[0]) if rows else ""


def test_pages_show_jobs_and_no_content(flower, tmp_path):
    known = {task["uuid"]: task for task in tasks(flower)}
    (failed,) = [job_id for job_id, task in known.items() if task["state"] == "FAILURE"]
    pages = {
        page: rendered(flower + page, tmp_path / "profile")
        for page in ("/", "/workers", "/tasks", "/broker", f"/task/{failed}")
    }
    assert {task["name"] for task in known.values()} == {"generate"}
    words = row(pages["/tasks"], failed)
    assert re.search(r"generate\s+acme\.\w+\s.*FAILURE\s+\('acme', 'deny', 'local'\)", words)
    assert sum("SUCCESS" in row(pages["/tasks"], job_id) for job_id in known) == 4
    assert "forebay." not in re.sub(r"<[^>]+>", " ", pages["/tasks"])  # no doorbell
    assert known[failed]["exception"].startswith("bad_answer: ")
    assert "bad_answer: " in pages[f"/task/{failed}"]
    assert "reasons" in pages[f"/task/{failed}"]
    assert "local1@" in pages["/workers"]
    assert [page for page, dom in pages.items() if CANARY in dom] == []


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("state:FAILURE name:generate", 1),
        ("args:acme", 5),
        ("args:beta", 0),
        ("result:bad_answer", 1),
        ("state:SUCCESS worker:local1", 4),
    ],
)
def test_the_searches_of_the_documentation_find_jobs(flower, search, found):
    query = {
        "draw": 1, "start": 0, "length": 100, "order[0][column]": 0, "order[0][dir]": "asc",
        "columns[0][data]": "name", "search[value]": search,
    }  # fmt: skip
    reply = json.loads(ask(f"{flower}/tasks/datatable?{urlencode(query)}"))
    assert reply["recordsFiltered"] == found


def test_nothing_on_a_page_acts_on_a_job(flower, tmp_path):
    job_id = next(task["uuid"] for task in tasks(flower))
    page = rendered(f"{flower}/task/{job_id}", tmp_path / "profile")
    assert not re.search(r"<button[^>]*(revoke|terminate)", page, re.IGNORECASE)
    for verb in ("revoke", "abort"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(f"{flower}/api/task/{verb}/{job_id}", data=b"")
        refused.value.close()
        assert refused.value.code in {401, 403, 404, 405}
