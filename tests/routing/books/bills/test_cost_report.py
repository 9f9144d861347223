"""What a Cost and Usage Report bills for Bedrock: which lines count, and what is no report."""

import pytest

from forebay.routing.books.bills.cost_report import cost_report
from forebay.routing.errors import InvalidJob

OLD = {
    "lineItem/UsageStartDate": "2026-11-27T23:00:00Z", "lineItem/ProductCode": "AmazonBedrock",
    "lineItem/UnblendedCost": "0.25", "product/ProductName": "Amazon Bedrock",
}  # fmt: skip
NEW = {
    "line_item_usage_start_date": "2026-11-27 23:00:00.000",
    "line_item_product_code": "AmazonBedrock", "line_item_unblended_cost": "0.25",
    "product": '{"product_name": "Amazon Bedrock"}',
}  # fmt: skip
CLAUDE = "Claude Haiku 5.5 (Amazon Bedrock Edition)"


def added(*rows, **options):
    return cost_report(rows, "cur.csv", **options)


@pytest.mark.parametrize("row", [OLD, NEW])
def test_days_are_added_up_exactly_and_cut_once(row):
    (cost,) = (name for name in row if "nblended" in name)
    report = added(row, *[row | {cost: "0.0000000004"}] * 5)
    assert report.nusd == {"2026-11-27": 250_000_002}


@pytest.mark.parametrize(
    ("row", "column", "product"),
    [
        (OLD, "lineItem/ProductCode", {"product/ProductName": CLAUDE}),
        (NEW, "line_item_product_code", {"product": f'{{"product_name": "{CLAUDE}"}}'}),
        (NEW, "line_item_product_code", {"product": [("product_name", CLAUDE)]}),
        (NEW, "line_item_product_code", {"product_product_name": CLAUDE}),
        (NEW, "line_item_product_code", {"product_servicecode": "AmazonBedrockFoundationModels"}),
    ],
)
def test_claude_is_known_by_the_name_of_its_product(row, column, product):
    sold = row | {column: "7g37n5ae0mhrv3zccq5oejq0p"} | product
    other = row | {column: "AmazonEC2", **dict.fromkeys(product, "Elastic Compute Cloud")}
    other = {name: "EC2" if name.startswith("product") else value for name, value in other.items()}
    assert added(sold, other).nusd == {"2026-11-27": 250_000_000}


def test_taxes_credits_and_discounts_are_left_out_and_told():
    kinds = ["Usage", "Tax", "Credit", "EdpDiscount", "DiscountedUsage"]
    report = added(*(NEW | {"line_item_line_item_type": kind} for kind in kinds))
    assert report.nusd == {"2026-11-27": 500_000_000}
    assert list(report.notes()) == [
        f"lines of the kind {kind}, $0.250000 in all, are left out"
        for kind in ("Credit", "EdpDiscount", "Tax")
    ]


def test_a_report_of_several_accounts_can_be_narrowed():
    rows = [NEW | {"line_item_usage_account_id": account} for account in ("1", "2", "2")]
    assert added(*rows, account="2").nusd == {"2026-11-27": 500_000_000}
    assert added(*rows).nusd == {"2026-11-27": 750_000_000}
    with pytest.raises(InvalidJob, match="no line of Bedrock's use"):
        added(*rows, account="3")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"lineItem/UnblendedCost": "1", "x": "2"}, "its column lineItem/ProductCode is missing"),
        ({name: OLD[name] for name in list(OLD)[:3]}, "has no column of products"),
        (OLD | {"lineItem/UnblendedCost": "much"}, "a cost is missing or no number"),
        (OLD | {"lineItem/UnblendedCost": "NaN"}, "lineItem/UnblendedCost is missing"),
        (OLD | {"lineItem/CurrencyCode": "CNY"}, "is in CNY: the books are in US dollars"),
        (OLD | {"lineItem/ProductCode": "x", "product/ProductName": "y"}, "no line of Bedrock"),
    ],
)
def test_what_is_no_report_of_bedrock_is_one_error(row, message):
    with pytest.raises(InvalidJob, match=message) as error:
        added(row)
    assert error.value.field == "FILE"


def test_an_empty_report_is_no_report_that_agrees():
    with pytest.raises(InvalidJob, match="no line of Bedrock's use"):
        added()
