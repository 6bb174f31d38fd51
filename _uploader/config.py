"""The settings of a run and the table of options.

The table feeds argparse, the environment and README's list; nothing else names a flag.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

import providers
from providers.attributes import FORMS
from providers.base import CloudSettings
from providers.options import (
    SEPARATOR,
    at_least,
    between,
    one_of,
    option,
    pair,
    plain,
    readable,
    seconds,
    switch,
)

from .amounts import amount, cpu, memory, objects, size
from .errors import UsageError
from .limit_rate import limit_rate
from .moments import moment

DEFAULT_MEMORY = "25%"
STANDARD_INPUT = "-"
"""Stands for it in place of a path."""
UPLOAD, VERIFY = "upload", "verify"
"""The commands."""


def metadata_pair(text: str) -> tuple[str, str]:
    """One NAME=VALUE of user metadata, the name in lower case, as headers are compared."""
    name, value = pair(text)
    return name.lower(), plain(value)


def list_of_files(text: str) -> str:
    """The path of a list that can be read, or ``-``."""
    return text if text == STANDARD_INPUT else readable(text)


def rate(text: str) -> float:
    """Bytes a second."""
    try:
        return amount(text)
    except ValueError:
        raise ValueError(f"{text!r} is no rate: give bytes a second such as 100M") from None


def price(text: str) -> tuple[str, float]:
    """A price of ``Prices``, and its dollars."""
    name, value = pair(text)
    if name not in ("put", "storage"):
        raise ValueError(f"{name!r} has no price: give put or storage")
    try:
        dollars = float(value)
    except ValueError:
        dollars = -1.0
    if not 0 <= dollars < float("inf"):
        raise ValueError(f"{value!r} is no price: give US dollars such as 0.005")
    return name, dollars


@dataclass(frozen=True)
class Settings:
    """Everything that a run is told.  Free of secrets: credentials never pass through here."""

    src: tuple[str, ...] = option(
        (),
        "directory whose files are uploaded, subdirectories included, or a single file; may be "
        "repeated; - is standard input, as one object",
        flag="--src",
        env=("UPLOADER_SRC",),
        metavar="PATH",
        shown="required",
        repeated=True,
        undivided=True,
    )
    bucket: str = option(
        "",
        "bucket (container) that receives the objects",
        flag="--bucket",
        env=("UPLOADER_BUCKET",),
        metavar="NAME",
        shown="required",
    )
    prefix: str = option(
        "",
        "put before each key, as it is: give the slash if you want one",
        flag="--prefix",
        env=("UPLOADER_PREFIX",),
        metavar="TEXT",
        shown="none",
    )
    key: str | None = option(
        None,
        "with --src -, name of the object, which comes after the prefix",
        flag="--key",
        metavar="NAME",
        shown="none",
    )
    provider: str = option(
        "s3",
        "s3 (AWS and compatible servers), local (a directory), or another name of README's table "
        "of providers",
        flag="--provider",
        env=("UPLOADER_PROVIDER",),
        metavar="NAME",
    )
    endpoint_url: str | None = option(
        None,
        "address of the service, such as https://minio.example:9000; for local the directory that "
        "holds the buckets",
        flag="--endpoint-url",
        env=("UPLOADER_ENDPOINT_URL",),
        metavar="URL",
        shown="for s3 AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile's, or AWS",
    )
    region: str | None = option(
        None,
        "region of the bucket",
        flag="--region",
        env=("AWS_REGION", "AWS_DEFAULT_REGION"),
        metavar="NAME",
        shown="the profile's, or us-east-1",
    )
    ca_bundle: str | None = option(
        None,
        "file of CA certificates to trust in place of the system's",
        flag="--ca-bundle",
        env=("AWS_CA_BUNDLE",),
        parse=readable,
        metavar="FILE",
        shown="the profile's, or the system's",
    )
    client_cert: str | None = option(
        None,
        "PEM file of the certificate, and its key, to show to a service that asks for one",
        flag="--client-cert",
        env=("UPLOADER_CLIENT_CERT",),
        parse=readable,
        metavar="FILE",
        shown="none",
    )
    no_verify_ssl: bool = option(
        False,
        "accept any certificate: whoever is on the way can then read and change what is sent",
        flag="--no-verify-ssl",
        opposite="--verify-ssl",
        env=("UPLOADER_NO_VERIFY_SSL",),
        parse=switch,
    )
    processes: int | None = option(
        None,
        "worker processes",
        flag="--processes",
        env=("UPLOADER_PROCESSES",),
        parse=at_least(1),
        metavar="N",
        shown="the usable CPUs (affinity and cgroup quota counted), fewer for little work",
    )
    concurrency: int | None = option(
        None,
        "requests in flight, over all processes",
        flag="--concurrency",
        env=("UPLOADER_CONCURRENCY",),
        parse=at_least(1),
        metavar="N",
        shown="found while running",
    )
    retries: int = option(
        5,
        "further attempts of a request that may succeed later; 0 for none",
        flag="--retries",
        env=("UPLOADER_RETRIES",),
        parse=at_least(0),
        metavar="N",
    )
    timeout: float = option(
        60.0,
        "seconds that a connection may go without a byte moved, while the answer is awaited, too",
        flag="--timeout",
        env=("UPLOADER_TIMEOUT",),
        parse=seconds,
        metavar="SECONDS",
    )
    max_memory: str | None = option(
        None,
        "limit for all processes together: a share of the machine's (or cgroup's) memory or a "
        "size like 512M",
        flag="--max-memory",
        env=("UPLOADER_MAX_MEMORY",),
        parse=memory,
        metavar="SIZE",
        shown=DEFAULT_MEMORY,
    )
    max_cpu: str = option(
        "100%",
        "limit for all processes together, kept by pausing: a share of the usable CPUs or a number "
        "of CPUs like 1.5",
        flag="--max-cpu",
        env=("UPLOADER_MAX_CPU",),
        parse=cpu,
        metavar="SHARE",
    )
    limit_rate: str | None = option(
        None,
        "bytes a second that all processes together send, such as 10M, off, or @FILE, a file that "
        "says so and may change",
        flag="--limit-rate",
        env=("UPLOADER_LIMIT_RATE",),
        parse=limit_rate,
        metavar="RATE",
        shown="off",
    )
    nice: int = option(
        10,
        "how far the workers let other programs go first, from 0 (not at all) to 19: processor and "
        "disk",
        flag="--nice",
        env=("UPLOADER_NICE",),
        parse=between(0, 19),
        metavar="N",
    )
    metadata: tuple[tuple[str, str], ...] = option(
        (),
        "user metadata of every object besides the files' own; may be repeated",
        flag="--metadata",
        env=("UPLOADER_METADATA",),
        parse=metadata_pair,
        metavar="NAME=VALUE",
        shown="none",
        repeated=True,
        describes=True,
    )
    posix_metadata: str = option(
        "rclone",
        "form of the files' own metadata: rclone (size, mtime, mode, uid, gid), datasync (AWS "
        "DataSync's, too) or none (size, mtime and mode only)",
        flag="--posix-metadata",
        env=("UPLOADER_POSIX_METADATA",),
        parse=one_of(*FORMS),
        metavar="FORM",
        describes=True,
    )
    follow_symlinks: bool = option(
        False,
        "enter directories behind symbolic links (links to files are always followed)",
        flag="--follow-symlinks",
        env=("UPLOADER_FOLLOW_SYMLINKS",),
        parse=switch,
    )
    include: tuple[tuple[int, str], ...] = option(
        (),
        "take the files that the pattern, one of gitignore's, matches; of all patterns, in their "
        "order, the last that matches decides; may be repeated",
        flag="--include",
        metavar="PATTERN",
        shown="every file, unless the first pattern is an --include",
        repeated=True,
        placed=True,
    )
    exclude: tuple[tuple[int, str], ...] = option(
        (),
        "leave out what the pattern matches; may be repeated",
        flag="--exclude",
        metavar="PATTERN",
        shown="none",
        repeated=True,
        placed=True,
    )
    exclude_from: tuple[tuple[int, str], ...] = option(
        (),
        "leave out what the patterns of a file like .gitignore match, and take what those with ! "
        "match; may be repeated",
        flag="--exclude-from",
        parse=readable,
        metavar="FILE",
        shown="none",
        repeated=True,
        placed=True,
    )
    min_size: int | None = option(
        None,
        "leave out smaller files; a size like 10M",
        flag="--min-size",
        env=("UPLOADER_MIN_SIZE",),
        parse=size,
        metavar="BYTES",
        shown="none",
    )
    max_size: int | None = option(
        None,
        "leave out larger files",
        flag="--max-size",
        env=("UPLOADER_MAX_SIZE",),
        parse=size,
        metavar="BYTES",
        shown="none",
    )
    newer_than: str | None = option(
        None,
        "leave out files modified before: an age like 7d, 12h or 30m, or a date or time like "
        "2026-01-31 or 2026-01-31T18:00",
        flag="--newer-than",
        env=("UPLOADER_NEWER_THAN",),
        parse=moment,
        metavar="WHEN",
        shown="none",
    )
    older_than: str | None = option(
        None,
        "leave out files modified then or later",
        flag="--older-than",
        env=("UPLOADER_OLDER_THAN",),
        parse=moment,
        metavar="WHEN",
        shown="none",
    )
    files_from: str | None = option(
        None,
        "upload the files of a list, one path below --src a line, in place of all; - for standard "
        "input",
        flag="--files-from",
        env=("UPLOADER_FILES_FROM",),
        parse=list_of_files,
        metavar="FILE",
        shown="none",
    )
    null: bool = option(
        False,
        "paths of the list end with NUL in place of a line feed, as find -print0 writes them",
        flag="--null",
        env=("UPLOADER_NULL",),
        parse=switch,
    )
    no_create: bool = option(
        False,
        "fail when the bucket is missing instead of creating it",
        flag="--no-create",
        opposite="--create",
        env=("UPLOADER_NO_CREATE",),
        parse=switch,
    )
    allow_public: bool = option(
        False,
        "upload to a bucket that is public, too; otherwise that ends the run before the first byte",
        flag="--allow-public",
        env=("UPLOADER_ALLOW_PUBLIC",),
        parse=switch,
    )
    skip: str = option(
        "none",
        "which files need not be sent: unchanged (the object has the same size, modification time "
        "and attributes), checksum (the same content and attributes), same-size, existing, or none",
        flag="--skip",
        env=("UPLOADER_SKIP",),
        parse=one_of("none", "unchanged", "checksum", "same-size", "existing"),
        metavar="WHICH",
    )
    delete: bool = option(
        False,
        "at the end delete the objects below the prefix that have no file, if every file is in the "
        "bucket",
        flag="--delete",
        env=("UPLOADER_DELETE",),
        parse=switch,
    )
    max_delete: str = option(
        "1000",
        "most objects to delete, or share of those below the prefix; where more have no file none "
        "is deleted",
        flag="--max-delete",
        env=("UPLOADER_MAX_DELETE",),
        parse=objects,
        metavar="OBJECTS",
    )
    verify: bool = option(
        False,
        "after the upload compare every file with the bucket, as the command verify does",
        flag="--verify",
        env=("UPLOADER_VERIFY",),
        parse=switch,
    )
    download: bool = option(
        False,
        "of objects whose content no checksum of the service proves, verify reads the bytes back",
        flag="--download",
        env=("UPLOADER_DOWNLOAD",),
        parse=switch,
    )
    journal: str | None = option(
        None,
        "file that records what is done, so that the same command goes on after a crash",
        flag="--journal",
        env=("UPLOADER_JOURNAL",),
        metavar="FILE",
        shown="one for each source and destination, in the user's state directory",
    )
    no_journal: bool = option(
        False,
        "record nothing: an interrupted run begins anew",
        flag="--no-journal",
        opposite="--keep-journal",
        env=("UPLOADER_NO_JOURNAL",),
        parse=switch,
    )
    restart: bool = option(
        False,
        "forget what an earlier, unfinished run has recorded",
        flag="--restart",
        env=("UPLOADER_RESTART",),
        parse=switch,
    )
    abort_stale: bool = option(
        False,
        "first abort all multipart uploads that were left unfinished below the prefix",
        flag="--abort-stale",
        env=("UPLOADER_ABORT_STALE",),
        parse=switch,
    )
    give_up_after: float = option(
        120.0,
        "seconds after which the run stops when nothing moves in spite of retries, or when the "
        "service is unreachable",
        flag="--give-up-after",
        env=("UPLOADER_GIVE_UP_AFTER",),
        parse=seconds,
        metavar="SECONDS",
    )
    dry_run: bool = option(
        False,
        "print what would be uploaded if nothing were done yet: connect to nothing and read no "
        "journal; with --skip or --delete what they would do, by requests that change nothing",
        flag="--dry-run",
        short="-n",
        env=("UPLOADER_DRY_RUN",),
        parse=switch,
    )
    plan_rate: float | None = option(
        None,
        "with --dry-run, bytes a second for which it tells the time, such as 100M",
        flag="--plan-rate",
        parse=rate,
        metavar="BYTES",
        shown="none",
    )
    price: tuple[tuple[str, float], ...] = option(
        (),
        "with --dry-run, US dollars in place of AWS's: put=0.005 for 1,000 requests, storage=0.023 "
        "for a month of 2**30 bytes; may be repeated",
        flag="--price",
        parse=price,
        metavar="KIND=DOLLARS",
        shown="AWS's in us-east-1",
        repeated=True,
    )
    quiet: bool = option(
        False,
        "print nothing but errors",
        flag="--quiet",
        short="-q",
        env=("UPLOADER_QUIET",),
        parse=switch,
    )
    verbose: bool = option(
        False,
        "print a line for each file, and for each change of the requests in flight",
        flag="--verbose",
        short="-v",
        env=("UPLOADER_VERBOSE",),
        parse=switch,
    )
    debug: bool = option(
        False,
        "show tracebacks and what the workers write",
        flag="--debug",
        env=("UPLOADER_DEBUG",),
        parse=switch,
    )
    json: bool = option(
        False,
        "print one JSON object for each event, the last one a summary",
        flag="--json",
        env=("UPLOADER_JSON",),
        parse=switch,
    )
    command: str = UPLOAD
    """What the run is to do: ``UPLOAD`` or ``VERIFY``."""
    provider_options: Mapping[str, Any] = field(default_factory=dict)
    """What was given of the options that only some provider has, by field name."""

    @property
    def reads_stdin(self) -> bool:
        """Standard input becomes one object."""
        return self.src == (STANDARD_INPUT,)

    @property
    def compares(self) -> bool:
        """What the bucket holds has to be known."""
        return self.delete or self.skip != "none"

    @property
    def verifies(self) -> bool:
        """The run compares the files with the bucket, and writes nothing."""
        return self.command == VERIFY

    def for_verification(self) -> Settings:
        """The settings of a run that verifies what these are about."""
        return replace(
            self,
            command=VERIFY,
            skip="none",
            delete=False,
            no_create=True,
            allow_public=True,
            no_journal=True,
            abort_stale=False,
            dry_run=False,
            verify=False,
        )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """The settings with these values of options, by field name."""
        general = {name: value for name, value in values.items() if name in _GENERAL}
        others = {name: value for name, value in values.items() if name not in _GENERAL}
        return cls(**general, provider_options=others)

    def description(self) -> str:
        """What objects carry, where these settings differ from the defaults; one line."""
        values = {**vars(self), **self.provider_options}
        rows = (*TABLES[""], *TABLES.get(providers.home(self.provider), ()))
        given = [row for row in rows if values.get(row.name, row.default) != row.default]
        described = [row for row in given if row.metadata["describes"]]
        return " ".join(f"{row.metadata['flag']} {values[row.name]!r}" for row in described)

    def cloud(self) -> CloudSettings:
        """The part of the settings that a provider needs.

        Raises ``ValueError`` in one line when its own options do not go together.
        """
        table = providers.option_tables().get(providers.home(self.provider))
        return CloudSettings(
            provider=self.provider,
            bucket=self.bucket,
            endpoint_url=self.endpoint_url,
            region=self.region,
            ca_bundle=self.ca_bundle,
            client_cert=self.client_cert,
            verify_tls=not self.no_verify_ssl,
            timeout=self.timeout,
            options=table(**self.provider_options) if table else None,
            allow_public=self.allow_public,
        )


Row = Field[Any]
"""A dataclass field whose ``metadata`` is a row made by ``option``."""
_GENERAL = {row.name for row in fields(Settings)}
TABLES: Mapping[str, tuple[Row, ...]] = {
    "": tuple(row for row in fields(Settings) if row.metadata),
    **{provider: fields(table) for provider, table in providers.option_tables().items()},
}
"""The options of every run, and those of single providers by the provider's name."""
OPTIONS = tuple(row for table in TABLES.values() for row in table)


