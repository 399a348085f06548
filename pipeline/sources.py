"""URLs that strangers want fetched: which of them could ever be, told before anything is looked up or dialled.

What is refused here is told by the URL alone, so the answer gives nothing away about what there is inside. What an
address really is gets judged when it is dialled, by `pipeline.dialing`.
"""

from __future__ import annotations

import re
import socket
from ipaddress import ip_address

from yarl import URL

from pipeline.dialing import LONGEST_URL, PRINTABLE, SCHEMES, Guard
from pipeline.errors import (
    AddressRefused,
    RedirectRefused,
    UrlHostMalformed,
    UrlHostMissing,
    UrlInvalid,
    UrlSchemeMissing,
    UrlSchemeUnknown,
)

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
HOST = re.compile(r"(?=.{1,253}\.?$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.?")
"""A name as the DNS has it (RFC 1035, section 2.3.4), with the underscore that people use."""
NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*\.?")
INSIDE = ("localhost", "local", "internal", "home.arpa", "localdomain", "intranet", "lan")
"""Names of these are never of the public DNS (RFC 6761, 6762, 8375, and ICANN's reserved `internal`)."""


def source_url(text: str, guard: Guard) -> URL:
    """The URL, if it is one that may be fetched; raises `UrlInvalid` or one of its kind, or `AddressRefused`."""
    if len(text) > LONGEST_URL:
        raise UrlInvalid(reason=f"it is longer than {LONGEST_URL} characters")
    if not PRINTABLE.fullmatch(text):
        raise UrlInvalid(reason="it is empty, or holds blanks, backslashes or control characters")
    scheme = SCHEME.match(text)
    if scheme is None or "://" not in text:
        raise UrlSchemeMissing
    if scheme[1].lower() not in SCHEMES:
        raise UrlSchemeUnknown(scheme=scheme[1][:20])
    return _checked(_parsed(text), guard)


def onward(url: URL, location: str, guard: Guard) -> URL:
    """Where a redirect leads; raises like `source_url`, and `RedirectRefused` where TLS would be given up."""
    if not PRINTABLE.fullmatch(location):
        raise RedirectRefused(reason="its target is no URL")
    try:
        target = url.join(URL(location))
    except ValueError as cause:
        raise RedirectRefused(reason="its target is no URL") from cause
    if url.scheme == "https" and target.scheme == "http":
        raise RedirectRefused(reason="it leads from https to http")
    return source_url(str(target), guard)


def is_literal(url: URL) -> bool:
    """Whether the host is an address itself, in whatever spelling, and no name."""
    return _address(url.raw_host or "") is not None


def _parsed(text: str) -> URL:
    try:
        url = URL(text)
        url.port  # noqa: B018 - it is only read when it is asked for
    except ValueError as cause:
        raise UrlHostMalformed from cause
    if "@" in url.raw_authority:
        raise UrlInvalid(reason="it holds a user name or a password")
    if not url.raw_host:
        raise UrlHostMissing
    return url


def _checked(url: URL, guard: Guard) -> URL:
    host = (url.raw_host or "").lower()
    address = _address(host)
    if address is not None:
        if not guard.allows(address):
            raise AddressRefused
    elif NUMERIC.fullmatch(host) or not (HOST.fullmatch(host) and url.port):
        raise UrlHostMalformed
    elif not guard.private and f".{host.rstrip('.')}".endswith(tuple(f".{name}" for name in INSIDE)):
        raise AddressRefused
    if guard.ports is not None and url.port not in guard.ports:
        raise AddressRefused
    return url


def _address(host: str) -> str | None:
    """The address that a host spells: plain, in brackets, or as numbers that `inet_aton` reads; None for a name."""
    try:
        return str(ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    if not NUMERIC.fullmatch(host.lower()):
        return None
    try:
        return socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))
    except OSError:
        return None
