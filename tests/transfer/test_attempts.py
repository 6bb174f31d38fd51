"""One request again and again, and all of them in an outage.  No time passes in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent.event import Event

from _uploader.transfer import outage
from _uploader.transfer.attempts import Attempts
from _uploader.transfer.retry import RetryPolicy
from providers.errors import (
    Busy,
    Denied,
    Failure,
    Fatal,
    Interrupted,
    Rejected,
    Throttled,
    Transient,
    Unreachable,
)

RETRIES = 2
HANGS = 10.0
"""Seconds after which a test is taken to hang."""


class Quick(RetryPolicy):
    """Retries at once."""

    def delay(self, failure: Failure, attempt: int, random: float) -> float | None:
        return None if super().delay(failure, attempt, random) is None else 0.0


class Setup:
    """Attempts at a service that is up or down, and answers probes or not."""

    def __init__(self) -> None:
        self.up = True
        self.probes = 0
        self.told: list[Failure] = []
        self.attempts = Attempts(Quick(RETRIES), self.probe, self.told.append)

    def probe(self) -> None:
        self.probes += 1
        gevent.sleep(0)
        if not self.up:
            raise Unreachable("refused")

    def request(self) -> str:
        gevent.sleep(0)
        if not self.up:
            raise Unreachable("refused")
        return "answer"

    def run(self, request: Callable[[], str] | None = None) -> gevent.Greenlet[..., str]:
        return gevent.spawn(self.attempts.run, request or self.request)

    def go_down(self) -> None:
        self.up = False

    def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            gevent.sleep(0)


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    monkeypatch.setattr(outage, "FIRST_PAUSE", 0.0)
    with gevent.Timeout(HANGS):
        yield Setup()


def failing(*failures: Failure) -> Callable[[], str]:
    """A request that fails so, one after the other, then is answered."""
    left = list(failures)

    def request() -> str:
        gevent.sleep(0)
        if left:
            raise left.pop(0)
        return "answer"

    return request


# One request


def test_a_request_that_fails_is_sent_again_within_its_retries(setup: Setup) -> None:
    assert setup.attempts.run(failing(*[Transient("reset")] * RETRIES)) == "answer"
    assert setup.attempts.retries == RETRIES
    assert setup.attempts.trouble == "reset"


def test_its_last_failure_is_raised(setup: Setup) -> None:
    """Its probes are answered: it is the request that fails."""
    last = Transient("the last")
    with pytest.raises(Transient) as raised:
        setup.attempts.run(failing(*[Transient("reset")] * RETRIES, last))
    assert raised.value is last


@pytest.mark.parametrize("kind", [Rejected, Denied, Fatal])
def test_a_failure_that_stays_is_raised_at_once(setup: Setup, kind: type[Failure]) -> None:
    with pytest.raises(kind):
        setup.attempts.run(failing(kind("why")))
    assert setup.attempts.retries == 0
    assert not setup.told


def test_a_rejection_is_a_sign_of_life(setup: Setup) -> None:
    with pytest.raises(Rejected):
        setup.attempts.run(failing(Rejected("no such name")))
    assert setup.attempts.answered_at > 0


def test_a_busy_machine_says_nothing_about_the_service(setup: Setup) -> None:
    assert setup.attempts.run(failing(Busy("too many open files"))) == "answer"
    assert setup.probes == 0
    assert not setup.told


@pytest.mark.parametrize("kind", [Transient, Throttled])
def test_failures_that_may_be_a_sign_of_load_are_told(setup: Setup, kind: type[Failure]) -> None:
    setup.attempts.run(failing(failure := kind("503")))
    assert setup.told == [failure]


def test_what_succeeds_after_a_failure_is_counted(setup: Setup) -> None:
    """It ends the trouble, though it may be long before anything else happens."""
    setup.attempts.run(failing())
    assert setup.attempts.recovered == 0
    setup.attempts.run(failing(Transient("503")))
    setup.attempts.bounded(failing(Busy("busy")))
    with pytest.raises(Rejected):
        setup.attempts.run(failing(Transient("503"), Rejected("no")))
    assert setup.attempts.recovered == 2


def test_an_operation_without_the_service_has_bounded_retries_too(setup: Setup) -> None:
    assert setup.attempts.bounded(failing(*[Busy("busy")] * RETRIES)) == "answer"
    with pytest.raises(Busy):
        setup.attempts.bounded(failing(*[Busy("busy")] * (RETRIES + 1)))
    assert setup.probes == 0


def test_it_has_more_of_them_while_there_is_patience(setup: Setup) -> None:
    failures = [Unreachable("no credentials")] * 10 * RETRIES
    assert setup.attempts.bounded(failing(*failures), patience=HANGS) == "answer"
    assert setup.attempts.retries == len(failures)
    with pytest.raises(Fatal):
        setup.attempts.bounded(failing(Fatal("no such profile")), patience=HANGS)


# An outage


def test_an_outage_is_shown_once_a_probe_has_failed(setup: Setup) -> None:
    setup.attempts.silent(0.0, 0.0)
    assert setup.attempts.in_outage
    assert setup.attempts.outage() is None
    setup.go_down()
    setup.until(lambda: setup.probes > 1)
    assert setup.attempts.outage() is not None
    setup.up = True
    setup.until(lambda: not setup.attempts.in_outage)


def test_in_an_outage_every_request_waits_and_none_uses_up_its_retries(setup: Setup) -> None:
    setup.go_down()
    requests = [setup.run() for _ in range(20)]
    setup.until(lambda: setup.probes > 10)
    assert not any(request.ready() for request in requests)
    assert setup.attempts.retries == 0
    setup.up = True
    assert [request.get() for request in requests] == ["answer"] * 20
    assert setup.attempts.outage() is None


def test_failures_in_an_outage_are_no_sign_of_load(setup: Setup) -> None:
    setup.go_down()
    request = setup.run()
    setup.until(lambda: setup.probes > 2)
    setup.up = True
    request.get()
    assert not setup.told


def test_one_probe_is_sent_at_a_time(setup: Setup) -> None:
    setup.go_down()
    for _ in range(20):
        setup.run()
    setup.until(lambda: setup.probes)
    before = setup.probes
    gevent.sleep(0)
    gevent.sleep(0)
    assert setup.probes <= before + 2


def test_a_request_that_comes_in_an_outage_is_not_sent_before_its_end(setup: Setup) -> None:
    setup.go_down()
    setup.run()
    setup.until(lambda: setup.probes)
    sent = []
    late = setup.run(lambda: sent.append(1) or setup.request())  # type: ignore[func-returns-value]
    setup.until(lambda: setup.probes > 10)
    assert not sent
    setup.up = True
    assert late.get() == "answer"


def test_a_silence_parks_requests_and_is_probed(setup: Setup) -> None:
    setup.go_down()
    setup.attempts.silent(0.0, 0.0)
    request = setup.run()
    setup.until(lambda: setup.probes > 2)
    assert not request.ready()
    setup.up = True
    assert request.get() == "answer"


def test_the_answer_to_a_request_that_was_under_way_ends_an_outage_too(setup: Setup) -> None:
    late = Event()
    request = setup.run(lambda: "late" if late.wait() else "")
    gevent.sleep(0)
    setup.go_down()
    setup.attempts.silent(0.0, 0.0)
    setup.until(lambda: setup.probes > 2)
    late.set()
    assert request.get() == "late"
    assert setup.attempts.outage() is None


# The end of the run


def test_no_request_is_sent_again_once_the_run_ends(setup: Setup) -> None:
    setup.attempts.run(failing())
    setup.attempts.drain()
    with pytest.raises(Transient):
        setup.attempts.run(failing(Transient("reset")))
    assert setup.attempts.retries == 0


def test_what_waits_for_the_service_is_interrupted(setup: Setup) -> None:
    setup.go_down()
    failed = setup.run()
    setup.until(lambda: setup.probes > 2)
    parked = setup.run()
    gevent.sleep(0)
    setup.attempts.drain()
    gevent.joinall([failed, parked])
    assert isinstance(failed.exception, Unreachable)
    assert isinstance(parked.exception, Interrupted)


def test_the_probes_end_with_the_run(setup: Setup) -> None:
    setup.go_down()
    setup.run()
    setup.until(lambda: setup.probes)
    setup.attempts.drain()
    for _ in range(5):
        gevent.sleep(0)
    before = setup.probes
    for _ in range(10):
        gevent.sleep(0)
    assert setup.probes == before
