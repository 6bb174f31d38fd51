"""Deletes objects, by many requests at once where one takes few."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import closing

import gevent

from providers.base import Cloud, Deletion
from providers.errors import Rejected

from .attempts import Attempts

DELETERS = 16
"""Requests at the same time."""


def delete_all(attempts: Attempts, cloud: Cloud, keys: Sequence[str]) -> Deletion:
    """Deletes them; raises that for which it does not get to the last one."""
    step = cloud.most_deleted
    batches = deque(keys[start : start + step] for start in range(0, len(keys), step))
    ends: list[Deletion] = []

    def work() -> None:
        with closing(cloud.open()) as session:
            while batches:
                batch = batches.popleft()
                try:
                    ends.append(attempts.run(session.delete, batch))
                except Rejected as failure:
                    ends.append(Deletion([(key, str(failure)) for key in batch], 0))

    greenlets = [gevent.spawn(work) for _ in range(min(DELETERS, len(batches)))]
    try:
        gevent.joinall(greenlets, raise_error=True)
    finally:
        gevent.killall(greenlets)
    failed = sorted(failure for end in ends for failure in end.failed)
    return Deletion(failed, sum(end.hidden for end in ends))
