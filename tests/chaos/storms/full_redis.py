"""A tenant fills a small Redis with answers: many embeddings, each of hundreds of vectors."""

from __future__ import annotations

import itertools
import time
from collections import Counter

from books.content import DENY
from forebay.producers.client import Client
from forebay.routing.jobs import Embed
from storms.storm import AGAIN_S, ATTACKER, Context, Storm

TEXTS = 256  # vectors of one answer


def attack(context: Context) -> None:
    """Submit as many jobs as are accepted."""
    with Client(tenant=ATTACKER, settings=context.settings) as client:
        taken = Counter[bool]()
        for number in itertools.count():
            if context.over:
                break
            request = Embed(texts=[f"{DENY}{number:08x} {text}" for text in range(TEXTS)])
            accepted = context.submit(client, request, f"full{number}") is not None
            taken[accepted] += 1
            if not accepted:
                time.sleep(AGAIN_S)
    print(f"{taken[True]} jobs accepted, {taken[False]} refused", flush=True)


STORM = Storm("full", "a tenant that fills Redis", attack, redis={"maxmemory": "24mb"})
