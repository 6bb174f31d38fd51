"""What a user types: options, variables, help."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from _uploader import cli
from _uploader.config import Settings
from _uploader.processes.fork_server import ForkServer
from bench.sink import Sink
from tests.command import (
    KEYS,
    arguments,
    environment,
    names_below,
    run,
    small_files,
    write,
)
from tests.end_to_end.world import UsageError

REQUIRED = ("--src", ".", "--bucket", "bucket")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((*REQUIRED, "--no-such-option"), "--no-such-option"),
        ((*REQUIRED, "extra"), "extra"),
        (("--bucket", "bucket"), "--src"),
        (("--src", "."), "--bucket"),
        ((*REQUIRED, "--prefix"), "--prefix"),
        ((*REQUIRED, "--processes", "many"), "--processes"),
        ((*REQUIRED, "--processes", "0"), "--processes"),
        ((*REQUIRED, "--concurrency", "-1"), "--concurrency"),
        ((*REQUIRED, "--retries", "1.5"), "--retries"),
        ((*REQUIRED, "--timeout", "0"), "--timeout"),
        ((*REQUIRED, "--timeout", "nan"), "--timeout"),
        ((*REQUIRED, "--max-memory", "lots"), "--max-memory"),
        ((*REQUIRED, "--max-memory", "1K"), "--max-memory"),
        ((*REQUIRED, "--max-memory", "200%"), "--max-memory"),
        *(((*REQUIRED, "--max-cpu", bad), "50%") for bad in ("0", "900%", "-1", "1X", "nan")),
        ((*REQUIRED, "--limit-rate", "0"), "--limit-rate: '0' is no rate"),
        ((*REQUIRED, "--limit-rate=-1M"), "--limit-rate"),
        ((*REQUIRED, "--limit-rate", "nan"), "--limit-rate"),
        ((*REQUIRED, "--limit-rate", "1X"), "such as 10M"),
        ((*REQUIRED, "--limit-rate", ""), "--limit-rate"),
        ((*REQUIRED, "--limit-rate", "1K"), "give 64K or more, such as 1M"),
        ((*REQUIRED, "--limit-rate", "@/no/such/file"), "/no/such/file"),
        ((*REQUIRED, "--nice", "20"), "--nice"),
        ((*REQUIRED, "--dry-run", "--plan-rate", "fast"), "such as 100M"),
        ((*REQUIRED, "--plan-rate", "1M"), "--plan-rate is for --dry-run only"),
        ((*REQUIRED, "--dry-run", "--price", "get=1"), "give put or storage"),
        ((*REQUIRED, "--dry-run", "--price", "put=-1"), "such as 0.005"),
        ((*REQUIRED, "--price", "put=1"), "--price is for --dry-run only"),
        ((*REQUIRED, "--sr", "."), "--sr"),
        ((*REQUIRED, "--acl", "public"), "--acl"),
        ((*REQUIRED, "--sse", "aes"), "--sse"),
        ((*REQUIRED, "--sse-kms-key-id", "id"), "--sse aws:kms"),
        ((*REQUIRED, "--tag", "a=1", "--tag", "a=2"), "--tag"),
        ((*REQUIRED, "--metadata", "a"), "--metadata"),
        ((*REQUIRED, "--metadata", f"a={'x' * 2048}"), "--metadata"),
        ((*REQUIRED, "--posix-metadata", "s3fs"), "--posix-metadata"),
        ((*REQUIRED, "--provider", "local", "--sse", "AES256"), "--sse is for provider s3"),
        ((*REQUIRED, "--provider", "local", "--region", "eu-1"), "--region"),
        ((*REQUIRED, "--provider", "azure_blobs", "--region", "eu-1"), "--region"),
        ((*REQUIRED, "--storage-class", "GLACIER IR "), "--storage-class"),
        ((*REQUIRED, "--storage-class", "\u00fc"), "--storage-class"),
        ((*REQUIRED, "--cache-control", "max-age=1\r\nx-amz-acl: public-read"), "--cache-control"),
        ((*REQUIRED, "--cache-control", ""), "--cache-control"),
        ((*REQUIRED, "--content-type", "text"), "--content-type"),
        ((*REQUIRED, "--content-type", "text/"), "--content-type"),
        ((*REQUIRED, "--allow-public=yes"), "--allow-public"),
        ((*REQUIRED, "--request-payer=requester"), "--request-payer"),
        ((*REQUIRED, "--if-none-match=*"), "--if-none-match"),
        ((*REQUIRED, "--provider", "backblaze_b2", "--if-none-match"), "--if-none-match"),
        ((*REQUIRED, "--client-cert", "/no/such/file"), "--client-cert: '/no/such/file'"),
        ((*REQUIRED, "--ca-bundle", "/no/such/file"), "--ca-bundle: '/no/such/file'"),
        ((*REQUIRED, "--endpoint-url", "localhost"), "--endpoint-url"),
        ((*REQUIRED, "--endpoint-url", "ftp://127.0.0.1"), "--endpoint-url"),
        ((*REQUIRED, "--endpoint-url", "http://"), "--endpoint-url"),
        ((*REQUIRED, "--endpoint-url", "http://[::1"), "--endpoint-url"),
        ((*REQUIRED, "--endpoint-url", "https://bucket.nyc3.example"), "https://nyc3.example"),
        (("--src", ".", "--bucket", "bucket/backups"), "--prefix"),
        (("--src", ".", "--bucket", "a--use1-az4--x-s3"), "directory bucket"),
        (("--src", "/no/such/directory", "--bucket", "bucket"), "/no/such/directory"),
        (("--src", "/dev/null", "--bucket", "bucket"), "/dev/null"),
        ((*REQUIRED, "--src", "."), "would become one object"),
        ((*REQUIRED, "--include", "#a"), "--include"),
        ((*REQUIRED, "--exclude-from", "/no/such/file"), "--exclude-from: '/no/such/file'"),
        ((*REQUIRED, "--min-size", "many"), "--min-size"),
        ((*REQUIRED, "--newer-than", "soon"), "--newer-than"),
        ((*REQUIRED, "--newer-than", "1d", "--older-than", "2d"), "--newer-than"),
        ((*REQUIRED, "--files-from", "/no/such/file"), "--files-from: '/no/such/file'"),
        ((*REQUIRED, "--null"), "--null"),
        ((*REQUIRED, "--verify", "--files-from", "-"), "--verify reads the list of --files-from"),
        ((*REQUIRED, "--verify", "--files-from", os.devnull), "--verify reads the list"),
    ],
)
def test_command_names_what_is_wrong_with_it(
    usage_error: UsageError, options: tuple[str, ...], named: str
) -> None:
    assert named in usage_error(*options)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("UPLOADER_PROCESSES", "none"),
        ("UPLOADER_MAX_MEMORY", "1X"),
        ("UPLOADER_MAX_CPU", "1X"),
        ("UPLOADER_LIMIT_RATE", "1K"),
        ("UPLOADER_JSON", "maybe"),
        ("UPLOADER_TIMEOUT", "-1"),
        ("UPLOADER_ALLOW_PUBLIC", "maybe"),
        ("UPLOADER_REQUEST_PAYER", "requester"),
        ("UPLOADER_IF_NONE_MATCH", "*"),
        ("UPLOADER_CLIENT_CERT", "/no/such/file"),
        ("AWS_CA_BUNDLE", "/no/such/file"),
    ],
)
def test_command_names_the_variable_that_makes_no_sense(
    usage_error: UsageError, variable: str, value: str
) -> None:
    assert variable in usage_error(*REQUIRED, **{variable: value})


def test_command_takes_no_notice_of_a_region_of_aws_for_another_provider(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has it in the environment has it for other programs."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    told = ["--src", str(data), "--bucket", "b", "--provider", "local", "--dry-run"]
    assert cli.main(told) == 0


def test_command_takes_options_from_the_environment(sink: Sink, data: Path) -> None:
    write(data, "a")
    finished = run(
        env=environment(
            **KEYS,
            UPLOADER_SRC=str(data),
            UPLOADER_BUCKET="bucket",
            UPLOADER_JSON="1",
            AWS_ENDPOINT_URL=sink.http,
        )
    )
    assert finished.summary["uploaded"] == 1


def test_command_prefers_options_to_the_environment(sink: Sink, data: Path) -> None:
    write(data, "a")
    env = environment(**KEYS, UPLOADER_ENDPOINT_URL="http://127.0.0.1:1", UPLOADER_SRC="/none")
    assert run(*arguments(data, sink.http, "bucket"), env=env).code == 0


DEFAULTS = {
    "--src": "required",
    "--bucket": "required",
    "--prefix": "none",
    "--provider": "s3",
    "--endpoint-url": "for s3 AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile's, or AWS",
    "--region": "the profile's, or us-east-1",
    "--addressing": "the profile's, or auto",
    "--profile": "AWS's own order: environment, AWS_PROFILE, default",
    "--ca-bundle": "the profile's, or the system's",
    "--client-cert": "none",
    "--no-verify-ssl": None,
    "--processes": "the usable CPUs",
    "--concurrency": "found while running",
    "--retries": "5",
    "--checksum": "crc64nvme",
    "--timeout": "60",
    "--unsigned-payload": None,
    "--storage-class": "the service's",
    "--sse": "the bucket's",
    "--sse-kms-key-id": "the account's for S3",
    "--acl": "none is sent: private",
    "--tag": "none",
    "--cache-control": "none",
    "--content-type": "auto",
    "--request-payer": None,
    "--if-none-match": None,
    "--allow-public": None,
    "--max-memory": "25%",
    "--max-cpu": "100%",
    "--limit-rate": "off",
    "--nice": "10",
    "--metadata": "none",
    "--posix-metadata": "rclone",
    "--follow-symlinks": None,
    "--include": "every file, unless the first pattern is an --include",
    "--exclude": "none",
    "--exclude-from": "none",
    "--min-size": "none",
    "--max-size": "none",
    "--newer-than": "none",
    "--older-than": "none",
    "--files-from": "none",
    "--null": None,
    "--no-create": None,
    "--journal": "one for each source and destination",
    "--no-journal": None,
    "--restart": None,
    "--abort-stale": None,
    "--give-up-after": "120",
    "--skip": "none",
    "--delete": None,
    "--max-delete": "1000",
    "--verify": None,
    "--download": None,
    "--dry-run": None,
    "--plan-rate": "none",
    "--price": "AWS's in us-east-1",
    "--key": "none",
    "--quiet": None,
    "--verbose": None,
    "--debug": None,
    "--json": None,
    "--version": None,
}


@pytest.fixture(scope="module")
def help_text() -> str:
    finished = run("--help", env={"PATH": os.defpath, "HOME": "/", "COLUMNS": "1000"})
    assert (finished.code, finished.stderr) == (0, "")
    return finished.stdout


@pytest.mark.parametrize("option", DEFAULTS)
def test_command_help_tells_each_option_and_its_default(help_text: str, option: str) -> None:
    (text,) = re.findall(
        rf"^  (?:-., )?{option}(?![a-z-]).*(?:\n {{5,}}.*)*", help_text, re.MULTILINE
    )
    default = DEFAULTS[option]
    if default:
        assert f"(default: {default}" in text


def test_command_help_tells_of_no_option_that_is_not_tested(help_text: str) -> None:
    assert set(re.findall(r"^  (?:-[^h], )?(--[a-z-]+)", help_text, re.MULTILINE)) == set(DEFAULTS)


def test_command_help_tells_the_exit_codes(help_text: str) -> None:
    for code in ("0", "1", "2", "3", "130", "143"):
        assert re.search(rf"\b{code}\b", help_text.partition("Exit codes")[2])


def test_command_version_prints_name_and_number() -> None:
    finished = run("--version", env=environment())
    assert finished.code == 0
    assert re.fullmatch(r"uploader \d+\.\d+\.\d+\n", finished.stdout)


def test_command_that_is_wrong_exits_2() -> None:
    finished = run("--no-such-option", env=environment(**KEYS))
    assert (finished.code, finished.stdout, len(finished.complaints)) == (2, "", 1)


@pytest.mark.parametrize(
    ("variable", "option", "shown"),
    [("", [], False), ("", ["--debug"], True), ("1", [], True), ("1", ["--no-debug"], False)],
)
def test_command_debug_shows_where_it_failed(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    variable: str,
    option: list[str],
    shown: bool,
) -> None:
    def fail(settings: Settings, fork_server: ForkServer) -> int:
        raise RuntimeError("boom")

    monkeypatch.setattr(cli, "_run", fail)
    monkeypatch.setenv("UPLOADER_DEBUG", variable)
    assert cli.main([*REQUIRED, *option]) == 3
    told = capfd.readouterr().err
    assert told.endswith("uploader: unexpected RuntimeError: boom (--debug shows where)\n")
    assert ("Traceback" in told) is shown


def test_command_complaint_controls_no_terminal(usage_error: UsageError) -> None:
    line = usage_error(*REQUIRED, "\x9b2J\u202e")
    assert line.isprintable() and "\\x9b2J\\u202e" in line


def test_command_provider_local_copies_to_a_folder(data: Path, tmp_path: Path) -> None:
    names = small_files(data, 50)
    options = arguments(data, str(tmp_path / "store"), "bucket", "--provider", "local")
    assert run(*options, env=environment()).code == 0
    assert names_below(tmp_path / "store" / "bucket") == set(names)


def test_command_provider_local_refuses_a_bucket_below_the_source(
    usage_error: UsageError, data: Path
) -> None:
    write(data, "a")
    line = usage_error(*arguments(data, str(data / "store"), "b", "--provider", "local"))
    assert "--endpoint-url" in line


@pytest.mark.parametrize("source", ["store/b/x", "store/b", "store/b/x/file", "link"])
def test_command_provider_local_refuses_a_source_in_the_bucket(
    usage_error: UsageError, tmp_path: Path, source: str
) -> None:
    """It would replace the source's files by others, and delete what is not among them."""
    write(tmp_path, "store/b/x/file")
    (tmp_path / "link").symlink_to("store/b/x")
    told = arguments(tmp_path / source, str(tmp_path / "store"), "b", "--provider", "local")
    line = usage_error(*told)
    assert "lies in the bucket" in line or "lies below --src" in line


def test_command_provider_local_looks_where_a_link_leads(
    usage_error: UsageError, data: Path, tmp_path: Path
) -> None:
    write(data, "sub/file")
    (tmp_path / "store").mkdir()
    (tmp_path / "store/b").symlink_to(data / "sub")
    line = usage_error(*arguments(data, str(tmp_path / "store"), "b", "--provider", "local"))
    assert "lies below --src" in line


def test_command_provider_local_refuses_a_journal_in_the_bucket(
    usage_error: UsageError, data: Path, tmp_path: Path
) -> None:
    write(data, "file")
    told = arguments(data, str(tmp_path / "store"), "b", "--provider", "local")
    line = usage_error(*told, "--journal", str(tmp_path / "store/b/journal"))
    assert "--journal lies in the bucket" in line
