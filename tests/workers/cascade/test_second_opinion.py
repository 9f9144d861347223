"""Second opinions: when they are taken, what comes of them, and that none is left running."""

from __future__ import annotations

import threading
import time

import pytest

from forebay.routing.errors import EngineBusy, EngineDied, Lost, TooLong
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
from forebay.workers.cascade import backlog
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.cascade.check import check
from forebay.workers.cascade.second_opinion import SecondOpinion
from forebay.workers.engines.batching.echo import EchoEngine
from forebay.workers.engines.engine import EngineInfo, Prompt, Turn
from forebay.workers.engines.llamacpp.llamacpp import LlamaEngine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.local import Local
from forebay.workers.prompts import rewording
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.outcomes import Answered, Escalated, Failed
from ledger_jobs import BELL
from patience import slowdown

pytestmark = pytest.mark.slow

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
BILL = "Bill total: 10 and not 9."


class Watched(EchoEngine):
    """The echo engine; notes the prompts it is given, and those it is told to cancel."""

    def __init__(self) -> None:
        self.prompts = []
        self.submitted_at = []
        self.cancelled = []
        self.full = False
        super().__init__(EngineSettings(engine="echo", slots=2))

    def submit(self, prompt):
        self.prompts.append(prompt)
        self.submitted_at.append(time.monotonic())
        future = super().submit(prompt)
        if self.full and prompt.id.endswith("/2"):
            super().cancel(prompt.id)
            future = type(future)()
            future.set_exception(EngineBusy("full"))
        return future

    def cancel(self, prompt_id):
        self.cancelled.append(prompt_id)
        super().cancel(prompt_id)


class Other(Watched):
    """Another model: it answers as `warm` says, whatever the temperature is."""

    def info(self):
        return super().info().model_copy(update={"model": "other"})

    def submit(self, prompt):
        return super().submit(prompt.model_copy(update={"temperature": 1.0}))


class Lane:
    """The local lane over an echo engine that answers as it is told to, or over two of them."""

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
    """Have a lane that is made after this read the length of its queue for each job."""
    monkeypatch.setattr(backlog, "LOOK_EVERY_S", 0)


@pytest.fixture
def lane(redis, tmp_path):
    lane = Lane(redis, tmp_path)
    yield lane
    lane.local.close()


def extract(first, second, text=BILL):
    return Extract(text=f"{text} [[echo: say={first}]] [[echo: warm={second}]]", schema=TOTAL)


def ask(text, **options):
    return Generate(messages=[Message(role="user", content=text)], **options)


def second_prompts(lane):
    """For each prompt of the engine, whether it was for a second opinion."""
    return [prompt.id.endswith("/2") for prompt in lane.engine.prompts]


def second_check(answer):
    return [check for check in answer.checks if check.name == "second_opinion"]


# --- what comes of them -------------------------------------------------------------------------


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


def test_a_job_that_may_not_leave_is_answered_once_unless_the_policy_says_otherwise(lane):
    kept = lane.work(extract(TEN, NINE), egress="deny")
    assert kept.answer.reasons == ("verdict_easy",)
    assert second_prompts(lane) == [False]


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
    assert time.monotonic() - began < 2 * slowdown()
    assert lane.engine.cancelled == [lane.engine.prompts[-1].id.removesuffix("/2") + "/2"]


def test_a_second_answer_that_cannot_be_read_is_ignored(lane):
    kept = lane.work(extract(TEN, "no JSON"))
    assert isinstance(kept, Answered)
    assert second_check(kept.answer) == []


def test_a_full_engine_costs_the_second_opinion_and_not_the_answer(lane):
    lane.engine.full = True
    kept = lane.work(extract(TEN, NINE))
    assert isinstance(kept, Answered)


# --- when they are taken ------------------------------------------------------------------------


def test_the_second_answer_begins_beside_the_first_if_it_will_be_wanted(lane):
    lane.work(extract(TEN, TEN, text=f"{BILL} [[echo: delay=0.2]]"))
    assert second_prompts(lane) == [False, True]
    first, second = lane.engine.submitted_at
    assert second - first < 0.2 < time.monotonic() - first


def test_chat_is_answered_twice_only_if_it_comes_down_to_a_value(lane):
    lane.work(ask("[[echo: say=a long and winding story]] tell me one"))
    assert second_prompts(lane) == [False]
    outcome = lane.work(ask("[[echo: say=It is 18.]] [[echo: warm=The answer: 19]] how many"))
    assert second_prompts(lane)[1:] == [False, True]
    assert outcome.reason == "second_opinion_differs"


def test_free_text_is_compared_by_meaning_if_the_policy_asks_for_it(lane):
    lane.policy.write_text("[defaults.second_opinion]\nprose = 1.0\n")
    text = "[[echo: say=a long and winding story]] [[echo: warm=no such thing here]] tell me"
    assert lane.work(ask(text)).reason == "second_opinion_differs"
    assert second_prompts(lane) == [False, True]


def test_no_second_opinion_is_taken_while_the_local_queue_is_long(at_once, lane):
    waiting = lane.ledger.redis
    waiting.hset("fb:depth", "local.default", 8)
    assert isinstance(lane.work(extract(TEN, NINE)), Escalated)
    waiting.hset("fb:depth", "local.default", 10)  # of which one is claimed: 9 for 2 slots
    assert isinstance(lane.work(extract(TEN, NINE)), Answered)


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
    lane.local._cancel(Attempt.of(claim))
    thread.join(5)
    assert ended == ["lost"]
    prompt = f"{claim.id}/{claim.token}"
    assert lane.engine.cancelled == [prompt, f"{prompt}/2", f"{prompt}/3"]


