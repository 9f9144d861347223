"""The status page in a real Chromium: `make test-browser`."""

from __future__ import annotations

import json
import signal

import pytest

from chromium import PHONE, Chromium
from forebay.routing.books.job_book import JobBook
from forebay.routing.books.job_counts import JobGroup, job_counts
from forebay.routing.books.job_history import History
from ledger_jobs import job as made
from ledger_jobs import put
from patience import until
from status_site import HOSTILE

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LIVE = "document.getElementById('live').dataset.state === 'live'"
#: Elements that reach beyond the right edge of the window.
WIDE = """[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right
    > innerWidth + 1 && !e.closest('.unseen') && getComputedStyle(e).clipPath === 'none')
    .map(e => e.outerHTML.slice(0, 80))"""
#: Keeps what moves, also what the browser has not told yet when `look` is called.
WATCH = """
    window.moved = []; window.updates = 0;
    window.keep = entries => moved.push(...entries.flatMap(entry => entry.sources)
        .map(source => source.node?.outerHTML.slice(0, 200)));
    window.watch = new PerformanceObserver(list => keep(list.getEntries()));
    watch.observe({type: 'layout-shift'});
    window.look = () => keep(watch.takeRecords());
    window.parts = () => document.querySelectorAll('*').length;
    document.addEventListener('htmx:sse:after:message', () => { updates += 1 });
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def open_tab(browser):
    """Open tabs that are closed after the test."""
    opened = []

    def open_tab(*size, **options):
        opened.append(browser.tab(*size, **options))
        return opened[-1]

    yield open_tab
    for tab in opened:
        tab.close()


@pytest.fixture
def sign_in(site, open_tab):
    """Open a tab, and sign in there as a person does."""

    def sign_in(*scopes, tenant="ops", size=(1280, 900), **options):
        tab = open_tab(*size, **options)
        tab.go(f"{site.url}/status")
        tab.until("location.pathname === '/status/sign-in'")
        tab.type("#key", site.key(tenant, *(scopes or ("operator", "admin"))))
        tab.click("button.main")
        tab.until(f"location.pathname === '/status' && {LIVE}")
        return tab

    return sign_in


def test_a_person_signs_in_with_the_keyboard_and_out_again(site, open_tab):
    tab = open_tab()
    tab.go(f"{site.url}/status/sign-in")
    assert tab.run("document.activeElement.id") == "key"
    tab.type("#key", "wrong")
    tab.press("Enter")
    tab.until("document.querySelector('#error')")
    assert "not valid" in tab.text("#error")
    tab.type("#key", site.key("ops", "operator"))
    tab.press("Enter")
    tab.until(f"location.pathname === '/status' && {LIVE}")
    assert tab.run("document.cookie") == ""  # no script can read it
    tab.press("Tab")
    assert tab.run("document.activeElement.className") == "skip"
    tab.click(".who button")
    tab.until("location.pathname === '/status/sign-in'")
    assert not [words for words in tab.complaints if "401" not in words]


def test_the_page_follows_the_fleet_without_being_loaded_again(site, sign_in):
    tab = sign_in()
    tab.run("window.kept = true")
    put(site.ledger, *(made("acme") for _ in range(3)))
    dead = site.dead_job("acme", "too_long")
    tab.until(f"document.getElementById('dead-{dead}')")
    assert "too_long" in tab.text("#dead")
    assert tab.run("window.kept")
    assert tab.complaints == []


def test_what_has_the_focus_keeps_it_while_the_page_changes(site, sign_in):
    first = site.dead_job("acme")
    tab = sign_in()
    tab.until(f"document.getElementById('replay-{first}')")
    tab.run(f"document.getElementById('replay-{first}').focus()")
    second = site.dead_job("acme")
    tab.until(f"document.getElementById('dead-{second}')")
    assert tab.run("document.activeElement.id") == f"replay-{first}"


def test_a_dead_job_is_replayed_by_its_button(site, sign_in):
    dead = site.dead_job("acme")
    tab = sign_in()
    tab.until(f"document.getElementById('replay-{dead}')")
    tab.click(f"[id='replay-{dead}']")
    tab.until("document.querySelector('#said .good')")
    new = site.ledger.record(dead).replayed_as
    assert tab.text("#said") == f"Replayed as {new}"
    tab.until(f"!document.getElementById('dead-{dead}')")
    tab.go(f"{site.url}/status/jobs/{dead}")
    assert "Replayed as" in tab.text("#job")
    assert tab.complaints == []


def test_hostile_names_are_text(site, sign_in):
    dead = site.dead_job("acme")
    forged = dict.fromkeys(("error", "reasons", "queue", "kind"), HOSTILE) | {"kind": "summarize"}
    site.redis.hset(f"fb:job:{dead}", mapping=forged)
    site.redis.hset("fb:paused", f"tenant:{HOSTILE}", json.dumps({"reason": HOSTILE, "since": 1}))
    try:
        tab = sign_in()
        tab.until(f"document.getElementById('attention').innerText.includes({json.dumps(HOSTILE)})")
        assert HOSTILE in tab.text("#dead")
        tab.go(f"{site.url}/status/jobs/{dead}")
        assert HOSTILE in tab.text("#job")
        tab.go(f"{site.url}/status/jobs?id={HOSTILE}")
        assert tab.run("document.title") != "owned"
        assert [words for words in tab.complaints if "404" not in words] == []
    finally:
        site.redis.delete("fb:paused")


def test_charts_are_drawn_from_the_history_and_say_so_before(site, sign_in):
    site.redis.delete(*site.redis.keys("fb:books:jobs:minute:*") or ["none"])
    tab = sign_in()
    tab.until("document.querySelectorAll('.chart .none').length === 3")
    for end, jobs in (("local", 30), ("bedrock", 10), ("", 1)):
        group = JobGroup("acme", "generate", "allow", "done" if end else "failed", end)
        JobBook(site.redis).add(job_counts(group, jobs=jobs))
    History(site.redis).sample()
    tab.click("input[value='6h'] + span")
    tab.until("document.querySelectorAll('.chart canvas').length === 3")
    tab.until("document.getElementById('reading-answered').innerText.includes('local 10')")
    assert "Bedrock 3.3" in tab.run("document.getElementById('chart-answered').ariaLabel")
    assert tab.complaints == []


@pytest.mark.parametrize("size", [PHONE, (320, 640), (768, 1024), (1280, 900)])
def test_no_size_scrolls_sideways(site, sign_in, size):
    dead = site.dead_job("a-tenant-with-a-long-name", "engine_unavailable")
    site.redis.hset(f"fb:job:{dead}", "error_note", "word" * 60)
    site.redis.hset("fb:depth", "local.a-pool-with-quite-a-long-name", 0)
    tab = sign_in(size=size)
    tab.until(f"document.getElementById('dead-{dead}')")
    for path in ("/status", f"/status/jobs/{dead}"):
        tab.go(f"{site.url}{path}")
        assert tab.run("document.documentElement.scrollWidth") <= size[0]
        assert tab.run(WIDE) == []


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_from_the_ground_in_light_and_dark(site, sign_in, dark):
    site.dead_job("acme")
    tab = sign_in(dark=dark)
    ground = tab.run("getComputedStyle(document.body).backgroundColor")
    assert (brightness(ground) < 0.1) is dark
    for selector in ("body", ".figures dt", ".figures .bad .value", "#dead a", "thead th", ".why"):
        color = tab.run(f"getComputedStyle(document.querySelector('{selector}')).color")
        light, deep = sorted((brightness(color), brightness(ground)), reverse=True)
        assert (light + 0.05) / (deep + 0.05) >= 4.5, selector


def test_nothing_moves_while_the_page_is_updated(site, sign_in):
    tab = sign_in()
    tab.run(WATCH)
    for _ in range(20):  # jobs and tenants of earlier tests appear within 15 s
        before = tab.run("look(), moved.length = updates = 0, parts()")
        tab.until("updates >= 3", within_s=60)
        if tab.run("look(), parts()") == before:
            break
    else:
        pytest.fail("parts of the page come and go")
    assert tab.run("moved") == []


def test_a_screen_reader_finds_headings_tables_and_names(site, sign_in):
    site.dead_job("acme")
    tab = sign_in()
    tab.until("document.querySelector('#dead form button')")
    nodes = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tab.ask("Accessibility.getFullAXTree")["nodes"]
        if not node["ignored"]
    ]
    headings = [name for role, name in nodes if role == "heading"]
    assert headings[0] == "The fleet"
    assert {"Queues", "Workers", "Over time"} <= set(headings)
    assert [name for role, name in nodes if role == "button" and not name] == []
    assert any(role == "button" and name.startswith("Replay the job acme.") for role, name in nodes)
    assert {"main", "search", "table", "columnheader", "rowheader"} <= {role for role, _ in nodes}
    assert all(name for role, name in nodes if role == "textbox")


def test_everything_comes_from_the_gateway_and_the_page_says_when_it_is_gone(site, sign_in):
    tab = sign_in()
    assert tab.requests
    assert [url for url in tab.requests if not url.startswith(site.url)] == []
    (gateway,) = [proc for proc in site.fleet.procs if proc.name.startswith("gateway")]
    gateway.send(signal.SIGKILL)
    until(lambda: tab.text("#live") == "Connection lost", within_s=30)
    site.fleet.revive()
    until(lambda: tab.text("#live") == "Live", within_s=60)
    assert tab.run("location.pathname") == "/status"  # the session outlives the process


def brightness(color: str) -> float:
    """Return the relative luminance of a colour, as the accessibility guidelines define it."""
    parts = [float(part) / 255 for part in color.strip("rgba()").split(",")[:3]]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
