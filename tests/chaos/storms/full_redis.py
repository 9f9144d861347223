"""A tenant fills a small Redis with answers: many embeddings, each of hundreds of vectors."""

from __future__ import annotations

import itertools
import time

from forebay.producers.client import Client
from forebay.routing.jobs import Embed
from storms.storm import AGAIN_S, ATTACKER, Scene, Storm

TEXTS = 256  # vectors of one answer


def rage(scene: Scene) -> None:
    """Submit as many jobs as are accepted."""
    with Client(tenant=ATTACKER, settings=scene.settings) as client:
        for number in itertools.count():
            if scene.over:
                return
            request = Embed(texts=[f"OPENMARK{number:08x} {text}" for text in range(TEXTS)])
            if scene.submit(client, request, f"full{number}") is None:
                time.sleep(AGAIN_S)


STORM = Storm("full", "a tenant that fills Redis", rage, redis={"maxmemory": "24mb"})
