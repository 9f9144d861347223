"""A fleet in the process, for the tests of a service that uses Forebay.

Jobs take their real way: a Redis server of the test's own, the ledger, the router, the local
worker with its checks, and the client that waits. Only the language model is scripted. Needs
`pip install forebay[testing]`; no GPU, no model, no Celery worker.

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
the smallest object that fits the schema, or the words of the request.
"""

from forebay.testing.in_process import Fleet, fleet

__all__ = ["Fleet", "fleet"]
