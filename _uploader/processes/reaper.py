"""Kills and reaps workers on request: all that is left of a fork server that forks no more.

The fork server becomes this script by ``exec``: 4 MB in place of its own 20, a third of which are
pages that no worker shares.  So it imports next to nothing, and nothing of the package.
"""

import os
import struct
import sys
from posix import waitpid  # gevent's starts an event loop: none may exist before a fork

NUMBER = struct.Struct("!i")
"""A request, the number of a worker, and its answer, an exit code."""
SIGKILL = 9
"""The module ``signal`` would take 0.8 MB."""


def reap(pid: int) -> bytes:
    """Kills and reaps a process: until then no other can get its pid.  Returns the answer: its exit
    code, 1 for pid 0, which never started."""
    if not pid:
        return NUMBER.pack(1)
    os.kill(pid, SIGKILL)
    return NUMBER.pack(os.waitstatus_to_exitcode(waitpid(pid, 0)[1]))


def reap_all(pids: list[int]) -> None:
    """Kills and reaps all that are still there."""
    there = [pid for pid in pids if pid]
    for pid in there:
        os.kill(pid, SIGKILL)
    for pid in there:
        waitpid(pid, 0)


def serve(control: int, pids: list[int]) -> None:
    """Answers requests until the supervisor at the other end of the socket ``control`` is gone."""
    while request := os.read(control, NUMBER.size):
        (number,) = NUMBER.unpack(request)
        os.write(control, reap(pids[number]))
        pids[number] = 0
    reap_all(pids)


if __name__ == "__main__":
    serve(int(sys.argv[1]), [int(pid) for pid in sys.argv[2:]])
