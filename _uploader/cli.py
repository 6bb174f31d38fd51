"""The command line: options in, exit code out.

What only an upload needs is imported once the options prove right.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, NoReturn

import providers
from providers.attributes import FORMS, check_metadata, longest
from providers.errors import Fatal

from . import __version__
from .config import (
    OPTIONS,
    STANDARD_INPUT,
    TABLES,
    UPLOAD,
    VERIFY,
    Row,
    Settings,
    from_environment,
    parsed,
)
from .errors import EXIT_STOPPED, RunError, UsageError
from .moments import fixed
from .processes.fork_server import ForkServer

DESCRIPTION = (
    "Uploads every file below a directory to a private bucket, in parallel.  With the word verify "
    "before the options: compares every file with the bucket, and writes nothing there."
)
EPILOG = """\
Credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN;
AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY or
AZURE_STORAGE_SAS_TOKEN; UPLOADER_KEY and UPLOADER_SECRET for other providers) or from ~/.aws, never
from the command line.  Switches that a variable turns on are turned off by their second name.
Exit codes: 0 every file is in the bucket; 1 some are not, --delete has left something, or verify
has found a difference; 2 wrong usage; 3 the run could not start or go on; 130 and 143 stopped by
Ctrl-C and SIGTERM.
"""
MOST_KEY_BYTES = 1024
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"""
_OF_FILES = {
    *("include", "exclude", "exclude_from", "files_from", "null"),
    *("min_size", "max_size", "newer_than", "older_than", "follow_symlinks"),
    *("journal", "restart"),
}
"""Options that say nothing to standard input."""
_OF_UPLOADS = {
    "abort_stale",
    "allow_public",
    "delete",
    "dry_run",
    "if_none_match",
    "journal",
    "key",
    "max_delete",
    "no_create",
    "no_journal",
    "plan_rate",
    "price",
    "restart",
    "skip",
    "unsigned_payload",
    "verify",
}
"""Options that say nothing to a verification."""
UNVERIFIED = (
    "no certificate is verified (--no-verify-ssl): whoever is on the way can read and change what "
    "is sent"
)


class _Switch(argparse.Action):
    """Flags for one setting: the last turns it off, the others on."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, option_string != self.option_strings[-1])


class _Placed(argparse.Action):
    """Appends each value with its place among all values of such options."""

    def __init__(self, *arguments: Any, places: Iterator[int], **details: Any) -> None:
        super().__init__(*arguments, **details)
        self._places = places

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest, [])
        setattr(namespace, self.dest, [*before, (next(self._places), values)])


class _Parser(argparse.ArgumentParser):
    """argparse, but for its way of telling what is wrong: one line is enough."""

    def error(self, message: str) -> NoReturn:
        """Raises ``UsageError`` in place of printing the usage and exiting."""
        raise UsageError(f"{message} (--help lists the options)")


def main(arguments: Sequence[str] | None = None, fork_server: ForkServer | None = None) -> int:
    """Runs the program and returns its exit code; one line on stderr for whatever is wrong.
    ``fork_server`` has no provider yet."""
    debug = "--debug" in (sys.argv if arguments is None else arguments)
    try:
        settings = settings_from(arguments)
        debug = settings.debug
        return _run(_with_fixed_ages(settings), fork_server or ForkServer())
    except RunError as error:
        _complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output is gone; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_STOPPED
    except Exception as error:
        if debug:
            import traceback

            _print_error(*traceback.format_exc().splitlines())
        _complain(f"unexpected {type(error).__name__}: {error} (--debug shows where)")
        return EXIT_STOPPED


def parser() -> argparse.ArgumentParser:
    """The command line as argparse knows it, made from the table of options."""
    result = _Parser(prog="uploader", description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    places = count()
    for provider, table in TABLES.items():
        group = result.add_argument_group(f"options of {provider}") if provider else result
        for row in table:
            _add(group, row, places)
    result.add_argument("--version", action="version", version=f"uploader {__version__}")
    return result


def _add(group: argparse._ActionsContainer, row: Row, places: Iterator[int]) -> None:
    details = row.metadata
    names = f" [{', '.join(details['env'])}]" if details["env"] else ""
    text = f"{details['help']}{names} (default: {details['shown']})".replace("%", "%%")
    flags = [*filter(None, [details["short"]]), details["flag"]]
    action: dict[str, Any] = {"metavar": details["metavar"], "action": "append"}
    if details["placed"]:
        action |= {"action": _Placed, "places": places}
    if details["opposite"]:
        flags.append(details["opposite"])
        action = {"action": _Switch, "nargs": 0}
        text = f"{details['help']}{names}".replace("%", "%%")
    group.add_argument(*flags, dest=row.name, default=argparse.SUPPRESS, help=text, **action)


def settings_from(arguments: Sequence[str] | None) -> Settings:
    """The settings of this command line and environment.

    Raises ``UsageError`` naming the option or variable that is wrong.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = words.pop(0) if words[:1] in ([UPLOAD], [VERIFY]) else UPLOAD
    given = {"command": command, **vars(parser().parse_args(words))}
    for row in OPTIONS:
        texts = given.get(row.name)
        if isinstance(texts, list):
            try:
                given[row.name] = parsed(row, texts)
            except ValueError as error:
                raise UsageError(f"{row.metadata['flag']}: {error}") from None
    if "journal" in given:
        given.setdefault("no_journal", False)
    settings = Settings.of({**from_environment(provider=given.get("provider")), **given})
    for name in ("src", "bucket"):
        if not all(getattr(settings, name) or [""]):
            raise UsageError(f"--{name} is missing: --help tells what it is")
    _check_stdin(settings, given)
    if not settings.dry_run:
        for name, value in (("--plan-rate", settings.plan_rate), ("--price", settings.price)):
            if value:
                raise UsageError(f"{name} is for --dry-run only")
    _check_provider(settings, given)
    _check_local(settings)
    settings = _checked_verification(settings, given)
    _check_comparison(settings)
    try:
        check_metadata(settings.metadata, FORMS[settings.posix_metadata])
        providers.check_metadata(settings.provider, settings.metadata)
    except ValueError as error:
        raise UsageError(f"--metadata: {error}") from None
    try:
        providers.check_metadata(settings.provider, longest(FORMS[settings.posix_metadata]))
    except ValueError as error:
        raise UsageError(f"--posix-metadata {settings.posix_metadata}: {error}") from None
    return settings


