"""Time limits that follow from --timeout."""

from __future__ import annotations

import pytest

from providers.http.limit import Timeouts


@pytest.mark.parametrize(
    ("timeout", "connect"), [(0.5, 0.5), (5, 5), (10, 10), (60, 10), (120, 20), (300, 50)]
)
def test_connecting_takes_no_longer_than_is_asked_for_and_10_seconds_by_default(
    timeout: float, connect: float
) -> None:
    assert Timeouts.of(timeout) == Timeouts(connect, timeout)
