"""Act only on answers that are sure enough; send the others to a person.

A fleet whose policy asks for second opinions (`[defaults.second_opinion]` in policy.toml) answers
doubtful jobs twice. Every answer says how sure it is: `degraded`, `doubt`, and its checks.
    python examples/second_opinion.py
"""

from pydantic import BaseModel

from forebay import Answer, BadAnswer, Client, Extract, Extraction

MAX_DOUBT = 0.3  # the probability that an answer is wrong, above which a person looks at it


class Invoice(BaseModel):
    """What is booked."""

    number: str
    total: float


def needs_a_person(answer: Answer[Extraction[Invoice]]) -> str | None:
    """Return why a person should look at the answer, or `None` if nobody needs to."""
    failed = [check.name for check in answer.checks if not check.passed]
    if answer.degraded or failed:
        return f"{answer.reason}: {', '.join(failed) or 'degraded'}"
    doubt = answer.doubt
    if doubt and doubt.agreement is not None and doubt.probability > MAX_DOUBT:
        return f"doubt {doubt.probability:.2f}: two answers agree to {doubt.agreement:.0%}"
    return None


def book(client: Client, mail: str) -> str:
    """Read the invoice of a mail; say whether it was booked, or why a person has to look."""
    try:
        answer = client.run(Extract(text=mail, schema=Invoice), timeout=60)
    except BadAnswer as error:
        return f"to a person: {error}"
    reason = needs_a_person(answer)
    if reason:
        return f"to a person: {reason}"
    return f"booked: {answer.content.data.number}, {answer.content.data.total:.2f}"


def main() -> None:
    """Book two mails."""
    with Client(tenant="accounting") as client:
        print(book(client, "Invoice A-17. The total is 120.50 EUR."))
        print(book(client, "Hello, can you send me the invoice again? Thank you."))


if __name__ == "__main__":
    main()