def _with_fixed_ages(settings: Settings) -> Settings:
    """Ages count from now, also in the verification that follows an upload."""
    now = time.time_ns()
    newer, older = settings.newer_than, settings.older_than
    return dataclasses.replace(
        settings,
        newer_than=None if newer is None else fixed(newer, now),
        older_than=None if older is None else fixed(older, now),
    )


def _run(settings: Settings, fork_server: ForkServer) -> int:
    if len(settings.src) > 1:
        from .choice import Choice

        Choice(settings).check_keys()  # by itself: it may take long, and Ctrl-C ends it at once
    stdin = 0 if settings.reads_stdin else subprocess.DEVNULL
    with contextlib.closing(fork_server):
        connects = settings.compares or not settings.dry_run
        if connects:
            fork_server.assign(settings.provider, stdin=stdin)
            with contextlib.suppress(OSError):  # it is tried again when a worker is needed
                fork_server.start()
        try:
            providers.check(settings.cloud())
        except Fatal as error:
            raise UsageError(str(error)) from None
        if settings.no_verify_ssl and connects:
            _complain(UNVERIFIED)
        return _execute(settings, fork_server)


def _execute(settings: Settings, fork_server: ForkServer) -> int:
    from .display.choose import choose
    from .interrupts import Interrupts
    from .run import Run

    with Interrupts() as interrupts:
        previews = settings.dry_run and not settings.compares
        allowed = 0 if previews else 1

        def hurried() -> bool:
            return interrupts.count > allowed

        display = choose(settings, sys.stdout, sys.stderr, hurried=hurried)
        try:
            run = Run(settings, display, interrupts, fork_server=fork_server)
            outcome = run.preview() if previews else run.execute()
            exit_code = outcome.exit_code
            if settings.verify and not (outcome.error or outcome.signal):
                outcome = Run(settings.for_verification(), display, interrupts).execute()
                exit_code = outcome.exit_code or exit_code
        finally:
            display.close()
        if outcome.error:
            _complain(str(outcome.error), hurried)
    return exit_code


def _check_provider(settings: Settings, given: Mapping[str, Any]) -> None:
    """Refuses what the provider would ignore, and options of its own that do not go together.
    ``given``: the options of the command line; the others come from variables."""
    own = {row.name for row in TABLES.get(providers.home(settings.provider), ())}
    for provider, table in TABLES.items():
        for row in table:
            if row.name in settings.provider_options and row.name not in own:
                names = row.metadata["env"]
                variable = next((name for name in names if os.environ.get(name)), "")
                where = row.metadata["flag"] if row.name in given else variable
                raise UsageError(f"{where} is for provider {provider}, not for {settings.provider}")
    if settings.region and not providers.has_regions(settings.provider):
        raise UsageError(f"--region: provider {settings.provider} has none")
    try:
        settings.cloud()
    except ValueError as error:
        raise UsageError(str(error)) from None


