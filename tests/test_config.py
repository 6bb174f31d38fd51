"""Settings mean what the table of options says, wherever they come from."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _uploader import amounts, cli, moments
from _uploader.config import OPTIONS, TABLES, Settings, from_environment
from _uploader.errors import UsageError
from providers.base import CloudSettings
from providers.options import Parser
from providers.s3.options import S3Options

README = Path(__file__).resolve().parent.parent / "README.md"
SWITCHES = [row.name for row in OPTIONS if row.default is False]
VARIABLES = [(name, row) for row in OPTIONS for name in row.metadata["env"]]
REQUIRED = ["--src", "data", "--bucket", "b"]
PROVIDERS = {row.name: provider for provider, table in TABLES.items() for row in table}
"""The provider that has an option, empty for those of every run."""
WITH = {
    "download": ["--verify"],
    "sse_kms_key_id": ["--sse", "aws:kms"],
    "key": ["--src", "-"],
    "plan_rate": ["--dry-run"],
    "price": ["--dry-run"],
}
"""Options that make no sense alone, and what they go with."""


def parser(name: str) -> Parser:
    return {row.name: row for row in OPTIONS}[name].metadata["parse"]  # type: ignore[no-any-return]


def sample(row: Any) -> tuple[str, Any]:
    """A value for this option as text and as the run sees it; not its default."""
    if row.default is False:
        return "true", True
    kinds = {
        "N": ("7", 7),
        "SECONDS": ("7.5", 7.5),
        "SIZE": ("512M", "512M"),
        "OBJECTS": ("10%", "10%"),
        "WHICH": ("existing", "existing"),
        "SHARE": ("50%", "50%"),
        "RATE": ("10M", "10M"),
        "BYTES": ("10M", 10 * 2**20),
        "KIND": ("md5", "md5"),
        "KIND=DOLLARS": ("put=0.5", (("put", 0.5),)),
        "STYLE": ("virtual", "virtual"),
        "FORM": ("datasync", "datasync"),
        "NAME=VALUE": ("a=b", (("a", "b"),)),
        "ALGORITHM": ("AES256", "AES256"),
        "ACL": ("bucket-owner-full-control", "bucket-owner-full-control"),
        "TYPE": ("text/plain", "text/plain"),
        "FILE": (__file__, __file__),
        "PATH": ("text", ("text",)),
        "WHEN": ("7d", "7d"),
        "PATTERN": ("*.jpg", "*.jpg"),
    }
    text, value = kinds.get(row.metadata["metavar"], ("text", "text"))
    return text, ((0, value),) if row.metadata["placed"] else value


def given_with(row: Any, *arguments: str) -> list[str]:
    """A command line with these arguments, on which this option makes sense."""
    provider = PROVIDERS[row.name] or Settings.provider
    required = REQUIRED if row.name not in ("src", "key") else REQUIRED[2:]
    return [*required, "--provider", provider, *WITH.get(row.name, []), *arguments]


def setting(settings: Settings, row: Any) -> Any:
    """What the settings say of an option, of the provider's own as well."""
    values = {**dataclasses.asdict(settings), **settings.provider_options}
    return values.get(row.name, row.default)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides the settings of whoever runs the tests."""
    for name, _ in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def table_row(row: Any) -> str:
    """How README's table of options shows an option."""
    details = row.metadata
    flag = " ".join(filter(None, [details["flag"], details["metavar"]]))
    flags = ", ".join(f"`{flag}`" for flag in filter(None, [details["short"], flag]))
    names = ", ".join(f"`{name}`" for name in details["env"])
    return f"| {flags} | {names} | {_shown(row)} | {details['help']} |"


def _shown(row: Any) -> str:
    return "" if row.default is False else str(row.metadata["shown"])


class TestMemory:
    @pytest.mark.parametrize(
        ("text", "amount"),
        [
            ("25%", 250),
            ("100%", 1000),
            ("0.1%", 1),
            ("512", 512),
            ("2K", 2048),
            ("2k", 2048),
            ("1.5M", 3 * 2**19),
            ("1G", 2**30),
            ("1T", 2**40),
            (" 1 K ", 1024),
        ],
    )
    def test_an_amount_of_memory(self, text: str, amount: int) -> None:
        assert amounts.memory_limit(text, 1000) == amount

    @pytest.mark.parametrize(
        "text",
        ["", "%", "M", "0", "0%", "-5%", "101%", "-1M", "12Q", "1MB", "inf", "nan", "1e308T"],
    )
    def test_what_is_no_amount_of_memory_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="is no amount of memory"):
            amounts.memory_limit(text, 1000)

    def test_memory_is_kept_as_given(self) -> None:
        """What it stands for depends on the machine that the run is on."""
        assert amounts.memory("25%") == "25%"

    def test_memory_is_checked_when_given(self) -> None:
        with pytest.raises(ValueError, match="'lots'"):
            amounts.memory("lots")


