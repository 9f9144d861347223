"""Bedrock answers with fields that cannot be: negative, NaN, null and huge token counts."""

from __future__ import annotations

import time

from books.evidence import plan_faults
from mock_bedrock.spoiled import SPOILED
from storms.storm import CALM, Context, Storm


def attack(context: Context) -> None:
    """Spoil nearly every answer, each in another way."""
    seed = context.dice.randrange(10**6)
    plan_faults(context.mock_url, dict.fromkeys(SPOILED, 1 / (len(SPOILED) + 1)), seed)
    time.sleep(max(0.0, context.until - time.time()))
    plan_faults(context.mock_url, CALM, 0)
    print(f"{len(SPOILED)} kinds of malformed fields", flush=True)


STORM = Storm("usage", "Bedrock's answers have malformed fields", attack, spares=("local",))
