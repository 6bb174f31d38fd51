"""Google Cloud Storage: which key speaks which API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import providers
from providers.base import CloudSettings
from providers.errors import Fatal
from providers.google_storage import GoogleCloud
from providers.s3.cloud import S3Cloud

EMAIL = "robot@project.iam.gserviceaccount.com"


def load(**settings: Any) -> Any:
    return providers.load(CloudSettings("google_storage", "b", **settings))


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service account's JSON key."""
    path = tmp_path / "account.json"
    path.write_text(json.dumps({"client_email": EMAIL, "project_id": "p", "private_key": "k"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    return path


@pytest.mark.parametrize(
    "variables", [("UPLOADER_KEY", "UPLOADER_SECRET"), ("GS_ACCESS_KEY_ID", "GS_SECRET_ACCESS_KEY")]
)
def test_an_hmac_key_speaks_s3(monkeypatch: pytest.MonkeyPatch, variables: tuple[str, str]) -> None:
    monkeypatch.setenv(variables[0], "GOOG1EXAMPLE")
    monkeypatch.setenv(variables[1], "secret")
    cloud = load()
    assert isinstance(cloud, S3Cloud)
    assert "https://storage.googleapis.com:443" in cloud.destination()


def test_a_service_account_speaks_googles_own_api(account: Path) -> None:
    cloud = load()
    assert isinstance(cloud, GoogleCloud)
    assert cloud.made_with == {"key": EMAIL, "secret": str(account), "project": "p"}


def test_our_own_variables_name_a_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPLOADER_KEY", EMAIL)
    monkeypatch.setenv("UPLOADER_SECRET", "key.json")
    assert load().made_with == {"key": EMAIL, "secret": "key.json"}


@pytest.mark.parametrize("key", ["", "key", "1-x.apps.googleusercontent.com"])
def test_google_is_not_asked_by_way_of_a_browser(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("UPLOADER_KEY", key)
    monkeypatch.setenv("UPLOADER_SECRET", "secret")
    with pytest.raises(Fatal, match="^google_storage needs an HMAC key"):
        load()


def test_an_endpoint_is_refused_for_a_service_account(account: Path) -> None:
    with pytest.raises(Fatal, match="^--endpoint-url: a service account goes to Google alone"):
        load(endpoint_url="http://127.0.0.1:1")


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"client_email": "x"}'])
def test_a_file_that_is_no_account_is_fatal(account: Path, content: str) -> None:
    account.write_text(content)
    with pytest.raises(Fatal, match="is no service account's JSON key$"):
        load()


def test_a_file_that_cannot_be_read_is_fatal(account: Path) -> None:
    account.unlink()
    with pytest.raises(Fatal, match="^GOOGLE_APPLICATION_CREDENTIALS: .*No such file"):
        load()
