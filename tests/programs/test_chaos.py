"""Each check of the chaos suite finds the error that it is there to find."""

from books import content, jobs, money
from books.diary import Diary, Entry
from books.finding import Told
from books.journal import Change, Journal
from books.recovery import percentile, recoveries
from doom.doomed import SHIFT
from doom.points import Armed
from forebay.routing.jobs import Generate, Job, Message
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect
from ledger_jobs import BELL
from local.fleet import Fleet
from ordeal.schedule import Amounts, plan

TERM_S = 66.0


def wrong(findings) -> dict[str, int]:
    """Return how often each finding was wrong, without the findings that are right."""
    return {finding.name: finding.wrong for finding in findings if finding.wrong}


def job(text="hello") -> Job:
    return Job(request=Generate(messages=[Message(role="user", content=text)]))


def call(call_id, at, **fields):
    return {
        "call_id": call_id,
        "at": at,
        "status": 200,
        "fault": None,
        "text": "",
        "whole": True,
        "tokens_in": 10,
        "tokens_out": 2,
        **fields,
    }


def test_an_accepted_job_that_is_gone_is_found(redis, ledger):
    accepted = job()
    ledger.create([accepted])
    ledger.cancel(accepted.id)
    assert not wrong(jobs.of_jobs(redis, ledger, Told({accepted.id}, set())))
    ledger.forget(accepted.id)
    assert wrong(jobs.of_jobs(redis, ledger, Told({accepted.id}, set()))) == {
        "accepted, and not there": 1
    }


def test_a_job_that_did_not_end_or_left_something_behind_is_found(redis, ledger):
    open_, ended = job(), job()
    ledger.create([open_, ended])
    ledger.cancel(ended.id)
    redis.persist(f"fb:job:{ended.id}")
    redis.zadd("fb:leases", {ended.id: 1})
    redis.set(f"fb:answer:{ended.id}", "", ex=60)
    assert wrong(jobs.of_jobs(redis, ledger, Told({open_.id, ended.id}, set()))) == {
        "not ended": 1,
        "done without an answer, or not done with one": 1,
        "keys of ended jobs without an end": 1,
        "ended jobs still in a set": 1,
    }


def test_redis_own_file_shows_every_state_of_a_job_and_a_second_end(tmp_path):
    with Fleet(tmp_path / "fleet") as fleet:
        fleet.start_redis(appendfsync="always")
        settings = Settings(redis_url=fleet.url)
        ledger = Ledger(connect(settings), settings, BELL)
        once, twice = job(), job("MARK")
        ledger.create([once, twice])
        ledger.claim("route")
        ledger.cancel(once.id)
        ledger.cancel(twice.id)
        ledger.redis.hset(f"fb:job:{twice.id}", mapping={"state": "failed", "ended": "1000"})
        ledger.redis.hset("fb:job:leak", "note", "MARK")
    journal = Journal(tmp_path / "fleet" / "redis" / "appendonlydir", (b"MARK",))
    assert [change.state for change in journal.lives[once.id]] == [
        "waiting",
        "running",
        "cancelled",
    ]
    assert wrong(jobs.of_ends([], journal)) == {
        "ended twice, by Redis' file": 1,
        "went on after its end": 1,
    }
    assert journal.leaks == 1


def test_a_call_without_an_entry_in_the_budget_is_found(redis):
    spend = Budget(redis)
    spend.reserve(
        "one", "acme.1", "acme", 5,
        term_s=TERM_S,
    )  # fmt: skip
    calls = [call("one", 0.0), call("two", 1.0)]
    assert wrong(money.of_money(spend, calls)) == {"calls without an entry": 1}
    assert not wrong(money.of_money(spend, calls, {"two"}))
    spend.release("one")
    assert wrong(money.of_money(spend, calls[:1])) == {
        "calls that may be paid, and are booked as free": 1
    }


def test_a_second_call_within_the_term_of_the_first_is_found():
    journal = Journal()
    journal.reserved |= {"one": ("acme.1", 0.0), "two": ("acme.1", 60.0)}
    late = [call("one", 0.3), call("two", TERM_S + 0.1)]
    assert not wrong(money.of_terms(late, journal, TERM_S))
    refused = [call("one", 0.0, status=429), call("two", 1.0)]
    assert not wrong(money.of_terms(refused, journal, TERM_S))
    early = [call("one", 0.3), call("two", TERM_S - 0.1)]
    assert wrong(money.of_terms(early, journal, TERM_S)) == {
        "paid twice: called again within the term": 1
    }
    assert not wrong(money.of_terms(early, journal, TERM_S, {"acme.1"}))