class TestCpu:
    @pytest.mark.parametrize(
        ("text", "cpus"), [("25%", 2), ("100%", 8), (" 0.5 % ", 0.04), ("1", 1), ("1.5", 1.5)]
    )
    def test_an_amount_of_cpu(self, text: str, cpus: float) -> None:
        assert amounts.cpu_limit(text, 8) == cpus

    @pytest.mark.parametrize(
        "text", ["", "%", "0", "0%", "-1", "-5%", "900%", "1X", "1M", "all", "inf", "nan", "1e999"]
    )
    def test_what_is_no_amount_of_cpu_is_refused_with_a_good_example(self, text: str) -> None:
        with pytest.raises(ValueError, match="is no amount of CPU: give a share like 50%"):
            amounts.cpu(text)


class TestSize:
    @pytest.mark.parametrize(
        ("text", "amount"), [("0", 0), ("4096", 4096), ("1.5k", 1536), ("10M", 10 * 2**20)]
    )
    def test_a_size_in_bytes(self, text: str, amount: int) -> None:
        assert amounts.size(text) == amount

    @pytest.mark.parametrize("text", ["", "M", "-1", "10MB", "5%", "inf", "nan", "1e308T"])
    def test_what_is_no_size_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="is no size: give bytes such as 4096, 10M"):
            amounts.size(text)


class TestObjects:
    @pytest.mark.parametrize(("text", "most"), [("0", 0), ("7", 7), ("1e3", 1000), ("10%", 20)])
    def test_a_number_or_a_share(self, text: str, most: int) -> None:
        assert amounts.objects_limit(text, 200) == most

    @pytest.mark.parametrize("text", ["", "-1", "1.5", "101%", "inf", "1e999", "nan", "5M"])
    def test_what_is_no_number_of_objects_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="is no number of objects: give one like 1000"):
            amounts.objects(text)


class TestMoments:
    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("90s", 910),
            ("2m", 880),
            ("0.1h", 640),
            ("1970-01-01T00:00:07Z", 7),
            ("1970-01-01T02:00:07.5+02:00", 7.5),
        ],
    )
    def test_an_age_or_a_time(self, text: str, moment: float) -> None:
        assert moments.moment_ns(text, 1000 * 10**9) == moment * 10**9

    @pytest.mark.parametrize(("text", "days"), [("1d", 1), ("2w", 14)])
    def test_an_age_in_days_or_weeks(self, text: str, days: int) -> None:
        assert moments.moment_ns(text, 0) == -days * 86400 * 10**9

    def test_an_age_can_be_fixed(self) -> None:
        now = 10**18 + 5000
        assert moments.moment_ns(moments.fixed("7d", now), 0) == moments.moment_ns("7d", now)
        assert moments.fixed("2026-01-31", now) == "2026-01-31"

    def test_a_date_is_its_first_moment_in_local_time(self) -> None:
        expected = datetime(2026, 1, 31).timestamp() * 10**9
        assert moments.moment_ns("2026-01-31", 0) == expected
        assert moments.moment_ns("2026-01-31T00:00", 0) == expected

    @pytest.mark.parametrize("text", ["", "d", "7", "7y", "-1d", "infd", "yesterday", "2026-02-30"])
    def test_what_is_no_moment_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="is no moment: give an age like 7d"):
            moments.moment(text)


class TestParsers:
    @given(st.text())
    def test_no_text_makes_a_parser_fail_otherwise_than_by_usage(self, text: str) -> None:
        for row in OPTIONS:
            try:
                row.metadata["parse"](text)
            except ValueError as error:
                assert "\n" not in str(error)

    @pytest.mark.parametrize("name", ["processes", "concurrency"])
    def test_no_process_and_no_request_at_all_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="too small"):
            parser(name)("0")

    def test_no_retry_is_allowed(self) -> None:
        assert parser("retries")("0") == 0


