"""How this process reads files."""

from __future__ import annotations

from .source import Source


class Disk:
    """Opens files."""

    def open(self, path: str) -> Source:
        """The file, open for reading."""
        return Source(path)
