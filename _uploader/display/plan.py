"""A plan as text for people.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..plan import Plan
from .text import bytes_text, seconds_text


def plan_lines(plan: Plan) -> Iterator[str]:
    """Requests; time, where a rate was given; price, where it is known."""
    if plan.requests:
        counts = (f"{count:,} {kind}" for kind, count in plan.requests.items())
        yield f"requests: {', '.join(counts)}"
    if plan.rate and plan.seconds is not None:
        yield f"time at {bytes_text(plan.rate)}/s: {seconds_text(plan.seconds)}"
    if plan.prices and plan.request_dollars is not None and plan.month_dollars is not None:
        yield (
            f"cost: {_dollars(plan.request_dollars)} for the requests, "
            f"{_dollars(plan.month_dollars)} a month for what is stored ({plan.prices.label})"
        )


def _dollars(amount: float) -> str:
    return "less than $0.01" if 0 < amount < 0.01 else f"${amount:,.2f}"
