"""Credentials, region and endpoint are found where AWS's own tools find them."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from botocore.credentials import ReadOnlyCredentials

from providers.base import CloudSettings
from providers.errors import Failure, Fatal, Unreachable
from providers.s3 import credentials as _aws
from providers.s3.endpoints import DEFAULT_REGION, Variant
from providers.s3.sigv4 import Credentials
from tests.servers.issuer import (
    ACCOUNT,
    CONTAINER_TOKEN,
    RELATIVE_URI,
    ROLE_ARN,
    SOURCE_KEY,
    Issuer,
)

SECRET = "wJalrXUtnFEMI"
PLAIN = CloudSettings("s3", "b")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked for credentials who is not on this machine."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def write(name: str, text: str) -> Path:
    """A file in the test's own ~/.aws."""
    path = Path("~/.aws").expanduser() / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def both(profile: str = "default", more: str = "") -> None:
    """Keys in ~/.aws/credentials, the rest in ~/.aws/config."""
    section = profile if profile == "default" else f"profile {profile}"
    write(
        "credentials",
        f"[{profile}]\naws_access_key_id = AKIDFILE\naws_secret_access_key = {SECRET}\n",
    )
    write("config", f"[{section}]\n{more}\n")


def credential_process(*answers: dict[str, object] | str, status: int = 0) -> None:
    """A program that gives one answer after the other, the last one for ever, in ~/.aws/config."""
    texts = [
        answer if isinstance(answer, str) else json.dumps({"Version": 1, **answer})
        for answer in answers
    ]
    asked = write("asked", "")
    program = write(
        "program.py",
        f"import sys\n"
        f"with open({str(asked)!r}, 'r+') as asked:\n"
        f"    times = len(asked.read())\n"
        f"    asked.write('.')\n"
        f"print({texts!r}[min(times, {len(texts) - 1})])\n"
        f"print('two\\nlines', file=sys.stderr)\n"
        f"sys.exit({status})\n",
    )
    command = shlex.join([sys.executable, str(program)])
    write("config", f"[default]\ncredential_process = {command}\n")


def asked() -> int:
    """How often the program was asked for credentials."""
    return len((Path("~/.aws").expanduser() / "asked").read_text())


def in_minutes(minutes: float) -> str:
    """A time as the program says it."""
    return (datetime.now(timezone.utc) + timedelta(minutes=minutes)).isoformat()


class Source:
    """As botocore's refreshable credentials."""

    def __init__(self) -> None:
        self.seconds_left = 3600.0
        self.next: str | None = None
        """The next access key; None: a renewal fails."""
        self.asked = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self._frozen_credentials = ReadOnlyCredentials("first", SECRET, "token")

    def refresh_needed(self, refresh_in: float = 900) -> bool:
        return self.seconds_left < refresh_in

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        if self.refresh_needed():
            self._protected_refresh(is_mandatory=True)
        return self._frozen_credentials

    def _protected_refresh(self, is_mandatory: bool) -> None:
        self.asked += 1
        self.meanwhile()
        if self.next is None:
            raise RuntimeError("nobody answers")
        self._frozen_credentials = ReadOnlyCredentials(self.next, SECRET, "token")
        self.seconds_left = 3600


def reason(
    settings: CloudSettings = PLAIN, profile: str | None = None, kind: type[Failure] = Fatal
) -> str:
    """Why there is no account; always one line that holds no secret."""
    with pytest.raises(kind) as caught:
        _aws.resolve(settings, profile).credentials()
    text = str(caught.value)
    assert text
    assert "\n" not in text
    assert SECRET not in text
    return text


