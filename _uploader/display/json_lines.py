"""JSON lines, for programs: one object an event, ASCII only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from ..records.counters import Counters, Findings, Summary
from .base import Display
from .outlet import Outlet
from .text import printable_lines


class JsonLines(Display):
    """Writes one JSON object a line; its ``event`` says what happened."""

    interval = 1.0

    def __init__(self, out: Outlet, err: Outlet) -> None:
        """``out`` should have ``dropped_event`` for its gaps."""
        super().__init__()
        self._out = out
        self._err = err

    def note(self, text: str) -> None:
        self._event("note", text=text)

    def echo(self, text: str) -> None:
        """Goes to stderr: it is no event."""
        self._err.write(printable_lines(text))

    def concurrency(self, worker: int, before: int, after: int, reason: str) -> None:
        fields = {"worker": worker, "from": before, "to": after, "reason": reason}
        self._event("concurrency", **fields)

    def plan(self, fields: Mapping[str, object], lines: Iterable[str]) -> None:
        self._event("plan", **fields)

    def file_event(self, kind: str, path: str, detail: str = "") -> None:
        """Files that have a reason have the field ``reason``."""
        if detail:
            self._event(kind, path=path, reason=detail)
        else:
            self._event(kind, path=path)

    def finish(self, summary: Summary) -> None:
        fields = {
            **_in_words(summary._asdict(), summary.findings),
            "files_per_second": summary.files_per_second,
            "bytes_per_second": summary.bytes_per_second,
        }
        self._out.line(_event_text("summary", fields), keep=True)

    def close(self) -> None:
        self._out.close()
        self._err.close()

    def _show(self, counters: Counters) -> None:
        fields = {
            "files": counters.files,
            "bytes": counters.bytes,
            "scanned": counters.scanned,
            "uploaded": counters.uploaded,
            "updated": counters.updated,
            "skipped": counters.skipped,
            "failed": counters.failed,
            "deleted": counters.deleted,
            "sent_bytes": counters.sent_bytes,
            "done_bytes": counters.done_bytes,
            "retries": counters.retries,
            "files_per_second": self._pace.files.per_second(),
            "bytes_per_second": self._pace.bytes.per_second(),
            "seconds_left": self._pace.seconds_left(counters),
            "unreachable_seconds": counters.outage.seconds if counters.outage else None,
        }
        self._event("progress", **_in_words(fields, counters.findings))

    def _event(self, kind: str, **fields: object) -> None:
        self._out.line(_event_text(kind, fields))


def dropped_event(lines: int) -> str:
    """Stands for so many events that nobody read in time."""
    return _event_text("dropped", {"lines": lines})


def _in_words(fields: Mapping[str, object], findings: Findings | None) -> dict[str, object]:
    """The numbers of a run by the names of what it does: a verification uploads nothing."""
    result = {name: value for name, value in fields.items() if name != "findings"}
    if findings is None:
        return result
    same = result.pop("uploaded")
    for name in ("updated", "deleted", "not_deleted"):
        result.pop(name, None)
    return {"same": same, **findings._asdict(), **result}


def _event_text(kind: str, fields: Mapping[str, object]) -> str:
    return json.dumps({"event": kind, **fields})
