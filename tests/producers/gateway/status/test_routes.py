"""The page over HTTP: who may look, who may act, and that nothing of a job's content is shown."""

from __future__ import annotations

import re
import time
from html import unescape

import pytest
from starlette.testclient import TestClient

from forebay.producers.gateway.server.app import create_app
from forebay.producers.gateway.settings import GatewaySettings
from forebay.producers.gateway.status.rendering import POLICY
from forebay.producers.gateway.status.viewer import COOKIE
from forebay.routing.jobs import Classify, Generate, Label, Message
from forebay.routing.limits.spillway import Spillway
from forebay.routing.settings import Settings
from ledger_jobs import answer, put
from ledger_jobs import job as made
from patience import until
from status_site import HOSTILE, form_token

pytestmark = pytest.mark.slow
CANARY = "kanarie"
PAGES = ("/status", "/status/series", "/status/jobs/acme.0a1b", "/status/jobs/acme.0a1b/content")


@pytest.mark.parametrize("path", PAGES)
def test_without_a_key_a_person_is_led_to_the_form(site, path):
    with site.browse() as nobody:
        reply = nobody.get(path)
    assert reply.status_code == 303
    assert reply.headers["location"].startswith("/status/sign-in?next=/status")


@pytest.mark.parametrize("path", [*PAGES, "/status/events", "/status/jobs/acme.0a1b/events"])
def test_without_a_key_a_program_is_refused(site, path):
    assert site.get(path).status_code == 401


@pytest.mark.parametrize("scopes", [("submit",), ("read",), ("submit", "read")])
def test_a_key_without_the_scope_cannot_sign_in(site, scopes):
    with site.browse() as client:
        reply = client.post("/status/sign-in", data={"key": site.key("acme", *scopes)})
        assert reply.status_code == 403
        assert "operator" in reply.text
        assert COOKIE not in client.cookies


@pytest.mark.parametrize("key", ["", "wrong", "fb_000000000000_secret", "é", HOSTILE])
def test_a_key_that_does_not_work_is_refused_and_not_repeated(site, key):
    with site.browse() as client:
        reply = client.post("/status/sign-in", data={"key": key})
    assert reply.status_code == 401
    assert 'role="alert"' in reply.text
    assert "<script>" not in reply.text
    assert not key or key not in reply.text


def test_the_cookie_is_for_no_script_no_other_site_and_no_other_page(site):
    key = site.key("ops", "operator")
    reply = site.post("/status/sign-in", data={"key": key})
    cookie = reply.headers["set-cookie"]
    assert {"HttpOnly", "Path=/status", "SameSite=strict"} <= set(cookie.split("; "))
    assert key.rpartition("_")[2] not in cookie
    behind_tls = {"x-forwarded-proto": "https"}
    reply = site.post("/status/sign-in", data={"key": key}, headers=behind_tls)
    assert "Secure" in reply.headers["set-cookie"].split("; ")


def test_a_forged_or_old_cookie_is_refused(site):
    with site.browse(site.key("ops", "operator")) as client:
        cookie = client.cookies[COOKIE]
    key_id, until_s, nonce, mac = cookie.split(".")
    later = f"{key_id}.{int(until_s) + 9_999}.{nonce}.{mac}"
    for forged in (later, f"{key_id}.{until_s}.{nonce}.", f"{key_id}", "....", "é", f"{cookie}0"):
        headers = {"cookie": f"{COOKIE}={forged}".encode()}
        assert site.get("/status/series", headers=headers).status_code == 401
    headers = {"cookie": f"{COOKIE}={cookie}"}
    assert site.get("/status/series", headers=headers).status_code == 200


@pytest.mark.parametrize("ends", ["revoke", "rotate"])
def test_a_session_ends_with_its_key(site, ends):
    made_key, token = site.keys.create("ops", scopes=("operator",))
    with site.browse(token) as client:
        assert client.get("/status").status_code == 200
        getattr(site.keys, ends)(made_key.id)
        until(lambda: client.get("/status").status_code == 303, within_s=5)


def test_signing_out_needs_the_token_and_forgets_the_cookie(site, operator):
    assert operator.post("/status/sign-out").status_code == 403
    token = form_token(operator.get("/status").text)
    assert operator.post("/status/sign-out", data={"token": token}).status_code == 303
    assert operator.get("/status").headers["location"].startswith("/status/sign-in")


