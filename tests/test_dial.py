"""Names and addresses, and how few questions are asked about them."""

from __future__ import annotations

import _socket
import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.socket
import pytest

from providers import _dial
from providers._dial import dial

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
    monkeypatch.setattr(_dial._Lookup, "_latest", {})


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


def test_an_answer_serves_for_a_while(
    resolver: Resolver, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled("service", port)
    dialled("service", port)
    assert len(resolver.asked) == 1
    monkeypatch.setattr(_dial, "KEPT", -1.0)
    _dial._Lookup._latest.clear()
    dialled("service", port)
    dialled("service", port)
    assert len(resolver.asked) == 3


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


def test_the_last_error_is_raised_when_none_accepts(resolver: Resolver, port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    resolver.answer = at("127.0.0.1", "127.0.0.2", port=closed)
    with pytest.raises(ConnectionRefusedError):
        dial("service", closed)


def test_a_name_without_addresses_is_an_error(resolver: Resolver, port: int) -> None:
    resolver.answer = []
    with pytest.raises(OSError, match="the name has no address"):
        dial("service", port)


def test_connections_are_spread_but_families_keep_their_order(resolver: Resolver) -> None:
    many = [f"127.0.0.{n}" for n in range(1, 9)]
    resolver.answer = at("::1", *many, "::2", port=1)
    orders = [[each[4][0] for each in _dial._addresses("service", 1)] for _ in range(50)]
    for order in orders:
        assert sorted(order[:2]) == ["::1", "::2"]
        assert sorted(order[2:]) == many
    assert len({order[2] for order in orders}) > 1


def test_a_connect_that_is_given_up_leaves_no_socket(port: int) -> None:
    """A full backlog answers nobody."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = []
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            assert sock.connect_ex(address) in (0, errno.EINPROGRESS)
            waiting.append(sock)
        with gevent.Timeout(0.1, False):
            dial(*address)
            pytest.fail("somebody answered")
        for sock in waiting:
            sock.close()
