"""Whether a run can get any further.  Pure: the clock is an argument."""

from __future__ import annotations

MOST_PLACES = 5
"""Entries of the source directory below which all was refused: so many are no single secret one."""
MOST_DENIED = 10_000
"""Files refused in a row, wherever they lie."""


class StallDetector:
    """Notices that nothing moves any more although attempts are made."""

    def __init__(self, patience: float) -> None:
        """``patience``: seconds without any sign of life that are borne."""
        self._patience = patience
        self._life: object = None
        self._trouble = 0
        self._since: float | None = None

    def is_stalled(self, now: float, *, life: object, trouble: int, outage: bool) -> bool:
        """To be asked from time to time.

        ``life`` is anything that differs after something has moved: files, the scan, long requests.
        ``trouble`` counts failed attempts.  Slowness alone is borne for ever, be it the link's or
        the disk's: only failures or an ``outage`` start the clock.  Any change of ``life`` stops
        it, and so does the end of an outage in which no attempt has failed.
        """
        if life != self._life:
            self._life, self._trouble, self._since = life, trouble, None
        elif not outage and trouble == self._trouble:
            self._since = None
        elif self._since is None:
            self._since = now
        return self._since is not None and now - self._since > self._patience


class RefusalJudge:
    """Tells credentials that may store nothing from single objects that may not be stored."""

    def __init__(self, stored_before: bool = False) -> None:
        """``stored_before``: an earlier run has stored something in the same place."""
        self.stored = stored_before
        """Something could be stored."""
        self._places: set[str] = set()
        self._denied = 0
        self._reason = ""
        self._others = False

    def denied(self, path: str, reason: str) -> None:
        """Permission for a file was refused."""
        self._denied += 1
        self._reason = self._reason or reason
        if len(self._places) < MOST_PLACES:
            top, slash, _ = path.partition("/")
            self._places.add(top if slash else "")

    def failed(self) -> None:
        """A file has failed for another reason."""
        self._others = True

    @property
    def verdict(self) -> str:
        """Why the run should stop; empty as long as some file may still be stored."""
        if self.stored or not self._denied:
            return ""
        hopeless = len(self._places) >= MOST_PLACES or self._denied >= MOST_DENIED
        return self._reason if hopeless else ""

    @property
    def final_verdict(self) -> str:
        """The same when all files have ended: nothing could be stored, all was refused."""
        return "" if self.stored or self._others else self._reason
