"""Counts the files, bytes and reasons of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from ..files.model import Outage

REASONS = 50
"""Distinct reasons counted by name: a service may put something unique into each."""
OTHER = "other reasons"


class Reasons:
    """Counts files by reason, for a bounded number of reasons."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, reason: str) -> None:
        if reason not in self._counts and len(self._counts) >= REASONS:
            reason = OTHER
        self._counts[reason] += 1

    def ranked(self) -> dict[str, int]:
        """Reason -> files, most frequent first, ``OTHER`` last."""
        ranked = dict(self._counts.most_common())
        if OTHER in ranked:
            ranked[OTHER] = ranked.pop(OTHER)
        return ranked


class Findings(NamedTuple):
    """What a verification has found."""

    differs: int = 0
    """Files that are not as their objects are."""
    missing: int = 0
    """Files without an object."""
    extra: int = 0
    """Objects without a file."""


class Summary(NamedTuple):
    """The end of a run: ``files == uploaded + updated + skipped + failed``."""

    files: int
    """Entries the scan found that are no directories, and directories it could not read."""
    uploaded: int
    """Of a verification: files that are the same in the bucket."""
    skipped: int
    failed: int
    bytes: int
    """Bytes of the objects that were uploaded."""
    seconds: float
    retries: int
    peak_memory: int
    """Largest sum of all processes' proportional set sizes, in bytes, as sampled."""
    skipped_reasons: dict[str, int]
    """Reason -> number of files, most frequent first."""
    failed_reasons: dict[str, int]
    complete: bool
    """False when the run stopped before the scan had ended."""
    error: str | None
    """Why the run could not start or go on, if so."""
    failed_list: str | None
    """File that names every failed file, one JSON object a line; None when nothing failed."""
    left_out: int = 0
    """Entries that the options leave out, no part of ``files``: files, and directories that were
    not entered."""
    updated: int = 0
    """Files of which only attributes were sent: the bucket had their content."""
    deleted: int = 0
    """Objects without a file that were deleted."""
    not_deleted: int = 0
    """Objects without a file that should have been deleted, and are still there."""
    findings: Findings | None = None
    """Of a verification; files that differ or are missing are among ``failed``."""

    @property
    def incomplete(self) -> bool:
        """The bucket is not as it should be."""
        extra = self.findings.extra if self.findings else 0
        return bool(self.failed or self.not_deleted or extra)

    @property
    def files_per_second(self) -> float:
        return self.uploaded / self.seconds if self.seconds > 0 else 0.0

    @property
    def bytes_per_second(self) -> float:
        return self.bytes / self.seconds if self.seconds > 0 else 0.0


@dataclass
class Counters:
    """The numbers of a run at one moment."""

    files: int = 0
    """Entries that the scan has found so far, skipped and failed ones included."""
    bytes: int = 0
    """Bytes of the files found so far."""
    scanned: bool = False
    """The scan has ended: ``files`` and ``bytes`` are final."""
    uploaded: int = 0
    updated: int = 0
    """Files of which only attributes were sent."""
    deleted: int = 0
    """Objects without a file that were deleted."""
    not_deleted: int = 0
    """Objects without a file that should have been deleted, and are still there."""
    skipped: int = 0
    failed: int = 0
    left_out: int = 0
    """Files, and directories not entered, that the options leave out: no part of ``files``."""
    findings: Findings | None = None
    """Of a verification, which counts a file that is the same as ``uploaded``."""
    sent_bytes: int = 0
    """Bytes given to the network so far, those of unfinished files included."""
    done_bytes: int = 0
    """Bytes of the objects that were uploaded."""
    left_out_bytes: int = 0
    """Bytes of the files found that were skipped or failed."""
    retries: int = 0
    outage: Outage | None = None
    """While the service is unreachable."""
    skipped_reasons: Reasons = field(default_factory=Reasons)
    failed_reasons: Reasons = field(default_factory=Reasons)

    def add_found(self, size: int = 0) -> None:
        """Counts an entry of the scan; one that is no job has no size."""
        self.files += 1
        self.bytes += size

    def add_uploaded(self, size: int) -> None:
        self.uploaded += 1
        self.done_bytes += size

    def add_updated(self, size: int) -> None:
        """``size`` is the one given to ``add_found``."""
        self.updated += 1
        self.left_out_bytes += size

    def add_skipped(self, reason: str, size: int = 0) -> None:
        """``size`` is the one given to ``add_found``."""
        self.skipped += 1
        self.left_out_bytes += size
        self.skipped_reasons.add(reason)

    def add_failed(self, reason: str, size: int = 0) -> None:
        """``size`` is the one given to ``add_found``."""
        self.failed += 1
        self.left_out_bytes += size
        self.failed_reasons.add(reason)

    def add_finding(self, kind: str) -> None:
        """``kind``: a field of ``Findings``."""
        findings = self.findings or Findings()
        self.findings = findings._replace(**{kind: getattr(findings, kind) + 1})

    @property
    def settled(self) -> int:
        """Files that are uploaded, updated, skipped or failed."""
        return self.uploaded + self.updated + self.skipped + self.failed

    @property
    def moved_bytes(self) -> int:
        return max(self.sent_bytes, self.done_bytes)

    @property
    def bytes_to_move(self) -> int:
        """Bytes still to be sent; an estimate, as failed attempts were sent too."""
        return max(0, self.bytes - self.left_out_bytes - self.moved_bytes)

    @property
    def bytes_to_read(self) -> int:
        """Bytes of the files found that were not skipped and have not failed, sent or not."""
        return self.bytes - self.left_out_bytes

    @property
    def fraction(self) -> float:
        """Settled share of what the scan found, in files or in bytes, whichever is less."""
        files = self.settled / self.files if self.files else 1.0
        size = 1 - self.bytes_to_move / self.bytes if self.bytes else 1.0
        return min(files, size)

    def summary(
        self,
        seconds: float,
        peak_memory: int,
        complete: bool,
        error: str | None,
        failed_list: str | None,
    ) -> Summary:
        return Summary(
            files=self.files,
            uploaded=self.uploaded,
            skipped=self.skipped,
            failed=self.failed,
            bytes=self.done_bytes,
            seconds=seconds,
            retries=self.retries,
            peak_memory=peak_memory,
            skipped_reasons=self.skipped_reasons.ranked(),
            failed_reasons=self.failed_reasons.ranked(),
            complete=complete,
            error=error,
            updated=self.updated,
            deleted=self.deleted,
            not_deleted=self.not_deleted,
            findings=self.findings,
            failed_list=failed_list,
            left_out=self.left_out,
        )
