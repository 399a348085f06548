"""Which addresses may be dialled on behalf of a stranger: the one guard for everything this server calls.

A URL is a claim, a name resolves to something else the next moment, and a redirect leads anywhere. So what counts is
judged where nothing can come between: each socket is made by `Guard.socket_for`, which sees the very address that will
be dialled. `Guard.url` refuses earlier what could never be right. All refusals read the same, so that they tell nobody
what there is inside.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import AddrInfoType, TCPConnector
from aiohttp.abc import AbstractResolver
from yarl import URL

from pipeline.errors import AddressRefused

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SCHEMES = {"http", "https"}
PORTS = frozenset({80, 443})
LONGEST_URL = 8000
PRINTABLE = re.compile(r"[^\s\\\x00-\x20\x7f]+")
"""Backslashes and white space are where parsers disagree about what the host is."""


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(map(ip_network, text.split()))


# The lists are those of the IANA special-purpose registries and kept here, because what `ipaddress` calls global
# differs between versions of Python and leaves out much (CVE-2021-29921, CVE-2024-4032).
UNICAST = _networks("0.0.0.0/0 2000::/3")
SPECIAL = _networks(
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
    "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 "
    "2001::/23 2001:db8::/32 3fff::/20"
)
"""Not the public's; 2001::/23 holds Teredo, whose addresses wrap two others."""
PRIVATE = _networks("10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 172.16.0.0/12 192.168.0.0/16 ::1/128 fc00::/7")
"""What a project may be allowed to reach."""
METADATA = _networks("100.100.100.200/32 168.63.129.16/32 fd00:ec2::254/128 fd20:ce::254/128")
"""Where clouds tell machines their credentials, beside 169.254.0.0/16: for nobody, whatever is allowed."""

CARRIERS = _networks("::ffff:0:0/96 ::/96 ::ffff:0:0:0/96 64:ff9b::/96")
"""IPv6 ways to write an IPv4 address, in the last 32 bits: mapped, compatible, translated (RFC 2765), NAT64."""
SIX_TO_FOUR = ip_network("2002::/16")
ISATAP = {0x0000_5EFE, 0x0200_5EFE}


REFUSED = -1
"""The number of refusals, by which they are known when the refusals of several addresses were made one fault."""


class Refusal(OSError):
    """Raised instead of dialling; says what was refused, for the log."""

    def __init__(self, what: str) -> None:
        super().__init__(REFUSED, what)


def is_refused(fault: object) -> bool:
    """Whether this is a refusal, or what became of several."""
    return isinstance(fault, OSError) and fault.errno == REFUSED


@dataclass(frozen=True)
class Guard:
    """One policy: public addresses only, or private ones too."""

    private: bool = False
    ports: frozenset[int] | None = PORTS
    """Those that may be dialled; None for all."""

    def url(self, text: str) -> URL:
        """The URL, if it is one that may be asked; raises `AddressRefused`."""
        try:
            url = URL(text) if len(text) <= LONGEST_URL and PRINTABLE.fullmatch(text) else URL()
            sound = url.scheme in SCHEMES and bool(url.raw_host) and "@" not in url.raw_authority
            allowed = sound and self._allows_port(url.port or 0)
        except ValueError:
            allowed = False
        if not allowed:
            raise AddressRefused from Refusal("the form of the URL, its scheme or its port")
        return url

    def onward(self, url: URL, location: str) -> URL:
        """Where a redirect leads; raises `AddressRefused`, also when it would give up TLS."""
        target = self.url(str(url.join(self._relative(location))))
        if url.scheme == "https" and target.scheme != "https":
            raise AddressRefused from Refusal("a redirect from https to http")
        return target

    def allows(self, address: str) -> bool:
        """Whether this IP address may be dialled."""
        try:
            return all(map(self._allows, meant(ip_address(address))))
        except ValueError:
            return False

    def socket_for(self, dial: AddrInfoType) -> socket.socket:
        """A socket to dial exactly this address with; raises `Refusal`."""
        family, kind, protocol, _, address = dial
        if not (self.allows(str(address[0])) and self._allows_port(int(address[1]))):
            raise Refusal(f"{address[0]} port {address[1]}")
        return socket.socket(family, kind, protocol)

    def connector(self, resolver: AbstractResolver | None = None) -> TCPConnector:
        """A connector that dials for each request anew, names looked up anew, every dial judged."""
        return TCPConnector(
            resolver=resolver, socket_factory=self.socket_for, use_dns_cache=False, force_close=True, limit=0
        )

    def _relative(self, location: str) -> URL:
        try:
            return URL(location if PRINTABLE.fullmatch(location) else "")
        except ValueError as cause:
            raise AddressRefused from Refusal(type(cause).__name__)

    def _allows(self, address: Address) -> bool:
        if _within(address, METADATA):
            return False
        if self.private and _within(address, PRIVATE):
            return True
        return address.is_global and _within(address, UNICAST) and not _within(address, SPECIAL)

    def _allows_port(self, port: int) -> bool:
        return port > 0 and (self.ports is None or port in self.ports)


OUTSIDE = Guard()
"""For everybody: the public internet, usual ports."""
ANYWHERE = Guard(private=True, ports=None)
"""For projects with `allow_private_urls`."""


def meant(address: Address) -> tuple[Address, ...]:
    """The addresses that dialling this one could reach: itself, or those it wraps."""
    if isinstance(address, IPv4Address):
        return (address,)
    bits = int(address)
    if address in SIX_TO_FOUR:
        return (IPv4Address(bits >> 80 & 0xFFFF_FFFF),)
    last = IPv4Address(bits & 0xFFFF_FFFF)
    if _within(address, CARRIERS) and bits > 1:  # :: and ::1 are themselves
        return (last,)
    return (address, last) if bits >> 32 & 0xFFFF_FFFF in ISATAP else (address,)


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
