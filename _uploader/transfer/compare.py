"""Finds out whether a file has to be sent, by one question about its object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

from providers.attributes import same_attributes, same_time
from providers.base import Cloud, Inspected, Metadata, ObjectInfo, Session
from providers.errors import Interrupted, Rejected
from providers.source import Source

from ..files.model import INTERRUPTED, UNCHANGED, Job, Result
from .content import Contents
from .upload import Context, FileTask, Upload, describe


class Difference(Enum):
    """What of a file its object does not have."""

    NOTHING = "nothing"
    ATTRIBUTES = "attributes"
    CONTENT = "content"


def difference(
    size: int, wanted: Mapping[str, str], found: ObjectInfo, same_content: Callable[[], bool]
) -> Difference:
    """How an object differs from a file of this size, whose object should have ``wanted`` as user
    metadata.  ``same_content`` is asked where the size is the same."""
    if found.size != size or not same_content():
        return Difference.CONTENT
    same = same_attributes(wanted, found.metadata)
    return Difference.NOTHING if same else Difference.ATTRIBUTES


class Comparer:
    """What all comparisons of a process share."""

    def __init__(
        self,
        context: Context,
        cloud: Cloud,
        look: Callable[[str], Source],
        contents: Contents | None,
        *,
        dry_run: bool,
    ) -> None:
        """``look`` opens a file without reading it.  ``contents``: they are compared in place of
        the modification time.  ``dry_run``: nothing is sent that writes."""
        self.context = context
        self.kept = cloud.kept
        self.most_described = cloud.most_described
        self.look = look
        self.contents = contents
        self.dry_run = dry_run


class Compare(FileTask):
    """One file whose object may be as it should; reports a Result or becomes an upload."""

    __slots__ = ("_comparer",)
    size = 0

    def __init__(self, job: Job, comparer: Comparer) -> None:
        self.job = job
        self._comparer = comparer

    def run(self, session: Session) -> int | None:
        """Asks for the object; does what is to be done unless the file has to be sent."""
        context, job = self._comparer.context, self.job
        upload = Upload(job, context)
        try:
            with context.opened(job, self._comparer.look) as source:
                end = self._end(session, source)
        except Exception as error:
            upload.failed(error)
            return None
        if end:
            context.report(end)
        elif context.attempts.draining:
            upload.failed(Interrupted(INTERRUPTED))
        else:
            context.add(upload)
        return 0

    def _end(self, session: Session, source: Source) -> Result | None:
        """How the file ends; None when it has to be sent."""
        comparer, run = self._comparer, self._comparer.context.attempts.run
        key, metadata, content_type = describe(self.job, source, comparer.context)
        try:
            if comparer.contents:
                inspected = run(session.inspect, key)
            else:
                inspected = Inspected(run(session.stat, key), None)
            found = inspected.found
            kind = self._difference(session, source, key, metadata, inspected)
            if kind is Difference.ATTRIBUTES and found.size <= comparer.most_described:
                etag = found.etag
                if not comparer.dry_run:
                    etag = run(session.set_metadata, key, found, metadata, content_type)
                return self._result(source)._replace(etag=etag, updated=True)
        except Rejected:  # gone or replaced meanwhile, or nobody may ask
            kind = Difference.CONTENT
        if kind is Difference.NOTHING:
            return self._result(source)._replace(failure=UNCHANGED, skipped=True, etag=found.etag)
        return self._result(source) if comparer.dry_run else None

    def _difference(
        self, session: Session, source: Source, key: str, metadata: Metadata, inspected: Inspected
    ) -> Difference:
        comparer, found = self._comparer, inspected.found
        wanted = comparer.kept(metadata)

        def same_content() -> bool:
            if comparer.contents:
                return bool(comparer.contents.same(session, source, key, inspected))
            return same_time(wanted, found.metadata)

        return difference(source.size, wanted, found, same_content)

    def _result(self, source: Source) -> Result:
        return Result(self.job.number, source.size, source.mtime_ns, source.ctime_ns)