def test_after_signing_in_only_a_page_of_ours_follows(site):
    key = site.key("ops", "operator")
    wanted = {
        "/status/jobs/acme.1": "/status/jobs/acme.1", "//evil.example": "/status",
        "https://evil.example/status": "/status", "/docs": "/status", "": "/status",
    }  # fmt: skip
    for target, found in wanted.items():
        fields = {"key": key, "next": target}
        reply = site.post("/status/sign-in", data=fields)
        assert reply.headers["location"] == found


def test_every_reply_forbids_what_is_inline_and_every_frame(site, operator):
    dead = site.dead_job("acme")
    for path in (
        "/status",
        f"/status/jobs/{dead}",
        "/status/sign-in",
        "/status/jobs/none",
        "/status/series",
    ):
        reply = operator.get(path)
        assert reply.headers["content-security-policy"] == POLICY
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert not re.search(r"<script>|<style| style=| on\w+=|javascript:", reply.text)
    assert "'unsafe" not in POLICY


def test_a_tenants_key_sees_its_own_part_alone(site):
    mine, other = site.dead_job("acme"), site.dead_job("beta")
    with site.browse(site.key("acme", "admin")) as client:
        page = client.get("/status").text
        assert "Tenant acme" in page
        assert mine in page
        assert "beta" not in page
        assert 'id="queues"' not in page
        assert client.get("/status/series").status_code == 403
        for path in ("", "/events", "/content"):
            assert client.get(f"/status/jobs/{other}{path}").status_code == 404
        fields = {"token": form_token(page)}
        assert client.post(f"/status/jobs/{other}/replay", data=fields).status_code == 404
    assert site.ledger.record(other).replayed_as is None


def test_an_operator_sees_all_tenants(site, operator):
    jobs = [site.dead_job(tenant) for tenant in ("acme", "beta")]
    until(lambda: all(job_id in operator.get("/status").text for job_id in jobs), within_s=20)


def test_what_the_mock_bills_is_called_no_money_wherever_it_is_shown(site, operator):
    assert "no money" not in operator.get("/status").text
    Spillway(site.redis).announce("http://127.0.0.1:4567")
    until(lambda: operator.get("/status").text.count("no money") == 3)


def test_refused_budgets_are_named_to_operators_and_to_their_tenant_alone(site, operator):
    now = int(time.time() * 1_000)
    for owner in ("acme", "*"):
        note = {f"{owner}:refused": now, f"{owner}:last_refused": now, f"{owner}:refusals": 3}
        site.redis.hset(f"fb:spend:day:{now // 86_400_000}", mapping=note)
    fleets, acmes = "The fleet's budget of the day", "acme: the tenant's budget of the day"
    until(lambda: {fleets, acmes} == named(operator, fleets, acmes), within_s=20)
    for tenant, expected in (("acme", {acmes}), ("gamma", set())):
        with site.browse(site.key(tenant, "admin")) as client:
            assert named(client, fleets, acmes) == expected


def named(client, *words) -> set[str]:
    page = unescape(client.get("/status").text)
    return {each for each in words if f"{each} refused 3 calls" in page}


def test_a_dead_job_is_replayed_once_by_whoever_may(site, operator):
    dead = site.dead_job("acme")
    token = form_token(operator.get(f"/status/jobs/{dead}").text)
    reply = operator.post(f"/status/jobs/{dead}/replay", data={"token": token})
    new = site.ledger.record(dead).replayed_as
    assert reply.headers["location"] == f"/status/jobs/{new}"
    again = {"token": token}
    htmx = operator.post(f"/status/jobs/{dead}/replay", data=again, headers={"hx-request": "true"})
    assert f"Replayed as {new}" in htmx.text
    assert "Replayed as" in operator.get(f"/status/jobs/{dead}").text


def test_nothing_changes_without_the_token_of_the_session_or_from_another_site(site, operator):
    dead = site.dead_job("acme")
    token = form_token(operator.get(f"/status/jobs/{dead}").text)
    with site.browse(site.key("ops", "operator", "admin")) as other:
        foreign = form_token(other.get(f"/status/jobs/{dead}").text)
    url = f"/status/jobs/{dead}/replay"
    evil = {"origin": "https://evil.example"}
    assert operator.post(url).status_code == 403
    assert operator.post(url, data={"token": foreign}).status_code == 403
    assert operator.post(url, data={"token": "é"}).status_code == 403
    assert operator.post(url, data={"token": token}, headers=evil).status_code == 403
    assert operator.get(url).status_code == 405
    assert site.ledger.record(dead).replayed_as is None


