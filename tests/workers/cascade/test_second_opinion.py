"""Second opinions: when they are taken, what they say, and that none is left running."""

from __future__ import annotations

import threading
import time

import pytest

from forebay.routing.errors import EngineBusy, EngineDied, Lost, TooLong, Unavailable
from forebay.routing.jobs import (
    Check,
    Classify,
    Extract,
    Generate,
    Job,
    Message,
    Summarize,
    Verdict,
)
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.workers.cascade import second_opinion
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.cascade.second_opinion import second_id
from forebay.workers.engines.batching.echo import EchoEngine
from forebay.workers.engines.engine import EngineInfo, Prompt, Turn
from forebay.workers.engines.llamacpp.llamacpp import LlamaEngine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.local import Local
from forebay.workers.prompts import rewording
from forebay.workers.runtime.execute import Answered, Escalated, Failed

BELL = '{"id": "@RING@", "queue": "@QUEUE@", "task": "@TASK@"}'
SURE = Verdict(probability=0.95, version="test")
LIKELY = Verdict(probability=0.7, version="test")
TOTAL = {
    "type": "object",
    "properties": {"total": {"type": ["number", "null"]}},
    "required": ["total"],
    "additionalProperties": False,
}
NOTHING = '{"total": null}'
TEN, NINE = '{"total": 10}', '{"total": 9}'
BILL = "The bill is 10 and not 9."


class Watched(EchoEngine):
    """The echo engine, and what it was asked for or told to stop."""

    def __init__(self) -> None:
        self.prompts = []
        self.at = []
        self.stopped = []
        self.full = False
        super().__init__(EngineSettings(engine="echo", slots=2))

    def submit(self, prompt):
        self.prompts.append(prompt)
        self.at.append(time.monotonic())
        future = super().submit(prompt)
        if self.full and prompt.id.endswith("/2"):
            super().cancel(prompt.id)
            future = type(future)()
            future.set_exception(EngineBusy("full"))
        return future

    def cancel(self, prompt_id):
        self.stopped.append(prompt_id)
        super().cancel(prompt_id)


class Other(Watched):
    """Another model: it says what `warm` tells, whatever the temperature is."""

    def info(self):
        return super().info().model_copy(update={"model": "other"})

    def submit(self, prompt):
        return super().submit(prompt.model_copy(update={"temperature": 1.0}))


class Lane:
    """The local lane over an echo engine that says what it is told to, or over two."""

    def __init__(self, redis, tmp_path, other=None) -> None:
        self.policy = tmp_path / "policy.toml"
        self.policy.write_text("[defaults]\n")
        self.ledger = Ledger(redis, Settings(lease_s=1000, policy_file=self.policy), BELL)
        self.ledger.serve("test", ["bedrock"], 3600)
        self.engine, self.other = Watched(), other
        self.local = Local(self.ledger, lambda: Answerer(self.engine, other))

    def claim(self, request, verdict=LIKELY, egress="allow"):
        self.ledger.create([Job(request=request, egress=egress)])
        routed = self.ledger.claim("route")
        self.ledger.route(routed, "local.default", egress, "verdict_easy", verdict)
        return self.ledger.claim("local.default")

    def work(self, *args, **options):
        return self.local.work(self.claim(*args, **options))


@pytest.fixture
def at_once(monkeypatch):
    """A lane that is made after this sees how long its queue is for each job."""
    monkeypatch.setattr(second_opinion, "LOOK_EVERY_S", 0)


@pytest.fixture
def lane(redis, tmp_path):
    lane = Lane(redis, tmp_path)
    yield lane
    lane.local.close()


def extract(first, second, text=BILL):
    return Extract(text=f"{text} [[echo: say={first}]] [[echo: warm={second}]]", schema=TOTAL)


def ask(text, **options):
    return Generate(messages=[Message(role="user", content=text)], **options)


def ids(lane):
    return [prompt.id.rpartition("/")[2] == "2" for prompt in lane.engine.prompts]


def second_check(answer):
    return [check for check in answer.checks if check.name == "second_opinion"]


# --- what comes of it ---------------------------------------------------------------------------


