"""Origins of web pages: parsing, settings, and requests of foreign pages."""

import pytest
from starlette.datastructures import Headers

from reprise.errors import ConfigError
from reprise.server.http.api_errors import ApiError
from reprise.server.http.cross_site.host_names import parse_authority
from reprise.server.http.cross_site.web_origins import allowed_origins, check_origin, parse_origin


def test_settings_are_converted_to_the_form_that_browsers_send() -> None:
    given = ["https://Shop.example", "https://a.example:443", "http://b.example:8080", "http://[::1]:80"]
    assert allowed_origins(given, needs_keys=False) == {
        "https://shop.example",
        "https://a.example",
        "http://b.example:8080",
        "http://[::1]",
    }
    assert allowed_origins(["*"], needs_keys=True) == {"*"}


@pytest.mark.parametrize(
    "origin",
    ["", "null", "shop.example", "https://shop.example/", "https://u@shop.example", "ftp://a.example", "https://*.example", "https://"],
)  # fmt: skip
def test_a_setting_that_is_not_an_origin_is_an_error(origin: str) -> None:
    with pytest.raises(
        ConfigError, match="is not the origin of a web page; write scheme and host without a path"
    ):
        allowed_origins([origin], needs_keys=True)
    assert parse_origin(origin) is None


def test_all_origins_need_keys() -> None:
    with pytest.raises(
        ConfigError, match="without API keys, origin \\* would let every web page read and change"
    ):
        allowed_origins(["*"], needs_keys=False)


def check(method: str, host: str, *headers: tuple[str, str], allowed: frozenset[str] = frozenset()) -> bool:
    """Return whether a request may pass."""
    raw = [(name.encode(), value.encode()) for name, value in headers]
    try:
        check_origin(method, Headers(raw=raw), parse_authority(host), allowed)
    except ApiError as error:
        assert (error.status, error.code) == (403, "cross_origin") and "--allow-origin" in (error.hint or "")
        return False
    return True


OWN = [
    ("localhost:8000", []),
    ("localhost:8000", [("origin", "http://localhost:8000")]),
    ("localhost:8000", [("origin", "http://LOCALHOST:8000"), ("sec-fetch-site", "same-origin")]),
    ("localhost", [("origin", "http://localhost")]),
    ("shop.example", [("origin", "https://shop.example")]),
    ("shop.example:443", [("origin", "https://shop.example")]),
    ("[::1]:8000", [("origin", "http://[::1]:8000")]),
    ("localhost:8000", [("sec-fetch-site", "none")]),
]  # fmt: skip
FOREIGN = [
    ("localhost:8000", [("origin", "https://evil.test")]),
    ("localhost:8000", [("origin", "null")]),
    ("localhost:8000", [("origin", "")]),
    ("localhost:8000", [("origin", "http://localhost")]),
    ("localhost:8000", [("origin", "http://localhost:3000")]),
    ("localhost:8000", [("origin", "http://localhost:8000.evil.test")]),
    ("localhost:8000", [("origin", "http://localhost:8000@evil.test")]),
    ("localhost:8000", [("origin", "http://localhost:8000/")]),
    ("localhost:8000", [("origin", "file://")]),
    ("localhost:8000", [("origin", "http://localhost:8000"), ("origin", "http://localhost:8000")]),
    ("localhost:8000", [("origin", "http://localhost:8000"), ("origin", "https://evil.test")]),
    ("localhost:8000", [("sec-fetch-site", "cross-site")]),
    ("localhost:8000", [("sec-fetch-site", "same-site")]),
    ("localhost:8000", [("sec-fetch-site", "something-new")]),
    ("localhost:8000", [("origin", "http://localhost:8000"), ("sec-fetch-site", "cross-site")]),
    ("a{b", [("origin", "http://a{b")]),
]  # fmt: skip


@pytest.mark.parametrize(("host", "headers"), OWN)
def test_requests_of_programs_and_of_own_pages_may_change_data(
    host: str, headers: list[tuple[str, str]]
) -> None:
    assert check("POST", host, *headers)


@pytest.mark.parametrize(("host", "headers"), FOREIGN)
def test_requests_of_foreign_pages_may_only_read(host: str, headers: list[tuple[str, str]]) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert not check(method, host, *headers)
    for method in ("GET", "HEAD", "OPTIONS"):
        assert check(method, host, *headers)


def test_an_allowed_origin_may_change_data() -> None:
    page = [("origin", "https://shop.example"), ("sec-fetch-site", "cross-site")]
    assert check("POST", "localhost:8000", *page, allowed=frozenset({"https://shop.example"}))
    assert not check("POST", "localhost:8000", *page, allowed=frozenset({"https://other.example"}))
    # Sec-Fetch-Site without Origin does not say which site it is
    assert not check("POST", "localhost:8000", page[1], allowed=frozenset({"https://shop.example"}))