class TestEnvironment:
    def test_an_empty_environment_gives_nothing(self) -> None:
        assert from_environment({}) == {}

    @pytest.mark.parametrize(("name", "row"), VARIABLES, ids=[name for name, _ in VARIABLES])
    def test_each_variable_gives_its_setting(self, name: str, row: Any) -> None:
        text, value = sample(row)
        assert from_environment({name: text}) == {row.name: value}

    @pytest.mark.parametrize("name", [name for name, _ in VARIABLES])
    def test_an_empty_variable_gives_nothing(self, name: str) -> None:
        assert from_environment({name: ""}) == {}

    def test_the_first_name_goes_before_the_others(self) -> None:
        names = {row.name: row.metadata["env"] for row in OPTIONS}["region"]
        environment = {name: f"by {name}" for name in reversed(names)}
        assert from_environment(environment) == {"region": f"by {names[0]}"}

    def test_an_empty_first_name_leaves_it_to_the_others(self) -> None:
        environment = {"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-1"}
        assert from_environment(environment) == {"region": "eu-west-1"}

    def test_a_wrong_value_names_its_variable(self) -> None:
        with pytest.raises(UsageError, match="^UPLOADER_RETRIES: 'many' is not a whole number"):
            from_environment({"UPLOADER_RETRIES": "many"})

    @pytest.mark.parametrize(
        ("more", "provider"), [({}, "minio"), ({"UPLOADER_PROVIDER": "minio"}, None)]
    )
    def test_variables_of_aws_speak_of_s3_only(
        self, more: dict[str, str], provider: str | None
    ) -> None:
        environment = {"AWS_REGION": "eu-west-1", "AWS_CA_BUNDLE": "/file", **more}
        found = from_environment(environment, provider)
        assert found.keys().isdisjoint({"region", "ca_bundle"})

    def test_no_variable_stands_for_two_settings(self) -> None:
        names = [name for name, _ in VARIABLES]
        assert len(set(names)) == len(names)