@pytest.mark.parametrize(("share", "up"), [(0.0, False), (1.0, True)])
def test_a_pace_target_decides_how_much_doubt_is_too_much(lane, share, up):
    lane.policy.write_text(f"[defaults.pace]\nshare = {share}\nbefore = 0.0\n")
    differing = lane.work(extract(TEN, NINE))
    assert isinstance(differing, Escalated if up else Answered)
    agreeing = lane.work(extract(TEN, TEN))
    assert isinstance(agreeing, Escalated if up else Answered)
    assert not up or (differing.reason, agreeing.reason) == ("second_opinion_differs", "doubtful")
    broken = lane.work(extract(NOTHING, TEN))  # whatever the pace is
    assert broken.reason == "check_failed:filled"


def test_the_receipt_holds_the_doubt(lane):
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
    assert (second_prompts(pair), len(pair.other.prompts)) == ([False], 1)
    assert pair.other.prompts[0].messages == pair.engine.prompts[0].messages
    assert pair.other.prompts[0].id == f"{pair.engine.prompts[0].id}/2"


def test_a_kept_second_answer_names_its_model(pair):
    pair.policy.write_text("[defaults.second_opinion]\ndeny_too = true\n")
    kept = pair.work(extract(NOTHING, TEN), egress="deny").answer
    assert (kept.model, kept.content.data) == ("other", {"total": 10})


def test_the_first_answer_stands_if_the_other_model_fails(pair):
    pair.other.full = True
    kept = pair.work(extract(TEN, NINE))
    assert isinstance(kept, Answered)
    assert second_check(kept.answer) == []
    pair.other.close()
    assert isinstance(pair.work(extract(TEN, NINE)), Answered)


def test_another_models_answer_is_cancelled_if_nothing_can_come_of_it(pair):
    pair.work(extract(NOTHING, "word " * 300, text=f"{BILL} [[echo: delay=0.02]]"))
    assert pair.other.cancelled == [pair.other.prompts[0].id]


# --- the other words ----------------------------------------------------------------------------


INFO = EngineInfo(engine="echo", model="m", revision="r", context_tokens=2048, slots=1)
REQUESTS = [
    Classify(text="It rains.", labels=["wet", "dry", "cold"]),
    Extract(text=BILL, schema=TOTAL),
    Summarize(text="A long story.", focus="the end"),
    ask("how many", max_tokens=7, stop=["x"], temperature=1.2),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.kind)
def test_the_question_is_put_in_other_words_and_within_the_same_limits(request_):
    job = Job(request=request_)
    first = rewording.prompts.local(job, INFO, prompt_id="a")
    second = rewording.reworded(job, INFO, prompt_id="b")
    assert second == rewording.reworded(job, INFO, prompt_id="b")
    assert second.messages != first.messages
    assert (second.max_tokens, second.stop) == (first.max_tokens, first.stop)
    assert second.temperature >= 0.7
    assert second.seed != rewording.reworded(Job(request=request_), INFO, prompt_id="b").seed
    words = " ".join(turn.content for turn in second.messages)
    assert first.messages[-1].content.split("\n\n")[0].removeprefix("Text:\n") in words


def test_labels_come_in_the_other_order():
    second = rewording.reworded(Job(request=REQUESTS[0]), INFO, prompt_id="b")
    assert second.constraint.options == ("cold", "dry", "wet")
    assert second.messages[-1].content.index("cold") < second.messages[-1].content.index("wet")


# --- with a real model --------------------------------------------------------------------------


def test_a_prompt_too_long_for_the_engine_names_the_field_of_the_job():
    answerer = Answerer(EchoEngine(EngineSettings(engine="echo", context_tokens=256)))
    text = "We met at noon. " * 400
    chat = Generate(messages=[Message(role="user", content=text)])
    for request, field in ((Summarize(text=text), "text"), (chat, "messages")):
        with pytest.raises(TooLong) as caught:
            answerer.begin(Job(request=request), "a")()
        assert caught.value.field == field
    answerer.close()


@pytest.fixture(scope="module")
def llama():
    engine = LlamaEngine(EngineSettings(slots=2))
    yield engine
    engine.close()


def test_a_real_model_is_asked_both_ways_in_one_batch(llama, lane):
    answerer = Answerer(llama)
    text = "Invoice A-4471: please pay 12.50 EUR to Tom Hale."
    schema = {
        "type": "object",
        "properties": {"invoice": {"type": "string"}, "total": {"type": "number"}},
        "required": ["invoice", "total"],
    }
    attempt = Attempt.of(lane.claim(Extract(text=text, schema=schema)))
    with SecondOpinion(answerer, attempt, lambda *, prose: not prose) as second:
        first = answerer.begin(attempt.job, attempt.prompt_id)()
        checked = check(attempt.job, first)
        assert checked.passed
        opinion = second.compare(checked).opinion
    assert set(opinion.raw.content.data) == {"invoice", "total"}
    assert 0 <= opinion.agreement <= 1
    assert first.low_logprob <= 0
    assert opinion.raw.tokens_in != first.tokens_in


def test_a_label_by_similarity_is_compared_with_the_language_models(llama):
    answerer = Answerer(llama)
    job = Job(request=Classify(text="The parcel is wet and late.", labels=["delivery", "billing"]))
    first = answerer.begin(job, "b")()
    second = answerer.begin_second(job, "b/2")()
    assert first.model != second.model
    assert second.content.label in {"delivery", "billing"}
    assert second.tokens_out > 0
