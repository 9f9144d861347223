"""Flower in a real browser: its pages show receipts and no content.

`make test-browser`; needs Chromium (on Debian and Ubuntu: apt-get install chromium).
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request

import pytest

from forebay.producers.client import Client
from forebay.routing.jobs import Generate, Message
from forebay.routing.settings import Settings

pytestmark = pytest.mark.browser
CANARY = "kanarie"


@pytest.fixture
def flower(fleet):
    """Return Flower's address after five jobs, of which one failed."""
    fleet.start_redis()
    for part in ("router", "sweeper", "flower"):
        fleet.start(part)
    fleet.start("local", FOREBAY_ENGINE="echo")
    fleet.wait_ready()
    with Client(settings=Settings(redis_url=fleet.url)) as client:
        texts = [f"{CANARY} {i}" for i in range(4)] + [f"[[echo: say=]] {CANARY}"]
        asks = [Generate(messages=[Message(role="user", content=text)]) for text in texts]
        assert len(list(client.map(asks, timeout=30))) == 5
    time.sleep(2)  # Flower learns of tasks by events, a second late
    return fleet.flower_url


def rendered(url: str, profile) -> str:
    """Return the page's DOM after its scripts have run."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--no-first-run", "--disable-component-update", "--disable-sync", "--disable-quic"]
    flags += [f"--user-data-dir={profile}", "--virtual-time-budget=4000", "--dump-dom"]
    done = subprocess.run(
        ["chromium", *flags, url], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def tasks(flower: str) -> list[str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{flower}/api/tasks", timeout=10) as response:
        return list(json.loads(response.read()))


def test_pages_show_receipts_and_no_content(flower, tmp_path):
    local = next(task for task in tasks(flower) if task.startswith("local."))
    pages = {
        page: rendered(flower + page, tmp_path / "profile")
        for page in ("/", "/workers", "/tasks", "/broker", f"/task/{local}")
    }
    assert "forebay.local" in pages["/tasks"]
    assert "cost_usd" in pages[f"/task/{local}"]
    assert [page for page, dom in pages.items() if CANARY in dom] == []
