"""A fleet in the process, for the tests of a service that uses Forebay.

Jobs take their real way: a Redis server of the test's own, the ledger, the router, the local
worker and the bedrock worker with their checks, and the client that waits. Only the language models
are scripted. Needs `pip install forebay[testing]`; no GPU, no model, no boto3, no Celery worker.

    import pytest
    from forebay import Classify, ModelRefused, testing

    @pytest.fixture
    def fleet():
        with testing.fleet() as fleet:
            yield fleet

    def test_a_billing_ticket_is_labelled(fleet):
        fleet.answer(Classify, label="billing")
        assert my_service.label(fleet.client(), "I was charged twice.") == "billing"

    def test_a_refusal_is_shown(fleet):
        fleet.fail(Classify, ModelRefused)
        assert my_service.label(fleet.client(), "...") == "unknown"

A request that no script answers is answered by the echo engine: a label that occurs in the text,
the smallest object that fits the schema, or the words of the request. If there is no such object,
the fleet ends with `NotScripted`.

What differs from a live fleet:

1. Models are scripted and answer at once. A token is a word; a local context has 100,000 of them.
2. Without `policy=`, every job stays local unless it is pinned to Bedrock, no secrets are looked
   for, and nothing gets a second opinion. With it, what the policy leaves out is as live.
3. Calls of Bedrock cost the list price of their words, and budgets count them; nobody is paid. An
   audit that asks the model to judge hears yes.
4. A job has two attempts, not four, and every error of `fail` uses one up. Live, an engine that is
   busy and a Bedrock that is throttled or unavailable use up none: the job waits, until its
   deadline if it has one.
5. After such an error Bedrock is shut for a fifth of a second (live: about five), unless the error
   has a `retry_after`.
6. A schema or regex that no local engine can enforce is refused as live only if llguidance is
   installed (extra `gpu`).
7. Settings are defaults; no `FOREBAY_*` variable is read. Nothing is kept after the fleet.
"""

from forebay.testing.in_process import Fleet, fleet
from forebay.testing.script import NotScripted

__all__ = ["Fleet", "NotScripted", "fleet"]
