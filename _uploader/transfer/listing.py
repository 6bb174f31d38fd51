"""Lists what a bucket holds: page after page, and in several places at once once it is long."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from gevent.pool import Group

from providers.base import Listed, Session
from providers.errors import Rejected

from .attempts import Attempts
from .ranges import Range, Ranges, find_end

LISTERS = 16
"""Pages that are asked for at the same time.  As many as feed one processor at 50 ms a page."""
LONG = 10
"""Pages after which a listing counts as long: what is shorter ends before it could be cut."""


class Listing:
    """Lists all objects whose keys begin with a prefix, in no order, each once."""

    def __init__(
        self,
        attempts: Attempts,
        open_session: Callable[[], Session],
        prefix: str,
        found: Callable[[list[Listed]], None],
        *,
        cuts: bool = True,
    ) -> None:
        """``found`` gets the objects of each page.  ``cuts``: the service can begin anywhere."""
        self._attempts = attempts
        self._open_session = open_session
        self._prefix = prefix
        self._found = found
        self._cuts = cuts
        self._ranges = Ranges()
        self._greenlets = Group()
        self._pages = 0
        self._first = ""
        self._failure: Exception | None = None

    def run(self) -> None:
        """Returns when everything is listed; raises that for which it is not."""
        self._spawn(self._list, self._ranges.first)
        self._greenlets.join()
        if self._failure:
            raise self._failure

    def _spawn(self, work: Callable[[Session, Range], None], to: Range) -> None:
        self._greenlets.spawn(self._work, work, to)

    def _work(self, work: Callable[[Session, Range], None], on: Range) -> None:
        """A greenlet's life.  The first failure ends all: what is listed is not everything."""
        try:
            with closing(self._open_session()) as session:
                work(session, on)
        except Exception as failure:
            self._failure = self._failure or failure
            self._greenlets.kill(block=False)

    def _list(self, session: Session, mine: Range) -> None:
        """Lists a range, and parts of others when it has ended."""
        current: Range | None = mine
        while current:
            self._list_range(session, current)
            self._ranges.ended(current)
            current = self._ranges.cut()

    def _list_range(self, session: Session, mine: Range) -> None:
        start, begins_after, first = "", mine.after, ""
        while True:
            page = self._attempts.run(session.page, self._prefix, begins_after, start)
            until = mine.until
            objects = page.objects
            if page.next and (page.next == start or (objects and objects[0].key == first)):
                raise Rejected("its pages repeat themselves")
            first = objects[0].key if objects else ""
            if until is not None and objects and objects[-1].key > until:
                objects = [found for found in objects if found.key <= until]
            if objects:
                self._found(objects)
                mine.listed(objects[-1].key, len(objects))
                self._first = self._first or objects[0].key
            if not page.next or len(objects) < len(page.objects):
                return
            start = page.next
            if not self._cuts:
                continue
            self._pages += 1
            if self._pages == LONG:
                self._spawn(self._seek_end, mine)
            while len(self._greenlets) < LISTERS and (more := self._ranges.cut()):
                self._spawn(self._list, more)

    def _seek_end(self, session: Session, known: Range) -> None:
        """Asks where about the listing ends, which allows to cut it."""

        def first_after(key: str) -> str | None:
            page = self._attempts.run(session.page, self._prefix, key)
            return page.objects[0].key if page.objects else None

        self._ranges.allow(self._first, find_end(self._prefix, known.after, first_after))