def test_a_key_without_admin_sees_no_button_and_may_not_replay(site):
    dead = site.dead_job("acme")
    with site.browse(site.key("ops", "operator")) as client:
        page = client.get(f"/status/jobs/{dead}").text
        assert "/replay" not in page
        token = form_token(page)
        reply = client.post(f"/status/jobs/{dead}/replay", data={"token": token})
    assert reply.status_code == 403
    assert "scope `admin`" in reply.text
    assert site.ledger.record(dead).replayed_as is None


def test_content_is_shown_to_keys_of_its_own_tenant_alone(site, operator):
    chat = Generate(messages=[Message(role="user", content=f"{CANARY} {HOSTILE}")])
    dead = site.dead_job("acme", request=chat)
    reply = operator.get(f"/status/jobs/{dead}/content")
    assert reply.status_code == 403
    assert CANARY not in reply.text
    with site.browse(site.key("acme", "admin")) as client:
        page = client.get(f"/status/jobs/{dead}/content").text
    assert CANARY in page
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


def test_no_page_and_no_stream_holds_content(site, operator):
    labels = [Label(name=f"{CANARY} {n}") for n in range(2)]
    request = Classify(text=f"{CANARY} secret", labels=labels)
    dead = site.dead_job("acme", request=request, metadata={CANARY: CANARY})
    (done,) = put(site.ledger, made("acme"))
    claim = site.ledger.claim("route")
    site.ledger.settle(claim, answer(claim, CANARY))
    for path in ("/status", f"/status/jobs/{dead}", f"/status/jobs/{done}", "/status/series"):
        assert CANARY not in operator.get(path).text
    with operator.stream("GET", "/status/events") as stream:
        first = next(stream.iter_text())
    assert "hx-partial" in first
    assert CANARY not in first


@pytest.mark.parametrize("job_id", [HOSTILE, f"acme.{HOSTILE}", "nobody", "acme.unknown", "é"])
def test_an_id_that_leads_nowhere_is_an_error_page_that_is_escaped(operator, job_id):
    reply = operator.get("/status/jobs", params={"id": job_id}, follow_redirects=True)
    assert reply.status_code in {400, 404}
    assert reply.headers["content-type"].startswith(("text/html", "application/json"))
    assert "<script>document" not in reply.text


def test_names_from_redis_are_text(site, operator):
    """Records may be forged by whoever may write to Redis; a page shows their words as text."""
    dead = site.dead_job("acme")
    site.redis.hset(
        f"fb:job:{dead}", mapping={"error": HOSTILE, "reasons": HOSTILE, "queue": HOSTILE}
    )
    site.redis.hset("fb:paused", f"tenant:{HOSTILE}", '{"reason": "' + HOSTILE + '", "since": 1}')
    site.redis.zadd("fb:serving:route", {HOSTILE: int(time.time() * 1000) + 5_000})
    site.redis.sadd("fb:queues", "route")
    try:
        until(lambda: "&lt;script&gt;" in operator.get("/status").text, within_s=20)
        for path in ("/status", f"/status/jobs/{dead}"):
            page = operator.get(path).text
            assert "&lt;script&gt;" in page
            assert "<script>document" not in page
    finally:
        site.redis.delete("fb:paused", "fb:serving:route")


def test_a_forged_record_breaks_no_page(site, operator):
    dead = site.dead_job("acme")
    site.redis.hset(f"fb:job:{dead}", "receipt", "{")
    assert operator.get("/status").status_code == 200
    assert operator.get(f"/status/jobs/{dead}").status_code == 400


def test_files_of_the_page_are_served_and_nothing_else(site):
    page = site.get("/status/sign-in").text
    parts = re.findall(r'(?:src|href)="(/status/static/[^"]+)"', page)
    assert len(parts) >= 3
    for part in parts:
        reply = site.get(part)
        assert reply.status_code == 200
        assert "immutable" in reply.headers["cache-control"]
    for path in ("THIRD_PARTY.md", "..%2Froutes.py", "nothing.js"):
        assert site.get(f"/status/static/{path}").status_code == 404


def test_a_gateway_without_keys_asks_nobody_to_sign_in(site):
    app = create_app(GatewaySettings(gateway_tenant="acme"), Settings(redis_url=site.fleet.url))
    with TestClient(app, follow_redirects=False, base_url="http://127.0.0.1") as client:
        page = client.get("/status", headers={"accept": "text/html"})
        assert page.status_code == 200
        assert "Sign out" not in page.text
        for reply in (
            client.get("/status/sign-in"),
            client.post("/status/sign-in", data={"key": "anything"}),
        ):
            assert (reply.status_code, reply.headers["location"]) == (303, "/status")
