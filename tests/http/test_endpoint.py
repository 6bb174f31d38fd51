"""Where services listen, and which proxy the environment names for them."""

from __future__ import annotations

import pytest

from providers import errors
from providers.http.endpoint import Endpoint, Proxy, environment_proxy

NFKC = "http://me:hunter2@h\u2100"
"""urlsplit refuses it, and quotes it."""


@pytest.mark.parametrize(
    ("url", "endpoint", "host_header"),
    [
        ("http://minio", Endpoint(False, "minio", 80), "minio"),
        ("https://S3.Example.com/", Endpoint(True, "s3.example.com", 443), "s3.example.com"),
        ("http://h:443", Endpoint(False, "h", 443), "h:443"),
        ("https://h:443", Endpoint(True, "h", 443), "h"),
        ("http://[::1]:9000", Endpoint(False, "::1", 9000), "[::1]:9000"),
        ("https://[2001:db8::1]", Endpoint(True, "2001:db8::1", 443), "[2001:db8::1]"),
        ("http://a_b.svc:1", Endpoint(False, "a_b.svc", 1), "a_b.svc:1"),
        ("http://h/storage/v1/s3/", Endpoint(False, "h", 80, "/storage/v1/s3"), "h"),
        ("http://h:1/a%20b/", Endpoint(False, "h", 1, "/a%20b"), "h:1"),
        ("http://h//", Endpoint(False, "h", 80), "h"),
    ],
)
def test_an_endpoint_is_read_from_its_url(url: str, endpoint: Endpoint, host_header: str) -> None:
    assert Endpoint.parse(url) == endpoint
    assert endpoint.authority == host_header


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:9000",
        "//h",
        "ftp://h",
        "http://",
        "http://:80",
        "http://h:0",
        "http://h:65536",
        "http://h:x",
        "http://h/a b",
        "http://h/\u00e9",
        "http://h/%zz",
        "http://h/a?x",
        "http://h?x",
        "http://h#x",
        "http://h x",
        "http://h\u00e9",
        "http://[::1",
        "http://user:hunter2@h",
        "http://user:hunter2@h\u2100",
    ],
)
def test_what_is_no_endpoint_is_a_value_error_of_one_line(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        Endpoint.parse(url)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_proxys_password_does_not_show() -> None:
    proxy = Proxy.parse("http://me:hunter2@proxy:3128")
    assert proxy.endpoint == Endpoint(False, "proxy", 3128)
    assert repr(proxy) == str(proxy) == "Proxy(proxy:3128)"


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({}, "https://h", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://h", Proxy(Endpoint(False, "p", 1))),
        ({"https_proxy": "p:1"}, "https://h", Proxy(Endpoint(False, "p", 1))),
        ({"HTTPS_PROXY": "http://p:1"}, "http://h", None),
        ({"HTTP_PROXY": "http://p"}, "http://h", Proxy(Endpoint(False, "p", 80))),
        ({"ALL_PROXY": "http://p:1"}, "http://h", Proxy(Endpoint(False, "p", 1))),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h"}, "https://h", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".b"}, "https://a.b:9000", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, "https://h", None),
        ({"HTTP_PROXY": "http://p:1", "no_proxy": "h"}, "http://h", None),
    ],
)
def test_the_environment_names_the_proxy(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, expected: Proxy | None
) -> None:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment_proxy(Endpoint.parse(url)) == expected


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("::1", "http://[::1]:9000"),
        ("[::1]", "http://[::1]:9000"),
        ("[::1]:9000", "http://[::1]:9000"),
        ("0:0:0:0:0:0:0:1", "http://[::1]"),
        ("fd00::/8", "http://[fd12::1]:9000"),
        ("10.0.0.0/8", "http://10.1.2.3"),
        ("10.1.2.3/8", "http://10.9.9.9"),
        ("10.1.2.3", "http://10.1.2.3:9000"),
        ("a, 10.1.2.3:9000 b", "http://10.1.2.3:9000"),
        ("example.com", "http://a.b.example.com"),
        (".example.com", "http://A.example.com"),
        ("*.example.com", "http://a.example.com"),
        ("EXAMPLE.com.", "http://example.com"),
        ("example.com:80", "http://example.com"),
        ("x *", "http://h"),
    ],
)
def test_no_proxy_covers(monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str) -> None:
    monkeypatch.setenv("http_proxy", "http://p:1")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert environment_proxy(Endpoint.parse(url)) is None


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("", "http://h"),
        ("::2", "http://[::1]"),
        ("fd00::/8", "http://10.0.0.1"),
        ("10.0.0.0/8", "http://11.0.0.1"),
        ("10.0.0.0/8", "http://10.example.com"),
        ("10.0.0.0/99", "http://10.0.0.1"),
        ("[::1]:9001", "http://[::1]:9000"),
        ("example.com:81", "http://example.com"),
        ("example.com", "http://notexample.com"),
        ("a.example.com", "http://example.com"),
        (".", "http://h"),
    ],
)
def test_no_proxy_does_not_cover(monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str) -> None:
    monkeypatch.setenv("http_proxy", "http://p:1")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert environment_proxy(Endpoint.parse(url)) == Proxy(Endpoint(False, "p", 1))


@pytest.mark.parametrize(
    "url", ["socks5://p:1", "https://p:1", "http://me:hunter2@", "http://", NFKC]
)
def test_a_proxy_that_cannot_be_used_is_fatal(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    with pytest.raises(errors.Fatal) as caught:
        environment_proxy(Endpoint(True, "h", 443))
    assert "hunter2" not in str(caught.value)