def test_two_answers_that_differ_send_a_job_up_with_its_reason(lane):
    outcome = lane.work(extract(TEN, NINE))
    assert isinstance(outcome, Escalated)
    assert outcome.reason == "second_opinion_differs"
    assert outcome.draft.content.data == {"total": 10}
    assert second_check(outcome.draft) == [
        Check(name="second_opinion", passed=False, note="agreement 0.00 with echo")
    ]


def test_two_answers_that_agree_are_kept_and_both_are_counted(lane):
    kept = lane.work(extract(TEN, TEN))
    assert isinstance(kept, Answered)
    once = lane.work(extract(TEN, TEN), SURE)
    assert (kept.answer.reasons, kept.answer.degraded) == (("verdict_easy",), False)
    assert second_check(kept.answer)[0].passed
    assert second_check(once.answer) == []
    assert kept.answer.tokens_out == 2 * once.answer.tokens_out > 0
    assert kept.answer.tokens_in > 1.5 * once.answer.tokens_in


def test_a_job_that_may_not_leave_has_none_unless_the_policy_asks_for_it(lane):
    kept = lane.work(extract(TEN, NINE), egress="deny")
    assert kept.answer.reasons == ("verdict_easy",)
    assert ids(lane) == [False]


def test_a_job_that_may_not_leave_says_that_it_is_unsure_and_is_not_degraded(lane):
    lane.policy.write_text("[defaults.second_opinion]\ndeny_too = true\n")
    kept = lane.work(extract(TEN, NINE), egress="deny")
    assert isinstance(kept, Answered)
    assert kept.answer.reasons == ("verdict_easy", "unsure", "egress_denied")
    assert not kept.answer.degraded
    assert not second_check(kept.answer)[0].passed


def test_of_a_job_that_stays_the_answer_that_passes_its_checks_is_kept(lane):
    lane.policy.write_text("[defaults.second_opinion]\ndeny_too = true\n")
    kept = lane.work(extract(NOTHING, TEN), egress="deny")
    assert kept.answer.content.data == {"total": 10}
    assert kept.answer.reasons[1:] == ("check_failed:filled", "second_kept", "egress_denied")
    assert not kept.answer.degraded
    unread = lane.work(extract("no JSON", TEN), egress="deny")
    assert unread.answer.content.data == {"total": 10}
    assert second_check(unread.answer) == []
    neither = lane.work(extract("no JSON", "nor this"), egress="deny")
    assert isinstance(neither, Failed)
    assert neither.reasons == ("no_answer", "egress_denied")


def test_a_failed_first_answer_goes_up_whatever_the_second_says(lane):
    began = time.monotonic()
    outcome = lane.work(extract(NOTHING, "word " * 300, text=f"{BILL} [[echo: delay=0.02]]"))
    assert outcome.reason == "check_failed:filled"
    assert time.monotonic() - began < 2
    assert lane.engine.stopped == [lane.engine.prompts[-1].id.removesuffix("/2") + "/2"]


def test_a_second_answer_that_cannot_be_read_says_nothing(lane):
    kept = lane.work(extract(TEN, "no JSON"))
    assert isinstance(kept, Answered)
    assert second_check(kept.answer) == []


def test_a_full_engine_costs_the_second_opinion_and_not_the_answer(lane):
    lane.engine.full = True
    kept = lane.work(extract(TEN, NINE))
    assert isinstance(kept, Answered)


# --- when it is taken ---------------------------------------------------------------------------


def test_it_is_begun_beside_the_first_where_it_will_be_wanted(lane):
    lane.work(extract(TEN, TEN, text=f"{BILL} [[echo: delay=0.2]]"))
    assert ids(lane) == [False, True]
    first, second = lane.engine.at
    assert second - first < 0.2 < time.monotonic() - first


def test_chat_is_answered_twice_only_where_it_comes_down_to_something(lane):
    lane.work(ask("[[echo: say=a long and winding story]] tell me one"))
    assert ids(lane) == [False]
    outcome = lane.work(ask("[[echo: say=It is 18.]] [[echo: warm=The answer: 19]] how many"))
    assert ids(lane)[1:] == [False, True]
    assert outcome.reason == "second_opinion_differs"