def test_a_job_written_just_before_the_host_died_is_at_risk():
    told = [
        Entry(1.0, 1, "tried", "a", "1"), Entry(1.1, 1, "accepted", "a", "1"),
        Entry(9.5, 1, "tried", "b", "2"), Entry(9.6, 1, "accepted", "b", "2"),
        Entry(10.5, 1, "tried", "c", "3"),
    ]  # fmt: skip
    read = Told.read(told, [Entry(10.0, 2, "host", "-", "-")])
    assert (read.accepted, read.doubtful) == ({"a", "b"}, {"c"})
    assert "b" in read.risked
    assert not {"a", "c"} & read.risked


def test_the_journal_corrects_times_while_the_clock_was_wrong(tmp_path):
    with Fleet(tmp_path / "fleet") as fleet:
        fleet.start_redis(appendfsync="always")
        settings = Settings(redis_url=fleet.url)
        ledger = Ledger(connect(settings), settings, BELL)
        before, after = job(), job()
        ledger.create([before])
        ledger.redis.set(SHIFT, 7_000_000)
        ledger.create([after])
    journal = Journal(tmp_path / "fleet" / "redis" / "appendonlydir")
    (early,), (late,) = journal.lives[before.id], journal.lives[after.id]
    assert -8 < late.at - early.at < -6  # the scripts of this ledger do not read the shift


def test_content_in_a_call_or_a_log_is_found(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("OPENMARK12")
    calls = [call("one", 0.0, text="DENYMARK34"), call("two", 0.0, text="OPENMARK56")]
    assert wrong(content.of_content(calls, [log], Journal())) == {
        "calls with what may not leave": 1,
        "logs with content": 1,
    }


def test_a_worker_that_ended_by_itself_is_found():
    entries = [Entry(1, 7, "killed", "-", "-"), Entry(2, 7, "ended", "-9", "-")]
    assert not content.of_workers(entries).wrong
    assert content.of_workers([*entries, Entry(3, 8, "ended", "1", "-")]).wrong == 1


def test_the_job_of_a_dead_worker_is_recovered_once_it_can_be_claimed_again():
    entries = [
        Entry(10.0, 7, "claim", "j", "1-a"),
        Entry(10.0, 7, "claim", "given-back", "1-b"),
        Entry(10.5, 7, "moved", "given-back", "1-b"),
        Entry(11.0, 7, "died", "claim", "-"),
    ]
    journal = Journal()
    journal.lives["j"] += [
        Change(10.0, "running", "1-a"), Change(13.0, "waiting", ""), Change(14.5, "running", "2-c"),
    ]  # fmt: skip
    journal.lives["given-back"] += [Change(10.0, "running", "1-b"), Change(10.5, "waiting", "")]
    (found,) = recoveries(entries, journal)
    assert (found.job, found.seconds, found.again, found.paid) == ("j", 2.0, 3.5, False)
    assert percentile([3.5, 1.0, 9.0], 0.5) == 3.5


def test_a_seed_determines_the_schedule():
    amounts = Amounts.of(40, 10)
    assert plan(7, amounts, 150) == plan(7, amounts, 150)
    assert plan(7, amounts, 150) != plan(8, amounts, 150)


def test_only_one_process_dies_at_an_armed_point(tmp_path):
    armed = Armed(tmp_path / "armed")
    assert armed.arm("local", "claim")
    assert not armed.arm("local", "claim")
    assert [armed.take("local", "claim"), armed.take("local", "claim")] == [True, False]


def test_a_diary_reads_back_what_was_written(tmp_path):
    diary = Diary(tmp_path / "diary")
    diary.note("claim", "j", "1-a")
    diary.note("ended", "-9", pid=7)
    assert [entry[1:] for entry in diary.entries()][1] == (7, "ended", "-9", "-")


def test_a_process_that_stands_still_is_still_to_be_woken_at_the_end(tmp_path):
    armed = Armed(tmp_path / "armed")
    armed.mark_frozen(7)
    assert armed.count() == 1
    assert armed.frozen(0) == [7]
    assert armed.count() == 0
