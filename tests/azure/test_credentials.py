"""Where the account comes from, and what is said when that is not clear."""

from __future__ import annotations

from base64 import b64encode

import pytest

from providers.azure_blobs.credentials import Account, resolve
from providers.errors import Fatal

KEY = b"hunter2-hunter2"
KEY_TEXT = b64encode(KEY).decode()
SAS = "sv=2022-11-02&sp=rwl&se=2030-01-01T00%3A00%3A00Z&sig=hunter2%2Bhunter2%3D"
ACCOUNT = {"AZURE_STORAGE_ACCOUNT": "myaccount"}
BY_KEY = {**ACCOUNT, "AZURE_STORAGE_KEY": KEY_TEXT}
BY_SAS = {**ACCOUNT, "AZURE_STORAGE_SAS_TOKEN": SAS}
STRING = f"DefaultEndpointsProtocol=https;AccountName=myaccount;AccountKey={KEY_TEXT}"


def by_string(text: str = STRING) -> dict[str, str]:
    return {"AZURE_STORAGE_CONNECTION_STRING": text}


def address(account: Account) -> str:
    endpoint = account.endpoint
    return f"{'https' if endpoint.secure else 'http'}://{endpoint.authority}{endpoint.path}"


def test_an_account_and_its_key() -> None:
    account = resolve(None, BY_KEY)
    assert (account.name, account.key, account.sas) == ("myaccount", KEY, "")
    assert address(account) == "https://myaccount.blob.core.windows.net"


@pytest.mark.parametrize("token", [SAS, f"?{SAS}"])
def test_an_account_and_a_sas(token: str) -> None:
    account = resolve(None, {**ACCOUNT, "AZURE_STORAGE_SAS_TOKEN": token})
    assert (account.name, account.key, account.sas) == ("myaccount", None, SAS)


def test_a_sas_without_an_account_goes_with_an_address() -> None:
    account = resolve("https://files.example", {"AZURE_STORAGE_SAS_TOKEN": SAS})
    assert (account.name, account.sas, address(account)) == ("", SAS, "https://files.example")


def test_a_connection_string() -> None:
    assert resolve(None, by_string()) == resolve(None, BY_KEY)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("EndpointSuffix=core.chinacloudapi.cn", "https://myaccount.blob.core.chinacloudapi.cn"),
        ("EndpointSuffix=core.usgovcloudapi.net;", "https://myaccount.blob.core.usgovcloudapi.net"),
        ("BlobEndpoint=http://127.0.0.1:10000/myaccount", "http://127.0.0.1:10000/myaccount"),
        ("blobendpoint=https://own.example/ ; x=", "https://own.example"),
    ],
)
def test_a_connection_string_has_an_address(more: str, expected: str) -> None:
    assert address(resolve(None, by_string(f"{STRING};{more}"))) == expected


def test_a_connection_string_may_have_a_sas() -> None:
    text = f"BlobEndpoint=https://myaccount.blob.core.windows.net;SharedAccessSignature={SAS}"
    account = resolve(None, by_string(text))
    assert (account.key, account.sas) == (None, SAS)


def test_a_connection_string_of_the_emulator() -> None:
    account = resolve(None, by_string("UseDevelopmentStorage=true"))
    assert account.name == "devstoreaccount1"
    assert address(account) == "http://127.0.0.1:10000/devstoreaccount1"


def test_our_own_variables_win() -> None:
    own = {"UPLOADER_KEY": "another", "UPLOADER_SECRET": KEY_TEXT}
    assert resolve(None, {**BY_SAS, **own}).name == "another"


def test_a_given_address_wins() -> None:
    string = by_string(f"{STRING};BlobEndpoint=https://own.example")
    assert address(resolve("https://given.example/path", string)) == "https://given.example/path"


@pytest.mark.parametrize("host", ["127.0.0.1:10000", "localhost:10000", "[::1]:10000"])
def test_an_address_that_cannot_name_the_account_gets_it_as_path(host: str) -> None:
    assert address(resolve(f"http://{host}", BY_KEY)) == f"http://{host}/myaccount"
    assert address(resolve(f"http://{host}/other", BY_KEY)) == f"http://{host}/other"


def test_the_same_credentials_twice_are_no_contradiction() -> None:
    assert resolve(None, {**BY_KEY, **by_string()}) == resolve(None, BY_KEY)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "no credentials found .*AZURE_STORAGE_CONNECTION_STRING"),
        (ACCOUNT, "no credentials found"),
        ({"AZURE_STORAGE_ACCOUNT": "myaccount", "AZURE_STORAGE_KEY": ""}, "no credentials found"),
        ({**BY_KEY, **BY_SAS}, "AZURE_STORAGE_KEY and AZURE_STORAGE_SAS_TOKEN .*unset one"),
        ({**by_string(), **BY_SAS}, "AZURE_STORAGE_CONNECTION_STRING and AZURE_STORAGE_SAS_TOKEN"),
        (
            {**by_string(), "AZURE_STORAGE_ACCOUNT": "another"},
            "AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_CONNECTION_STRING name different accounts",
        ),
        ({**BY_KEY, "UPLOADER_KEY": "another"}, "UPLOADER_SECRET go together"),
        ({"AZURE_STORAGE_KEY": KEY_TEXT}, "no account"),
        ({"AZURE_STORAGE_SAS_TOKEN": SAS}, "needs AZURE_STORAGE_ACCOUNT"),
        ({**ACCOUNT, "AZURE_STORAGE_KEY": "hunter2!"}, "AZURE_STORAGE_KEY is no base64"),
        ({**ACCOUNT, "AZURE_STORAGE_SAS_TOKEN": "hunter2"}, "no SAS token"),
        ({**ACCOUNT, "AZURE_STORAGE_SAS_TOKEN": f"{SAS}\r\nx: hunter2"}, "no SAS token"),
        (by_string("hunter2"), "no connection string"),
        (by_string("AccountName=myaccount"), "neither AccountKey nor SharedAccessSignature"),
        (by_string(f"{STRING};BlobEndpoint=hunter2"), "begins with http"),
        ({**BY_KEY, "AZURE_STORAGE_ACCOUNT": "hunter2+"}, "the account's name .* is none"),
        ({"UPLOADER_KEY": "Hunter2hunter2==", "UPLOADER_SECRET": "name"}, "name .* is none"),
        ({**BY_KEY, "AZURE_STORAGE_ACCOUNT": "a\r\nb"}, "the account's name .* is none"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_one_line(
    environment: dict[str, str], words: str
) -> None:
    with pytest.raises(Fatal, match=words) as caught:
        resolve(None, environment)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value).lower()


def test_an_account_does_not_show_its_secrets() -> None:
    for environment in (BY_KEY, BY_SAS):
        assert "hunter2" not in repr(resolve(None, environment))


@pytest.mark.parametrize("text", ["it is hunter2%2Bhunter2%3D", "it is hunter2+hunter2="])
def test_an_account_knows_its_secret_in_a_text(text: str) -> None:
    account = resolve(None, BY_SAS)
    assert account.is_quoted_in(text)
    assert not account.is_quoted_in("sv=2022-11-02&sp=rwl")
