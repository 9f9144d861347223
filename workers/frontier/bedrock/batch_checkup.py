"""Doctor's check of batches on Bedrock: the policy's table, what is open, and what rests."""

from __future__ import annotations

import time
from collections.abc import Iterator

import redis

from forebay.routing.bedrock_batches.batches import BedrockBatches
from forebay.routing.bedrock_batches.groups import WaitingGroups
from forebay.routing.diagnostics import Finding
from forebay.routing.errors import ForebayError
from forebay.routing.limits.prices import Prices
from forebay.routing.policy.policy_file import Policy
from forebay.routing.settings import read, read_settings
from forebay.routing.store.connection import connect
from forebay.workers.frontier.settings import BedrockSettings

NAME = "batches"
_LATE = 2.0  # a batch that has been open for so many turnarounds deserves a look


def batches() -> Iterator[Finding]:
    """Check batches on Bedrock, if the policy has any."""
    try:
        settings, policy = read(BedrockSettings), Policy.load(read_settings().policy_file)
        prices = Prices.load(settings.prices_file)
    except ForebayError:  # other checks say it
        return
    if not policy.batch.is_on:
        return
    yield from without_way(policy, prices, settings)
    try:
        with connect(read_settings()) as client:
            yield from state(client)
    except ForebayError:  # the check `redis` says it
        return


def without_way(policy: Policy, prices: Prices, settings: BedrockSettings) -> Iterator[Finding]:
    """Report what keeps models of the table from being called in batches."""
    if not settings.takes_batches:
        seen = "FOREBAY_BEDROCK_ENDPOINT is set without the endpoints of batches: there are none"
        mend = "set FOREBAY_BEDROCK_CONTROL_ENDPOINT and FOREBAY_BEDROCK_S3_ENDPOINT as well"
        yield Finding(NAME, "warn", seen, mend)
    for model in policy.batch.models:
        if model not in policy.all_models():
            seen = f"[batch] names {model}, which no tenant may call"
            yield Finding(NAME, "warn", seen, "name it in `models` of [defaults] or of a tenant")
        elif not prices.offers(policy.base_model(model), "batch"):
            seen = f"no price of batches is listed for {model}: it is called one by one"
            yield Finding(NAME, "warn", seen, "add `batch` to its tiers in the prices file")


def state(client: redis.Redis) -> Iterator[Finding]:
    """Report the batches that are open, and the models that rest."""
    known = BedrockBatches(client)
    found = known.open()
    oldest = found[0] if found else None
    age_s = (known.now_ms() - oldest.at) / 1_000 if oldest else 0.0
    waiting = sum(group.jobs for group in WaitingGroups(client).all())
    seen = f"{len(found)} open, the oldest for {age_s / 60:.0f} min; {waiting} jobs wait for one"
    if oldest and age_s > _LATE * oldest.turnaround_ms / 1_000:
        mend = "see why no bedrock worker moves it on: its log has bedrock.batch_away"
        yield Finding(NAME, "warn", seen, mend)
    else:
        yield Finding(NAME, "ok", seen)
    for rest in WaitingGroups(client).resting().values():
        left_min = (rest.until - time.time()) / 60
        seen = f"no batches of {rest.model} for {left_min:.0f} min: {rest.why}"
        yield Finding(NAME, "warn", seen, "correct [batch] of the policy, or the rights it needs")
