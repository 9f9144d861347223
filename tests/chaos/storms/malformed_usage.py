"""Bedrock answers with fields that cannot be: negative, NaN, null and huge token counts."""

from __future__ import annotations

import time

from books.evidence import plan_faults
from mock_bedrock.spoiled import SPOILED
from storms.storm import CALM, Scene, Storm


def rage(scene: Scene) -> None:
    """Spoil nearly every answer, each in another way."""
    seed = scene.dice.randrange(10**6)
    plan_faults(scene.mock_url, dict.fromkeys(SPOILED, 1 / (len(SPOILED) + 1)), seed)
    time.sleep(max(0.0, scene.until - time.time()))
    plan_faults(scene.mock_url, CALM, 0)
    print(f"{len(SPOILED)} kinds of malformed fields", flush=True)


STORM = Storm("usage", "Bedrock's answers have malformed fields", rage, spares=("local",))