def test_free_text_is_compared_by_meaning_where_the_policy_asks(lane):
    lane.policy.write_text("[defaults.second_opinion]\nprose = 1.0\n")
    said = "[[echo: say=a long and winding story]] [[echo: warm=no such thing here]] tell me"
    assert lane.work(ask(said)).reason == "second_opinion_differs"
    assert ids(lane) == [False, True]


def test_it_stops_when_the_local_queue_is_long(at_once, lane):
    waiting = lane.ledger.redis
    waiting.hset("fb:depth", "local.default", 8)
    assert isinstance(lane.work(extract(TEN, NINE)), Escalated)
    waiting.hset("fb:depth", "local.default", 10)  # of which one is claimed: 9 for 2 slots
    assert isinstance(lane.work(extract(TEN, NINE)), Answered)


def test_the_queue_is_looked_at_twice_a_second_at_most_and_unknown_is_long():
    class Books:
        looks, broken = 0, False

        def depths(self):
            self.looks += 1
            if self.broken:
                raise Unavailable("no Redis")
            return {"local.default": 3}

    books = Books()
    backlog = second_opinion.Backlog(books)
    assert [backlog.depth("local.default") for _ in range(50)] == [3] * 50
    assert backlog.depth("local.other") == 0
    assert books.looks == 1
    books.broken = True
    assert second_opinion.Backlog(books).depth("local.default") == float("inf")


def test_a_lost_claim_cancels_the_second_answer_too(lane):
    claim = lane.claim(extract(TEN, "word " * 300, text=f"{BILL} [[echo: delay=0.05]]"))
    ended = []

    def work():
        try:
            lane.local.work(claim)
        except Lost:
            ended.append("lost")

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.6)  # the first answer is there, the second takes 15 s
    lane.local._stop(f"{claim.id}/{claim.token}")
    thread.join(5)
    assert ended == ["lost"]
    assert lane.engine.stopped == [f"{claim.id}/{claim.token}", f"{claim.id}/{claim.token}/2"]


@pytest.mark.parametrize(("share", "up"), [(0.0, False), (1.0, True)])
def test_where_a_pace_is_set_it_decides_what_is_too_doubtful(lane, share, up):
    lane.policy.write_text(f"[defaults.pace]\nshare = {share}\nbefore = 0.0\n")
    differing = lane.work(extract(TEN, NINE))
    assert isinstance(differing, Escalated if up else Answered)
    agreeing = lane.work(extract(TEN, TEN))
    assert isinstance(agreeing, Escalated if up else Answered)
    assert not up or (differing.reason, agreeing.reason) == ("second_opinion_differs", "doubtful")
    broken = lane.work(extract(NOTHING, TEN))  # whatever the pace is
    assert broken.reason == "check_failed:filled"


def test_the_receipt_says_how_doubtful_the_answer_is(lane):
    agreed = lane.work(extract(TEN, TEN)).answer.doubt
    differed = lane.work(extract(TEN, NINE)).draft.doubt
    assert 0 <= agreed.probability < agreed.threshold == 0.5 < differed.probability <= 1
    assert (agreed.agreement, differed.agreement) == (1.0, 0.0)
    alone = lane.work(extract(TEN, TEN), SURE).answer.doubt
    assert (alone.agreement, alone.threshold, alone.version) == (None, None, "plain")
    assert lane.work(extract(NOTHING, TEN), egress="deny").answer.doubt is None


# --- of another model ---------------------------------------------------------------------------


@pytest.fixture
def pair(redis, tmp_path):
    pair = Lane(redis, tmp_path, Other())
    yield pair
    pair.local.close()
    late = Prompt(id="late", messages=[Turn(role="user", content="?")], max_tokens=1)
    with pytest.raises(EngineDied):
        pair.other.submit(late).result(10)


def test_another_model_is_asked_in_the_same_words(pair):
    outcome = pair.work(extract(TEN, NINE))
    assert outcome.reason == "second_opinion_differs"
    assert outcome.draft.model == "echo"
    assert [check.note for check in second_check(outcome.draft)] == ["agreement 0.00 with other"]
    assert (ids(pair), len(pair.other.prompts)) == ([False], 1)
    assert pair.other.prompts[0].messages == pair.engine.prompts[0].messages
    assert pair.other.prompts[0].id == second_id(pair.engine.prompts[0].id)