class TestPrecedence:
    def test_the_command_line_goes_before_the_environment(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("UPLOADER_RETRIES", "1")
        assert cli.settings_from([*REQUIRED, "--retries", "2"]).retries == 2

    def test_the_environment_goes_before_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UPLOADER_RETRIES", "1")
        assert cli.settings_from(REQUIRED).retries == 1

    def test_the_default_is_what_is_left(self) -> None:
        assert cli.settings_from(REQUIRED) == Settings(src=("data",), bucket="b")

    @pytest.mark.parametrize("row", OPTIONS, ids=lambda row: row.name)
    def test_each_flag_gives_its_setting(self, row: Any) -> None:
        text, value = sample(row)
        given = [row.metadata["flag"]] if row.name in SWITCHES else [row.metadata["flag"], text]
        assert setting(cli.settings_from(given_with(row, *given)), row) == value

    @pytest.mark.parametrize("row", OPTIONS, ids=lambda row: row.name)
    def test_what_a_variable_turns_on_can_be_turned_off(
        self, row: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if row.name not in SWITCHES:
            assert not row.metadata["opposite"]
            return
        monkeypatch.setenv(row.metadata["env"][0], "1")
        assert setting(cli.settings_from(given_with(row)), row)
        assert not setting(cli.settings_from(given_with(row, row.metadata["opposite"])), row)

    def test_a_journal_that_is_given_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In spite of UPLOADER_NO_JOURNAL; the last word has the command line."""
        monkeypatch.setenv("UPLOADER_NO_JOURNAL", "1")
        settings = cli.settings_from([*REQUIRED, "--journal", "j"])
        assert (settings.journal, settings.no_journal) == ("j", False)
        assert cli.settings_from([*REQUIRED, "--journal", "j", "--no-journal"]).no_journal

    def test_a_wrong_value_names_its_flag(self) -> None:
        with pytest.raises(UsageError, match="^--timeout: 'soon' is not a number of seconds"):
            cli.settings_from([*REQUIRED, "--timeout", "soon"])

    @pytest.mark.parametrize("missing", ["--src", "--bucket"])
    def test_a_run_needs_a_source_and_a_bucket(self, missing: str) -> None:
        rest = [flag for flag in ("--src", "--bucket") if flag != missing]
        with pytest.raises(UsageError, match=f"^{missing} is missing"):
            cli.settings_from([*rest, "x"])

    def test_a_flag_is_not_guessed_from_its_beginning(self) -> None:
        with pytest.raises(UsageError, match="--retr"):
            cli.settings_from([*REQUIRED, "--retr", "1"])


class TestTable:
    def test_no_flag_stands_for_two_settings(self) -> None:
        flags = [row.metadata["flag"] for row in OPTIONS]
        for kind in ("opposite", "short"):
            flags += [row.metadata[kind] for row in OPTIONS if row.metadata[kind]]
        assert len(set(flags)) == len(flags)

    def test_each_setting_but_two_is_an_option(self) -> None:
        """These are the command, which is a word, and the provider's own."""
        everything = {field.name for field in dataclasses.fields(Settings)}
        left = everything - {row.name for row in OPTIONS}
        assert left == {"command", "provider_options"}

    @pytest.mark.parametrize("row", OPTIONS, ids=lambda row: row.name)
    def test_a_flag_is_its_setting_with_dashes(self, row: Any) -> None:
        assert row.metadata["flag"] == "--" + row.name.replace("_", "-")

    @pytest.mark.parametrize("row", OPTIONS, ids=lambda row: row.name)
    def test_a_default_is_what_its_parser_makes_of_it(self, row: Any) -> None:
        if row.default not in (None, "", ()):
            assert row.metadata["parse"](str(row.default)) == row.default

    def test_no_option_takes_a_secret(self) -> None:
        """What is on a command line, everybody on the machine can read."""
        no_secrets = {"key", "sse_kms_key_id"}  # the name of an object, and of a key of KMS
        names = " ".join(row.name for row in OPTIONS if row.name not in no_secrets)
        assert not any(word in names for word in ("secret", "key", "password", "token"))

    def test_the_help_names_every_flag_and_variable(self) -> None:
        text = cli.parser().format_help()
        for row in OPTIONS:
            assert row.metadata["flag"] in text
        for name, _ in VARIABLES:
            assert name in text

    def test_the_readme_has_a_row_for_each_option(self) -> None:
        lines = README.read_text().splitlines()
        missing = [row for row in map(table_row, OPTIONS) if row not in lines]
        assert not missing, "not in README.md:\n" + "\n".join(missing)


class TestSettings:
    def test_settings_do_not_change(self) -> None:
        settings = Settings(src=("data",))
        with pytest.raises(dataclasses.FrozenInstanceError):
            settings.src = ("other",)  # type: ignore[misc]

    def test_a_cloud_is_told_what_concerns_it(self) -> None:
        settings = Settings(
            src=("data",),
            bucket="b",
            provider="p",
            endpoint_url="http://e",
            region="r",
            ca_bundle="c",
            timeout=1.5,
        )
        assert settings.cloud() == CloudSettings("p", "b", "http://e", "r", "c", 1.5)

    def test_s3_gets_its_own_options(self) -> None:
        given = ["--addressing", "path", "--profile", "f", "--checksum", "md5"]
        settings = cli.settings_from([*REQUIRED, *given])
        assert settings.cloud().options == S3Options("path", "f", "md5", unsigned_payload=False)

    def test_without_a_word_s3_gets_its_defaults(self) -> None:
        assert cli.settings_from(REQUIRED).cloud().options == S3Options()

    def test_another_provider_gets_none(self) -> None:
        settings = cli.settings_from([*REQUIRED, "--provider", "local"])
        assert settings.cloud().options is None

    @pytest.mark.parametrize("row", OPTIONS, ids=lambda row: row.name)
    def test_an_option_of_another_provider_is_refused(self, row: Any) -> None:
        """It would be ignored: nobody should take an object for encrypted that is not."""
        provider = PROVIDERS[row.name]
        given = [row.metadata["flag"], *([] if row.default is False else [sample(row)[0]])]
        if provider:
            refusal = f"^{row.metadata['flag']} is for provider {provider}, not for local$"
            with pytest.raises(UsageError, match=refusal):
                cli.settings_from([*REQUIRED, "--provider", "local", *given])

    def test_a_variable_for_another_provider_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("UPLOADER_CHECKSUM", "md5")
        with pytest.raises(
            UsageError, match="^UPLOADER_CHECKSUM is for provider s3, not for local"
        ):
            cli.settings_from([*REQUIRED, "--provider", "local"])


class TestDescription:
    def test_what_objects_carry_by_default_is_not_told(self) -> None:
        assert cli.settings_from(REQUIRED).description() == ""

    @pytest.mark.parametrize(
        ("given", "described"),
        [
            (["--posix-metadata", "none"], "--posix-metadata 'none'"),
            (["--acl", "private", "--retries", "1", "--if-none-match"], "--acl 'private'"),
            (
                ["--tag", "a=b", "--metadata", "c=d"],
                "--metadata (('c', 'd'),) --tag (('a', 'b'),)",
            ),
        ],
    )
    def test_what_is_asked_for_is_told(self, given: list[str], described: str) -> None:
        assert cli.settings_from([*REQUIRED, *given]).description() == described

    def test_a_default_that_is_given_changes_nothing(self) -> None:
        given = ["--posix-metadata", "rclone", "--content-type", "auto"]
        assert cli.settings_from([*REQUIRED, *given]).description() == ""

    def test_it_is_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UPLOADER_TAG", "a=b\nc")
        assert "\n" not in cli.settings_from(REQUIRED).description()


class TestRepeated:
    def test_each_value_counts(self) -> None:
        given = ["--metadata", "a=1", "--metadata", "B=x=y, z"]
        assert cli.settings_from([*REQUIRED, *given]).metadata == (("a", "1"), ("b", "x=y, z"))

    def test_a_variable_holds_several_values(self) -> None:
        assert from_environment({"UPLOADER_METADATA": "a=1, b=2"}) == {
            "metadata": (("a", "1"), ("b", "2"))
        }

    def test_the_command_line_replaces_those_of_the_variable(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("UPLOADER_METADATA", "a=1,b=2")
        assert cli.settings_from([*REQUIRED, "--metadata", "c=3"]).metadata == (("c", "3"),)

    @pytest.mark.parametrize("value", ["", "a", "=b", "a=", "a=ü", "a=x\ny", "a= b", "a=b  c"])
    def test_what_is_no_metadata_is_refused(self, value: str) -> None:
        with pytest.raises(UsageError, match="^--metadata: "):
            cli.settings_from([*REQUIRED, "--metadata", "z=1", "--metadata", value])

    def test_a_variable_holds_one_source_whatever_is_in_its_path(self) -> None:
        assert from_environment({"UPLOADER_SRC": "a, b"}) == {"src": ("a, b",)}

    def test_patterns_have_their_places_among_each_other(self) -> None:
        given = ["--exclude", "*", "--include", "*.jpg", "--exclude", "x"]
        settings = cli.settings_from([*REQUIRED, *given])
        assert settings.exclude == ((0, "*"), (2, "x"))
        assert settings.include == ((1, "*.jpg"),)

    def test_of_another_option_the_last_value_counts(self) -> None:
        assert cli.settings_from([*REQUIRED, "--retries", "1", "--retries", "2"]).retries == 2


class TestShort:
    def test_short_flags_are_those_that_fingers_know(self) -> None:
        settings = cli.settings_from([*REQUIRED, "-vn"])
        assert (settings.verbose, settings.dry_run) == (True, True)
        assert cli.settings_from([*REQUIRED, "-q"]).quiet

    def test_the_opposite_turns_off_what_a_short_flag_turned_on(self) -> None:
        assert not cli.settings_from([*REQUIRED, "-v", "--no-verbose"]).verbose


class TestMetadata:
    def test_what_no_object_can_carry_is_refused(self) -> None:
        given = ["--metadata", f"a={'x' * 1900}"]
        cli.settings_from([*REQUIRED, *given])
        with pytest.raises(UsageError, match="^--metadata: 1,901 bytes are too many"):
            cli.settings_from([*REQUIRED, *given, "--posix-metadata", "datasync"])

    def test_the_files_own_names_are_refused(self) -> None:
        with pytest.raises(UsageError, match="^--metadata: 'mtime' is the name of a file's own"):
            cli.settings_from([*REQUIRED, "--metadata", "Mtime=1"])

    def test_a_directory_has_no_place_for_it(self) -> None:
        with pytest.raises(UsageError, match="^--metadata: provider local keeps none"):
            cli.settings_from([*REQUIRED, "--provider", "local", "--metadata", "a=1"])
