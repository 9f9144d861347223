"""Act only on answers that are sure enough; send the others to a person.

The policy's `[defaults.second_opinion]` has doubtful jobs answered twice if they may leave, and
with `deny_too = true` all. Every answer says how sure it is: `degraded`, `doubt`, and its checks.
A pattern in the schema tells an invoice's number from its total, which two answers may mix up.
With `make up` only Bedrock's mock would read what the local model cannot: the second mail, which
holds no invoice, goes to a person, and so may the first.
    python examples/second_opinion.py
"""

from pydantic import BaseModel, Field

from forebay import Answer, BadAnswer, Client, Extract, Extraction

#: The probability that an answer is wrong, above which a person looks at it. Before any audits,
#: the agreement of a model with itself says little: such an answer has a doubt of about a third.
MAX_DOUBT = 0.4


class Invoice(BaseModel):
    """What is booked."""

    number: str = Field(pattern=r"^[A-Z]{1,3}-[0-9]{1,8}$")
    total: float


def needs_a_person(answer: Answer[Extraction[Invoice]]) -> str | None:
    """Return why a person should look at the answer, or `None` if nobody needs to."""
    failed = [check.name for check in answer.checks if not check.passed]
    if answer.degraded or failed:
        return f"{answer.reason}: {', '.join(failed) or 'degraded'}"
    doubt = answer.doubt
    if answer.lane == "bedrock":
        return None
    if doubt is None or doubt.agreement is None:
        return "nobody gave a second answer"
    if doubt.probability > MAX_DOUBT:
        return f"doubt {doubt.probability:.2f}: two answers agree to {doubt.agreement:.0%}"
    return None


def book(client: Client, mail: str) -> str:
    """Read the invoice of a mail; say whether it was booked, or why a person has to look."""
    try:
        answer = client.run(Extract(text=mail, schema=Invoice), timeout=60, egress="allow")
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
