"""What the connections of one process move."""

from __future__ import annotations


class Traffic:
    sent = 0
    moved_at = 0.0

    def queued(self) -> int:
        return 0
