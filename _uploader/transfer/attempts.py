"""Repeats a request until it succeeds or cannot.

While the service works, each request has its own bounded retries.  When nothing succeeds any more,
all requests wait while one probe after the other is sent; the first sign of life lets them go on.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import count
from typing import ParamSpec, TypeVar

import gevent
from gevent.event import Event

from providers.errors import Busy, Failure, Interrupted, Rejected

from ..files.model import INTERRUPTED, Outage
from .outage import ServiceHealth
from .retry import RetryPolicy

P = ParamSpec("P")
T = TypeVar("T")


class Attempts:
    """Sends the requests of one process, again where that makes sense."""

    def __init__(
        self,
        policy: RetryPolicy,
        probe: Callable[[], None],
        failed: Callable[[Failure], None] = lambda failure: None,
        back: Callable[[float], None] = lambda began: None,
    ) -> None:
        """``probe`` asks the service for a sign of life and raises a ``Failure`` without one.
        ``failed`` is called with each failure that may be a sign of load, ``back`` at the end of an
        outage with its beginning (``time.monotonic``)."""
        self.policy = policy
        self._probe = probe
        self._failed = failed
        self._back = back
        self._health = ServiceHealth()
        self._open = Event()
        self._open.set()
        self._draining = Event()
        self.retries = 0
        """Attempts so far, beyond the first of each request."""
        self.recovered = 0
        """Requests so far that were answered after they had failed."""
        self.trouble = ""
        """The latest failure of a request, in one line."""

    def run(self, request: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> T:
        """The answer to a request; raises its last failure, or ``Interrupted`` when the run stops
        while it waits."""
        health = self._health
        counted = 0
        has_failed = False
        since = time.monotonic()
        while True:
            if health.began is not None:
                self._wait_for_service()
            try:
                answer = request(*arguments, **named)
            except Failure as failure:
                now = time.monotonic()
                if self._counts(failure, since, now):
                    pause = self.policy.delay(failure, counted, random.random())
                    counted += 1
                    if pause is None or self._draining.wait(pause):
                        raise
                elif self.draining:
                    raise
                since = now
                has_failed = True
                self.retries += 1
            else:
                health.answered_at = time.monotonic()
                self.recovered += has_failed
                if health.began is not None:
                    self._answered()
                return answer

    def bounded(self, operation: Callable[[], T], patience: float = 0.0) -> T:
        """The result of an operation that is no request for a file, tried again within the policy,
        and beyond it for ``patience`` seconds."""
        began = time.monotonic()
        for attempt in count():
            try:
                result = operation()
                self.recovered += attempt > 0
                return result
            except Failure as failure:
                self.trouble = str(failure)
                policy = self.policy
                if time.monotonic() - began < patience:
                    policy = policy._replace(retries=attempt + 1)
                pause = policy.delay(failure, attempt, random.random())
                if pause is None or self._draining.wait(pause):
                    raise
            self.retries += 1
        raise AssertionError("unreachable")

    def drain(self) -> None:
        """From now on no request is sent again, and none waits."""
        self._draining.set()
        self._open.set()

    @property
    def draining(self) -> bool:
        """The run stops: nothing new should begin."""
        return bool(self._draining.is_set())

    @property
    def answered_at(self) -> float:
        """When the service last answered (``time.monotonic``); minus infinity before it has."""
        return self._health.answered_at

    def silent(self, since: float, now: float) -> None:
        """No byte has moved since ``since``, with requests in flight."""
        self._health.silent(since, now)
        self._begin_probing()

    @property
    def in_outage(self) -> bool:
        """Requests wait for a sign of life; ``outage`` says so once a probe has failed."""
        return self._health.began is not None

    def outage(self) -> Outage | None:
        """The present outage; None until a first probe has failed."""
        now, began = time.monotonic(), self._health.began
        if began is None or self._health.false_alarm:
            return None
        return Outage(now - began, max(0.0, self._health.next_probe - now))

    def _counts(self, failure: Failure, since: float, now: float) -> bool:
        """Whether the failure uses up one of the request's retries.  In an outage, or when it
        begins one, waits for the end first."""
        if not failure.retry:
            if isinstance(failure, Rejected):
                self._answered()
            return True
        self.trouble = str(failure)
        if isinstance(failure, Busy):
            return True
        counts = self._health.failed(since, now, failure.after)
        if not counts:
            self._begin_probing()
            self._open.wait()
            counts = self._health.false_alarm
        if counts or failure.throttle:
            self._failed(failure)
        return counts

    def _answered(self) -> None:
        began = self._health.began
        self._health.answered(time.monotonic())
        if began is not None:
            self._open.set()
            if not self._health.false_alarm:
                self._back(began)

    def _wait_for_service(self) -> None:
        self._open.wait()
        if self.draining:
            raise Interrupted(INTERRUPTED)

    def _begin_probing(self) -> None:
        if self._health.began is not None and self._open.is_set() and not self.draining:
            self._open.clear()
            gevent.spawn(self._probe_until_answered)

    def _probe_until_answered(self) -> None:
        while self._health.began is not None and not self.draining:
            pause = self._health.next_probe - time.monotonic()
            if pause > 0:
                self._open.wait(pause)
                continue
            try:
                self._probe()
            except Failure as failure:
                self.trouble = str(failure)
                self._health.probed(time.monotonic())
            else:
                self._answered()
