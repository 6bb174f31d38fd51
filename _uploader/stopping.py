"""Decides whether a run can go on.

Pure: the clock is an argument.
"""

from __future__ import annotations

MOST_PLACES = 5
"""Top-level entries with refusals that stop a run: so many are no single protected directory."""
MOST_DENIED = 10_000
"""Refused files that stop a run, wherever they lie."""


class StallDetector:
    """Detects that nothing succeeds although requests are sent."""

    def __init__(self, patience: float) -> None:
        """``patience``: seconds without progress before the run counts as stalled."""
        self._patience = patience
        self._life: object = None
        self._trouble = 0
        self._since: float | None = None

    def is_stalled(self, now: float, *, life: object, trouble: int, outage: bool) -> bool:
        """Takes a look at the run; call it again and again.

        ``life`` is any value that changes with progress: of files, the scan or long requests.
        ``trouble`` counts failed attempts.  A slow link or disk never stalls a run: only failures
        or an ``outage`` start the clock.  Any change of ``life`` stops it, and so does the end of
        an outage without failures.
        """
        if life != self._life:
            self._life, self._trouble, self._since = life, trouble, None
        elif not outage and trouble == self._trouble:
            self._since = None
        elif self._since is None:
            self._since = now
        return self._since is not None and now - self._since > self._patience


class RefusalJudge:
    """Tells credentials that may store nothing from objects that may not be stored."""

    def __init__(self, stored_before: bool = False) -> None:
        """``stored_before``: an earlier run has stored an object in the same place."""
        self.stored = stored_before
        """An object could be stored."""
        self._places: set[str] = set()
        self._denied = 0
        self._reason = ""
        self._others = False

    def denied(self, path: str, reason: str) -> None:
        """The service refused permission for a file."""
        self._denied += 1
        self._reason = self._reason or reason
        if len(self._places) < MOST_PLACES:
            top, slash, _ = path.partition("/")
            self._places.add(top if slash else "")

    def failed(self) -> None:
        """A file was not stored for another reason."""
        self._others = True

    @property
    def verdict(self) -> str:
        """Why the run should stop; empty while some file may still be stored."""
        if self.stored or not self._denied:
            return ""
        hopeless = len(self._places) >= MOST_PLACES or self._denied >= MOST_DENIED
        return self._reason if hopeless else ""

    @property
    def final_verdict(self) -> str:
        """Why the run failed, once all files have ended; empty unless all were refused."""
        return "" if self.stored or self._others else self._reason
