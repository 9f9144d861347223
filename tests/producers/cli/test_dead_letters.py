"""The commands about dead letters: the list says whose it is, and what its columns are."""

from forebay.routing.jobs import Job, Receipt, Summarize


def kill(ledger, tenant="default"):
    job = Job(tenant=tenant, request=Summarize(text="t"))
    ledger.create([job])
    claim = ledger.claim("route")
    receipt = Receipt(
        id=claim.id, kind="summarize", egress="deny", status="failed", lane="local",
        error="bad_answer",
        reasons=("no_answer",),
    )  # fmt: skip
    ledger.settle(claim, receipt)
    return job.id


def test_an_empty_list_says_whose_it_is(forebay):
    note = "forebay: no dead jobs of tenant default; --tenant names another\n"
    assert forebay("dead", "list") == (0, "", note)
    _, _, err = forebay("dead", "list", "--tenant", "acme", "--code", "bad_answer")
    assert "tenant acme with code bad_answer;" in err


def test_the_list_has_a_header_and_its_columns_line_up(forebay, ledger):
    ids = {kill(ledger, "acme"), kill(ledger, "acme")}
    code, out, _ = forebay("dead", "list", "--tenant", "acme")
    header, *rows = out.splitlines()
    assert code == 0
    assert header.split() == ["ID", "KIND", "CODE", "HOP", "ATTEMPTS", "ENDED"]
    assert {row.split()[0] for row in rows} == ids
    assert {row[header.index("CODE") :].split()[0] for row in rows} == {"bad_answer"}


def test_a_wrong_change_names_its_option(forebay, ledger):
    code, _, err = forebay("dead", "replay", kill(ledger), "--priority", "soon")
    assert (code, err) == (2, "forebay: invalid_job: --priority: must be interactive or bulk\n")
