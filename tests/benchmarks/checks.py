"""Print how often each check of answers is right, on answers that are labelled.

    python tests/benchmarks/checks.py            (--seed 7; --wrong prints each wrong verdict)

Precision: the share of wrong answers among those that fail the check. Recall: the share of the
answers with the fault that fail the check named for it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy"), str(ROOT / "tests" / "support")]

from labelled_answers import SEED, Labelled, labelled_answers, scores  # noqa: E402 - as above


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED, help="of the templates")
    parser.add_argument("--wrong", action="store_true", help="print each wrong verdict too")
    options = parser.parse_args()
    answers = labelled_answers(options.seed)
    right = sum(not answer.fault for answer in answers)
    languages = {answer.language for answer in answers}
    print(f"{len(answers)} answers, {right} of them right, {len(languages)} languages")
    print("| check | precision | recall | found | missed | right answers that failed |")
    print("|---|---|---|---|---|---|")
    for name, score in sorted(scores(answers).items()):
        shares = f"{score.precision:.3f} | {score.recall:.3f}"
        print(f"| `{name}` | {shares} | {score.caught} | {score.missed} | {score.on_right} |")
    for answer in answers if options.wrong else ():
        _print_if_wrong(answer)


def _print_if_wrong(answer: Labelled) -> None:
    failed = answer.failed()
    if answer.fault not in failed if answer.fault else failed:
        print(f"{answer.fault or 'right'} {sorted(failed)} {answer.request} {answer.content!r}")


if __name__ == "__main__":
    main()
