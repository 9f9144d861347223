"""`forebay egress`: what an auditor asks, checked against all books."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from egress import leaving
from forebay.routing.books.egress_log import EgressLog


def test_the_report_says_who_had_to_stay_and_what_left_by_whose_leave(forebay, calls, jobs):
    jobs(7, egress="deny")
    jobs(5)
    calls("a", "b")
    code, out, _ = forebay("egress", "report")
    assert code == 0
    assert "7 jobs had to stay (egress deny): none of them left." in out
    assert "5 jobs might leave (egress allow): 2 did, in 2 calls with at most 200 tokens." in out
    assert "the caller said allow, policy p1 did not forbid it" in out
    _, out, _ = forebay("egress", "report", "--tenant", "beta", "--json")
    assert json.loads(out)["jobs_that_left"] == 0


def test_a_report_of_content_that_nobody_allowed_to_leave_fails(forebay, redis):
    EgressLog(redis).append(leaving(said="deny"))
    code, out, _ = forebay("egress", "report")
    assert code == 1
    assert "1 OF THEM LEFT" in out


def test_a_report_names_the_time_before_which_entries_were_removed(
    forebay, calls, jobs, redis, tmp_path
):
    path = tmp_path / "egress.jsonl"
    jobs(1, egress="deny")
    calls("a", "b", "c")
    assert "3 entries added" in forebay("egress", "export", "--out", str(path))[2]
    redis.xtrim("fb:egress:log", maxlen=1, approximate=False)
    code, out, err = forebay("egress", "report")
    assert code == 0
    assert "1 job had to stay (egress deny): none of them left, by the entries since 20" in out
    assert "1 did, in 1 call" in out
    assert "give exports with --file" in err
    assert json.loads(forebay("egress", "report", "--json")[1])["entries_from"]
    assert "entries since" not in forebay("egress", "report", "--since", "0s")[1], "none is missing"
    _, out, err = forebay("egress", "report", "--file", str(path))
    assert "none of them left." in out
    assert "3 did, in 3 calls" in out
    assert "--file" not in err


def test_a_tenant_without_jobs_is_no_proof(forebay, calls, jobs):
    jobs(1, egress="deny")
    for command in (("egress", "report"), ("report",)):
        code, _, err = forebay(*command, "--tenant", "acne")
        assert code == 0
        assert "no job of a tenant acne in this time: is the name right?" in err
        assert "is the name right" not in forebay(*command, "--tenant", "acme")[2]


@pytest.mark.parametrize(
    "command",
    [
        ("egress", "report"), ("report",), ("spend", "list"), ("dead", "list"), ("jobs", "list"),
        ("keys", "list"), ("pause", "bedrock"), ("resume", "bedrock"),
    ],
)  # fmt: skip
def test_a_name_that_no_tenant_has_is_one_error(forebay, command):
    code, out, err = forebay(*command, "--tenant", "ACME!")
    assert (code, out) == (2, "")
    assert "--tenant: must be lower-case letters, digits, - and _, at most 63" in err
    assert len(err.splitlines()) == 1


def test_books_that_agree_are_verified(forebay, calls):
    calls("a")
    assert "1 entry, no fault; the last is 1:" in forebay("egress", "verify")[2]
    calls("b")
    code, out, err = forebay("egress", "verify")
    assert (code, out) == (0, "")
    assert "2 entries, no fault; the last is 2:" in err


def test_a_removed_entry_is_found_in_the_chain_and_in_the_book_of_calls(forebay, calls, redis):
    calls("a", "b", "c")
    redis.xdel("fb:egress:log", redis.xrange("fb:egress:log")[1][0])
    code, out, _ = forebay("egress", "verify", "--json")
    assert code == 1
    faults = json.loads(out)["faults"]
    assert [(one["code"], one["about"]) for one in faults] == [
        ("entries_missing", "3"), ("entry_missing", "b"),
    ]  # fmt: skip


def test_exports_go_on_where_they_ended_and_are_verified_with_what_redis_has(
    forebay, calls, redis, tmp_path
):
    path = tmp_path / "egress.jsonl"
    for names in (("a", "b"), ("c",), ()):
        calls(*names)
        assert forebay("egress", "export", "--out", str(path))[0] == 0
    assert len(path.read_text().splitlines()) == 3
    redis.xtrim("fb:egress:log", maxlen=1, approximate=False)
    _, _, err = forebay("egress", "verify")
    assert "entries 1 to 2 are not here: give exports with --file" in err
    code, _, err = forebay("egress", "verify", "--file", str(path))
    assert code == 0
    assert "3 entries, no fault" in err


def test_an_export_that_lacks_entries_says_so_and_writes_nothing(forebay, calls, redis, tmp_path):
    path = tmp_path / "egress.jsonl"
    calls("a")
    forebay("egress", "export", "--out", str(path))
    calls("b", "c")
    redis.xtrim("fb:egress:log", maxlen=1, approximate=False)
    before = path.read_text()
    code, _, err = forebay("egress", "export", "--out", str(path))
    assert (code, path.read_text()) == (2, before)
    assert "entry 3 does not follow the last entry" in err


def test_a_changed_export_shows(forebay, calls, tmp_path):
    path = tmp_path / "egress.jsonl"
    calls("a", "b")
    forebay("egress", "export", "--out", str(path))
    path.write_text(path.read_text().replace("acme.a", "acme.x"))
    code, out, _ = forebay("egress", "verify", "--file", str(path))
    assert code == 1
    assert "entry_changed" in out


def test_a_kept_head_shows_that_the_log_was_replaced(forebay, calls, redis):
    calls("a")
    _, out, _ = forebay("egress", "heads")
    kept = out.split()[1]
    assert forebay("egress", "verify", "--head", kept)[0] == 0
    redis.delete("fb:egress:log", "fb:egress:head", "fb:egress:days")
    EgressLog(redis).append(leaving("a", "acme.a", tokens=1))
    assert forebay("egress", "verify")[0] == 0
    code, out, _ = forebay("egress", "verify", "--head", kept)
    assert code == 1
    assert "head_differs" in out


@pytest.mark.parametrize("head", ["1", "1:abc", "x:" + "0" * 64])
def test_a_head_of_another_form_is_one_error(forebay, head):
    code, _, err = forebay("egress", "verify", "--head", head)
    assert code == 2
    assert "must be NUMBER:HASH" in err


def pem(path, key):
    """Write a private key as `openssl genpkey` does."""
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(key.private_bytes(*form))
    return str(path)


@pytest.fixture
def keys(tmp_path):
    """Make a pair of keys; return both files."""
    key, public = Ed25519PrivateKey.generate(), tmp_path / "heads.pub"
    form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    public.write_bytes(key.public_key().public_bytes(*form))
    return pem(tmp_path / "heads.pem", key), str(public)


def test_signed_heads_show_that_the_log_was_cut_or_that_others_signed(
    forebay, calls, redis, keys, tmp_path
):
    private, public = keys
    calls("a", "b")
    kept = tmp_path / "heads"
    kept.write_text(forebay("egress", "heads", "--sign", private)[1])
    check = ["egress", "verify", "--heads", str(kept), "--public-key"]
    assert forebay(*check, public)[0] == 0
    first, _ = redis.xrange("fb:egress:log")
    redis.xtrim("fb:egress:log", maxlen=0, approximate=False)
    redis.delete("fb:egress:head", "fb:egress:days")
    redis.xadd("fb:egress:log", first[1])
    entry = json.loads(first[1][b"entry"])
    redis.hset("fb:egress:head", mapping={"seq": entry["seq"], "hash": first[1][b"hash"]})
    code, out, _ = forebay(*check, public)
    assert code == 1
    assert "entries_missing" in out
    kept.write_text(forebay("egress", "heads")[1] + f"2026-11-28  1:{'a' * 64}  AAAA\n")
    code, out, _ = forebay(*check, public)
    assert code == 1
    assert "head_not_signed" in out


def test_an_export_whose_lines_were_moved_shows(forebay, calls, tmp_path):
    path = tmp_path / "egress.jsonl"
    calls("a", "b", "c")
    forebay("egress", "export", "--out", str(path))
    one, two, three = path.read_text().splitlines(keepends=True)
    path.write_text(one + three + two)
    code, out, _ = forebay("egress", "verify", "--file", str(path), "--json")
    assert code == 1
    faults = json.loads(out)["faults"]
    assert [(one["code"], one["about"]) for one in faults] == [("out_of_order", "2")]


@pytest.mark.parametrize(
    ("args", "name", "message"),
    [
        (["heads", "--sign", "nothing"], "--sign", "cannot be read"),
        (["heads", "--sign", "text"], "--sign", "is no private key of Ed25519"),
        (["heads", "--sign", "heads.pub"], "--sign", "is no private key of Ed25519"),
        (["heads", "--sign", "other.pem"], "--sign", "is no private key of Ed25519"),
        (["verify", "--heads", "text", "--public-key", "heads.pub"], "--heads", "NUMBER:HASH"),
        (["verify", "--heads", "empty", "--public-key", "heads.pem"], "--public-key", "no public"),
        (["verify", "--public-key", "heads.pub"], "--public-key", "needs the file of --heads"),
        (["verify", "--file", "text"], "--file", "line 1 of text is no entry"),
    ],
)
def test_a_mistake_is_one_error_that_names_the_option(
    forebay, keys, tmp_path, monkeypatch, args, name, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("hello\n")
    (tmp_path / "empty").write_text("")
    pem(tmp_path / "other.pem", X25519PrivateKey.generate())
    code, out, err = forebay("egress", *args)
    assert (code, out) == (2, "")
    assert name in err
    assert message in " ".join(err.split())
