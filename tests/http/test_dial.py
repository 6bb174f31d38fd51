"""Names and addresses, and how few questions are asked about them."""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import random
import socket
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.socket
import pytest

from providers.http import dial as _dial
from providers.http.dial import dial, most_telling

PATIENCE = 10.0
"""Seconds after which a test gives up."""

Found = list[tuple[int, int, int, str, Any]]


class Resolver:
    """Stands in for the system's: counts the questions and gives one answer to all."""

    def __init__(self, answer: Found | OSError, pause: float = 0.0) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.answer = answer
        self.pause = pause

    def getaddrinfo(self, *question: Any) -> Found:
        self.asked.append(question)
        gevent.sleep(self.pause)
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


def at(*addresses: str, port: int) -> Found:
    families = [_socket.AF_INET6 if ":" in address else _socket.AF_INET for address in addresses]
    pairs = zip(families, addresses, strict=True)
    return [(family, _socket.SOCK_STREAM, 6, "", (address, port)) for family, address in pairs]


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dial.Lookup, "latest", {})
    monkeypatch.setattr(_dial, "avoided", {})


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch, port: int) -> Resolver:
    resolver = Resolver(at("127.0.0.1", port=port))
    monkeypatch.setattr(gevent.socket, "getaddrinfo", resolver.getaddrinfo)
    return resolver


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def dialled(host: str, port: int) -> tuple[Any, ...]:
    """The address that was reached."""
    with contextlib.closing(dial(host, port)) as sock:
        peer: tuple[Any, ...] = sock.getpeername()
        return peer


def test_an_address_is_not_looked_up(resolver: Resolver, port: int) -> None:
    assert dialled("127.0.0.1", port) == ("127.0.0.1", port)
    assert resolver.asked == []


def test_a_name_is_looked_up(resolver: Resolver, port: int) -> None:
    assert dialled("service", port) == ("127.0.0.1", port)
    assert resolver.asked == [("service", port, 0, socket.SOCK_STREAM)]


def test_all_who_connect_at_the_same_time_ask_once(resolver: Resolver, port: int) -> None:
    resolver.pause = 0.01
    jobs = [gevent.spawn(dialled, "service", port) for _ in range(20)]
    gevent.joinall(jobs)
    assert [job.value for job in jobs] == [("127.0.0.1", port)] * 20
    assert len(resolver.asked) == 1


class Clock:
    """Time that passes when a test says so."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_dial, "time", clock)
    return clock


def test_an_answer_serves_for_a_while(resolver: Resolver, port: int, clock: Clock) -> None:
    dialled("service", port)
    clock.now += _dial.KEPT
    dialled("service", port)
    assert len(resolver.asked) == 1
    clock.now += 0.1
    dialled("service", port)
    assert len(resolver.asked) == 2


def test_the_age_of_an_answer_counts_from_its_arrival(
    resolver: Resolver, port: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow name service gives no answers that are stale from the start."""

    def slow(*question: Any) -> Found:
        clock.now += 2 * _dial.KEPT
        return resolver.getaddrinfo(*question)

    monkeypatch.setattr(gevent.socket, "getaddrinfo", slow)
    dialled("service", port)
    dialled("service", port)
    assert len(resolver.asked) == 1


def test_another_name_is_another_question(resolver: Resolver, port: int) -> None:
    dialled("service", port)
    dialled("other", port)
    assert [question[0] for question in resolver.asked] == ["service", "other"]


def test_an_error_goes_to_all_who_wait_and_is_not_kept(resolver: Resolver, port: int) -> None:
    good, resolver.answer = resolver.answer, socket.gaierror(-2, "Name or service not known")
    for _ in range(2):
        with pytest.raises(socket.gaierror, match="not known"):
            dial("service", port)
    resolver.answer = good
    assert dialled("service", port) == ("127.0.0.1", port)
    assert len(resolver.asked) == 3


