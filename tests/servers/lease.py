"""A lease on a file (fcntl(2), under Leases), held by another program as Samba does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HOLDER = """
import fcntl, os, signal, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
# Blocked, so that it waits for sigtimedwait.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
if sys.argv[2:]:
    signal.sigwait([signal.SIGIO])
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
sys.stdin.read()
"""


@contextmanager
def lease(path: Path, *, yields: bool = False) -> Iterator[None]:
    """Somebody holds a lease; with ``yields`` until another one opens the file."""
    argv = [sys.executable, "-c", _HOLDER, str(path), *(["yields"] if yields else [])]
    holder = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        yield
    finally:
        holder.communicate()
    assert holder.returncode == 0
