"""Scans ahead of the workers, and says how many of them the files are worth."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from .config import Settings
from .errors import RunError
from .files.model import Found, Job
from .processes.dispatch import Dispatcher, ReadAhead
from .processes.sizing import FILES_EACH, processes_worth
from .records.ledger import Ledger

SCAN_SLICE = 256
SCAN_TIME = 0.02
"""Most entries, and seconds, of the scan between two rounds of the supervisor: on a slow disk each
entry takes milliseconds, and results, signals and the display wait."""
SCAN_STEP = 16
"""Entries between two looks at the clock."""
FIRST_LOOK = 0.1
"""Seconds of scanning before the first worker starts: the fork server imports meanwhile."""
_END = object()


class Intake:
    """The entries of a scan on their way to the dispatcher, by way of the ledger."""

    def __init__(
        self,
        settings: Settings,
        entries: Iterable[Found | None],
        ledger: Ledger,
        *,
        lookahead: int,
        most_processes: int,
        clock: Callable[[], float],
    ) -> None:
        """``lookahead``: most entries that wait, before and behind the ledger."""
        self._sizes_itself = not (settings.processes or settings.concurrency)
        self._clock = clock
        self._entries = ReadAhead(entries, lookahead)
        self._jobs = ledger.jobs(self._entries)
        self.dispatcher = Dispatcher(self._jobs, lookahead)
        self.most_processes = most_processes
        self.can_choose = False
        """It is known which files have to be sent: the journal is open, and what the bucket holds
        is listed.  Before that entries are only fetched."""

    @property
    def fetched(self) -> int:
        """Entries that wait for the ledger."""
        return self._entries.fetched

    def look(self) -> None:
        """Scans for a moment, to see how many workers the files are worth."""
        enough, until = FILES_EACH * self.most_processes, self._clock() + FIRST_LOOK
        self._scan_slice(self._entries.fetch)
        while self._entries.wants_more and self._entries.fetched < enough:
            if self._clock() > until:
                return
            self._scan_slice(self._entries.fetch)
        if self._entries.exhausted:
            self.most_processes = self.processes()

    def processes(self) -> int:
        """Workers for the files that are known and have not ended."""
        known = chain(self._entries.peek(), self.dispatcher.at_hand())
        sizes = [entry.size for entry in known if isinstance(entry, Job)]
        most = self.most_processes
        if self._sizes_itself:
            return min(most, processes_worth(len(sizes), sum(sizes)))
        return min(most, max(1, len(sizes))) if self._entries.exhausted else most

    def scan_on(self) -> bool:
        """Scans a little; returns whether to scan on at once."""
        if self.can_choose:
            self._scan_slice(self.dispatcher.look_ahead)
            return self.dispatcher.wants_jobs()
        if self._entries.wants_more:
            self._scan_slice(self._entries.fetch)
        return self._entries.wants_more

    def scan_all(self, until: Callable[[], bool]) -> None:
        """Takes every entry to the ledger, and no job further."""
        while not until() and next(self._jobs, _END) is not _END:
            pass

    def stop(self) -> list[Job]:
        """Scans no more; returns the jobs that no worker has."""
        return [*self._fetched_jobs(), *self.dispatcher.stop()]

    def _scan_slice(self, scan_some: Callable[[int], None]) -> None:
        until = self._clock() + SCAN_TIME
        for _ in range(SCAN_SLICE // SCAN_STEP):
            scan_some(SCAN_STEP)
            if self._clock() >= until:
                return

    def _fetched_jobs(self) -> Iterator[Job]:
        """Jobs that were scanned before the bucket was ready and never reached the dispatcher."""
        with contextlib.suppress(RunError):
            while self._entries.fetched or self._entries.exhausted:
                # At the end of the scan the ledger learns of it.
                job = next(self._jobs, _END)
                if isinstance(job, Job):
                    yield job
                elif job is _END:  # or a journal that failed has ended the jobs
                    return
