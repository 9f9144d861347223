"""`forebay submit decide`: questions and a state in options."""

import pytest

from forebay.producers.cli import display
from forebay.routing.jobs import Answer, Decisions, Predicate, Score
from forebay.routing.questions.decisions import answer_to


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("late: Is it late?", {"type": "predicate", "name": "late", "unsure": False}),
        ("late [unsure]: Is it late?", {"type": "predicate", "unsure": True}),
        ("team [a | b|c]: Which?", {"type": "choice", "choices": ("a", "b", "c")}),
        ("team[a|unsure|b]:Which?", {"type": "choice", "choices": ("a", "b"), "unsure": True}),
        ("hurry [1..5]: How?", {"type": "score", "minimum": 1, "maximum": 5, "levels": ()}),
        ("cold [-3 .. 2|unsure]: How?", {"minimum": -3, "maximum": 2, "unsure": True}),
        ("hurry [low<mid < high]: How?", {"type": "score", "levels": ("low", "mid", "high")}),
        ("at: is it 12:30?", {"type": "predicate", "instructions": "is it 12:30?"}),
        (
            '{"type": "choice", "name": "x", "instructions": "y", "choices": ["a", {"name": "b"}]}',
            {"type": "choice", "name": "x"},
        ),
    ],
)
def test_a_question_has_short_forms(forebay, ledger, given, expected):
    code, _, err = forebay("submit", "decide", "a text", "--question", given)
    assert (code, err) == (0, "")
    request = ledger.claim("route").job().request
    assert request.state == "a text"
    assert expected.items() <= request.questions[0].model_dump().items()


def test_a_choice_is_a_question_and_its_options(forebay, ledger, tmp_path):
    file = tmp_path / "more.json"
    file.write_text('["late: Is it late?"]')
    args = ("--choice", "urgent?=yes, no", "--questions", str(file))
    assert forebay("submit", "decide", "a text", *args)[0] == 0
    late, urgent = ledger.claim("route").job().request.questions
    assert (late.name, late.type) == ("late", "predicate")
    assert (urgent.name, urgent.instructions) == ("urgent", "urgent?")
    assert urgent.choices == ("yes", "no")


@pytest.mark.parametrize("source", ["option", "file", "stdin"])
def test_a_state_is_json_from_an_option_a_file_or_stdin(forebay, ledger, tmp_path, source):
    state = '{"days": [1, 2.5, null], "Größe": "x"}'
    file = tmp_path / "state.json"
    file.write_text(state, "utf-8")
    value = {"option": state, "file": str(file), "stdin": "-"}[source]
    code, _, err = forebay(
        "submit", "decide", "--state", value, "--question", "a: b?", stdin=state.encode()
    )
    assert (code, err) == (0, "")
    assert ledger.claim("route").job().request.state == {"days": [1, 2.5, None], "Größe": "x"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["x"], "--question: is needed: such as"),
        (["--question", "a: b"], "--text: is needed"),
        (["x", "--question", "no form"], "--question: must be 'NAME: a question'"),
        (["x", "--question", "[a|b]: q"], "--question: must be 'NAME: a question'"),
        (["x", "--question", "a: b", "--question", "c [d]: e"], "--question: number 2, choices: "),
        (["x", "--question", "a [9..1]: b"], "--question: number 1: has a maximum"),
        (["x", "--question", '{"type": "choice"}'], "--question: number 1, name: is missing"),
        (["x", "--question", '{"type": "nool"}'], "number 1, type: must be one of predicate"),
        (["x", "--question", "{"], "--question: is not JSON"),
        (["x", "--question", "a: b", "--question", "A: c"], "no two questions may have the same"),
        (["x", "--choice", "urgent?"], "--choice: must be 'QUESTION=option,option'"),
        (["x", "--choice", "urgent?=yes"], "--choice: must have at least two options"),
        (["x", "--questions", "no such file"], "--questions no such file: cannot be read"),
        (["x", "--state", "[3]", "--question", "a: b"], "--state: cannot be combined with a text"),
        (["--state", "[1", "--question", "a: b"], "--state: is not JSON"),
        (["--state", "{}", "--question", "a: b"], "--state: must not be empty"),
        (["--state", "no such file", "--question", "a: b"], "--state no such file: cannot be read"),
    ],
)
def test_a_mistake_names_the_option_and_the_question(forebay, args, message):
    code, out, err = forebay("submit", "decide", *args)
    assert (code, out) == (2, "")
    assert message in err


def test_options_of_decide_are_for_decide_alone(forebay):
    code, _, err = forebay("submit", "summarize", "x", "--question", "a: b")
    assert code == 2
    assert "--question: is an option of decide, not of summarize" in err


def test_decisions_are_printed_one_a_line():
    late = Predicate(name="late", instructions="Is it?")
    hurry = Score(name="hurry", instructions="How?", minimum=1, maximum=2)
    answers = (
        answer_to(late, {"yes": 3, "no": 1}),
        answer_to(hurry, {"1": 1, "2": 1}),
    )
    given = Answer(
        id=f"t.{'0' * 32}", kind="decide", egress="deny", status="done",
        content=Decisions(answers=answers),
    )  # fmt: skip
    assert display.content(given) == "late\tyes\t0.750\nhurry\t1\t0.500\t1.50"
