"""The calls of one tenant take as long as calls may, and it always has more of them waiting."""

from __future__ import annotations

import itertools
import time

from books.content import OPEN
from forebay.producers.client import Client
from forebay.routing.jobs import Generate, Message
from forebay.routing.ledger.record import ENDED
from forebay.routing.store.connection import connect
from storms.storm import ATTACKER, Context, Storm

WAITING = 60  # jobs that have not ended: more than the worker has threads and the model has slots
CALL_S = 2.5  # less than a call may take, so that each is answered
LOOK_S = 0.2


def attack(context: Context) -> None:
    """Keep so many jobs waiting whose calls are slow."""
    redis, numbers = connect(context.settings), itertools.count()
    jobs: set[str] = set()
    with Client(tenant=ATTACKER, settings=context.settings) as client:
        while not context.over:
            with redis.pipeline(transaction=False) as pipe:
                for job in jobs:
                    pipe.hget(f"fb:job:{job}", "state")
                states = [(state or b"").decode() for state in pipe.execute()]
            jobs = {job for job, state in zip(jobs, states, strict=True) if state not in ENDED}
            for _ in range(WAITING - len(jobs)):
                made = _submit(context, client, next(numbers))
                jobs |= {made} if made else set()
            time.sleep(LOOK_S)
    print(f"{next(numbers)} jobs whose calls take {CALL_S} s", flush=True)


def _submit(context: Context, client: Client, number: int) -> str | None:
    text = f"[[mock: slow:{CALL_S}]] {OPEN}{number:012x} say it slowly"
    request = Generate(messages=[Message(role="user", content=text)])
    options = {"lane": "bedrock", "egress": "allow"}
    return context.submit(client, request, f"slow{number}", **options)


STORM = Storm(
    "slow",
    "a tenant whose calls are slow, and many",
    attack,
    policy='[fleet.models."anthropic.claude-haiku-5-5"]\nmax_calls = 12\n',
)
