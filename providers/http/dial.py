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
from itertools import zip_longest
from typing import Any

import gevent
import gevent.socket
from gevent.select import POLLOUT, poll

KEPT = 5.0
"""Seconds that a lookup serves: long enough for a pool that opens its connections at once, short
enough to follow a service that moves."""
STAGGER = 0.25
"""Seconds from one attempt to the next: the "Connection Attempt Delay" of RFC 8305 section 5."""
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
    first; within a family the order is random, which spreads the connections over all front ends
    of the service.  Raises an OSError when all have failed.  The caller limits the time.
    """
    left = deque(_addresses(host, port))
    pending: list[_socket.socket] = []
    failures: list[OSError] = []
    try:
        while left or pending:
            if left:
                try:
                    pending.append(_begin(left.popleft()))
                except OSError as error:
                    failures.append(error)
                    continue
            for sock in _settled(pending, STAGGER if left else None):
                pending.remove(sock)
                code = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
                if not code:
                    return sock
                sock.close()
                failures.append(_error(code))
        raise most_telling(failures)
    finally:
        for sock in pending:
            sock.close()


def _begin(address: _Address) -> _socket.socket:
    """A socket that is connecting, or connected already."""
    family, kind, protocol, _, place = address
    sock = _socket.socket(family, kind, protocol)
    sock.setblocking(False)
    code = sock.connect_ex(place)
    if code not in (0, errno.EINPROGRESS):
        sock.close()
        raise _error(code)
    return sock


def _settled(pending: Sequence[_socket.socket], seconds: float | None) -> list[_socket.socket]:
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
    """The last failure that is the network's, since an address family that is switched off here
    looks like a shortage."""
    if not failures:
        return OSError("the name has no address")
    return next((e for e in reversed(failures) if e.errno not in SHORTAGES), failures[-1])


def _addresses(host: str, port: int) -> list[_Address]:
    try:
        return _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM, 0, _socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return _interleaved(_Lookup.of(host, port).result())


def _interleaved(found: Sequence[_Address]) -> list[_Address]:
    """The families by turns in their order of appearance, the addresses of each in random order."""
    families: dict[int, list[_Address]] = {}
    for address in found:
        families.setdefault(address[0], []).append(address)
    shuffled = [random.sample(addresses, len(addresses)) for addresses in families.values()]
    return [address for turn in zip_longest(*shuffled) for address in turn if address]


class _Lookup:
    """One question to the system's resolver, shared by all who ask it within ``KEPT`` seconds."""

    _latest: dict[tuple[object, str, int], _Lookup] = {}
    """By host, port and hub: greenlets of different threads cannot wait for each other."""

    def __init__(self, host: str, port: int) -> None:
        self._until = 0.0
        # In a greenlet of its own: when the first who asked gives up, others still wait.
        self._job = gevent.spawn(self._ask, host, port)

    @classmethod
    def of(cls, host: str, port: int) -> _Lookup:
        """The latest lookup of this name, or a new one."""
        name = (gevent.get_hub(), host, port)
        known = cls._latest.get(name)
        if known is None or known._is_stale():
            # This also forgets the hubs of threads that have ended.
            cls._latest = {name: each for name, each in cls._latest.items() if not each._is_stale()}
            known = cls._latest[name] = cls(host, port)
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

    def _ask(self, host: str, port: int) -> list[_Address] | OSError:
        try:
            return list(gevent.socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM))
        except OSError as error:
            return error
        except UnicodeError:  # a label of more than 63 characters, or an empty one
            return OSError("the name is no host name")
        finally:
            self._until = time.monotonic() + KEPT
