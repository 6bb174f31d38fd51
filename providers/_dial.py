"""From a host's name to a connected socket, waiting on the gevent loop only.

gevent looks names up in threads.  A pool that opens its connections at once would wake one for
each of them, twice, and let it fight for the interpreter's lock: for 20,000 files that took a tenth
of the run.  So an address is not looked up, and a name only once in a while.
"""

from __future__ import annotations

import _socket  # its class is the one that monkey patching leaves alone
import errno
import os
import random
import time
from typing import Any

import gevent
import gevent.socket

KEPT = 5.0
"""Seconds that the answer to a lookup serves: long enough for a pool that opens its connections at
once, short enough to follow a service that moves."""

_Address = tuple[int, int, int, str, Any]
"""Family, type, protocol, canonical name and socket address, as getaddrinfo has them."""


def dial(host: str, port: int) -> _socket.socket:
    """A non-blocking socket connected to ``host``, a name or an address without brackets.

    The addresses of a name are tried one after the other: the families in the order in which the
    system prefers them, within one at random, so that the connections of many files are spread over
    all front ends of a service.  Raises the OSError of the last one.  The time is the caller's to
    limit.
    """
    failure = OSError("the name has no address")
    for family, kind, protocol, _, address in _addresses(host, port):
        try:
            sock = _socket.socket(family, kind, protocol)
        except OSError as error:  # IPv6 may be switched off
            failure = error
            continue
        try:
            code = _connect(sock, address)
        except BaseException:
            sock.close()
            raise
        if not code:
            return sock
        sock.close()
        failure = OSError(code, os.strerror(code))
    raise failure


def _connect(sock: _socket.socket, address: Any) -> int:
    """0, or the number of the error."""
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        gevent.socket.wait_write(sock.fileno())
        code = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
    return code


def _addresses(host: str, port: int) -> list[_Address]:
    try:
        return _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM, 0, _socket.AI_NUMERICHOST)
    except OSError:
        found = _Lookup.of(host, port).result()
    families = list(dict.fromkeys(family for family, *_ in found))
    return sorted(found, key=lambda each: (families.index(each[0]), random.random()))


class _Lookup:
    """One question to the system's resolver, for all who ask it at the same time or soon after."""

    _latest: dict[tuple[object, str, int], _Lookup] = {}
    """By hub, as greenlets of different threads cannot wait for each other, host and port."""

    def __init__(self, host: str, port: int) -> None:
        self._until = time.monotonic() + KEPT
        # In a greenlet of its own: who asks may give up, and others still wait for the answer.
        self._job = gevent.spawn(_ask, host, port)

    @classmethod
    def of(cls, host: str, port: int) -> _Lookup:
        """The latest one for this name, or a new one."""
        name = (gevent.get_hub(), host, port)
        known = cls._latest.get(name)
        if known is None or known._is_stale():
            # With the stale ones go the hubs of threads that have ended.
            cls._latest = {name: each for name, each in cls._latest.items() if not each._is_stale()}
            known = cls._latest[name] = cls(host, port)
        return known

    def _is_stale(self) -> bool:
        """Answered, and the answer is too old or an error."""
        if not self._job.ready():
            return False
        return isinstance(self._job.value, OSError) or time.monotonic() > self._until

    def result(self) -> list[_Address]:
        """The addresses, waiting for them; raises the OSError that the resolver gave."""
        found: list[_Address] | OSError = self._job.get()
        if isinstance(found, OSError):
            raise found
        return found


def _ask(host: str, port: int) -> list[_Address] | OSError:
    try:
        return list(gevent.socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM))
    except OSError as error:
        return error
