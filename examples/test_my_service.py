"""The tests of a service of one's own, with a fleet in the process: pip install '.[testing]'.

pytest examples/test_my_service.py
"""

from collections.abc import Iterator

import pytest

from forebay import Classify, Client, ForebayError, ModelRefused, Summarize, testing


class Helpdesk:
    """The service: it routes tickets to teams."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def team(self, ticket: str) -> str:
        """Return the team of a ticket; a ticket that nobody could label goes to the front desk."""
        request = Classify(text=ticket, labels=["billing", "login"])
        try:
            answer = self.client.run(request, timeout=10)
        except ModelRefused:
            return "front desk"
        return "front desk" if answer.degraded else answer.content.label

    def digest(self, tickets: list[str]) -> list[str]:
        """Return one line for each ticket."""
        answers = self.client.map((Summarize(text=text) for text in tickets), timeout=10)
        return [
            "?" if isinstance(answer, ForebayError) else answer.content.text for answer in answers
        ]


@pytest.fixture
def fleet() -> Iterator[testing.Fleet]:
    """Start a fleet of this test's own, in about a tenth of a second."""
    with testing.fleet() as fleet:
        yield fleet


@pytest.fixture
def helpdesk(fleet: testing.Fleet) -> Helpdesk:
    """Return the service, as a client of that fleet."""
    return Helpdesk(fleet.client(tenant="support"))


def test_a_ticket_goes_to_the_team_of_its_label(fleet: testing.Fleet, helpdesk: Helpdesk) -> None:
    fleet.answer(Classify, label="billing")
    assert helpdesk.team("I was charged twice.") == "billing"
    assert fleet.requests(Classify)[0].text == "I was charged twice."


def test_an_unsure_label_goes_to_the_front_desk(fleet: testing.Fleet, helpdesk: Helpdesk) -> None:
    fleet.answer(Classify, label="login", probability=0.51)
    assert helpdesk.team("It does not work.") == "front desk"


def test_a_refusal_goes_to_the_front_desk(fleet: testing.Fleet, helpdesk: Helpdesk) -> None:
    fleet.fail(Classify, ModelRefused)
    assert helpdesk.team("...") == "front desk"


def test_a_digest_has_a_line_for_each_ticket(fleet: testing.Fleet, helpdesk: Helpdesk) -> None:
    fleet.answer(Summarize, lambda request: {"text": request.text.split(".")[0] + "."})
    fleet.fail(Summarize, ModelRefused, when=lambda request: "secret" in request.text)
    tickets = ["The parcel is wet. I am sad.", "A secret.", "Nobody answers. Why?"]
    assert helpdesk.digest(tickets) == ["The parcel is wet.", "?", "Nobody answers."]
