"""A request body that is read while it is sent."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import Rejected
from ..source import BLOCK_SIZE, Source
from .sender import Sender


class Streamed(NamedTuple):
    """The bytes ``span`` of a file as the body of a request.

    The last block goes out after one more look at the file, so that even a service that checks
    nothing does not store a mixture of two versions.
    """

    source: Source
    span: range

    def send_to(self, sender: Sender) -> None:
        """Sends the body; raises ``SourceChanged`` when the file has changed."""
        self._send(sender, self.span[:-BLOCK_SIZE])
        self.source.run(self.source.check_unchanged)
        self._send(sender, self.span[-BLOCK_SIZE:])

    def _send(self, sender: Sender, span: range) -> None:
        if sender.zero_copy:
            try:
                sender.sendfile(self.source.fd, span.start, len(span))
            except OSError as error:
                raise Rejected(f"cannot be read: {error.strerror}") from None
            return
        for block in self.source.blocks(span.start, len(span)):
            sender.write(block)