class TestEnvironment:
    @pytest.mark.usefixtures("keys")
    def test_keys_in_the_environment_are_enough(self) -> None:
        account = _aws.resolve(PLAIN)
        assert account.credentials() == Credentials("AKIDENV", SECRET, None)
        assert (account.region, account.endpoint_url) == ("us-east-1", None)

    @pytest.mark.usefixtures("keys")
    def test_keys_in_the_environment_need_no_botocore(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It costs each worker a fifth of a second."""
        monkeypatch.delattr(_aws, "from_botocore")
        _aws.resolve(PLAIN)

    @pytest.mark.usefixtures("keys")
    @pytest.mark.parametrize("name", ["AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"])
    @pytest.mark.parametrize("config", [False, True], ids=["without", "with"])
    def test_a_session_token_goes_with_the_keys(
        self, monkeypatch: pytest.MonkeyPatch, name: str, config: bool
    ) -> None:
        """With a config file and without one: two ways to the same account."""
        if config:
            write("config", "[default]\n")
        monkeypatch.setenv(name, "token")
        assert _aws.resolve(PLAIN).credentials().token == "token"

    @pytest.mark.usefixtures("keys")
    def test_an_empty_token_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SESSION_TOKEN", "")
        assert _aws.resolve(PLAIN).credentials().token is None

    @pytest.mark.usefixtures("keys")
    def test_settings_give_region_and_endpoint(self) -> None:
        told = PLAIN._replace(region="eu-west-1", endpoint_url="http://127.0.0.1:1")
        account = _aws.resolve(told)
        assert (account.region, account.endpoint_url) == ("eu-west-1", "http://127.0.0.1:1")

    @pytest.mark.usefixtures("keys")
    def test_the_environments_keys_go_before_the_files(self) -> None:
        both()
        assert _aws.resolve(PLAIN).credentials().access_key == "AKIDENV"

    @pytest.mark.usefixtures("keys")
    def test_region_and_endpoint_of_the_file_go_with_keys_of_the_environment(self) -> None:
        write("config", "[default]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:2\n")
        account = _aws.resolve(PLAIN)
        assert (account.region, account.endpoint_url) == ("eu-west-1", "http://127.0.0.1:2")
        assert account.credentials().access_key == "AKIDENV"

    @pytest.mark.usefixtures("keys")
    def test_an_access_key_of_the_environment_without_its_secret_is_not_used(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert "AWS_SECRET_ACCESS_KEY" in reason()


class TestFiles:
    def test_the_default_profile_needs_no_name(self) -> None:
        both()
        assert _aws.resolve(PLAIN).credentials() == Credentials("AKIDFILE", SECRET, None)

    def test_keys_without_a_config_file(self) -> None:
        both()
        (Path("~/.aws/config").expanduser()).unlink()
        assert _aws.resolve(PLAIN).credentials().access_key == "AKIDFILE"

    def test_a_profile_goes_by_its_name(self) -> None:
        both("other")
        assert _aws.resolve(PLAIN, "other").credentials().access_key == "AKIDFILE"

    def test_a_profile_may_be_named_by_the_environment(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        both("other")
        monkeypatch.setenv("AWS_PROFILE", "other")
        assert _aws.resolve(PLAIN).credentials().access_key == "AKIDFILE"

    @pytest.mark.usefixtures("keys")
    def test_a_profile_that_was_asked_for_goes_before_the_environments_keys(self) -> None:
        both("other")
        assert _aws.resolve(PLAIN, "other").credentials().access_key == "AKIDFILE"

    def test_the_profile_gives_region_and_endpoint(self) -> None:
        both("other", "region = eu-west-1\nendpoint_url = http://127.0.0.1:3")
        account = _aws.resolve(PLAIN, "other")
        assert (account.region, account.endpoint_url) == ("eu-west-1", "http://127.0.0.1:3")

    def test_settings_go_before_the_profile(self) -> None:
        both(more="region = eu-west-1\nendpoint_url = http://127.0.0.1:3")
        told = PLAIN._replace(region="eu-west-2", endpoint_url="http://127.0.0.1:4")
        account = _aws.resolve(told)
        assert (account.region, account.endpoint_url) == ("eu-west-2", "http://127.0.0.1:4")

    def test_s3_may_have_an_endpoint_of_its_own(self) -> None:
        both(more="endpoint_url = http://127.0.0.1:5\nservices = local")
        config = Path("~/.aws/config").expanduser()
        own = "[services local]\ns3 =\n  endpoint_url = http://127.0.0.1:6\n"
        config.write_text(config.read_text() + own)
        assert _aws.resolve(PLAIN).endpoint_url == "http://127.0.0.1:6"

    def test_no_region_anywhere_is_the_default_one(self) -> None:
        both()
        assert _aws.resolve(PLAIN).region == DEFAULT_REGION

    def test_the_config_file_may_lie_elsewhere(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        both()
        (tmp_path / "config").write_text("[default]\nregion = eu-west-3\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        assert _aws.resolve(PLAIN).region == "eu-west-3"


class TestProcess:
    KEYS = {"AccessKeyId": "AKIDPROC", "SecretAccessKey": SECRET}

    def test_a_program_may_give_the_credentials(self) -> None:
        credential_process({**self.KEYS, "SessionToken": "token"})
        assert _aws.resolve(PLAIN).credentials() == Credentials("AKIDPROC", SECRET, "token")

    def test_credentials_that_expire_are_renewed(self) -> None:
        credential_process(
            {**self.KEYS, "Expiration": "2000-01-01T00:00:00Z"},
            {**self.KEYS, "Expiration": "2100-01-01T00:00:00Z", "AccessKeyId": "AKIDNEXT"},
        )
        assert _aws.resolve(PLAIN).credentials().access_key == "AKIDNEXT"

    def test_a_failed_renewal_is_silent_while_the_old_ones_are_valid(self) -> None:
        """Eight minutes before the end botocore would raise."""
        credential_process({**self.KEYS, "Expiration": in_minutes(8)}, "nonsense")
        account = _aws.resolve(PLAIN)
        for _ in range(3):
            assert account.credentials().access_key == "AKIDPROC"

    def test_a_renewal_that_fails_is_not_tried_again_with_each_request(self) -> None:
        credential_process({**self.KEYS, "Expiration": in_minutes(12)}, "nonsense")
        account = _aws.resolve(PLAIN)
        for _ in range(10):
            account.credentials()
        # Once for the first ones, once for the next.
        assert asked() == 2

    def test_credentials_that_have_expired_and_cannot_be_renewed_are_an_outage(self) -> None:
        source, now = Source(), 0.0
        credentials = _aws._Temporary(source, lambda: now)
        source.seconds_left, source.next = -1, None
        for _ in range(3):
            with pytest.raises(Unreachable, match="cannot be renewed: nobody"):
                credentials()
        assert source.asked == 1
        source.next = "second"
        now = _aws.RENEWAL_PAUSE
        assert credentials().access_key == "second"

    @pytest.mark.parametrize("left", [500, 3600])
    def test_credentials_that_the_service_refuses_are_renewed_at_once(self, left: float) -> None:
        """Though botocore takes them for good."""
        source = Source()
        credentials = _aws._Temporary(source, lambda: 0.0)
        source.seconds_left = left
        credentials()
        source.next = "second"
        credentials.refused("another token")
        assert credentials().access_key == "first"
        credentials.refused("token")
        assert credentials().access_key == "second"

    def test_credentials_that_the_service_refuses_and_nobody_renews_are_an_outage(self) -> None:
        source = Source()
        credentials = _aws._Temporary(source, lambda: 0.0)
        credentials.refused("token")
        with pytest.raises(Unreachable, match="cannot be renewed: nobody answers"):
            credentials()

    def test_others_go_on_with_valid_ones_while_one_asks_for_the_next(self) -> None:
        source = Source()
        credentials = _aws._Temporary(source, lambda: 0.0)
        source.seconds_left, source.next = 500, "second"
        source.meanwhile = lambda: seen.append(credentials().access_key)
        seen: list[str] = []
        assert credentials().access_key == "second"
        assert seen == ["first"]

    def test_credentials_renewed_by_expired_ones_are_fatal(self) -> None:
        credential_process({**self.KEYS, "Expiration": "2000-01-01T00:00:00Z"})
        assert "cannot be renewed" in reason()

    def test_a_program_that_fails_is_not_quoted_and_may_be_asked_again(self) -> None:
        """What it wrote to stderr may be a secret."""
        credential_process(self.KEYS, status=1)
        assert "credential_process failed" in reason(kind=Unreachable)
        assert "two" not in reason(kind=Unreachable)

    @pytest.mark.parametrize("answer", ["", "nonsense", "[]", "1"])
    def test_a_program_that_talks_nonsense_is_fatal(self, answer: str) -> None:
        credential_process(answer)
        reason()

    @pytest.mark.parametrize("answer", ['{"Version": 1}', {**KEYS, "Version": 2}])
    def test_a_program_that_gives_something_else_is_told_of(
        self, answer: str | dict[str, object]
    ) -> None:
        credential_process(answer)
        reason(kind=Unreachable)

    def test_a_program_that_is_not_there_is_fatal(self) -> None:
        write("config", "[default]\ncredential_process = /no/such/program\n")
        reason()


class TestVariants:
    @pytest.mark.usefixtures("keys")
    @pytest.mark.parametrize("config", [False, True], ids=["without", "with"])
    @pytest.mark.parametrize("value", ["true", "True"])
    def test_the_environment_may_ask_for_a_variant(
        self, monkeypatch: pytest.MonkeyPatch, value: str, config: bool
    ) -> None:
        if config:
            write("config", "[default]\n")
        monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", value)
        assert _aws.resolve(PLAIN).variant == Variant(fips=True)
        monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", value)
        assert _aws.resolve(PLAIN).variant == Variant(fips=True, dualstack=True)

    @pytest.mark.usefixtures("keys")
    @pytest.mark.parametrize("config", [False, True], ids=["without", "with"])
    def test_the_environment_may_ask_for_none(
        self, monkeypatch: pytest.MonkeyPatch, config: bool
    ) -> None:
        if config:
            write("config", "[default]\nuse_fips_endpoint = true\n")
        monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "false")
        assert _aws.resolve(PLAIN).variant == Variant()

    @pytest.mark.parametrize(
        ("line", "variant"),
        [
            ("use_fips_endpoint = true", Variant(fips=True)),
            ("use_dualstack_endpoint = true", Variant(dualstack=True)),
            ("s3 =\n  use_dualstack_endpoint = true", Variant(dualstack=True)),
            ("", Variant()),
        ],
    )
    def test_the_profile_may_ask_for_a_variant(self, line: str, variant: Variant) -> None:
        both(more=line)
        assert _aws.resolve(PLAIN).variant == variant


def role_keys(access_key: str = SOURCE_KEY) -> str:
    """Of the profile that may take a role."""
    return f"aws_access_key_id = {access_key}\naws_secret_access_key = {SECRET}\n"


class TestRole:
    @pytest.mark.parametrize(
        ("given", "asked"), [("eu-west-3", "eu-west-3"), (None, "us-east-1")], ids=["given", "none"]
    )
    def test_a_role_is_asked_for_in_the_runs_region(
        self, monkeypatch: pytest.MonkeyPatch, given: str | None, asked: str
    ) -> None:
        """Elsewhere than in AWS's first part there is no other place to ask."""
        write("credentials", f"[source]\n{role_keys()}")
        write("config", f"[default]\nrole_arn = {ROLE_ARN}\nsource_profile = source\n")
        with Issuer() as issuer:
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", issuer.endpoint)
            account = _aws.resolve(PLAIN._replace(region=given))
            assert account.credentials().access_key == issuer.issued[0].access_key
        assert issuer.regions == [asked]
        assert account.owner == ACCOUNT

    def test_a_profile_that_wants_an_mfa_code_is_refused_and_nobody_is_asked(self) -> None:
        write("credentials", f"[source]\n{role_keys()}")
        role = f"role_arn = {ROLE_ARN}\nsource_profile = source\nmfa_serial = arn:aws:iam::1:mfa/me"
        write("config", f"[profile mine]\n{role}\n")
        line = reason(profile="mine")
        assert line.startswith("profile mine wants an MFA code: ")
        assert "aws configure export-credentials --profile mine" in line

    @pytest.mark.parametrize(
        ("stumbles", "kind"), [(0, Fatal), (1, Unreachable)], ids=["403", "503"]
    )
    def test_a_refusal_is_final_and_a_stumble_is_not(
        self, monkeypatch: pytest.MonkeyPatch, stumbles: int, kind: type[Failure]
    ) -> None:
        write("credentials", f"[source]\n{role_keys('AKIDNOBODY')}")
        write("config", f"[default]\nrole_arn = {ROLE_ARN}\nsource_profile = source\n")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        with Issuer(stumbles=stumbles) as issuer:
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", issuer.endpoint)
            assert "cannot be renewed" in reason(kind=kind)


class TestInstance:
    """The metadata service of an instance, and its likes in containers."""

    def ask(self, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)

    def test_a_service_that_stumbles_may_be_asked_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Issuer(stumbles=1000) as issuer:
            self.ask(monkeypatch, issuer.endpoint)
            assert "metadata service" in reason(kind=Unreachable)
            issuer.stumbles = 0
            assert _aws.resolve(PLAIN).credentials().access_key == "ASIA1"

    def test_a_service_that_stumbles_once_is_asked_again_at_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Issuer(stumbles=1) as issuer:
            self.ask(monkeypatch, issuer.endpoint)
            assert _aws.resolve(PLAIN).credentials().access_key == "ASIA1"

    def test_where_there_is_no_such_service_nothing_is_configured(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Issuer() as issuer:
            nobody = issuer.endpoint
        self.ask(monkeypatch, nobody)
        assert "no credentials found" in reason()

    @pytest.mark.parametrize(
        ("variable", "profile", "timeouts"),
        [("", "", [1, 5]), ("2", "", [2, 2]), ("", "metadata_service_timeout = 3", [3, 3])],
        ids=["neither", "environment", "profile"],
    )
    def test_one_that_is_there_has_more_time_unless_the_user_says_how_much(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, profile: str, timeouts: list[int]
    ) -> None:
        if variable:
            monkeypatch.setenv("AWS_METADATA_SERVICE_TIMEOUT", variable)
        write("config", f"[default]\n{profile}\n")
        seen: list[int] = []

        class Fetcher:
            def __init__(self, *arguments: object, timeout: int, **more: object) -> None:
                seen.append(timeout)

            def retrieve_iam_role_credentials(self) -> dict[str, str]:
                return {}

        monkeypatch.setattr("botocore.credentials.InstanceMetadataFetcher", Fetcher)
        with Issuer() as issuer:
            self.ask(monkeypatch, issuer.endpoint)
            reason(kind=Unreachable)
        assert seen == timeouts

    def test_a_container_of_ecs_asks_by_a_relative_uri(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", RELATIVE_URI)
        with Issuer() as issuer:
            address = issuer.endpoint.removeprefix("http://")
            monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.IP_ADDRESS", address)
            assert _aws.resolve(PLAIN).credentials() == Credentials(
                "ASIA1", "issued-secret-1", "issued-token-1"
            )

    def test_a_pod_of_eks_shows_the_token_in_its_file(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token = write("token", CONTAINER_TOKEN)
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
        with Issuer() as issuer:
            uri = f"{issuer.endpoint}/container"
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)
            assert _aws.resolve(PLAIN).credentials().token == issuer.issued[0].token


class TestOwner:
    """Who has the buckets: what a run's record is kept under."""

    @pytest.mark.usefixtures("keys")
    @pytest.mark.parametrize("config", [False, True], ids=["without", "with"])
    def test_temporary_keys_of_the_environment_may_go_with_their_account(
        self, monkeypatch: pytest.MonkeyPatch, config: bool
    ) -> None:
        if config:
            write("config", "[default]\n")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
        assert _aws.resolve(PLAIN).owner == "AKIDENV"
        monkeypatch.setenv("AWS_ACCOUNT_ID", "123456789012")
        assert _aws.resolve(PLAIN).owner == "123456789012"

    @pytest.mark.usefixtures("keys")
    @pytest.mark.parametrize("config", [False, True], ids=["without", "with"])
    def test_permanent_keys_are_an_account_by_themselves(
        self, monkeypatch: pytest.MonkeyPatch, config: bool
    ) -> None:
        if config:
            write("config", "[default]\n")
        monkeypatch.setenv("AWS_ACCOUNT_ID", "123456789012")
        assert _aws.resolve(PLAIN).owner == "AKIDENV"

    def test_a_profile_may_tell_the_account_of_temporary_keys(self) -> None:
        both()
        assert _aws.resolve(PLAIN).owner == "AKIDFILE"
        path = Path("~/.aws/credentials").expanduser()
        own = f"{path.read_text()}aws_account_id = 123456789012\n"
        path.write_text(own)
        assert _aws.resolve(PLAIN).owner == "AKIDFILE"
        path.write_text(f"{own}aws_session_token = token\n")
        assert _aws.resolve(PLAIN).owner == "123456789012"

    def test_a_program_may_tell_the_account(self) -> None:
        keys = {"AccessKeyId": "AKIDPROC", "SecretAccessKey": SECRET, "SessionToken": "token"}
        credential_process({**keys, "Expiration": in_minutes(60)})
        assert _aws.resolve(PLAIN).owner == "AKIDPROC"
        credential_process({**keys, "Expiration": in_minutes(60), "AccountId": "123456789012"})
        assert _aws.resolve(PLAIN).owner == "123456789012"


class TestMissing:
    def test_no_credentials_are_fatal_and_say_what_to_do(self) -> None:
        text = reason()
        assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in text
        assert "--profile" in text

    def test_an_unknown_profile_is_fatal_and_named(self) -> None:
        both()
        assert "no-such" in reason(profile="no-such")

    @pytest.mark.usefixtures("keys")
    def test_an_unknown_profile_is_fatal_though_the_environment_has_keys(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_PROFILE", "no-such")
        assert "no-such" in reason()

    @pytest.mark.usefixtures("keys")
    def test_a_region_in_the_file_of_credentials_counts(self) -> None:
        write("credentials", "[default]\nregion = eu-west-1\n")
        assert _aws.resolve(PLAIN).region == "eu-west-1"

    def test_an_unknown_profile_of_the_environment_is_fatal_and_named(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_PROFILE", "no-such")
        assert "no-such" in reason()

    def test_a_profile_without_credentials_is_fatal(self) -> None:
        write("config", "[profile empty]\nregion = eu-west-1\n")
        assert "no credentials" in reason(profile="empty")

    def test_half_of_the_keys_is_fatal(self) -> None:
        write("credentials", "[default]\naws_access_key_id = AKIDFILE\n")
        reason()

    def test_a_file_that_cannot_be_parsed_is_fatal(self) -> None:
        write("config", "no section\n")
        reason()

    def test_a_file_that_is_no_text_is_fatal(self) -> None:
        write("config", "").write_bytes(b"\xff\xfe[default]")
        reason()

    def test_a_services_section_that_is_missing_is_fatal(self) -> None:
        both(more="services = missing")
        reason()
