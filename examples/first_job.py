"""Label one text and read one invoice, and see how each answer came about.

Start a fleet with `make up`, which prints the line that sets FOREBAY_REDIS_URL; then:
    python examples/first_job.py
"""

from pydantic import BaseModel, Field

from forebay import Classify, Client, Extract


class Invoice(BaseModel):
    """What we want to know of an invoice."""

    number: str = Field(pattern=r"^[A-Z]+-[0-9]+$")  # a small model takes the total for it
    total: float


def main() -> None:
    """Run both jobs and print their answers."""
    with Client(tenant="support") as client:
        ticket = "My card was charged twice for one order."
        label = client.run(Classify(text=ticket, labels=["billing", "login", "delivery"]))
        print(f"{label.content.label}, probability {label.content.probability}")
        print(f"answered by {label.model} in the {label.lane} lane for ${label.cost_usd:.6f}")

        mail = "Please find attached invoice A-17. The total is 120.50 EUR."
        job_id = client.submit(Extract(text=mail, schema=Invoice))  # returns at once
        invoice = client.result(job_id, timeout=60).content.data  # an Invoice
        print(f"invoice {invoice.number}: {invoice.total:.2f}")


if __name__ == "__main__":
    main()
