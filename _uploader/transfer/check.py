"""Compares one file with its object, and sends nothing that writes."""

from __future__ import annotations

from itertools import count

from providers.attributes import differences
from providers.base import Cloud, Inspected, Session
from providers.errors import NotFound, SourceChanged
from providers.source import Source

from ..files.model import DIFFERS, MISSING, Job, Result
from .content import Contents
from .upload import Context, FileTask, describe, end_of

CONTENT = "content"
UNPROVEN = "content cannot be proven without --download"


class Checker:
    """What all checks of a process share."""

    def __init__(self, context: Context, cloud: Cloud, contents: Contents) -> None:
        self.context = context
        self.kept = cloud.kept
        self.contents = contents


class Check(FileTask):
    """One file that is compared with its object; reports one Result."""

    __slots__ = ("_checker",)
    size = 0

    def __init__(self, job: Job, checker: Checker) -> None:
        self.job = job
        self._checker = checker

    def run(self, session: Session) -> int | None:
        """Compares; returns the bytes that are the same, None where it cannot be told."""
        context, job = self._checker.context, self.job
        try:
            end = self._until_unchanged(session)
        except Exception as error:
            context.report(end_of(job, error, context.stop_run))
            return None
        context.report(end)
        return end.size

    def _until_unchanged(self, session: Session) -> Result:
        """A file that changes while it is compared is compared anew."""
        attempts = self._checker.context.attempts
        for restarts in count():
            try:
                with self._checker.context.opened(self.job) as source:
                    finding, how = self._compare(session, source)
                    if not source.is_loaded:
                        source.run(source.check_unchanged)
                    times = source.mtime_ns, source.ctime_ns
                    return Result(self.job.number, source.size, *times, how, finding=finding)
            except SourceChanged:
                if restarts >= attempts.policy.retries or attempts.draining:
                    raise
                attempts.retries += 1
        raise AssertionError("unreachable")

    def _compare(self, session: Session, source: Source) -> tuple[str, str]:
        """What is found, and how; both are empty when the object is as the file is."""
        checker, run = self._checker, self._checker.context.attempts.run
        key, metadata, _ = describe(self.job, source, checker.context)
        try:
            found, proof = run(session.inspect, key)
            differing = differences(checker.kept(metadata), found.metadata)
            if found.size != source.size:
                differing.insert(0, "size")
            else:
                same = checker.contents.same(session, source, key, Inspected(found, proof))
                if not same:
                    differing.append(UNPROVEN if same is None else CONTENT)
        except NotFound:
            return MISSING, "missing in the bucket"
        return (DIFFERS, ", ".join(differing)) if differing else ("", "")
