"""What an upload asks of the service: its requests by kind, its time and its price.  Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from providers.base import Prices, Requests


class Plan(NamedTuple):
    """Files that are all sent once, and nothing goes wrong."""

    files: int
    bytes: int
    requests: dict[str, int]
    """Kind -> how many."""
    rate: float | None
    """Bytes a second that were asked about; None: none were."""
    prices: Prices | None
    """None: not known."""

    @property
    def seconds(self) -> float | None:
        """That the bytes take at this rate."""
        return self.bytes / self.rate if self.rate else None

    @property
    def request_dollars(self) -> float | None:
        """For all requests."""
        return self.prices.put * sum(self.requests.values()) / 1000 if self.prices else None

    @property
    def month_dollars(self) -> float | None:
        """For a month of all bytes."""
        return self.prices.storage * self.bytes / 2**30 if self.prices else None

    def fields(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "files": self.files,
            "bytes": self.bytes,
            "requests": self.requests,
            "rate": self.rate,
            "seconds": self.seconds,
            "request_dollars": self.request_dollars,
            "month_dollars": self.month_dollars,
            "prices": self.prices._asdict() if self.prices else None,
        }


class Planner:
    """Counts what files will take."""

    def __init__(self, requests: Requests, prices: Prices | None, rate: float | None) -> None:
        self._names = requests
        self._prices = prices
        self._rate = rate
        self._files = self._bytes = 0
        self._requests: Counter[str] = Counter()

    def add(self, size: int) -> None:
        """Counts a file.  Raises ``Rejected`` for one that is too large."""
        names = self._names
        if names.parts and size > names.parts.threshold:
            parts = -(-size // names.parts.size_for(size))
            self._requests.update(names.around_parts)
            self._requests[names.part] += parts
        else:
            self._requests[names.put] += 1
        self._files += 1
        self._bytes += size

    def add_update(self) -> None:
        """Counts an object that gets other attributes."""
        self._requests[self._names.copy] += 1

    def plan(self) -> Plan:
        """Of the files so far."""
        return Plan(self._files, self._bytes, dict(self._requests), self._rate, self._prices)


def prices_with(prices: Prices | None, given: dict[str, float]) -> Prices | None:
    """The prices with the user's in their places; what nobody knows costs nothing."""
    if not given:
        return prices
    known = prices or Prices(0.0, 0.0, "prices of --price")
    label = f"{prices.label}, with --price" if prices else known.label
    return known._replace(**given, label=label)
