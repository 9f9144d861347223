"""The stream of an open page: what changes is sent, and it ends when it should."""

from __future__ import annotations

import signal
import threading
import time

import pytest
import redis as redis_py

from forebay.producers.gateway.api_keys import KeyStore
from local.fleet import Fleet
from status_site import Site

pytestmark = pytest.mark.slow


def events(stream):
    """Yield the events of a stream."""
    text = ""
    for piece in stream.iter_text():
        *whole, text = (text + piece).split("\n\n")
        yield from whole


def test_a_page_is_sent_what_changed_and_nothing_else(site, operator):
    with operator.stream("GET", "/status/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        heard = events(stream)
        first = next(heard)
        assert all(f'hx-target="#{part}"' in first for part in ("figures", "queues", "dead"))
        dead = site.dead_job("acme", "too_long")
        later = next(event for event in heard if dead in event)
    assert 'hx-target="#dead"' in later
    assert 'hx-target="#budgets"' not in later


def test_the_stream_of_a_job_ends_with_it(site, operator):
    dead = site.dead_job("acme")
    with operator.stream("GET", f"/status/jobs/{dead}/events") as stream:
        heard = list(events(stream))
    assert 'hx-target="#job"' in heard[0]
    assert heard[-1].startswith("event: ended")


def test_whoever_is_signed_out_is_sent_nothing_more(site):
    key, token = site.keys.create("ops", scopes=("operator",))
    with site.browse(token) as client, client.stream("GET", "/status/events") as stream:
        heard = events(stream)
        next(heard)
        site.keys.revoke(key.id)
        rest = list(heard)  # the stream ends by itself
    assert rest[-1].startswith("event: signed-out")


def test_open_pages_do_not_hold_up_the_end_of_a_gateway(tmp_path):
    with Fleet(tmp_path / "fleet") as fleet:
        fleet.start_redis()
        gateway = fleet.start("gateway", FOREBAY_STATUS_ONLY="true")
        fleet.wait_ready()
        with redis_py.Redis.from_url(fleet.url) as client:
            site = Site(fleet, client, None, KeyStore(client))
            with site.browse(site.key("ops", "operator")) as browser:
                assert browser.get("/jobs/acme.1").status_code == 404  # it takes no jobs
                with browser.stream("GET", "/status/events") as stream:
                    heard = events(stream)
                    next(heard)
                    told = time.monotonic()
                    gateway.send(signal.SIGTERM)
                    reader = threading.Thread(target=list, args=(heard,))
                    reader.start()
                    assert gateway.wait(10)
                    assert time.monotonic() - told < 8
                    reader.join()