def parsed(row: Row, texts: Sequence[Any]) -> Any:
    """The value of an option that was given by these texts: the last one's, or, of an option that
    may be repeated, all of them.  Of one that is placed each is a place and a text.  Raises
    ``ValueError`` when one makes no sense."""
    parse = row.metadata["parse"]
    if row.metadata["placed"]:
        return tuple((place, parse(text)) for place, text in texts)
    return tuple(map(parse, texts)) if row.metadata["repeated"] else parse(texts[-1])


def from_environment(
    environment: Mapping[str, str] = os.environ, provider: str | None = None
) -> dict[str, Any]:
    """The settings that the environment gives, by field name; an empty variable gives none.

    ``provider`` as the command line names it, None when it does not: AWS's own variables speak of
    s3 only.  Raises ``UsageError`` naming the variable when its value makes no sense.
    """
    named = provider or environment.get("UPLOADER_PROVIDER") or Settings.provider
    found: dict[str, Any] = {}
    for row in OPTIONS:
        for name in row.metadata["env"]:
            if name.startswith("AWS_") and named != Settings.provider:
                continue
            if text := environment.get(name):
                texts = [text]
                if row.metadata["repeated"] and not row.metadata["undivided"]:
                    texts = [part.strip() for part in text.split(SEPARATOR)]
                try:
                    found[row.name] = parsed(row, texts)
                except ValueError as error:
                    raise UsageError(f"{name}: {error}") from None
                break
    return found