def test_what_another_model_answered_and_was_kept_says_so(pair):
    pair.policy.write_text("[defaults.second_opinion]\ndeny_too = true\n")
    kept = pair.work(extract(NOTHING, TEN), egress="deny").answer
    assert (kept.model, kept.content.data) == ("other", {"total": 10})


def test_without_the_other_model_the_first_answer_stands(pair):
    pair.other.full = True
    kept = pair.work(extract(TEN, NINE))
    assert isinstance(kept, Answered)
    assert second_check(kept.answer) == []
    pair.other.close()
    assert isinstance(pair.work(extract(TEN, NINE)), Answered)


def test_another_model_is_cut_short_where_nothing_can_come_of_it(pair):
    pair.work(extract(NOTHING, "word " * 300, text=f"{BILL} [[echo: delay=0.02]]"))
    assert pair.other.stopped == [pair.other.prompts[0].id]


# --- the other words ----------------------------------------------------------------------------


INFO = EngineInfo(engine="echo", model="m", revision="r", context_tokens=2048, slots=1)
REQUESTS = [
    Classify(text="It rains.", labels=["wet", "dry", "cold"]),
    Extract(text=BILL, schema=TOTAL),
    Summarize(text="A long story.", focus="the end"),
    ask("how many", max_tokens=7, stop=["x"], temperature=1.2),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: one.kind)
def test_the_question_is_put_in_other_words_and_within_the_same_limits(request_):
    job = Job(request=request_)
    first = rewording.prompts.local(job, INFO, prompt_id="a")
    second = rewording.reworded(job, INFO, prompt_id="b")
    assert second == rewording.reworded(job, INFO, prompt_id="b")
    assert second.messages != first.messages
    assert (second.max_tokens, second.stop) == (first.max_tokens, first.stop)
    assert second.temperature >= 0.7
    assert second.seed != rewording.reworded(Job(request=request_), INFO, prompt_id="b").seed
    said = " ".join(turn.content for turn in second.messages)
    assert first.messages[-1].content.split("\n\n")[0].removeprefix("Text:\n") in said


def test_labels_come_in_the_other_order():
    second = rewording.reworded(Job(request=REQUESTS[0]), INFO, prompt_id="b")
    assert second.constraint.options == ("cold", "dry", "wet")
    assert second.messages[-1].content.index("cold") < second.messages[-1].content.index("wet")


# --- with a real model --------------------------------------------------------------------------


def test_what_is_too_long_for_the_engine_names_the_field_of_the_job():
    maker = Answerer(EchoEngine(EngineSettings(engine="echo", context_tokens=256)))
    text = "We met at noon. " * 400
    chat = Generate(messages=[Message(role="user", content=text)])
    for request, field in ((Summarize(text=text), "text"), (chat, "messages")):
        with pytest.raises(TooLong) as caught:
            maker.begin(Job(request=request), "a")()
        assert caught.value.field == field
    maker.close()


@pytest.fixture(scope="module")
def llama():
    engine = LlamaEngine(EngineSettings(slots=2))
    yield engine
    engine.close()


def test_a_real_model_is_asked_both_ways_in_one_batch(llama):
    maker = Answerer(llama)
    text = "Invoice A-4471: please pay 12.50 EUR to Tom Hale."
    schema = {
        "type": "object",
        "properties": {"invoice": {"type": "string"}, "total": {"type": "number"}},
        "required": ["invoice", "total"],
    }
    job = Job(request=Extract(text=text, schema=schema))
    with second_opinion.SecondOpinion(maker, job, "a", lambda *, prose: not prose) as second:
        first = maker.begin(job, "a")()
        opinion = second.on(first.content)
    assert set(opinion.made.content.data) == {"invoice", "total"}
    assert 0 <= opinion.agreement <= 1
    assert first.low_logprob <= 0
    assert opinion.made.tokens_in != first.tokens_in


def test_a_label_by_similarity_is_held_against_the_language_models(llama):
    maker = Answerer(llama)
    job = Job(request=Classify(text="The parcel is wet and late.", labels=["delivery", "billing"]))
    first = maker.begin(job, "b")()
    second = maker.begin_second(job, "b/2")()
    assert first.model != second.model
    assert second.content.label in {"delivery", "billing"}
    assert second.tokens_out > 0