def _check_stdin(settings: Settings, given: Mapping[str, Any]) -> None:
    """Standard input and its key go together, and the key is one that every service takes."""
    if STANDARD_INPUT in settings.src and len(settings.src) > 1:
        raise UsageError("--src -: standard input is an object of its own: give no other --src")
    if not settings.reads_stdin:
        if settings.key is not None:
            raise UsageError("--key is for --src - only: files have the names of their paths")
        return
    for row in OPTIONS:
        if row.name in _OF_FILES and given.get(row.name):
            raise UsageError(f"{row.metadata['flag']}: it is about files, --src - has none")
    if settings.compares:
        raise UsageError("--skip and --delete are about files, --src - has none")
    if not settings.key:
        raise UsageError("--src -: --key NAME is missing, the name of the object")
    try:
        length = len(f"{settings.prefix}{settings.key}".encode())
    except UnicodeEncodeError:
        raise UsageError("--key: the name is not valid UTF-8") from None
    if length > MOST_KEY_BYTES:
        raise UsageError(f"--key: {length:,} bytes are too many: {MOST_KEY_BYTES:,} is the most")
    if settings.dry_run:
        raise UsageError("--dry-run: nothing is known of standard input before it is read")
    if sys.stdin.name == os.devnull:  # see ``start``
        raise UsageError("--src -: standard input is closed")
    if not hasattr(os, "memfd_create"):
        raise UsageError("--src -: only Linux has files in memory, which this needs")


def _check_local(settings: Settings) -> None:
    """A store below the source would be uploaded into itself, for ever; a source in the store would
    be replaced, or deleted, as what a run has stored; and files have no place for further
    metadata."""
    if settings.provider == "local" and settings.metadata:
        raise UsageError("--metadata: provider local keeps none")
    if settings.provider != "local" or not settings.endpoint_url or settings.reads_stdin:
        return
    place = os.path.realpath(os.path.join(settings.endpoint_url, settings.bucket))
    bucket = os.path.join(place, "")
    for source in settings.src:
        path = os.path.join(os.path.realpath(source), "")
        if bucket.startswith(path):
            raise UsageError(
                "--endpoint-url: the bucket lies below --src, it would be uploaded too"
            )
        if path.startswith(bucket):
            raise UsageError(
                f"--src {source!r} lies in the bucket, whose files are replaced and deleted"
            )
    if settings.journal and os.path.realpath(settings.journal).startswith(bucket):
        raise UsageError("--journal lies in the bucket: put it somewhere else")


def _checked_verification(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """The settings of what the command line asks for.  Refuses options on it that would do
    nothing, or write, where files are only compared."""
    if settings.reads_stdin and (settings.verifies or settings.verify):
        raise UsageError("--src -: standard input is read once: there is nothing to verify it by")
    if not settings.verifies:
        if given.get("download") and not settings.verify:
            raise UsageError("--download belongs to the command verify, or to --verify")
        if settings.verify and settings.dry_run:
            raise UsageError("--verify: with --dry-run there is nothing to verify")
        if settings.verify and _ends_when_read(settings.files_from):
            raise UsageError(
                "--verify reads the list of --files-from again: store it in a file first"
            )
        return settings
    for row in OPTIONS:
        if row.name in _OF_UPLOADS and given.get(row.name):
            raise UsageError(f"{row.metadata['flag']}: {VERIFY} uploads nothing")
    return settings.for_verification()


def _ends_when_read(path: str | None) -> bool:
    """Whether a list is there once only: it comes out of a pipe, or the like."""
    if path is None:
        return False
    return path == STANDARD_INPUT or (os.path.exists(path) and not os.path.isfile(path))


def _check_comparison(settings: Settings) -> None:
    if not settings.compares:
        return
    option = "--delete" if settings.delete else "--skip"
    if not providers.comparable(settings.provider):
        raise UsageError(f"{option}: the objects of {settings.provider} cannot be compared")
    if settings.delete and settings.files_from is not None:
        raise UsageError(
            "--delete: a list does not say which other objects have no file: leave out --files-from"
        )
    if settings.delete and settings.prefix and not settings.prefix.endswith("/"):
        raise UsageError(
            f"--delete: the prefix {settings.prefix!r} is that of others' objects as well: give it "
            "a slash at its end"
        )
    replaces = settings.skip in ("unchanged", "checksum")
    if replaces and settings.provider_options.get("if_none_match"):
        raise UsageError(
            f"--skip {settings.skip} replaces what has changed, --if-none-match replaces nothing: "
            "give one of them, or --skip existing"
        )


def _complain(text: str, hurried: Callable[[], bool] = lambda: False) -> None:
    _print_error(f"uploader: {text}", hurried=hurried)


def _print_error(*lines: str, hurried: Callable[[], bool] = lambda: False) -> None:
    from .display.outlet import Outlet
    from .display.text import printable

    outlet = Outlet(sys.stderr, hurried=hurried)
    for line in lines:
        outlet.line(printable(line), keep=True)
    outlet.close()
