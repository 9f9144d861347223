"""Submitting: what makes a job, and what a mistake in it prints."""

import json
import re
import time

import pytest

from forebay.producers.cli.option_names import KINDS_WITH_FIELD, OPTIONS
from forebay.routing.base import KINDS
from forebay.routing.jobs import Classify, Decide, Embed, Extract, Generate, Job, Summarize

SECRET = "the-canary-in-the-job"
HOW_TO_SUBMIT = (
    "it must hold a job as JSON (see `forebay schema`); "
    'to submit a text, say: forebay submit summarize "the text"'
)
DEADLINES = "30s, 5m, 2h or 1d from now, or an ISO time with a time zone"
AS_IN = "forebay submit summarize"
CLASSIFY = ["classify", "--text", "My card was charged twice", "--label", "billing", "--label", "x"]


def test_options_make_the_same_job_as_a_file(forebay, ledger):
    code, out, err = forebay(
        "submit", *CLASSIFY, "--egress", "allow", "--priority", "bulk", "--deadline", "5m",
        "--max-cost", "0", "--cache", "--meta", "ticket=42", "--meta", "a=b=c", "--tenant", "acme",
    )  # fmt: skip
    assert (code, err) == (0, "")
    claim = ledger.claim("route")
    job = claim.job()
    assert out == f"{job.id}\n"
    assert job.tenant == "acme"
    assert (job.egress, job.priority, job.max_cost_usd, job.cache) == ("allow", "bulk", 0.0, True)
    assert job.metadata == {"ticket": "42", "a": "b=c"}
    assert [label.name for label in job.request.options] == ["billing", "x"]
    assert 295 < job.deadline.timestamp() - time.time() < 301


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        (["summarize", "--text", "long", "--max-words", "9", "--focus", "money"], "summarize"),
        (["generate", "--system", "Be brief.", "--text", "Hello", "--max-tokens", "7"], "generate"),
        (["embed", "--text", "one", "--text", "two"], "embed"),
        (["extract", "--file", "-", "--schema", "SCHEMA"], "extract"),
    ],
)
def test_each_kind_can_be_submitted_by_options(forebay, ledger, tmp_path, args, kind):
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"total": {"type": "number"}}}')
    args = [str(schema) if arg == "SCHEMA" else arg for arg in args]
    code, _, _ = forebay("submit", *args, stdin="Rechnung über 12 €".encode())
    assert code == 0
    request = ledger.claim("route").job().request
    assert request.kind == kind
    fields = request.model_dump(by_alias=True)
    expected = {
        "summarize": {"text": "long", "max_words": 9, "focus": "money"},
        "generate": {"max_tokens": 7},
        "embed": {"texts": ("one", "two")},
        "extract": {"text": "Rechnung über 12 €"},
    }[kind]
    assert expected.items() <= fields.items()
    if kind == "generate":
        assert [turn["role"] for turn in fields["messages"]] == ["system", "user"]


def test_the_schema_may_stand_in_its_option(forebay, ledger):
    schema = {"type": "object", "properties": {"total": {"type": "number"}}}
    code, _, _ = forebay("submit", "extract", "Total: 12", "--schema", f" {json.dumps(schema)}")
    assert code == 0
    assert ledger.claim("route").job().request.model_dump(by_alias=True)["schema"] == schema


@pytest.mark.parametrize(
    ("args", "field", "content"),
    [
        (["summarize", "a long text"], "text", "a long text"),
        (["embed", "one", "two", "--text", "three"], "texts", ("one", "two", "three")),
    ],
)
def test_the_text_may_stand_after_the_kind(forebay, ledger, args, field, content):
    assert forebay("submit", *args)[0] == 0
    assert ledger.claim("route").job().request.model_dump()[field] == content


