"""What can be said of a URL before anything is asked: refused by its kind, with a code for each."""

from __future__ import annotations

import pytest
from yarl import URL

from pipeline.dialing import ANYWHERE, OUTSIDE
from pipeline.errors import (
    AddressRefused,
    RedirectRefused,
    SafelightError,
    UrlHostMalformed,
    UrlHostMissing,
    UrlInvalid,
    UrlSchemeMissing,
    UrlSchemeUnknown,
)
from pipeline.sources import is_literal, onward, source_url
from tests.test_dialing import HOSTS


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("", UrlInvalid),
        ("   ", UrlInvalid),
        ("http://8.8.8.8/a b", UrlInvalid),
        ("http://8.8.8.8\\@127.0.0.1/", UrlInvalid),
        ("http://8.8.8.8/\r\nX: y", UrlInvalid),
        ("http://example.com/" + "x" * 9000, UrlInvalid),
        ("http://user@example.com/", UrlInvalid),
        ("https://user:word@example.com/", UrlInvalid),
        ("example.com/a.jpg", UrlSchemeMissing),
        ("//example.com/a.jpg", UrlSchemeMissing),
        ("data:image/png;base64,AAAA", UrlSchemeMissing),
        ("ftp://example.com/", UrlSchemeUnknown),
        ("file:///etc/passwd", UrlSchemeUnknown),
        ("gopher://example.com/", UrlSchemeUnknown),
        ("http://", UrlHostMissing),
        ("http:///a.jpg", UrlHostMissing),
        ("https://?a=b", UrlHostMissing),
        ("http://[::1", UrlHostMalformed),
        ("http://example..com/", UrlHostMalformed),
        ("http://-example.com/", UrlHostMalformed),
        ("http://exa_mple-.com/", UrlHostMalformed),
        (f"http://{'x' * 64}.com/", UrlHostMalformed),
        (f"http://{'x.' * 130}com/", UrlHostMalformed),
        ("http://256.256.256.256/", UrlHostMalformed),
        ("http://1.2.3.4.5/", UrlHostMalformed),
        ("http://example.com:99999/", UrlHostMalformed),
        ("http://127.0.0.1/", AddressRefused),
        ("http://10.1.2.3/", AddressRefused),
        ("http://169.254.169.254/latest/meta-data/", AddressRefused),
        ("http://[fd00:ec2::254]/", AddressRefused),
        ("http://[fe80::1%25eth0]/", AddressRefused),
        ("http://localhost/", AddressRefused),
        ("http://a.localhost./", AddressRefused),
        ("http://router.local/", AddressRefused),
        ("http://metadata.google.internal/", AddressRefused),
        ("http://8.8.8.8:22/", AddressRefused),
        ("https://example.com:6379/", AddressRefused),
        ("http://example.com:0/", UrlHostMalformed),
    ],
)
def test_what_could_never_be_fetched_has_its_own_code(url: str, kind: type[SafelightError]) -> None:
    with pytest.raises(kind) as caught:
        source_url(url, OUTSIDE)
    assert type(caught.value) is kind


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_no_form_of_an_inner_host_passes_as_a_url(host: str) -> None:
    with pytest.raises((AddressRefused, UrlInvalid)):
        source_url(f"http://{host}/", OUTSIDE)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a?b=c#d", "HTTPS://EXAMPLE.COM", "https://8.8.8.8/", "https://[2606:4700::1111]:443/x",
        "http://müller.example:80/ä.jpg", "http://a_b.example.com./", "http://1.example.com/", "http://xn--mller-kva.de/",
    ],
)  # fmt: skip
def test_what_may_be_fetched(url: str) -> None:
    assert source_url(url, OUTSIDE) == URL(url)


def test_who_may_reach_inner_addresses_may_name_them() -> None:
    for url in ("http://127.0.0.1:8080/", "http://localhost:9000/a", "http://[::1]:81/", "http://nas.local/x"):
        assert source_url(url, ANYWHERE) == URL(url)
    for url in ("http://169.254.169.254/", "http://0.0.0.0/", "http://[fe80::1]/"):
        with pytest.raises(AddressRefused):
            source_url(url, ANYWHERE)


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("http://8.8.8.8/", RedirectRefused),
        ("http://[::1", RedirectRefused),
        ("a b", RedirectRefused),
        ("", RedirectRefused),
        ("ftp://8.8.8.8/", UrlSchemeUnknown),
        ("https://u@8.8.8.8/", UrlInvalid),
        ("//127.0.0.1/", AddressRefused),
        ("https://2130706433/", AddressRefused),
        ("//8.8.8.8:22/", AddressRefused),
    ],
)
def test_where_a_redirect_may_not_lead(location: str, kind: type[SafelightError]) -> None:
    with pytest.raises(kind) as caught:
        onward(URL("https://8.8.8.8/a/b"), location, OUTSIDE)
    assert type(caught.value) is kind


def test_where_a_redirect_may_lead() -> None:
    assert str(onward(URL("https://8.8.8.8/a/b"), "../c?d=1", OUTSIDE)) == "https://8.8.8.8/c?d=1"
    assert str(onward(URL("http://8.8.8.8/a"), "https://1.1.1.1/", OUTSIDE)) == "https://1.1.1.1/"


@pytest.mark.parametrize(
    ("host", "literal"),
    [
        ("127.0.0.1", True),
        ("0x7f.1", True),
        ("2130706433", True),
        ("[::1]", True),
        ("example.com", False),
        ("a", False),
    ],
)
def test_an_address_is_told_from_a_name(host: str, literal: bool) -> None:
    assert is_literal(URL(f"http://{host}/")) is literal
