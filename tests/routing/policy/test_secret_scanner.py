"""The secret scanner: it finds planted secrets anywhere, and nothing in ordinary letters."""

from __future__ import annotations

import json
import random
import socket
import string
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.errors import EgressDenied, Misconfigured
from forebay.routing.jobs import Classify, Embed, Extract, Generate, Job, Label, Message, Summarize
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.policy.escalation import should_escalate
from forebay.routing.policy.frontier_state import FrontierState
from forebay.routing.policy.lane import choose_lane
from forebay.routing.policy.policy_file import Policy
from forebay.routing.policy.secret_scanner import Scanner, has_card, luhn
from forebay.routing.settings import Settings
from forebay.workers.router import Router
from forebay.workers.runtime.execute import attempt
from forebay.workers.runtime.recording import record

SCANNER = Scanner()
PLAIN, LOCKED = serialization.NoEncryption(), serialization.BestAvailableEncryption(b"word")
ALNUM = string.ascii_letters + string.digits
SAMPLES = Path(__file__).parents[3] / "deploy" / "local" / "samples.jsonl"


def of(alphabet: str, size: int):
    return st.text(alphabet, min_size=size, max_size=size)


def after(prefix: str, alphabet: str, size: int):
    return of(alphabet, size).map(prefix.__add__)


def pem(how: serialization.KeySerializationEncryption) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, how).decode()


def carded(prefix: str, size: int):
    """Return card numbers of an issuer, with their check digit, in one piece or in groups."""

    def number(digits: str, gap: str) -> str:
        last = next(d for d in string.digits if luhn(prefix + digits + d))
        whole = prefix + digits + last
        return gap.join(whole[i : i + 4] for i in range(0, 16, 4)) if size == 16 else whole

    gaps = st.sampled_from(["", " ", "-", "."])
    return st.builds(number, of(string.digits, size - len(prefix) - 1), gaps)


PLANTS = {
    "private_key": st.sampled_from([pem(PLAIN), pem(LOCKED)]),
    "aws_access_key": after("AKIA", string.ascii_uppercase + string.digits, 16),
    "aws_secret_key": after("aws_secret_access_key = ", ALNUM + "/+", 40),
    "azure_storage_account_access_key": after("AccountKey=", ALNUM + "+/", 88),
    "basic_auth_credentials": of(ALNUM, 12).map(lambda word: f"https://user:{word}@example.org"),
    "github_token": st.one_of(after("ghp_", ALNUM, 36), after("github_pat_", ALNUM, 82)),
    "gitlab_token": after("glpat-", ALNUM, 20),
    "google_api_key": after("AIza", ALNUM + "_-", 35),
    "anthropic_key": after("sk-ant-api03-", ALNUM, 80),
    "openai_key": st.one_of(
        st.tuples(of(ALNUM, 20), of(ALNUM, 20)).map(lambda ends: f"sk-{ends[0]}T3BlbkFJ{ends[1]}"),
        after("sk-proj-", ALNUM, 60),
    ),
    "hugging_face_token": after("hf_", string.ascii_letters, 34),
    "json_web_token": st.tuples(of(ALNUM, 30), of(ALNUM, 50), of(ALNUM, 43)).map(
        lambda parts: f"eyJ{parts[0]}.eyJ{parts[1]}.{parts[2]}"
    ),
    "npm_token": after("npm_", ALNUM, 36),
    "sendgrid_api_key": st.tuples(of(ALNUM, 22), of(ALNUM, 43)).map(
        lambda parts: f"SG.{parts[0]}.{parts[1]}"
    ),
    "slack_token": after("xoxb-1234567890-", string.ascii_lowercase, 24),
    "stripe_access_key": after("sk_live_", ALNUM, 24),
    "telegram_bot_token": after("123456789:", ALNUM, 35),
    "twilio_api_key": after("SK", string.hexdigits[:16], 32),
    "card_number": st.one_of(
        carded("4", 16), carded("51", 16), carded("2221", 16), carded("37", 15), carded("6011", 16),
    ),
}  # fmt: skip

NEIGHBOURS = st.sampled_from([" ", "\n", "\t", '"', "'", "(", ")", "<", ">", ",", "; ", "="])
SURROUNDINGS = st.text(max_size=300)


