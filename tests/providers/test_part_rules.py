"""How an object is cut whose size nobody knows."""

from __future__ import annotations

from itertools import accumulate

import pytest

from providers.azure_blobs.plan import PARTS as AZURE
from providers.base import EVEN_PARTS, LARGEST, MIB, PartRules
from providers.s3.plan import PARTS as S3


@pytest.mark.parametrize("rules", [S3, AZURE], ids=["s3", "azure"])
def test_5_tib_fit(rules: PartRules) -> None:
    sizes = [rules.size_at(number, 8 * MIB) for number in range(1, rules.max_parts + 1)]
    assert sum(sizes) >= LARGEST
    assert max(sizes) <= rules.max_part_size
    assert sizes == list(accumulate(sizes, max))


def test_the_first_parts_are_of_one_size() -> None:
    sizes = {S3.size_at(number, 8 * MIB) for number in range(1, EVEN_PARTS + 1)}
    assert sizes == {8 * MIB}


def test_all_are_where_the_service_wants_it() -> None:
    assert S3._replace(equal=True).size_at(10_000, 8 * MIB) == 8 * MIB
