"""Add up what a Cost and Usage Report bills for Bedrock, by day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from forebay.routing.base import NANO
from forebay.routing.errors import InvalidJob

#: Columns, as the first version of the report spells them, and as CUR 2.0 does.
COST = ("lineItem/UnblendedCost", "line_item_unblended_cost")
START = ("lineItem/UsageStartDate", "line_item_usage_start_date")
PRODUCT = ("lineItem/ProductCode", "line_item_product_code")
KIND = ("lineItem/LineItemType", "line_item_line_item_type")
ACCOUNT = ("lineItem/UsageAccountId", "line_item_usage_account_id")
CURRENCY = ("lineItem/CurrencyCode", "line_item_currency_code")

#: Kinds of lines that are use. Others are taxes, credits, refunds, discounts and fees.
USED = frozenset({"Usage", "DiscountedUsage", "SavingsPlanCoveredUsage"})
_DAY_LETTERS = len("2026-11-28")


@dataclass(slots=True)
class CostReport:
    """What a report bills for Bedrock.

    Attributes:
        nusd: use, in billionths of a dollar, by day (UTC).
        left_out: dollars that are no use, by the kind of their lines.
    """

    nusd: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def notes(self) -> Iterator[str]:
        """Yield what was left out, in words."""
        for kind, dollars in sorted(self.left_out.items()):
            yield f"lines of the kind {kind}, ${dollars:.6f} in all, are left out"


def cost_report(
    rows: Iterable[Mapping[str, Any]], name: str, account: str | None = None
) -> CostReport:
    """Add up the rows of a report, of one account or of all.

    Claude is sold on Bedrock through AWS Marketplace: its lines have a product code of their own,
    and are known by the product's name ("Claude Haiku 5.5 (Amazon Bedrock Edition)").

    Raises:
        InvalidJob: Names the report and what is wrong with it.
    """
    found, days, products = CostReport(), defaultdict[str, Decimal](Decimal), list[str]()
    try:
        for row in rows:
            products = products or _products(row, name)
            if account in {None, _cell(row, ACCOUNT, "")} and _is_bedrock(row, products):
                _add(found, days, row)
    except (KeyError, InvalidOperation) as error:
        raise _no_report(name, error) from None
    if not days:
        raise InvalidJob(f"{name} has no line of Bedrock's use", field="FILE")
    found.nusd = {day: int(dollars * NANO) for day, dollars in days.items()}
    return found


def _add(found: CostReport, days: dict[str, Decimal], row: Mapping[str, Any]) -> None:
    currency, kind = _cell(row, CURRENCY, "USD"), _cell(row, KIND, "Usage")
    if currency != "USD":
        raise InvalidJob(f"is in {currency[:8]}: the books are in US dollars", field="FILE")
    dollars = Decimal(_cell(row, COST) or "0")
    if not dollars.is_finite():
        raise KeyError(COST[0])
    if kind in USED:
        days[_cell(row, START)[:_DAY_LETTERS]] += dollars
    else:
        found.left_out[kind] += dollars


def _is_bedrock(row: Mapping[str, Any], products: list[str]) -> bool:
    texts = [_cell(row, PRODUCT), *(str(row[column] or "") for column in products)]
    return any("bedrock" in text.lower() for text in texts)


def _products(row: Mapping[str, Any], name: str) -> list[str]:
    """Return the columns that name products.

    Raises:
        InvalidJob: There is none, so Claude's lines could not be told from others.
    """
    if found := [column for column in row if column and column.startswith("product")]:
        return found
    _cell(row, PRODUCT)  # a file that lacks this too is no report
    raise InvalidJob(
        f"{name} has no column of products: export product/ProductName, or `product` of CUR 2.0, "
        "since Claude's lines are known by it alone",
        field="FILE",
    )


def _no_report(name: str, error: Exception) -> InvalidJob:
    what = f"its column {error.args[0]}" if isinstance(error, KeyError) else "a cost"
    return InvalidJob(
        f"{name} is no Cost and Usage Report: {what} is missing or no number; it needs {START[0]}, "
        f"{PRODUCT[0]} and {COST[0]}, or those of CUR 2.0",
        field="FILE",
    )


def _cell(row: Mapping[str, Any], names: tuple[str, ...], default: str | None = None) -> str:
    for name in names:
        if name in row:
            return str("" if row[name] is None else row[name])
    if default is None:
        raise KeyError(names[0])
    return default
