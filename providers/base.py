"""The contract between the engine and a cloud.

A ``Cloud`` holds settings and is made once in each worker process.  ``Cloud.open`` makes a
``Session``: one connection to the service with one libcloud driver, owned by one greenlet for its
life.  Every method raises ``providers.errors.Failure`` classes and nothing else.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from .errors import Rejected
from .traffic import Traffic

if TYPE_CHECKING:  # the supervisor reads settings only, and its first moments count
    from .proof import Proof
    from .source import Source

MIB = 1024 * 1024
LARGEST = 5 * 1024 * 1024 * MIB
"""Bytes that an object whose size is not known may turn out to have: S3's limit for long."""
EVEN_PARTS = 1000
"""Parts of such an object that are of one size: some services that speak S3 take no others, and the
parts of most inputs stay small."""

Metadata = Sequence[tuple[str, str]]
"""User metadata as (name, value) pairs of ASCII text, sorted by name."""


class CloudSettings(NamedTuple):
    """Where the objects go.  Free of secrets: it travels between processes."""

    provider: str
    bucket: str
    endpoint_url: str | None = None
    region: str | None = None
    ca_bundle: str | None = None
    """File of CA certificates to trust in place of the system's."""
    timeout: float = 60.0
    """Seconds that a connection may go without progress."""
    options: Any = None
    """The provider's own: an instance of its ``OPTIONS``, None for the defaults."""
    client_cert: str | None = None
    """File of the certificate to show to the service, and its key."""
    verify_tls: bool = True
    """Whether the service's certificate has to be a trusted one, of its name."""
    allow_public: bool = False
    """Objects may go to a bucket that is public."""


