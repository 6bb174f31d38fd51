"""From a host's name to a connected socket, without blocking the loop.

gevent looks names up in threads.  A pool that opens all its connections at once would wake one for
each, twice, to fight for the interpreter's lock: for 20,000 files that took a tenth of the run.  So
an address needs no lookup, and a name one every few seconds.
"""

from __future__ import annotations

import _socket  # its class is the one that monkey patching leaves alone
import errno
import os
import random
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import count, takewhile, zip_longest
from operator import is_not
from typing import Any

import gevent
import gevent.socket
from gevent.select import POLLOUT, poll

KEPT = 5.0
"""Seconds that a lookup serves: long enough for a pool that opens its connections at once, short
enough to follow a service that moves."""
STAGGER = 0.25
"""Seconds from one attempt to the next: the "Connection Attempt Delay" of RFC 8305 section 5."""
AVOIDED = 30.0
"""Seconds for which an address that could not be connected to is the last to be tried."""
SHORTAGES = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
"""Errors of this machine, which lacks descriptors, memory or local ports."""

_Address = tuple[int, int, int, str, Any]
"""Family, type, protocol, canonical name and socket address, as getaddrinfo has them."""


def dial(host: str, port: int) -> _socket.socket:
    """A non-blocking socket connected to ``host``, a name or an address without brackets.

    The addresses of a name race (RFC 8305): the next attempt begins when an earlier one fails, or
    does not succeed for ``STAGGER`` seconds.  The families take turns, the system's preferred one
    first; within a family each connection begins with the next address, which spreads them over
    all front ends of the service.  One that failed, or was overtaken, comes last for ``AVOIDED``
    seconds.  Raises an OSError when all have failed.  The caller limits the time.
    """
    left = deque(_addresses(host, port))
    pending: dict[_socket.socket, _Address] = {}
    failures: list[OSError] = []
    try:
        while left or pending:
            if left:
                address = left.popleft()
                try:
                    pending[begin(address)] = address
                except OSError as error:
                    _avoid(address, error)
                    failures.append(error)
                    continue
            for sock in settled(list(pending), STAGGER if left else None):
                code = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
                if not code:
                    for slower in takewhile(partial(is_not, sock), pending):
                        _avoid(pending[slower])
                    del pending[sock]
                    return sock
                failures.append(_error(code))
                _avoid(pending.pop(sock), failures[-1])
                sock.close()
        raise most_telling(failures)
    finally:
        for sock in pending:
            sock.close()


def begin(address: _Address) -> _socket.socket:
    """A socket that is connecting, or connected already."""
    family, kind, protocol, _, place = address
    sock = _socket.socket(family, kind, protocol)
    sock.setblocking(False)
    code = sock.connect_ex(place)
    if code not in (0, errno.EINPROGRESS):
        sock.close()
        raise _error(code)
    return sock


def settled(pending: Sequence[_socket.socket], seconds: float | None) -> list[_socket.socket]:
    """Waits until some are connected or have failed; none of them after ``seconds``."""
    if seconds is None and len(pending) == 1:  # the usual case, without the 20 us of a poller
        gevent.socket.wait_write(pending[0].fileno())
        return list(pending)
    poller = poll()
    for sock in pending:
        poller.register(sock, POLLOUT)
    milliseconds = None if seconds is None else seconds * 1000
    ready = {descriptor for descriptor, _ in poller.poll(milliseconds)}
    return [sock for sock in pending if sock.fileno() in ready]


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def most_telling(failures: Sequence[OSError]) -> OSError:
    """The last failure of the network.  A local one is the last resort: an address family that is
    switched off here fails so, and says nothing about the service."""
    if not failures:
        return OSError("the name has no address")
    return next((e for e in reversed(failures) if e.errno not in SHORTAGES), failures[-1])


avoided: dict[Any, float] = {}
"""Socket addresses, and until when they are the last to be tried, by time.monotonic()."""


def _avoid(address: _Address, error: OSError | None = None) -> None:
    """Another address should go first; not for an error that is this machine's own."""
    if error is None or error.errno not in SHORTAGES:
        avoided[address[4]] = time.monotonic() + AVOIDED


def _addresses(host: str, port: int) -> list[_Address]:
    try:
        return _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM, 0, _socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        lookup = Lookup.of(host, port)
        found = lookup.result()
        return found if len(found) == 1 else in_order(found, lookup.next_turn())


def in_order(found: Sequence[_Address], turn: int) -> list[_Address]:
    """The families by turns in their order of appearance, each from its ``turn``-th address on;
    those to avoid at the end."""
    families: dict[int, deque[_Address]] = {}
    for address in found:
        families.setdefault(address[0], deque()).append(address)
    for addresses in families.values():
        addresses.rotate(-turn)
    order = [address for each in zip_longest(*families.values()) for address in each if address]
    if avoided:
        now = time.monotonic()
        for place in [place for place, until in avoided.items() if until < now]:
            del avoided[place]
        order.sort(key=lambda address: address[4] in avoided)
    return order


class Lookup:
    """One question to the system's resolver, shared by all who ask it within ``KEPT`` seconds."""

    latest: dict[tuple[object, str, int], Lookup] = {}
    """By host, port and hub: greenlets of different threads cannot wait for each other."""

    def __init__(self, host: str, port: int) -> None:
        self._until = 0.0
        # Random: the processes of a run, and the runs of many machines, do not start alike.
        self._turns = count(random.randrange(2**16))
        # In a greenlet of its own: when the first who asked gives up, others still wait.
        self._job = gevent.spawn(self._ask, host, port)

    @classmethod
    def of(cls, host: str, port: int) -> Lookup:
        """The latest lookup of this name, or a new one."""
        name = (gevent.get_hub(), host, port)
        known = cls.latest.get(name)
        if known is None or known._is_stale():
            # This also forgets the hubs of threads that have ended.
            cls.latest = {name: each for name, each in cls.latest.items() if not each._is_stale()}
            known = cls.latest[name] = cls(host, port)
        return known

    def _is_stale(self) -> bool:
        """Its answer is too old, or an error."""
        if not self._job.ready():
            return False
        return isinstance(self._job.value, OSError) or time.monotonic() > self._until

    def result(self) -> list[_Address]:
        """The addresses, waiting for them; raises the OSError that the resolver gave."""
        found: list[_Address] | OSError = self._job.get()
        if isinstance(found, OSError):
            raise found
        return found

    def next_turn(self) -> int:
        """A number, one higher with each call."""
        return next(self._turns)

    def _ask(self, host: str, port: int) -> list[_Address] | OSError:
        try:
            return list(gevent.socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM))
        except OSError as error:
            return error
        except UnicodeError:  # a label of more than 63 characters, or an empty one
            return OSError("the name is no host name")
        finally:
            self._until = time.monotonic() + KEPT