def test_who_gives_up_takes_the_answer_from_nobody(resolver: Resolver, port: int) -> None:
    resolver.pause = 0.05
    first = gevent.spawn(dialled, "service", port)
    second = gevent.spawn(dialled, "service", port)
    gevent.sleep(0.01)
    first.kill()
    assert second.get() == ("127.0.0.1", port)
    assert len(resolver.asked) == 1


def test_the_next_address_is_tried_when_one_refuses(resolver: Resolver, port: int) -> None:
    """The first two are a family that this host has not, and one where nobody listens."""
    unknown = (9999, socket.SOCK_STREAM, 0, "", ("nowhere", port))
    resolver.answer = [unknown, *at("::1", "127.0.0.1", port=port)]
    assert dialled("service", port) == ("127.0.0.1", port)


@pytest.fixture
def closed() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def hole() -> Iterator[Found]:
    """An address that answers nobody: its backlog is full."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(3):
            sock = waiting.enter_context(socket.socket())
            sock.setblocking(False)
            assert sock.connect_ex(address) in (0, errno.EINPROGRESS)
        yield at("127.0.0.1", port=address[1])


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first connection begins with the resolver's first address."""
    monkeypatch.setattr(random, "randrange", lambda limit: 0)


@pytest.mark.usefixtures("in_order")
def test_an_address_that_answers_nobody_is_no_obstacle(
    resolver: Resolver, port: int, hole: Found
) -> None:
    """RFC 8305: the next one is tried meanwhile, and the losers are closed."""
    resolver.answer = [*hole, *hole, *at("127.0.0.1", port=port), *hole]
    dialled("service", port)
    before = len(os.listdir("/dev/fd"))
    with gevent.Timeout(PATIENCE):
        assert dialled("service", port) == ("127.0.0.1", port)
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.usefixtures("in_order")
def test_after_a_refusal_the_next_address_is_tried_at_once(
    resolver: Resolver, port: int, closed: int, hole: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though an earlier attempt is pending."""
    monkeypatch.setattr(_dial, "STAGGER", 0.01)
    refusing = at("127.0.0.1", port=closed)
    resolver.answer = [*hole, *refusing, *refusing, *at("127.0.0.1", port=port)]
    with gevent.Timeout(PATIENCE):
        assert dialled("service", port) == ("127.0.0.1", port)
    monkeypatch.setattr(_dial, "STAGGER", 1000.0)
    resolver.answer = [*refusing, *refusing, *at("127.0.0.1", port=port)]
    with gevent.Timeout(PATIENCE):
        assert dialled("other-service", port) == ("127.0.0.1", port)


def test_an_error_is_raised_when_none_accepts(resolver: Resolver, closed: int) -> None:
    resolver.answer = at("127.0.0.1", "127.0.0.2", port=closed)
    with pytest.raises(ConnectionRefusedError):
        dial("service", closed)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EADDRNOTAVAIL])
def test_a_shortage_is_an_error_only_when_the_network_gave_none(number: int) -> None:
    """An address family that is switched off here fails with EADDRNOTAVAIL."""
    shortage, refusal = OSError(number, ""), ConnectionRefusedError(errno.ECONNREFUSED, "")
    assert most_telling([shortage]) is shortage
    assert most_telling([shortage, refusal]) is refusal
    assert most_telling([refusal, shortage]) is refusal


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example"])
def test_what_is_no_host_name_is_an_os_error(host: str) -> None:
    with pytest.raises(OSError, match="the name is no host name"):
        dial(host, 80)


def test_a_name_without_addresses_is_an_error(resolver: Resolver, port: int) -> None:
    resolver.answer = []
    with pytest.raises(OSError, match="the name has no address"):
        dial("service", port)


def hosts(found: Found, turn: int = 0) -> list[str]:
    return [address[4][0] for address in _dial.in_order(found, turn)]


def test_families_take_turns() -> None:
    """RFC 8305 section 4.  The resolver's preferred family comes first."""
    found = at("::1", "127.0.0.1", "127.0.0.2", "127.0.0.3", "::2", port=1)
    assert hosts(found) == ["::1", "127.0.0.1", "::2", "127.0.0.2", "127.0.0.3"]
    assert hosts(found, 4) == ["::1", "127.0.0.2", "::2", "127.0.0.3", "127.0.0.1"]


def test_connections_take_turns_among_the_addresses_of_a_name(
    resolver: Resolver, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evenly, from a random one on."""
    resolver.answer = at(*[f"127.0.0.{n}" for n in range(1, 5)], port=port)
    tried: list[str] = []

    def begin(address: Any) -> Any:
        tried.append(address[4][0])
        raise OSError(errno.EMFILE, "a shortage: no fault of the address")

    monkeypatch.setattr(_dial, "begin", begin)
    for _ in range(8):
        with pytest.raises(OSError, match="shortage"):
            dial("service", port)
    firsts = tried[::4]
    assert [firsts.count(f"127.0.0.{n}") for n in range(1, 5)] == [2, 2, 2, 2]


def test_lookups_begin_with_different_addresses(resolver: Resolver, port: int) -> None:
    """Or the first connections of all processes would go to the same one."""
    starts = {_dial.Lookup("service", port).next_turn() for _ in range(50)}
    assert len(starts) > 1


@pytest.mark.usefixtures("in_order")
def test_an_address_that_refuses_is_the_last_to_be_tried_for_a_while(
    resolver: Resolver, port: int, closed: int, clock: Clock
) -> None:
    dead, live = at("127.0.0.1", port=closed), at("127.0.0.1", port=port)
    resolver.answer = [*dead, *live]
    for _ in range(2):
        assert dialled("service", port) == ("127.0.0.1", port)
        assert _dial.in_order(resolver.answer, 0) == [*live, *dead]
    clock.now += _dial.AVOIDED + 1
    assert _dial.in_order(resolver.answer, 0) == [*dead, *live]


@pytest.mark.usefixtures("in_order")
def test_an_address_that_was_overtaken_is_the_last_to_be_tried_for_a_while(
    resolver: Resolver, port: int, hole: Found
) -> None:
    live = at("127.0.0.1", port=port)
    resolver.answer = [*hole, *live]
    assert dialled("service", port) == ("127.0.0.1", port)
    assert _dial.in_order(resolver.answer, 0) == [*live, *hole]


@pytest.mark.usefixtures("in_order")
def test_an_address_that_wins_late_leaves_the_later_ones_their_place(
    resolver: Resolver, port: int, hole: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a link of more than a quarter of a second each attempt is followed by another."""
    settled, rounds = _dial.settled, iter([True])

    def late(pending: Any, seconds: Any) -> Any:
        return [] if next(rounds, False) else settled(pending, seconds)

    monkeypatch.setattr(_dial, "settled", late)
    live = at("127.0.0.1", port=port)
    resolver.answer = [*live, *hole]
    assert dialled("service", port) == ("127.0.0.1", port)
    assert _dial.avoided == {}


def test_addresses_that_all_refuse_are_all_tried_again(
    resolver: Resolver, closed: int, port: int
) -> None:
    resolver.answer = at("127.0.0.1", "127.0.0.2", port=closed)
    with pytest.raises(ConnectionRefusedError):
        dial("service", closed)
    assert sorted(hosts(resolver.answer)) == ["127.0.0.1", "127.0.0.2"]


def test_a_shortage_of_this_machine_is_no_reason_to_avoid_an_address(
    resolver: Resolver, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver.answer = at("127.0.0.1", "127.0.0.2", port=port)

    def begin(address: Any) -> Any:
        raise OSError(errno.EMFILE, "")

    monkeypatch.setattr(_dial, "begin", begin)
    with pytest.raises(OSError):
        dial("service", port)
    assert _dial.avoided == {}


def test_a_connect_that_is_given_up_leaves_no_socket(hole: Found) -> None:
    address = hole[0][4]
    before = len(os.listdir("/dev/fd"))
    with gevent.Timeout(0.1, False):
        dial(*address)
        pytest.fail("somebody answered")
    assert len(os.listdir("/dev/fd")) == before