class PartRules(NamedTuple):
    """How a service wants large objects cut.  All sizes in bytes."""

    threshold: int
    """Files above this size go in parts."""
    part_size: int
    """Preferred size of a part; grows when ``max_parts`` would not do."""
    max_part_size: int
    max_parts: int
    equal: bool = False
    """All parts but the last have to be of one size."""

    def size_for(self, size: int) -> int:
        """The part size for a file of ``size`` bytes: the preferred one, or as many whole MiB as
        keep the number of parts at ``max_parts``.  Raises ``Rejected`` for a file too large."""
        needed = -(-size // self.max_parts)
        part_size = max(self.part_size, -(-needed // MIB) * MIB)
        if part_size > self.max_part_size:
            raise Rejected(f"is larger than {self.max_parts:,} parts can hold")
        return part_size

    def size_at(self, number: int, first: int) -> int:
        """The size of part ``number`` of an object whose size is not known.

        ``first`` for ``EVEN_PARTS``, then each is larger than the one before, in whole MiB, so that
        ``LARGEST`` bytes fit into ``max_parts``.
        """
        growing = self.max_parts - EVEN_PARTS
        if self.equal or number <= EVEN_PARTS or growing <= 0:
            return first
        needed = max(0, LARGEST - first * self.max_parts)
        more = 2 * needed * (number - EVEN_PARTS) // growing**2
        return first + -(-more // MIB) * MIB


class Requests(NamedTuple):
    """The requests of uploads, by the names that the service has for them."""

    put: str
    """Stores a whole file."""
    parts: PartRules | None = None
    around_parts: tuple[str, ...] = ()
    """Go once for a file in parts."""
    part: str = ""
    """Stores a part."""
    copy: str = "update"
    """Gives an object other metadata."""


class Prices(NamedTuple):
    """What a service takes, in US dollars."""

    put: float
    """For 1,000 requests of an upload."""
    storage: float
    """For 2**30 bytes a month."""
    label: str
    """Whose prices, and of when."""


class Part(NamedTuple):
    """One stored part of a multipart upload."""

    number: int
    """From 1."""
    size: int
    etag: str
    checksum: int
    """CRC of the part's bytes, of the kind the session uses."""


class UploadInfo(NamedTuple):
    """A multipart upload that was begun and neither completed nor aborted."""

    key: str
    upload_id: str
    begun: float
    """Seconds since the epoch, by the service's clock."""


class ObjectInfo(NamedTuple):
    """What the service says about a stored object."""

    size: int
    metadata: dict[str, str]
    """User metadata, names in lower case."""
    content_type: str
    etag: str = ""
    """Names this version of the object, as a listing does; empty where nothing does."""
    storage_class: str = ""
    """Where it is kept; empty for the service's usual one."""


class Inspected(NamedTuple):
    """An object, and what the service tells of its content."""

    found: ObjectInfo
    proof: Proof | None
    """Takes the bytes of a file, for one comparison; None where nothing is told."""


MOST_DIGITS = 18
"""Of an object's size in a listing: longer numbers are none, and SQLite takes no others."""


class Listed(NamedTuple):
    """An object in a listing."""

    key: str
    size: int
    etag: str
    """Names this version of the object; empty where nothing does."""


class Page(NamedTuple):
    """A part of a listing."""

    objects: list[Listed]
    """In the order of their keys."""
    next: str
    """Where the next page begins; empty after the last one."""


class Deletion(NamedTuple):
    """What became of objects that were to be deleted."""

    failed: list[tuple[str, str]]
    """Those that are still there, as (key, reason)."""
    hidden: int
    """How many the service has kept as earlier versions."""


class Prepared(NamedTuple):
    """What ``Cloud.prepare`` found or made."""

    created: bool
    """The bucket is new: it holds nothing, whatever earlier runs have recorded."""
    note: str
    """One line for the user when something was done or is worth knowing, else empty."""


class Facts(NamedTuple):
    """What README's table of providers says, where the class's abilities do not."""

    credentials: str
    """Where they are found: variables of the environment, in their order."""
    proof: str
    """What proves that the content arrived."""
    privacy: str
    """What ``prepare`` asks to find out whether a bucket is public."""
    tested: str
    """The servers, real or imitated, that the tests speak to."""


class Session(ABC):
    """One connection to the service, used by one greenlet at a time.

    After a failure the session stays usable: the next call connects anew.
    """

    @abstractmethod
    def put(self, key: str, source: Source, metadata: Metadata, content_type: str) -> str:
        """Stores the whole file as one object, replacing what was there, or raising ``Exists``
        where the options of the cloud say that it stays.

        Returns only when the service has accepted the object and its content was proven: the
        object's ETag, as a listing has it, or nothing where the answer does not tell.
        """

    @abstractmethod
    def stat(self, key: str) -> ObjectInfo:
        """Asks for an object; raises ``NotFound`` when there is none."""

    @abstractmethod
    def check(self, limit: float) -> None:
        """Asks the service for a sign of life, by one cheap request of at most ``limit`` seconds.

        Returns when the service has answered that it can work, be it by a refusal; raises
        ``Transient`` when it has not answered, or by an error of its own (5xx) or asking for fewer
        requests.
        """

    @abstractmethod
    def close(self) -> None:
        """Gives the connection back; may be called twice."""

    def connect(self) -> None:  # noqa: B027  (not every service needs it)
        """Connects before the first request, which then need not wait for it."""

    def begin(self, key: str, metadata: Metadata, content_type: str) -> str:
        """Starts a multipart upload and returns its id (clouds with ``parts`` only).

        A service may know nothing of it before its first part.
        """
        raise NotImplementedError

    def put_part(
        self, key: str, upload_id: str, number: int, source: Source, offset: int, length: int
    ) -> Part:
        """Stores ``length`` bytes from ``offset`` as part ``number``, their content proven."""
        raise NotImplementedError

    def complete(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[Part],
        metadata: Metadata,
        content_type: str,
    ) -> str:
        """Makes the object out of its parts, given in order; it exists as a whole or not at all.
        What is there is replaced, or not, and the ETag returned, as by ``put``.

        ``metadata`` and ``content_type`` are those that ``begin`` was given: some services take
        them with the first request, others with the last.
        """
        raise NotImplementedError

    def abort(self, key: str, upload_id: str) -> None:
        """Gives up a multipart upload; one that is already gone is no error."""
        raise NotImplementedError

    def uploads(self, prefix: str) -> Iterator[UploadInfo]:
        """The multipart uploads under way whose keys begin with ``prefix``."""
        raise NotImplementedError

    def stored_parts(self, key: str, upload_id: str, source: Source, part_size: int) -> list[Part]:
        """The parts of an upload that the service has and whose bytes are those of the file, cut
        in parts of ``part_size``.  Raises ``NotFound`` when the upload is gone."""
        raise NotImplementedError

    def page(self, prefix: str, after: str = "", start: str = "") -> Page:
        """A page of the objects whose keys begin with ``prefix`` and come after the key ``after``
        (clouds that are ``comparable`` only).  ``start``: ``Page.next`` of the page before it.

        Raises ``Transient`` for an answer that does not say whether it is the last.
        """
        raise NotImplementedError

    def delete(self, keys: Sequence[str]) -> Deletion:
        """Deletes objects, ``Cloud.most_deleted`` at most; one that is not there is no error."""
        raise NotImplementedError

    def inspect(self, key: str) -> Inspected:
        """Asks for an object and for what proves its content; raises ``NotFound`` when there is
        none."""
        return Inspected(self.stat(key), None)

    def read(self, key: str, found: ObjectInfo, take: Callable[[bytes | memoryview], None]) -> None:
        """Gives the bytes of the object that was ``found`` to ``take``, in blocks.

        What ``take`` raises passes through.  Raises ``Transient`` when the bytes end early, and
        ``Rejected`` when the object is no longer the one that was found, or cannot be read back.
        """
        raise Rejected("objects of this provider cannot be read back")

    def set_metadata(
        self, key: str, found: ObjectInfo, metadata: Metadata, content_type: str
    ) -> str:
        """Gives an object of at most ``Cloud.most_described`` bytes other metadata, without sending
        its content; returns its new ETag.  Raises ``Rejected`` when it is no longer the one that
        was ``found``, or when the service cannot."""
        raise NotImplementedError


class Cloud(ABC):
    """One kind of object storage: settings, abilities, and a factory of sessions."""

    parts: PartRules | None = None
    """How large files are cut; None: every file goes as a whole."""
    session_memory: ClassVar[int] = 64 * 1024
    """Bytes that a session takes beside the body it sends; measured with TLS."""
    body_memory: ClassVar[int] = 256 * 1024
    """Most bytes of a body that a session holds."""
    keeps_metadata: ClassVar[bool] = True
    """User metadata given to ``put`` comes back from ``stat`` as it was given."""
    keeps_content_type: ClassVar[bool] = True
    most_deleted: ClassVar[int] = 1
    """Most objects that one request deletes."""
    most_described: ClassVar[float] = math.inf
    """Bytes of the largest object that can get other metadata without being sent again."""
    is_near: ClassVar[bool] = False
    """Reading an object costs no more than reading a file."""
    lists_from_anywhere: ClassVar[bool] = True
    """``Session.page`` with a key to begin after costs no more than without."""
    connects_ahead: ClassVar[bool] = False
    """Sessions can be opened before the bucket is there, and ``Session.connect`` saves time."""

    def __init__(self, settings: CloudSettings) -> None:
        self.settings = settings
        self.traffic = Traffic()
        """What the connections of all sessions move."""
        self.notices: list[str] = []
        """What the user should know of the service, a line each; whoever tells it takes it out."""

    @classmethod
    def facts(cls, provider: str) -> Facts:
        """What README says of this provider, which the class serves."""
        raise NotImplementedError

    @abstractmethod
    def open(self) -> Session:
        """A new session; connects with the first request, not here."""

    def kept(self, metadata: Metadata) -> dict[str, str]:
        """What of an object's metadata ``Session.stat`` tells again."""
        return dict(metadata)

    @abstractmethod
    def destination(self) -> str:
        """Where the objects go, as it was resolved, not as it was typed: endpoint, account and
        bucket (and region, where the service has them).  Two clouds with the same text store into
        the same place.  One line, free of secrets; sends no request to the service.
        """

    @abstractmethod
    def prepare(self, create: bool) -> Prepared:
        """Makes sure that the bucket is there and usable; called before the first upload.

        With ``create`` a missing bucket is made, private to its owner.  Raises ``NoBucket`` when
        the bucket is missing (without ``create``), another ``Fatal`` when it is forbidden or
        elsewhere, the credentials are bad, or the bucket is public (where that can be known, and
        without ``CloudSettings.allow_public``).  Raises ``Unchecked`` when all is well but for the
        question whether it is public, which meets a passing trouble.
        """