@pytest.mark.parametrize("kind", PLANTS)
@given(data=st.data())
def test_a_planted_secret_is_found_and_its_kind_is_named(kind, data):
    secret, left, right = data.draw(PLANTS[kind]), data.draw(NEIGHBOURS), data.draw(NEIGHBOURS)
    before, behind = data.draw(SURROUNDINGS), data.draw(SURROUNDINGS)
    assert SCANNER.find_in(f"{before}{left}{secret}{right}{behind}") == kind


SECRET = "AKIAIOSFODNN7EXAMPLE"
LEAK = f"the key is {SECRET}, keep it"
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def with_property(keywords):
    return {"type": "object", "properties": {"a": {"type": "string", **keywords}}}


PLACES = {
    "text": {"request": Summarize(text=LEAK)},
    "the end of a long text": {"request": Summarize(text="word " * 30_000 + LEAK)},
    "focus": {"request": Summarize(text="text", focus=LEAK)},
    "label": {"request": Classify(text="text", labels=[SECRET, "other"])},
    "description": {
        "request": Classify(text="t", labels=[Label(name="a", description=LEAK), Label(name="b")])
    },
    "example": {
        "request": Classify(text="t", labels=[Label(name="a", examples=[LEAK]), Label(name="b")])
    },
    "schema": {"request": Extract(text="text", schema=with_property({"description": LEAK}))},
    "name in a schema": {
        "request": Extract(
            text="t", schema={"type": "object", "properties": {SECRET: {"type": "string"}}}
        )
    },
    "number in a schema": {
        "request": Extract(text="t", schema=with_property({"maxLength": 4111111111111111}))
    },
    "message": {
        "request": Generate(
            messages=[
                Message(role="system", content=LEAK),
                Message(role="user", content="hello"),
            ]
        )
    },
    "stop": {
        "request": Generate(messages=[Message(role="user", content="hello")], stop=[SECRET])
    },
    "regex": {
        "request": Generate(messages=[Message(role="user", content="hello")], regex=SECRET)
    },
    "embed": {"request": Embed(texts=["one", LEAK])},
    "metadata": {"request": Summarize(text="text"), "metadata": {"note": LEAK}},
    "name in metadata": {"request": Summarize(text="text"), "metadata": {SECRET: "x"}},
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_every_field_is_scanned(place):
    assert SCANNER.find(Job(egress="allow", **PLACES[place]))


def test_no_provider_is_asked_whether_a_secret_is_valid(monkeypatch):
    def refuse(*_):
        raise AssertionError("the scanner wanted the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for detects in SCANNER._detectors:
        detects[1](f"{LEAK} xoxb-1-a https://hooks.slack.com/services/T1/B2/c3 sk_live_{'a' * 24}")
    assert SCANNER.find_in(LEAK)


# --- false alarms --------------------------------------------------------------------------------


def test_the_samples_contain_no_secret():
    lines = [json.loads(line) for line in SAMPLES.read_text().splitlines()]
    found = {line["name"]: SCANNER.find(Job(request=line["request"])) for line in lines}
    assert len(found) >= 40
    assert {name: kind for name, kind in found.items() if kind} == {}


def iban(rng: random.Random) -> str:
    account = "".join(rng.choices(string.digits, k=18))
    check = 98 - int(account + "131400") % 97
    whole = f"DE{check:02}{account}"
    return " ".join(whole[i : i + 4] for i in range(0, 22, 4))


def ticket(rng: random.Random) -> str:
    """Return a sentence as people write to a help desk, with the numbers they write."""
    number = "".join(rng.choices(string.digits, k=rng.randint(6, 13)))
    return rng.choice(
        [
            f"Order {number} of {rng.randint(1, 28)}.10.2026 has not arrived, tracking 1Z{number}.",
            f"Please refund 12.50 EUR to {iban(rng)}, invoice RE-2026-{number}.",
            f"My password is wrong since Monday; call me at +49 {number[:4]} {number[4:]}.",
            f"The app crashed, error {rng.getrandbits(128):032x} at 0x{rng.getrandbits(64):016X}.",
            f"Session {rng.getrandbits(32):08x}-1b2c-4d3e-8f4a-{rng.getrandbits(48):012x} is gone.",
            f"See https://example.org:8080/tickets/{number}?user=me and mail a.b@example.org.",
            f"Commit {rng.getrandbits(160):040x} broke the build on 2026-11-{rng.randint(10, 28)}.",
            f"The card ending in {number[-4:]} was charged twice, token {number} or so.",
        ]
    )


def test_ordinary_letters_contain_no_secret():
    rng = random.Random(7)
    letters = ["\n".join(ticket(rng) for _ in range(8)) for _ in range(500)]
    found = [kind for letter in letters if (kind := SCANNER.find_in(letter))]
    assert len(found) <= 2, found  # digits in a digest can be a card's by chance


@pytest.mark.parametrize(
    "number",
    ["4111 1111 1111 1112", "1234567890123452", "41111111111111111111", "4111 1111 1111", "0" * 16],
)
def test_a_number_that_no_card_can_have_is_not_a_card(number):
    assert not has_card(f"number {number}, thanks")


def test_a_bank_account_is_not_a_card():
    rng = random.Random(11)
    assert not any(has_card(f"to {iban(rng)} please") for _ in range(2_000))


WORST = [
    "eyJ", ".eyJ", "sk-", "/", "://a:", "aws", "aws secret ", "xoxb-", "4111 ", "1", "AC", "A1"
]  # fmt: skip


@pytest.mark.parametrize("part", WORST)
def test_time_grows_no_faster_than_the_text(part):
    def took(size: int) -> float:
        text = (part * size)[:size]
        began = time.thread_time()
        SCANNER.find_in(text)
        return time.thread_time() - began

    short = max(min(took(10_000) for _ in range(3)), 0.001)
    assert took(100_000) < 40 * short  # quadratic would be 100 times


# --- decisions -----------------------------------------------------------------------------------


@pytest.fixture
def decide(redis):
    """Route one job, and return its record on the ledger."""
    ledger = Ledger(redis, Settings(retention_s=60), '{"id": "@RING@"}')
    router = Router(ledger)

    def decided(rules: Policy | None = None, **options):
        router._policy._value = rules or Policy()
        job = Job(tenant="acme", egress="allow", **options)
        assert ledger.create([job]) == [job.id]
        claim = ledger.claim("route")
        record(ledger, claim, attempt(router.work, claim))
        return ledger.record(job.id)

    return decided


def test_a_job_with_a_secret_stays_local(decide):
    record = decide(request=Summarize(text=LEAK))
    assert (record.queue, record.egress) == ("local.default", "deny")
    assert record.reasons == ("secret_found:aws_access_key",)
    assert SECRET not in repr(record)


def test_an_ordinary_job_may_leave(decide):
    record = decide(request=Summarize(text="nothing to hide"))
    assert record.egress == "allow"
    assert not any(reason.startswith("secret_found") for reason in record.reasons)


def test_a_job_with_a_secret_that_is_pinned_to_bedrock_fails(decide):
    record = decide(lane="bedrock", request=Summarize(text=LEAK))
    assert (record.state, record.error) == ("failed", "egress_denied")
    assert record.to_receipt().reasons == ("secret_found:aws_access_key", "egress_denied")


def test_a_tenant_can_turn_the_scan_off(decide):
    rules = Policy.model_validate({"tenants": {"acme": {"scan_secrets": False}}})
    assert decide(rules, request=Summarize(text=LEAK)).egress == "allow"


def test_a_secret_is_reported_beside_another_reason(decide):
    record = decide(request=Embed(texts=[LEAK]))
    assert record.egress == "deny"
    assert record.reasons == ("embed_is_local", "secret_found:aws_access_key")


def test_no_decision_lets_a_secret_leave():
    job = Job(tenant="acme", egress="allow", request=Summarize(text=LEAK))
    state, hard = replace(FrontierState(), secret=True), None
    assert choose_lane(job, hard, Policy(), state).reason == "secret_found"
    assert should_escalate(job, None, (), Policy(), state).step == "fail"
    pinned = job.model_copy(update={"lane": "bedrock"})
    with pytest.raises(EgressDenied):
        choose_lane(pinned, hard, Policy(), state)


def test_without_the_package_the_scanner_raises_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "detect_secrets.plugins.aws", None)
    with pytest.raises(Misconfigured, match="extra `secrets`") as caught:
        Scanner()
    assert caught.value.field == "scan_secrets"


def test_without_the_package_a_router_starts_only_if_no_tenant_wants_the_scan(
    redis, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "detect_secrets.plugins.aws", None)
    off = tmp_path / "policy.toml"
    off.write_text("[defaults]\nscan_secrets = false\n")
    Router(Ledger(redis, Settings(policy_file=off), "{}"))
    off.write_text("[defaults]\nscan_secrets = false\n[tenants.acme]\nscan_secrets = true\n")
    with pytest.raises(Misconfigured):
        Router(Ledger(redis, Settings(policy_file=off), "{}"))
