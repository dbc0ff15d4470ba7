"""Host names: what is parsed, and which names a server accepts as its own."""

import pytest
from foreign_hosts import FOREIGN_HOSTS

from reprise.errors import ConfigError
from reprise.server.http.cross_site.host_names import Authority, HostNames, parse_authority


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("localhost", Authority("localhost", None)),
        ("LocalHost:8000", Authority("localhost", 8000)),
        ("127.0.0.1:80", Authority("127.0.0.1", 80)),
        ("my_shop-1.example", Authority("my_shop-1.example", None)),
        ("[::1]:8000", Authority("::1", 8000)),
        ("[0:0:0:0:0:0:0:1]", Authority("::1", None)),
        ("[2001:DB8::5]", Authority("2001:db8::5", None)),
    ],
)
def test_a_host_with_or_without_a_port_is_parsed(text: str, authority: Authority) -> None:
    assert parse_authority(text) == authority


@pytest.mark.parametrize("text", FOREIGN_HOSTS, ids=ascii)
def test_a_name_that_is_not_exactly_accepted_is_not_in_the_set(text: str) -> None:
    authority = parse_authority(text)
    assert authority is None or authority.name not in HostNames(["localhost", "127.0.0.1", "::1"])


def test_a_wildcard_accepts_subdomains_only() -> None:
    names = HostNames(["*.Shop.example", "[::1]", "0:0:0:0:0:0:0:2"])
    assert names.names == ("*.shop.example", "::1", "::2")
    for accepted in ("reco.shop.example", "a.b.shop.example", "::1", "::2"):
        assert accepted in names
    for refused in (
        "shop.example",
        "evilshop.example",
        "shop.example.evil.test",
        "*.shop.example",
        ".shop.example",
    ):
        assert refused not in names or parse_authority(refused) is None


@pytest.mark.parametrize(
    "name",
    [
        "", "*", "*.", "https://shop.example", "shop.example:443", "shop.example/", "shop example", "[::1]:80", "*.[::1]",
        "*.1.2.3.4",
    ],
)  # fmt: skip
def test_a_setting_that_is_not_a_host_name_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a host name; write it without scheme, port and path"):
        HostNames([name])


def test_the_ascii_form_of_an_international_name_is_in_the_message() -> None:
    with pytest.raises(ConfigError, match=r"in ASCII this name is xn--bcher-kva\.example"):
        HostNames(["b\u00fccher.example"])
