"""Who hears how files end."""

from __future__ import annotations

from typing import Protocol


class Audience(Protocol):
    """Hears of each file that has ended; a ``Display`` is one."""

    def note(self, text: str) -> None: ...
    def file_event(self, kind: str, path: str, detail: str = "") -> None: ...