@pytest.mark.parametrize(
    ("args", "stdin", "message"),
    [
        (["classify", "t"], b"", "--label: is needed: name at least two"),
        (["classify", "t", "--label", "a"], b"", "--label: is needed: name at least two"),
        (["classify", "t", "--label=a", "--label="], b"",
         "--label: number 2 must have at least 1 character"),
        (["summarize", "t", "--label", "a"], b"",
         "--label: is an option of classify, not of summarize: remove it"),
        (["summarize", "t", "--max-words", "0"], b"", "--max-words: must be at least 5"),
        (["summarize", "t", "--lane", "bedrock"], b"",
         "--egress: a job pinned to bedrock needs --egress allow"),
        (["summarize"], b"",
         "--text: is needed: give the text after the kind, in --text, or in a file with --file"),
        ([], b"",
         f"standard input: is empty: {HOW_TO_SUBMIT}"),
        (["summarize", "t", "--model", "m"], b"",
         "--model: needs --lane local or --lane bedrock: where it is"),
        (["summarize", "t", "--deadline", ""], b"", f"--deadline: must be {DEADLINES}"),
        (["extract", "t", "--schema", "[]"], b"", "--schema: must be a JSON object"),
        (["extract", "t", "--schema", ""], b"",
         "--schema '': is empty: it must hold a JSON Schema"),
        (["summarize", "--file", ""], b"", "--file '': is empty: it must hold the text of the job"),
        (["--text", "t"], b"",
         f"--text: can only be given after a kind ({', '.join(KINDS)}), as in: {AS_IN}"),
        (["summarize", "--file", "no/such\x1bfile"], b"",
         "--file no/such?file: cannot be read: No such file or directory"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_the_words_of_the_command_line(forebay, args, stdin, message):
    code, _, err = forebay("submit", *args, stdin=stdin)
    assert code == 2
    assert err.partition(": ")[2].partition(": ")[2] == f"{message}\n"


def test_every_option_names_a_field_and_the_kinds_that_have_it():
    kinds = {}
    for request in (Classify, Decide, Embed, Extract, Generate, Summarize):
        for name, info in request.model_fields.items():
            kinds.setdefault(info.alias or name, set()).add(request.model_fields["kind"].default)
    for field in set(OPTIONS) - {"system"}:  # a message of generate
        assert field in {*Job.model_fields, *kinds}
    for field, holders in KINDS_WITH_FIELD.items():
        assert set(holders) == kinds.get(field, {"generate"})


@pytest.mark.parametrize("source", ["file", "stdin", "nothing"])
def test_a_request_is_read_from_a_file_or_from_stdin(forebay, ledger, tmp_path, source):
    data = json.dumps({"kind": "summarize", "text": "from a file"}).encode()
    (tmp_path / "job.json").write_bytes(data)
    source_args = {"file": [str(tmp_path / "job.json")], "stdin": ["-"], "nothing": []}[source]
    code, _, _ = forebay("submit", *source_args, stdin=data)
    assert code == 0
    assert ledger.claim("route").job().request.text == "from a file"


def test_options_override_the_file_and_the_file_overrides_the_environment(
    forebay, ledger, monkeypatch
):
    monkeypatch.setenv("FOREBAY_TENANT", "environment")
    job = {"tenant": "file", "egress": "deny", "request": {"kind": "summarize", "text": "t"}}
    assert forebay("submit", "--egress", "allow", stdin=json.dumps(job).encode())[0] == 0
    submitted = ledger.claim("route").job()
    assert (submitted.tenant, submitted.egress) == ("file", "allow")
    assert forebay("submit", stdin=json.dumps(job["request"]).encode())[0] == 0
    assert ledger.claim("route").job().tenant == "environment"


def test_a_repeated_key_prints_the_first_id_and_other_content_is_refused(forebay):
    first = forebay("submit", "summarize", "--text", "a", "--key", "k1")
    assert forebay("submit", "summarize", "--text", "a", "--key", "k1") == first
    code, out, err = forebay("submit", "summarize", "--text", "b", "--key", "k1")
    assert (code, out) == (2, "")
    assert err.startswith("forebay: key_reused: --key: ")


LABELS = ["--label", "a", "--label", "b"]
JOB = {"kind": "summarize", "text": SECRET}


@pytest.mark.parametrize(
    ("args", "stdin", "code", "field"),
    [
        ([], b"", "invalid_job", "standard input"),
        ([], b"{", "invalid_job", "standard input"),
        ([], b"[1, 2]", "invalid_job", "standard input"),
        ([], b"{}\n{}\n", "invalid_job", "standard input"),
        ([], b"[" * 200_000, "invalid_job", "standard input"),
        ([], bytes(range(256)) * 64, "invalid_job", "standard input"),
        ([], b"\x00" * 100, "invalid_job", "standard input"),
        ([], b'{"kind": "translate", "text": "%s"}' % SECRET.encode(), "invalid_job", "kind"),
        ([], b'{"text": "%s"}' % SECRET.encode(), "invalid_job", "kind"),
        ([], b'{"kind": "summarize", "text": "\\ud800"}', "invalid_job", "text"),
        ([], b'{"kind": "summarize", "text": "t", "colour": 1}', "invalid_job", "colour"),
        ([], b'{"kind": "summarize", "text": "t", "%s": 1}' % SECRET.encode(), "invalid_job", ""),
        ([], json.dumps({**JOB, "text": "x" * 500_001}).encode(), "too_long", "text"),
        ([], json.dumps({"request": JOB, "lane": "bedrock"}).encode(), "egress_denied", "egress"),
        ([], json.dumps({"request": JOB, "egress": "maybe"}).encode(), "invalid_job", "egress"),
        (["nowhere.json"], b"", "invalid_job", "SOURCE"),
        (["x" * 5_000], b"", "invalid_job", "SOURCE"),
        (["generate", "--system", SECRET], b"", "invalid_job", "--text"),
        (["."], b"", "invalid_job", "."),
        (["clasify", "--text", SECRET, *LABELS], b"", "invalid_job", "SOURCE"),
        (["pyproject.toml", "--text", SECRET], b"", "invalid_job", "--text"),
        (["classify", "--text", SECRET], b"", "invalid_job", "--label"),
        (["classify", *LABELS], b"", "invalid_job", "--text"),
        (["classify", "--text", "t", "--label", "a", "--label", "A "], b"", "invalid_job",
         "--label"),
        (["classify", "t", "--label", "a", "--label", " "], b"", "invalid_job", "--label"),
        (["classify", "--text=t", "--label=a", "--label="], b"", "invalid_job", "--label"),
        (["summarize", "--text", SECRET, "--text", SECRET], b"", "invalid_job", "--text"),
        (["summarize", "--text", SECRET, "--label", SECRET], b"", "invalid_job", "--label"),
        (["summarize", "--file", "nowhere.txt"], b"", "invalid_job", "--file nowhere.txt"),
        (["summarize", "--file", ""], b"", "invalid_job", "--file ''"),
        (["summarize", "--text", "t", "--deadline", ""], b"", "invalid_job", "--deadline"),
        (["summarize", "--text", "t", "--system", SECRET], b"", "invalid_job", "--system"),
        (["embed", "--text", "t", "--system", SECRET], b"", "invalid_job", "--system"),
        (["extract", "--text", "t", "--schema", ""], b"", "invalid_job", "--schema ''"),
        (["summarize", "--text", "t", "--max-words", "0"], b"", "invalid_job", "--max-words"),
        (["summarize", "--text", "t", "--deadline", "soon"], b"", "invalid_job", "--deadline"),
        (["summarize", "--text", "t", "--deadline", "2030-01-01T00:00"], b"", "invalid_job",
         "--deadline"),
        (["summarize", "t", "--deadline", "999999999d"], b"", "invalid_job", "--deadline"),
        (["summarize", "--text", "t", "--meta", SECRET], b"", "invalid_job", "--meta"),
        (["summarize", "--text", "t", "--tenant", "No Tenant"], b"", "invalid_job", "--tenant"),
        (["summarize", "--text", "t", "--max-cost", "nan"], b"", "invalid_job", "--max-cost"),
        (["extract", "--text", "t"], b"", "invalid_job", "--schema"),
        (["extract", "--text", "t", "--schema", "-"], b'{"type": 7}', "invalid_job", "--schema"),
        (["extract", "--text", "t", "--schema", "-"], b"junk", "invalid_job",
         "--schema standard input"),
        (["extract", "--text", "t", "--schema", "nowhere"], b"", "invalid_job", "--schema nowhere"),
        (["extract", "--text", "t", "--schema", "{junk"], b"", "invalid_job", "--schema"),
        (["extract", "--text", "t", "--schema", '{"type": 7}'], b"", "invalid_job", "--schema"),
        (["summarize", "--file", "-"], b" \n", "invalid_job", "--file standard input"),
        (["extract", "--file", "-", "--schema", "-"], b"{}", "invalid_job", "-"),
        (["embed", "--text", "a", "--text", ""], b"", "invalid_job", "--text"),
        (["generate", "--system", "", "--text", "t"], b"", "invalid_job", "--system"),
        (["generate", "--text", "t", "--max-tokens", "0"], b"", "invalid_job", "--max-tokens"),
        (["summarize", "t", "--key", "k" * 201], b"", "too_long", "--key"),
        (["summarize", "t", "--focus", "f" * 501], b"", "too_long", "--focus"),
        (["summarize", "t", "--egress", "maybe"], b"", "invalid_job", "--egress"),
        (["summarize", "t", "--priority", "soon"], b"", "invalid_job", "--priority"),
        (["summarize", "t", "--lane", "moon"], b"", "invalid_job", "--lane"),
        (["summarize", "t", "--lane", "bedrock"], b"", "egress_denied", "--egress"),
        (["summarize", "two", "words"], b"", "invalid_job", "--text"),
        (["pyproject.toml", SECRET], b"", "invalid_job", "--text"),
        (["--egress", "maybe"], json.dumps(JOB).encode(), "invalid_job", "--egress"),
    ],
)  # fmt: skip
def test_a_mistake_gives_one_line_that_names_the_field(forebay, redis, args, stdin, code, field):
    exit_code, out, err = forebay("submit", *args, stdin=stdin)
    assert (exit_code, out) == (2, "")
    named = rf"(\S+\.)?{re.escape(field)}(\.\d+)?: " if field else ""
    assert re.fullmatch(rf"forebay: {code}: {named}.+\n", err), err
    assert SECRET not in err
    assert not re.search("Input|Field|Value|Tuple|after validation", err), "pydantic's words"
    assert redis.dbsize() == 0, "something of a refused job was stored"
    exit_code, out, err = forebay("submit", *args, "--json", stdin=stdin)
    error = json.loads(out)["error"]
    assert (exit_code, err, error["code"]) == (2, "", code)
    assert SECRET not in out


@pytest.mark.parametrize(
    "deadline", ["soon", "5 minutes", "2030-01-01T00:00", "500", "5e2", "4102444800", "-1"]
)
def test_a_deadline_of_another_form_gives_the_forms(forebay, deadline):
    _, _, err = forebay("submit", "summarize", "--text", "t", "--deadline", deadline)
    assert err == (
        "forebay: invalid_job: --deadline: must be 30s, 5m, 2h or 1d from now, or an ISO time with "
        "a time zone\n"
    )


@pytest.mark.parametrize("deadline", ["2100-01-01T00:00Z", "2100-01-01 00:00+01:00"])
def test_a_deadline_may_be_a_time(forebay, ledger, deadline):
    assert forebay("submit", "summarize", "--text", "t", "--deadline", deadline)[0] == 0
    assert ledger.claim("route").job().deadline.year in {2099, 2100}


def test_a_deadline_too_far_away_gives_the_limit(forebay):
    _, _, err = forebay("submit", "summarize", "--text", "t", "--deadline", "999999999d")
    match = re.fullmatch(
        r"forebay: invalid_job: --deadline: must be at most (\d+) days from now\n", err
    )
    assert match
    limit = forebay("submit", "summarize", "--text", "t", "--deadline", f"{match[1]}d")
    assert limit[0] == 0


def test_a_mistyped_kind_is_asked_about(forebay):
    code, _, err = forebay("submit", "clasify", "a text")
    assert code == 2
    assert err.endswith("; did you mean classify?\n")


@pytest.mark.parametrize(
    "when",
    ["30", "0.5", "-5m", "+5m", "5 minutes", "tomorrow", "1h30m", "1w", "5M", "1e3s",
     "2030-01-01", "2030-01-01T00:00:00", "12:30", "inf", "nan", " 5m", "5m\n", "now"],
)  # fmt: skip
def test_any_other_spelling_of_a_deadline_is_refused_with_the_right_ones(forebay, redis, when):
    code, out, err = forebay("submit", "summarize", "t", f"--deadline={when}")
    assert (code, out) == (2, "")
    assert "--deadline: must be 30s, 5m, 2h or 1d from now, or an ISO time" in err
    assert not redis.keys("fb:job:*")


@pytest.mark.parametrize("when", ["0s", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00+02:00"])
def test_a_deadline_that_has_passed_is_refused(forebay, when):
    code, _, err = forebay("submit", "summarize", "t", "--deadline", when)
    assert code == 2
    assert "has passed, give a later time" in err


def test_a_job_with_a_name_twice_is_refused_and_names_it(forebay, tmp_path):
    file = tmp_path / "job.json"
    file.write_text('{"egress": "deny", "egress": "allow", "request": {"kind": "summarize"}}')
    code, _, err = forebay("submit", str(file))
    assert code != 0
    assert "has the name 'egress' twice in an object" in err
