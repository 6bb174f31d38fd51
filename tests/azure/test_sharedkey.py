"""Signatures are right when Microsoft's documentation and library come to the same ones."""

from __future__ import annotations

from base64 import b64encode
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from azure.core.rest import HttpRequest
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy
from hypothesis import example, given
from hypothesis import strategies as st

from providers.azure_blobs.sharedkey import (
    SharedKey,
    encoded_query,
    ms_date,
    quote_path,
    string_to_sign,
)

ACCOUNT, KEY = "myaccount", b"any key of an account"
DATE = ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT")

identifiers = st.from_regex("[a-z_][a-z0-9_]{0,8}", fullmatch=True)
values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=9)
metadata = st.dictionaries(identifiers, values, max_size=5)
keys = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
standard = st.fixed_dictionaries(
    {},
    optional={
        "content-length": st.integers(1, 9999).map(str),
        "content-md5": values,
        "content-type": values,
        "if-match": values,
        "if-none-match": values,
    },
)


def test_the_documented_string_to_sign() -> None:
    """https://learn.microsoft.com/en-us/rest/api/storageservices/authorize-with-shared-key, for Get
    Container Metadata."""
    query = [("comp", "metadata"), ("restype", "container"), ("timeout", "20")]
    headers = [DATE, ("x-ms-version", "2015-02-21")]
    assert string_to_sign(ACCOUNT, "GET", "/mycontainer", query, headers) == (
        "GET\n\n\n\n\n\n\n\n\n\n\n\n"
        "x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n"
        "/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
    )


def microsofts(method: str, target: str, headers: dict[str, str]) -> str:
    """The Authorization that azure-storage-blob adds to the same request."""
    request = HttpRequest(method, f"https://myaccount.blob.core.windows.net{target}")
    request.headers.clear()
    request.headers.update(headers)
    query = dict(pair.split("=", 1) for pair in filter(None, urlsplit(target).query.split("&")))
    request.query = query  # type: ignore[attr-defined]  # the pipeline's own form has it
    policy = SharedKeyCredentialPolicy(ACCOUNT, b64encode(KEY).decode())
    policy.on_request(
        SimpleNamespace(http_request=request, context=SimpleNamespace(transport=None))
    )
    return str(request.headers["Authorization"])


@given(key=keys, metadata=metadata, standard=standard)
@example("a b", {"a1": "x", "a_b": "y", "_": "z", "ab": "v", "a": "w"}, {"content-length": "5"})
@example("ü/ +%~!*'()", {}, {"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="})
def test_a_blobs_signature_is_microsofts(
    key: str, metadata: dict[str, str], standard: dict[str, str]
) -> None:
    own = {"x-ms-blob-type": "BlockBlob", "x-ms-blob-content-type": "text/plain"}
    own |= {f"x-ms-meta-{name}": value for name, value in metadata.items()}
    headers = {**standard, **own, **dict([DATE]), "x-ms-version": "2023-11-03"}
    path = f"/container/{quote_path(key)}"
    ours = SharedKey(ACCOUNT, KEY).authorization("PUT", path, (), [*headers.items()])
    assert ours == microsofts("PUT", path, headers)


def test_the_signature_of_a_query_is_microsofts() -> None:
    query = [
        ("restype", "container"),
        ("comp", "list"),
        ("prefix", "a b/ü&=+~"),
        ("blockid", "A+/="),
    ]
    headers = [DATE, ("x-ms-version", "2023-11-03")]
    ours = SharedKey(ACCOUNT, KEY).authorization("GET", "/container", query, headers)
    target = f"/container?{encoded_query(query)}"
    assert ours == microsofts("GET", target, dict(headers))


@pytest.mark.parametrize(
    ("key", "path"),
    [("plain/key~-_.txt", "plain/key~-_.txt"), ("a b+%?#", "a%20b%2B%25%3F%23"), ("ü", "%C3%BC")],
)
def test_a_key_is_encoded(key: str, path: str) -> None:
    assert quote_path(key) == path


def test_a_date_is_one_of_http() -> None:
    assert ms_date(784111777.9) == "Sun, 06 Nov 1994 08:49:37 GMT"  # RFC 9110 section 5.6.7
    assert ms_date(784111778) == "Sun, 06 Nov 1994 08:49:38 GMT"


def test_a_key_does_not_show_in_its_representation() -> None:
    assert repr(SharedKey(ACCOUNT, KEY)) == "SharedKey('myaccount', ...)"
