"""The benchmark of the cascade: which questions it asks, and how it measures rules."""

import re
import sys
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forebay.routing.errors import Misconfigured
from local.fleet import ROOT

PROMPTS = {
    "letters": "What floats?\nA. Iron\nB. Cork\nC. Lead",
    "roman": "Which hold?\nI. Water is wet\nA. I alone\nB. none",
    "number": "How much is 20 - 2?",
    "prose": "Tell of the sea.",
    "nobody": "What is the last digit of pi?\nA. 1\nB. 2",
    "split": "Which is larger?\nA. 7\nB. 8",
    "unasked": "Which is smaller?\nA. 7\nB. 8",
    "long": f"{'word ' * 700}\nA. 7\nB. 8",
    "silent": "What sinks?\nA. Cork\nB. Iron",
}
OUTCOMES = [
    ("letters", "small", 0.0, "A"), ("letters", "other", 1.0, "B"), ("letters", "large", 0.0, "C"),
    ("roman", "small", 1.0, "A"), ("roman", "large", 1.0, "A"),
    ("number", "small", 1.0, "$18.00"), ("number", "other", 1.0, "18"),
    ("number", "third", 1.0, "18"), ("number", "large", 1.0, "It is 18."),
    ("prose", "large", 1.0, "Waves come and go for ever."),
    ("nobody", "large", 0.0, "A"),
    ("split", "small", 1.0, "A"), ("split", "large", 1.0, "B"), ("split", "other", 1.0, "B"),
    ("unasked", "small", 1.0, "A"),
    ("long", "small", 1.0, "A"), ("long", "large", 1.0, "A"),
    ("silent", "small", 1.0, "B"), ("silent", "large", 0.0, None),
]  # fmt: skip


@pytest.fixture(scope="module")
def benchmarks():
    sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))
    import questions  # noqa: PLC0415 - programs' modules, found by the line above
    import ranking  # noqa: PLC0415

    yield questions, ranking
    sys.path.pop(0)


@pytest.fixture
def draw_questions(benchmarks, tmp_path):
    """Return a function that draws questions from two parquet files."""
    files = tmp_path / "prompts.parquet", tmp_path / "outcomes.parquet"
    prompts = {"uid": list(PROMPTS), "prompt": list(PROMPTS.values())}
    columns = map(list, zip(*OUTCOMES, strict=True))
    pq.write_table(pa.table(prompts), files[0])
    pq.write_table(pa.table(list(columns), names=["uid", "model", "score", "pred"]), files[1])

    def draw(*, strong="large", count=100, seed=1):
        return benchmarks[0].questions(*files, strong, count=count, seed=seed)

    return draw


def by_uid(jobs):
    texts = {uid: next((j for j in jobs if PROMPTS[uid] in _text(j)), None) for uid in PROMPTS}
    return {uid: job for uid, job in texts.items() if job is not None}


def _text(job):
    return job.request.messages[-1].content


def test_only_questions_with_a_known_right_answer_are_drawn(draw_questions):
    assert by_uid(draw_questions()).keys() == {"letters", "roman", "number", "silent"}


def test_options_become_a_choice_of_letters_and_numbers_have_no_pattern(draw_questions):
    jobs = by_uid(draw_questions())
    assert jobs["letters"].request.regex == "[A-C]"
    assert jobs["roman"].request.regex == "[A-B]"
    assert _text(jobs["number"]) == PROMPTS["number"]
    assert jobs["number"].request.regex is None
    assert (jobs["letters"].gold, jobs["number"].gold) == ("B", "18")
    assert {job.source for job in jobs.values()} == {"questions"}


def test_the_frontier_repeats_the_strong_models_answer_whatever_chance_says(
    draw_questions, benchmarks
):
    jobs = by_uid(draw_questions())
    for lucky in (True, False):
        assert jobs["letters"].said(lucky=lucky) == "C"
        assert jobs["roman"].said(lucky=lucky) == "A"
        assert jobs["silent"].said(lucky=lucky) == benchmarks[0].SILENCE
    assert not re.fullmatch(jobs["silent"].request.regex, benchmarks[0].SILENCE)


def test_the_same_seed_draws_the_same_questions(draw_questions):
    drawn = [_text(job) for job in draw_questions(count=2)]
    assert drawn == [_text(job) for job in draw_questions(count=2)]
    assert len(drawn) == 2
    assert any(
        drawn != [_text(job) for job in draw_questions(count=2, seed=seed)] for seed in range(5)
    )


def test_a_strong_model_that_answered_nothing_is_an_error(draw_questions):
    with pytest.raises(Misconfigured, match="no question that 'nobody' answered"):
        draw_questions(strong="nobody")


# --- rules --------------------------------------------------------------------------------------


@pytest.fixture
def rows(benchmarks):
    """Ten jobs; the frontier is right in all of them."""
    row = benchmarks[1].Row(
        source="own", kind="generate", local=1.0, frontier=1.0, odds=0.5, gain=0.0, failed=False,
        doubt=0.1, agreement=1.0, realised=1.0, went=False, weights=("none",),
    )  # fmt: skip
    wrong = [
        replace(row, local=0.0, failed=True, agreement=None, doubt=1.0),
        replace(row, local=0.0, agreement=0.0, doubt=0.8),
    ]
    return [*wrong, replace(row, agreement=0.0, gain=-0.1, doubt=0.9), *[row] * 7]


def test_failed_jobs_rank_first_then_jobs_with_two_answers_then_by_verdict(benchmarks, rows):
    rules = benchmarks[1].RULES
    order = sorted(range(len(rows)), key=lambda at: rules["checks + second"](rows[at]))[::-1]
    assert order[:3] == [0, 1, 2]
    learned = sorted(range(len(rows)), key=lambda at: rules["checks + doubt"](rows[at]))[::-1]
    assert learned[:3] == [0, 2, 1]


def test_a_curve_rises_as_its_rule_finds_wrong_answers(benchmarks, rows):
    ranking = benchmarks[1]
    curves = {name: dict(ranking.curve(rows, rule)) for name, rule in ranking.RULES.items()}
    for points in curves.values():
        assert (points[0.0], points[1.0]) == (pytest.approx(0.8), pytest.approx(1.0))
    assert curves["checks + second"][0.2] == pytest.approx(1.0)
    assert curves["checks + doubt"][0.2] == pytest.approx(0.9)
    assert curves["checks"][0.1] == pytest.approx(0.9)
    assert curves["random"][0.5] == pytest.approx(0.9)


def test_each_figure_has_an_interval_that_can_tell_rules_apart(benchmarks, rows, capsys):
    benchmarks[1].show(rows * 10)
    lines = {line[:16].strip(): line for line in capsys.readouterr().out.splitlines()}
    interval = r"(-?[\d.]+) \((-?[\d.]+) to (-?[\d.]+)\)"
    mean, gain = re.findall(interval, lines["oracle"])
    verdict, *none = re.findall(interval, lines["verdict"])
    assert not none
    assert float(mean[1]) < float(mean[0]) < float(mean[2])
    assert float(gain[0]) == pytest.approx(float(mean[0]) - float(verdict[0]), abs=0.011)
    assert 0 < float(gain[1]) < float(gain[0]) < float(gain[2])
    assert re.findall(interval, lines["random"])[0] == ("0.50", "0.50", "0.50")
