"""Second opinions on rows: each row asks its own, beside the others, by the policy of jobs."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import Future

import pytest

from forebay.producers.bulk.running.results import of_row
from forebay.routing.bulk.row_result import pack_rows, unpack_rows
from forebay.routing.errors import EngineBusy, InvalidJob
from forebay.routing.jobs import new_id
from forebay.routing.learning.verdicts import Verdicts
from forebay.routing.scoring.router_model import RouterModel
from forebay.workers.bulk.row_opinions import RowOpinions
from forebay.workers.bulk.row_steps import RowSteps
from forebay.workers.bulk.shard_work import ShardWork
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.cascade.second_opinion import SecondOpinions
from forebay.workers.engines.batching.echo import EchoEngine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.runtime.recording import record
from shards import counters, put, rows_of, shard, work_shards

pytest_plugins = ["waterfall"]

TOTAL = {
    "type": "object",
    "properties": {"total": {"type": ["number", "null"]}},
    "required": ["total"],
    "additionalProperties": False,
}
ALWAYS = "\n[tenants.acme.second_opinion]\nextract = 1.0\nclassify = 1.0\n"


def bill(first, second, text="Bill total: 10 and not 9."):
    """Return a row that the echo engine answers so, and so the second time."""
    return {"text": f'{text} [[echo: say={{"total": {first}}}]] [[echo: warm={second}]]'}


def bills(*rows, **fields):
    return shard(kind="extract", rows=list(rows), common={"schema": TOTAL}, **fields)


def worked(lanes, made):
    put(lanes.ledger, made)
    work_shards(lanes)
    return rows_of(lanes.ledger, made)


TEN, NINE = '{"total": 10}', '{"total": 9}'


def test_each_row_has_its_own_second_opinion_and_its_result_shows_it(lanes):
    lanes.rules(ALWAYS)
    made = bills(bill(10, TEN), bill(10, NINE), bill(9, NINE), egress="allow")
    same, differs, other = worked(lanes, made)
    assert (same.status, differs.status, other.status) == ("done", "up", "done")
    assert differs.reasons == ("bulk", "second_opinion_differs")
    assert [row.content["data"] for row in (same, other)] == [{"total": 10}, {"total": 9}]
    shown = of_row(1, None, same)["checks"]
    note = "agreement 1.00 with echo"
    assert {"name": "second_opinion", "passed": True, "note": note} in shown
    assert lanes.ledger.record(differs.job).doubt.agreement == 0.0
    assert unpack_rows(pack_rows([same, differs])) == [same, differs]


def test_the_tokens_of_both_answers_are_counted(lanes):
    (once,) = worked(lanes, bills(bill(10, TEN), egress="allow"))
    lanes.rules(ALWAYS)
    (twice,) = worked(lanes, bills(bill(10, TEN), egress="allow"))
    assert twice.tokens_out == 2 * once.tokens_out > 0
    assert twice.tokens_in > 1.5 * once.tokens_in


def test_rows_that_may_not_leave_are_asked_twice_only_if_the_policy_says_so(lanes):
    lanes.rules(ALWAYS)
    made = bills(bill(10, NINE))
    (once,) = worked(lanes, made)
    assert "second_opinion" not in once.checks
    assert once.failed == ()
    lanes.rules(f"{ALWAYS}deny_too = true\n")
    unsure, mended = worked(lanes, bills(bill(10, NINE), bill("null", TEN)))
    assert unsure.reasons == ("unsure", "egress_denied")
    assert unsure.failed == (("second_opinion", "agreement 0.00 with echo"),)
    assert not unsure.degraded
    assert mended.content["data"] == {"total": 10}
    assert mended.reasons == ("check_failed:filled", "second_kept", "egress_denied")


def test_the_verdict_on_each_row_decides_which_share_is_asked_twice(lanes):
    rows = [bill(10, NINE), bill(10, NINE, text="word " * 400 + "Bill total: 10, or was it 9?")]
    made = bills(*rows, egress="allow")
    verdicts = Verdicts(RouterModel.load(), lanes.redis, b"any")
    sure, unsure = (verdicts.verdict(made.job(n, "allow")).probability for n in range(2))
    low, high = sorted((sure, unsure))
    assert low < high
    lanes.rules(f"\n[tenants.acme.second_opinion]\nextract = {(low + high) / 2}\n")
    found = worked(lanes, made)
    assert [row.status for row in found] == ["done" if p == high else "up" for p in (sure, unsure)]


def test_labels_by_similarity_get_their_second_opinion_from_the_batch(lanes, monkeypatch):
    lanes.rules(ALWAYS)
    kinds = frozenset({"classify"})
    monkeypatch.setattr(Answerer, "light_kinds", property(lambda _: kinds))
    answer = Answerer.begin
    at_once = lambda self, jobs: [answer(self, job, new_id("acme"))() for job in jobs]  # noqa: E731 - one expression
    monkeypatch.setattr(Answerer, "at_once", at_once)
    texts = ["a billing question", "no login here [[echo: warm=billing]]"]
    same, differs = worked(lanes, shard(*texts, egress="allow"))
    assert (same.status, differs.status) == ("done", "up")
    assert "second_opinion" in same.checks


class Late(EchoEngine):
    """The echo engine; second answers come only once the first answers of all rows have come.

    All but four first answers come only once a second answer was asked for.
    """

    def __init__(self, rows):
        self.left, self.early, self.others = rows, [], None
        self.lock = threading.RLock()
        super().__init__(EngineSettings(engine="echo", slots=8, context_tokens=4096))

    def submit_all(self, prompts, on_end):
        def ended(*end):
            on_end(*end)
            with self.lock:
                self.left -= 1
                for prompt, future in () if self.left else self.early:
                    super(Late, self).submit(prompt).add_done_callback(
                        lambda done, future=future: future.set_result(done.result())
                    )

        self.others = prompts[4:], ended
        super().submit_all(prompts[:4], ended)

    def submit(self, prompt):
        with self.lock:
            if not self.left:
                return super().submit(prompt)
            self.early.append((prompt, future := Future()))
            others, self.others = self.others, None
        if others:
            super().submit_all(*others)
        return future


def shard_work(lanes, engine, other=None):
    """Return a worker of shards on another engine than that of the lane.

    With another engine beside it, it takes two further answers.
    """
    local, answerer = lanes.local, Answerer(engine, other)
    opinions = SecondOpinions(
        lanes.ledger, local._escalator._policy, local._escalator._frontier, answerer,
        third=other is not None,
    )  # fmt: skip
    rows = RowOpinions(opinions, lanes.redis, b"any")
    steps = RowSteps(
        answerer, local._labels, local._doubter, local._escalator, local._long_texts, rows,
        local._conclusion._sampler,
    )  # fmt: skip
    return ShardWork(lanes.ledger, answerer, steps)


def claimed(lanes, made):
    put(lanes.ledger, made)
    work_shards(lanes, "route")
    return lanes.ledger.claim("local.default", shards=True)


def test_rows_begin_while_others_wait_for_their_second_answer(lanes):
    lanes.rules(ALWAYS)
    made = bills(*[bill(10, TEN if n % 2 else NINE) for n in range(12)], egress="allow")
    engine = Late(rows=12)
    try:
        claim = claimed(lanes, made)
        record(lanes.ledger, claim, shard_work(lanes, engine).work(claim, threading.Event()))
    finally:
        engine.close()
    assert engine.early
    assert [row.status for row in rows_of(lanes.ledger, made)] == ["up", "done"] * 6
    assert counters(lanes.ledger, made)["rows_up"] == 6


def test_a_result_names_both_further_answers_as_that_of_a_job_does(lanes):
    lanes.rules(f"{ALWAYS}deny_too = true\n")
    made = bills(*[bill(10, TEN if n % 2 else NINE) for n in range(4)])
    settings = EngineSettings(engine="echo", slots=4, context_tokens=4096)
    engine, other = EchoEngine(settings), EchoEngine(settings.model_copy(update=OTHER))
    try:
        claim = claimed(lanes, made)
        worker = shard_work(lanes, engine, other)
        record(lanes.ledger, claim, worker.work(claim, threading.Event()))
    finally:
        engine.close()
        other.close()
    differs, same, *_ = [
        [(each["note"], each["passed"]) for each in of_row(1, None, row)["checks"] if each["note"]]
        for row in rows_of(lanes.ledger, made)
    ]
    assert same == [("agreement 1.00 with other", True), ("agreement 1.00 with echo", True)]
    assert differs == [("agreement 1.00 with other", True), ("agreement 0.00 with echo", False)]


OTHER = {"echo_model": "other"}


@pytest.mark.parametrize("error", [InvalidJob("is too long in these words"), EngineBusy("full")])
def test_a_second_answer_that_cannot_begin_costs_nothing_but_itself(lanes, monkeypatch, error):
    lanes.rules(ALWAYS)

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr("forebay.workers.prompts.bounded.reworded", refuse)
    (row,) = worked(lanes, bills(bill(10, NINE), egress="allow"))
    assert (row.status, row.failed) == ("done", ())


def test_no_answer_to_a_row_waits_for_pythons_collector(lanes):
    """It looks only after many thousands of rows."""
    lanes.rules(ALWAYS)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        rows = worked(lanes, bills(*[bill(10, TEN)] * 5, egress="allow"))
        gc.collect()
        left = [each for each in gc.garbage if isinstance(each, Future)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert all("second_opinion" in row.checks for row in rows)
    assert left == []
