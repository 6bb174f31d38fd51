"""What a dry run says that an upload will take."""

from __future__ import annotations

import pytest

from _uploader.display.plan import plan_lines
from _uploader.plan import Plan, Planner, prices_with
from providers import planned
from providers.base import MIB, CloudSettings, PartRules, Prices, Requests
from providers.errors import Rejected
from providers.s3.options import S3Options

RULES = PartRules(threshold=2 * MIB, part_size=MIB, max_part_size=MIB, max_parts=4)
REQUESTS = Requests("put", RULES, ("begin", "end"), "part")
PRICES = Prices(put=5.0, storage=2.0, label="mine")


def plan(*sizes: int, prices: Prices | None = None, rate: float | None = None) -> Plan:
    planner = Planner(REQUESTS, prices, rate)
    for size in sizes:
        planner.add(size)
    return planner.plan()


@pytest.mark.parametrize(
    ("sizes", "requests"),
    [
        ((), {}),
        ((0, 2 * MIB), {"put": 2}),
        ((2 * MIB + 1,), {"begin": 1, "end": 1, "part": 3}),
        ((5, 4 * MIB, 3 * MIB), {"put": 1, "begin": 2, "end": 2, "part": 7}),
    ],
)
def test_requests_are_those_of_whole_files_and_of_parts(
    sizes: tuple[int, ...], requests: dict[str, int]
) -> None:
    found = plan(*sizes)
    assert found.requests == requests
    assert (found.files, found.bytes) == (len(sizes), sum(sizes))


def test_a_file_that_is_too_large_is_not_counted() -> None:
    planner = Planner(REQUESTS, None, None)
    with pytest.raises(Rejected):
        planner.add(2**40)
    assert planner.plan() == Plan(0, 0, {}, None, None)


def test_time_is_told_at_a_rate_only() -> None:
    assert plan(20, 10, rate=10.0).seconds == 3.0
    assert plan(30).seconds is None


def test_requests_cost_by_the_thousand_and_bytes_by_the_month() -> None:
    found = plan(2 * MIB + 1, *[0] * 995, prices=PRICES)
    assert found.request_dollars == 5.0
    storage = Planner(Requests("put"), PRICES, None)
    storage.add(2**29)
    assert storage.plan().month_dollars == 1.0


def test_without_prices_nothing_is_said_of_cost() -> None:
    found = plan(5)
    assert (found.request_dollars, found.month_dollars) == (None, None)
    assert list(plan_lines(found)) == ["requests: 1 put"]


def test_the_user_s_prices_take_the_place_of_others() -> None:
    assert prices_with(PRICES, {}) == PRICES
    assert prices_with(PRICES, {"put": 1.0}) == Prices(1.0, 2.0, "mine, with --price")
    assert prices_with(None, {"put": 1.0}) == Prices(1.0, 0.0, "prices of --price")


def test_people_are_told_requests_time_and_price() -> None:
    lines = list(plan_lines(plan(3 * MIB, 5, prices=PRICES, rate=MIB)))
    assert lines == [
        "requests: 1 begin, 1 end, 3 part, 1 put",
        "time at 1.0 MB/s: 3.0 s",
        "cost: $0.03 for the requests, less than $0.01 a month for what is stored (mine)",
    ]


@pytest.mark.parametrize(
    ("provider", "storage_class", "put"),
    [
        ("s3", None, 0.005),
        ("s3_us_west", None, 0.005),
        ("s3", "STANDARD_IA", 0.01),
        ("s3", "DEEP_ARCHIVE", None),
        ("minio", None, None),
        ("azure_blobs", None, None),
        ("local", None, None),
    ],
)
def test_prices_are_known_of_aws_only(
    provider: str, storage_class: str | None, put: float | None
) -> None:
    options = S3Options(storage_class=storage_class)
    _, prices = planned(CloudSettings(provider, "bucket", options=options))
    assert (prices.put if prices else None) == put


@pytest.mark.parametrize(("provider", "name"), [("s3", "PutObject"), ("azure_blobs", "Put Blob")])
def test_requests_have_the_service_s_names(provider: str, name: str) -> None:
    assert planned(CloudSettings(provider, "bucket"))[0].put == name
