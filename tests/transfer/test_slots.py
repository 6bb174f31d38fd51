"""How many tasks run at once, in which order, and on which session.  No time passes in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import gevent
import pytest
from gevent.event import Event

from _uploader.transfer.concurrency import ConcurrencyLimiter
from _uploader.transfer.slots import Slots, Task
from _uploader.transfer.window import FIRST_BYTES, SOCKET_BYTES, SendWindow
from providers.base import Session
from providers.errors import Fatal, Transient

LIMIT = 4
HANGS = 10.0
"""Seconds after which a test is taken to hang."""


class FakeSession(Session):
    """Belongs to one greenlet at a time and is closed once."""

    def __init__(self) -> None:
        self.users: set[object] = set()
        self.tasks = 0
        self.connected = False
        self.closed = 0

    def connect(self) -> None:
        self.connected = True
        raise Transient("no service yet")

    def close(self) -> None:
        self.closed += 1

    def put(self, *arguments: object) -> None:
        raise NotImplementedError

    def stat(self, key: str) -> None:  # type: ignore[override]
        raise NotImplementedError

    def check(self, limit: float) -> None:
        raise NotImplementedError


class Work(NamedTuple):
    """A task that is given what it does."""

    run: Callable[[Session], int | None]
    size: int
    is_part: bool = False
    rank: int = 0


class Setup:
    """Slots, and tasks that end when they are told to."""

    def __init__(self) -> None:
        self.sessions: list[FakeSession] = []
        self.errors: list[Exception] = []
        self.cannot_open: list[Exception] = []
        """What the next sessions fail with."""
        self.running: dict[str, Event] = {}
        """Tasks that run now, in the order in which they began."""
        self.begun: list[str] = []
        self.window = SendWindow()
        self.limiter = ConcurrencyLimiter(LIMIT, first=LIMIT)
        self.slots = self.make()

    def make(self, part_weight: int = 1) -> Slots:
        self.slots = Slots(
            self.open,
            self.limiter,
            self.window,
            part_weight=part_weight,
            cannot_open=self.errors.append,
            connects_ahead=True,
        )
        return self.slots

    def open(self) -> FakeSession:
        if self.cannot_open:
            raise self.cannot_open.pop()
        self.sessions.append(FakeSession())
        return self.sessions[-1]

    def add(self, *names: str, size: int = 1, is_part: bool = False) -> None:
        for name in names:
            self.slots.add(self.task(name, size, is_part))
        settle()

    def task(self, name: str, size: int = 1, is_part: bool = False) -> Task:
        def run(session: Session) -> int:
            assert isinstance(session, FakeSession)
            assert not session.closed
            session.users.add(gevent.getcurrent())
            session.tasks += 1
            self.begun.append(name)
            self.running[name] = Event()
            self.running[name].wait()
            del self.running[name]
            return size

        return Work(run, size, is_part)

    def end(self, *names: str) -> None:
        for name in names:
            self.running[name].set()
        settle()

    def allow(self, share: float) -> None:
        self.limiter.allow(0.0, share, "memory")
        self.slots.resize()
        settle()

    def end_all(self) -> None:
        """Ends what runs, and what begins then, until nothing does."""
        while self.running:
            self.end(*self.running)

    def close(self) -> None:
        """Ends all tasks and the greenlets."""
        closing = gevent.spawn(self.slots.close)
        settle()
        self.end_all()
        closing.get()


def settle() -> None:
    """Lets the greenlets do what they can without time passing."""
    for _ in range(10):
        gevent.sleep(0)


@pytest.fixture
def setup() -> Iterator[Setup]:
    with gevent.Timeout(HANGS):
        yield Setup()


# How many


def test_as_many_run_as_the_limit_allows(setup: Setup) -> None:
    setup.add(*"abcdef")
    assert list(setup.running) == [*"abcd"]
    assert setup.slots.running == LIMIT


def test_the_end_of_one_begins_the_next(setup: Setup) -> None:
    setup.add(*"abcdef")
    setup.end("b")
    assert list(setup.running) == [*"acde"]


def test_a_share_lowers_the_limit_as_tasks_end(setup: Setup) -> None:
    setup.add(*"abcdef")
    setup.allow(0.5)
    assert list(setup.running) == [*"abcd"]
    setup.end("a", "b")
    assert list(setup.running) == [*"cd"]
    setup.end("c")
    assert list(setup.running) == [*"de"]


def test_the_greenlets_above_the_limit_close_their_sessions(setup: Setup) -> None:
    setup.add(*"abcdef")
    setup.allow(0.25)
    setup.end("a", "b", "c")
    assert sum(session.closed for session in setup.sessions) == 3


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_one_task_runs_whatever_the_share(setup: Setup, share: float) -> None:
    setup.allow(share)
    setup.add(*"ab")
    assert list(setup.running) == ["a"]


def test_a_share_that_grows_begins_what_waits(setup: Setup) -> None:
    setup.allow(0.25)
    setup.add(*"abcdef")
    setup.allow(1.0)
    assert list(setup.running) == [*"abcd"]


def test_a_limit_that_was_lowered_is_followed(setup: Setup) -> None:
    setup.add(*"abcdef")
    setup.limiter.refused(0.0)
    setup.slots.resize()
    setup.end("a", "b", "c")
    assert list(setup.running) == [*"de"]


class Doubling(ConcurrencyLimiter):
    """Learns from each answer that there should be twice as many."""

    def completed(self, now: float, size: int, saturated: bool, weight: int = 1) -> bool:
        self.limit *= 2
        return True


def test_a_limit_that_grows_with_completions_is_used_at_once(setup: Setup) -> None:
    setup.limiter = Doubling(100, first=2)
    setup.make()
    setup.add(*"abcdef")
    setup.end("a")
    assert sorted(setup.running) == [*"bcde"]


class Noting(ConcurrencyLimiter):
    """Notes whether more requests would have had work."""

    def __init__(self) -> None:
        super().__init__(100, first=2)
        self.saturated: list[bool] = []

    def completed(self, now: float, size: int, saturated: bool, weight: int = 1) -> bool:
        self.saturated.append(saturated)
        return False


@pytest.mark.parametrize("paced", [False, True])
def test_more_requests_are_no_help_where_the_rate_is_limited(setup: Setup, paced: bool) -> None:
    setup.limiter = limiter = Noting()
    setup.make()
    setup.slots.paced = paced
    setup.add(*"abcdef")
    setup.end("a")
    assert limiter.saturated == [not paced]


# The window


def test_a_full_window_holds_tasks_back(setup: Setup) -> None:
    setup.add(*"abcd", size=SOCKET_BYTES)
    assert len(setup.running) == FIRST_BYTES // SOCKET_BYTES


def test_what_was_held_back_begins_when_a_task_ends(setup: Setup) -> None:
    setup.add(*"abcd", size=SOCKET_BYTES)
    setup.window.bytes = FIRST_BYTES // 2
    setup.end("a", "b")
    assert list(setup.running)[0] == "c"


def test_what_was_held_back_begins_when_the_window_has_grown(setup: Setup) -> None:
    setup.add(*"abcd", size=SOCKET_BYTES)
    setup.window.bytes = LIMIT * SOCKET_BYTES
    setup.slots.fill()
    settle()
    assert len(setup.running) == LIMIT


def test_one_long_task_that_ends_makes_room_for_several_short_ones(setup: Setup) -> None:
    setup.window.bytes = SOCKET_BYTES
    setup.add("long", size=SOCKET_BYTES)
    setup.add(*"abc", size=SOCKET_BYTES // 4)
    setup.end("long")
    assert list(setup.running) == [*"abc"]


def test_all_that_was_counted_is_given_back(setup: Setup) -> None:
    setup.add(*"abcdef", size=100)
    setup.end_all()
    assert setup.window.in_flight == 0
    assert setup.slots.running == 0


# Parts


def test_parts_go_before_other_tasks(setup: Setup) -> None:
    setup.add(*"abcdef")
    setup.add(*"xy", is_part=True)
    setup.end("a", "b")
    assert setup.begun == [*"abcd", *"xy"]


def test_a_part_counts_for_several_requests(setup: Setup) -> None:
    setup.make(part_weight=2)
    setup.add(*"xyz", is_part=True)
    setup.add(*"abc")
    assert list(setup.running) == [*"xyab"]


def test_one_part_runs_however_much_it_counts_for(setup: Setup) -> None:
    setup.make(part_weight=100)
    setup.add(*"xy", is_part=True)
    assert list(setup.running) == ["x"]
    setup.end("x")
    assert list(setup.running) == ["y"]


# Sessions


def test_a_session_is_used_for_task_after_task_by_its_own_greenlet(setup: Setup) -> None:
    setup.add(*(f"{number}" for number in range(20)))
    setup.end_all()
    assert len(setup.sessions) == LIMIT
    assert [session.tasks for session in setup.sessions] == [5] * LIMIT
    assert all(len(session.users) == 1 for session in setup.sessions)


def test_an_idle_greenlet_is_used_before_a_new_one(setup: Setup) -> None:
    setup.add("a")
    setup.end("a")
    setup.add("b")
    assert len(setup.sessions) == 1


def test_no_more_sessions_are_opened_than_tasks_run(setup: Setup) -> None:
    setup.add("a", "b")
    assert len(setup.sessions) == 2


# Sessions that connect ahead of their tasks


def test_sessions_connect_before_there_are_tasks(setup: Setup) -> None:
    setup.slots.connect(2)
    settle()
    assert [session.connected for session in setup.sessions] == [True, True]
    setup.add("a", "b")
    assert len(setup.sessions) == 2


def test_sessions_of_a_cloud_that_gains_nothing_do_not_connect(setup: Setup) -> None:
    slots = Slots(
        setup.open, setup.limiter, setup.window, part_weight=1, cannot_open=setup.errors.append
    )
    slots.connect(2)
    settle()
    assert not setup.sessions


def test_no_more_sessions_connect_than_the_limit_allows(setup: Setup) -> None:
    setup.slots.connect(LIMIT + 1)
    setup.slots.connect(LIMIT + 1)
    settle()
    assert len(setup.sessions) == LIMIT


def test_where_the_window_holds_tasks_back_twice_as_many_are_connected(setup: Setup) -> None:
    setup.window.bytes = 1
    setup.add("a", "b", "c", size=100)
    assert setup.begun == ["a"]
    assert [session.connected for session in setup.sessions] == [False, True]
    setup.end("a")
    assert setup.begun == ["a", "b"]


def test_a_session_that_has_worked_goes_before_one_that_connects(setup: Setup) -> None:
    setup.add("a")
    setup.end("a")
    setup.slots.connect(2)
    setup.add("b")
    assert setup.sessions[0].tasks == 2


def test_close_ends_sessions_that_had_no_task(setup: Setup) -> None:
    setup.slots.connect(2)
    settle()
    setup.close()
    assert [session.closed for session in setup.sessions] == [1, 1]


def test_a_session_without_a_task_that_cannot_be_opened_is_told(setup: Setup) -> None:
    setup.cannot_open = [why := Fatal("no such driver")]
    setup.slots.connect(1)
    settle()
    assert setup.errors == [why]
    setup.add("a")
    assert setup.begun == ["a"]


# Failures of sessions


def test_a_session_that_cannot_be_opened_puts_the_task_back(setup: Setup) -> None:
    setup.cannot_open = [why := Fatal("no such driver")]
    setup.add("a", size=100)
    assert setup.errors == [why]
    assert not setup.begun
    assert (setup.slots.running, setup.window.in_flight) == (0, 0)
    setup.slots.fill()
    settle()
    assert setup.begun == ["a"]


@pytest.mark.parametrize("is_part", [True, False])
def test_a_task_that_was_put_back_goes_first(setup: Setup, is_part: bool) -> None:
    setup.allow(0.25)
    setup.cannot_open = [Fatal("no such driver")]
    setup.add("a", is_part=is_part)
    setup.add("b", "c")
    assert list(setup.running) == ["a"]


# Failures


def test_a_task_that_raises_gives_back_what_it_held(setup: Setup) -> None:
    """It is a bug and ends its greenlet, but not the run."""

    def fails(session: Session) -> int:
        raise ZeroDivisionError

    setup.slots.add(Work(fails, 100))
    hub = gevent.get_hub()
    before, hub.print_exception = hub.print_exception, lambda *told: None
    settle()
    hub.print_exception = before
    assert (setup.slots.running, setup.window.in_flight) == (0, 0)
    assert [session.closed for session in setup.sessions] == [1]


# The end


def test_close_closes_each_session_once(setup: Setup) -> None:
    setup.add(*"abcdef")
    setup.end("a", "b")
    setup.close()
    assert len(setup.begun) == 6
    assert [session.closed for session in setup.sessions] == [1] * LIMIT


def test_close_ends_idle_greenlets(setup: Setup) -> None:
    setup.add(*"ab")
    setup.end("a", "b")
    setup.close()
    assert [session.closed for session in setup.sessions] == [1, 1]


def test_close_without_any_task_returns(setup: Setup) -> None:
    setup.slots.close()


def test_close_waits_for_tasks_that_tasks_add(setup: Setup) -> None:
    """Each part of a large file queues the next."""
    ended: list[int] = []

    def link(number: int) -> Task:
        def run(session: Session) -> int:
            if number < 50:
                setup.slots.add(link(number + 1))
            gevent.sleep(0)
            ended.append(number)
            return 1

        return Work(run, SOCKET_BYTES, is_part=True)

    setup.slots.add(link(1))
    setup.slots.close()
    assert sorted(ended) == [*range(1, 51)]
    assert all(session.closed == 1 for session in setup.sessions)


def test_close_waits_for_what_the_window_holds_back(setup: Setup) -> None:
    setup.window.bytes = 1
    setup.add(*"abcdef", size=100)
    setup.close()
    assert setup.begun == [*"abcdef"]
