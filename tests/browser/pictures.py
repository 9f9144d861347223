"""Take the pictures of README.md and docs/ anew, in a real Chromium (`make pictures`).

A fleet with the packaged model and the mock of Bedrock works the demo's samples for some minutes,
and a bulk beside them. One tenant's budget is too small, and one tenant's content may not leave.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI

from chromium import PHONE, Chromium, Tab
from forebay import Client
from forebay.producers.cli.operator.readers import open_reader
from forebay.producers.cli.operator.top import screen
from forebay.routing.overview.snapshot import Snapshots
from local.demo import samples
from local.fleet import Fleet

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
PARTS = ("mock_bedrock", "router", "local", "sweeper", "bedrock", "flower", "gateway")
TENANTS = ("support", "sales", "people")
LIVE_S = 4.0  # until the parts of a page that change have come
BULK_ROWS = 2_000
MAX_HEIGHT = 1_500  # of a picture of a whole page
POLICY = """
[fleet]
daily_budget_usd = 20.0
[defaults]
daily_budget_usd = 5.0
[tenants.sales]
daily_budget_usd = 0.002
[tenants.people]
force_deny = true
"""


@contextmanager
def busy_fleet(folder: Path, seconds: float, rate: float) -> Iterator[tuple[Fleet, str]]:
    """Yield a fleet that has worked jobs for some time, and the id of one that was escalated."""
    folder.mkdir()
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    env = {"FOREBAY_POLICY_FILE": str(policy), "FOREBAY_GATEWAY_TENANT": "default"}
    with Fleet(folder, env) as fleet:
        fleet.start_redis()
        for part in PARTS:
            fleet.start(part)
        fleet.wait_ready()
        os.environ |= {"FOREBAY_REDIS_URL": fleet.url, "FOREBAY_POLICY_FILE": str(policy)}
        with summaries(folder):
            yield fleet, work(seconds, rate)


@contextmanager
def summaries(folder: Path) -> Iterator[None]:
    """Have `forebay bulk run` summarize the rows of a file meanwhile."""
    mails = folder / "mails.csv"
    text = "The parcel came wet and torn and nobody answered the phone when I called about order"
    mails.write_text("body\n" + "".join(f"{text} {n}.\n" for n in range(BULK_ROWS)))
    forebay = Path(sys.executable).with_name("forebay")
    options = f"--kind summarize --text-field body --tenant support --out {folder / 'short.csv'}"
    command = [forebay, "bulk", "run", mails, *options.split()]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as bulk:
        try:
            yield
        finally:
            bulk.terminate()


def work(seconds: float, rate: float) -> str:
    """Submit samples at an even rate; return the newest job that went up after its answer."""
    end, escalated = time.monotonic() + seconds, []
    with ExitStack() as stack:
        clients = {name: stack.enter_context(Client(tenant=name)) for name in TENANTS}
        asked = itertools.cycle(itertools.product(samples(), TENANTS))
        for number, (sample, tenant) in enumerate(asked):
            if time.monotonic() > end:
                break
            priority = "bulk" if number % 3 else "interactive"
            egress = sample.job.egress
            job_id = clients[tenant].submit(sample.job.request, egress=egress, priority=priority)
            if tenant == "support" and egress == "allow":
                escalated.append(job_id)
            time.sleep(1 / rate)
        return next(each for each in reversed(escalated) if went_up(clients["support"], each))


def went_up(client: Client, job_id: str) -> bool:
    """Return whether a job was answered by the frontier after its local answer failed."""
    receipt = client.status(job_id).receipt
    return receipt is not None and receipt.lane == "bedrock" and len(receipt.reasons) > 1


def page(tab: Tab, url: str, path: Path) -> None:
    """Take a picture of a page as it is after a moment, down to where it gets long."""
    tab.go(url)
    time.sleep(LIVE_S)
    size = tab.run("[innerWidth, document.documentElement.scrollHeight]")
    tab.resize(size[0], min(size[1], MAX_HEIGHT))
    time.sleep(1)
    tab.picture(path, whole=False)


def terminal(tab: Tab, width: int, path: Path) -> None:
    """Take a picture of `forebay top` in a terminal of this width."""
    snapshots = Snapshots(open_reader())
    before = snapshots.take()
    time.sleep(LIVE_S)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(screen(snapshots.take(), before, width))
    fonts = re.compile(r"@font-face \{.*?\}", re.DOTALL)  # they would be fetched
    svg = fonts.sub("", console.export_svg(title="forebay top", theme=DIMMED_MONOKAI))
    width_px, height_px = map(float, re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0])
    html = path.with_suffix(".html")
    html.write_text(f"<body style='margin:0'>{svg}")
    tab.resize(round(width_px), round(height_px))
    tab.go(html.as_uri())
    tab.picture(path, whole=False)
    html.unlink()


def take(fleet: Fleet, job_id: str, folder: Path, profile: Path) -> None:
    """Take all pictures."""
    status = f"{fleet.gateway_url}/status"
    with Chromium(profile) as browser:
        page(browser.tab(1280), status, folder / "status-page.png")
        page(browser.tab(1280, dark=True), status, folder / "status-page-dark.png")
        page(browser.tab(*PHONE, dark=True), status, folder / "status-page-phone.png")
        page(browser.tab(1280), f"{status}/jobs/{job_id}", folder / "status-page-job.png")
        page(browser.tab(1600, 880), f"{fleet.flower_url}/tasks", folder / "flower-jobs.png")
        for width in (80, 160):
            terminal(browser.tab(), width, folder / f"forebay-top-{width}.png")


def main() -> None:
    """Start a fleet, let it work, and take the pictures."""
    parser = argparse.ArgumentParser(description="Take the pictures of README.md and docs/ anew.")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long the fleet works first")
    parser.add_argument("--rate", type=float, default=2.0, help="jobs a second")
    parser.add_argument("--out", type=Path, default=PICTURES, help="the folder of the pictures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        with busy_fleet(folder / "fleet", options.minutes * 60, options.rate) as (fleet, job_id):
            take(fleet, job_id, options.out, folder / "profile")


if __name__ == "__main__":
    main()
