"""No form of an inner address is ever dialled: shown at the hook that makes the sockets, with a listener that waits."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from pipeline.calls import Call, Reply
from pipeline.dialing import ANYWHERE, OUTSIDE, Guard, Refusal
from pipeline.errors import AddressRefused, CallFailed, CallRejected
from pipeline.outbound import Outbound
from tests.outside import Outside, fixed, listening

ONE_TEXT = AddressRefused().message


@dataclass(frozen=True)
class Watched(Guard):
    """A guard that notes what it was asked and what it let through; `open` are addresses that count as public."""

    ports: frozenset[int] | None = None
    open: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)

    def allows(self, address: str) -> bool:
        return address in self.open or super().allows(address)

    def socket_for(self, dial: AddrInfoType) -> socket.socket:
        self.asked.append(str(dial[4][0]))
        made = super().socket_for(dial)
        self.made.append(str(dial[4][0]))
        return made


@dataclass
class Names(AbstractResolver):
    """A name server that answers from a list, each time with the next entry."""

    answers: list[Sequence[str]]

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)  # type: ignore[typeddict-item]
            for address in self.answers.pop(0)
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def calling(guard: Guard, resolver: AbstractResolver | None = None) -> AsyncIterator[Outbound]:
    outbound = Outbound(public=guard, resolver=resolver)
    try:
        yield outbound
    finally:
        await outbound.close()


@pytest.fixture(scope="module")
async def inner() -> AsyncIterator[Outside]:
    """What must never hear anything in these tests."""
    async with listening() as server:
        yield server


HOSTS = {
    "plain": "127.0.0.1",
    "another of loopback": "127.99.0.1",
    "decimal": "2130706433",
    "octal": "0177.0.0.01",
    "octal in one": "017700000001",
    "hex in one": "0x7f000001",
    "hex": "0x7f.0x0.0x0.0x1",
    "hex and short": "0x7f.1",
    "short": "127.1",
    "shorter": "0",
    "trailing dot": "127.0.0.1.",
    "a name": "localhost",
    "a name with a dot": "LOCALHOST.",
    "unspecified": "0.0.0.0",
    "circled digits": "①②⑦.⓪.⓪.①",
    "wide digits": "１２７.０.０.１",
    "ideographic full stops": "127。0。0。1",
    "percent signs": "%31%32%37.0.0.1",
    "user": "user@127.0.0.1",
    "user and password": "user:word@127.0.0.1",
    "empty user": "@127.0.0.1",
    "who is the host": "8.8.8.8@127.0.0.1",
    "backslash": "127.0.0.1\\@8.8.8.8",
    "IPv6 loopback": "[::1]",
    "IPv6 unspecified": "[::]",
    "IPv6 long": "[0:0:0:0:0:0:0:1]",
    "mapped": "[::ffff:127.0.0.1]",
    "mapped in hex": "[::ffff:7f00:1]",
    "compatible": "[::127.0.0.1]",
    "compatible in hex": "[::7f00:1]",
    "translated": "[::ffff:0:127.0.0.1]",
    "6to4": "[2002:7f00:1::]",
    "6to4 of 10.0.0.1": "[2002:a00:1::1]",
    "NAT64": "[64:ff9b::7f00:1]",
    "NAT64 of the metadata": "[64:ff9b::169.254.169.254]",
    "local NAT64": "[64:ff9b:1::7f00:1]",
    "Teredo": "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
    "ISATAP": "[2400:cb00::5efe:7f00:1]",
    "ISATAP of a global one": "[2400:cb00::200:5efe:127.0.0.1]",
    "link-local with zone": "[fe80::1%25lo]",
    "site-local": "[fec0::1]",
    "unique local": "[fd12:3456::1]",
    "IPv6 multicast": "[ff02::1]",
    "documentation": "[2001:db8::1]",
    "new documentation": "[3fff::1]",
    "10/8": "10.0.0.1",
    "172.16/12": "172.31.255.255",
    "192.168/16": "192.168.1.1",
    "carrier": "100.64.0.1",
    "protocol assignments": "192.0.0.8",
    "6to4 anycast": "192.88.99.1",
    "benchmarks": "198.18.0.1",
    "multicast": "224.0.0.1",
    "broadcast": "255.255.255.255",
    "metadata": "169.254.169.254",
    "metadata of Alibaba": "100.100.100.200",
    "metadata of Azure": "168.63.129.16",
    "metadata of AWS by IPv6": "[fd00:ec2::254]",
}


@pytest.mark.parametrize("form", HOSTS)
async def test_no_form_of_an_inner_address_is_dialled(form: str, inner: Outside, tmp_path: Path) -> None:
    guard = Watched()
    async with calling(guard) as outbound:
        with pytest.raises(AddressRefused) as caught:
            await outbound.send(Call(f"http://{HOSTS[form]}:{inner.port}/"), tmp_path)
    assert caught.value.message == ONE_TEXT and caught.value.facts == {}
    assert guard.made == [] and inner.heard == []


def test_the_hook_is_asked_where_no_name_is_looked_up() -> None:
    """Literals never reach a resolver, so a guard there would not see them."""
    for host in ("127.0.0.1", "[::ffff:7f00:1]", "0.0.0.0", "①②⑦.⓪.⓪.①"):
        assert OUTSIDE.url(f"http://{host}/").raw_host in ("127.0.0.1", "::ffff:7f00:1", "0.0.0.0")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:7f00:1]", "0.0.0.0", "0x7f.1"])
async def test_what_gets_past_the_url_is_stopped_at_the_socket(host: str, inner: Outside, tmp_path: Path) -> None:
    guard = Watched()
    async with calling(guard) as outbound:
        with pytest.raises(AddressRefused) as caught:
            await outbound.send(Call(f"http://{host}:{inner.port}/"), tmp_path)
    assert len(guard.asked) == 1 and guard.made == []
    assert isinstance(caught.value.__cause__, Refusal) and guard.asked[0] in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://8.8.8.8/", "file:///etc/passwd", "gopher://8.8.8.8/", "ws://8.8.8.8/", "unix:/run/x.sock", "data:,x",
        "//8.8.8.8/", "8.8.8.8", "", "http://", "http:///x", "http://[::1", "http://8.8.8.8:99999/", "http://8.8.8.8:0/",
        "http://8.8.8.8:22/", "https://8.8.8.8:6379/", "http://8.8.8.8:8080/", "http://a b/", "http://8.8.8.8/\r\nX: y",
        "http://8.8.8.8/" + "x" * 9000, "http://user@8.8.8.8/", "http://8.8.8.8\t.example/",
    ],
)  # fmt: skip
def test_urls_that_could_never_be_right(url: str) -> None:
    with pytest.raises(AddressRefused, match=ONE_TEXT):
        OUTSIDE.url(url)


@pytest.mark.parametrize(
    "url",
    ["http://example.com/a?b=c", "https://8.8.8.8/", "https://[2606:4700::1111]:443/x", "http://müller.example:80"],
)
def test_urls_that_may_be_asked(url: str) -> None:
    assert OUTSIDE.url(url) == URL(url)


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("8.8.8.8", True, True),
        ("::ffff:8.8.8.8", True, True),
        ("64:ff9b::808:808", True, True),
        ("2002:808:808::1", True, True),
        ("2606:4700::1111", True, True),
        ("2400:cb00::5efe:808:808", True, True),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("::ffff:10.0.0.1", False, True),
        ("172.31.255.255", False, True),
        ("172.32.0.0", True, True),
        ("fd12::1", False, True),
        ("100.64.0.1", False, True),
        ("100.100.100.200", False, False),
        ("169.254.169.254", False, False),
        ("168.63.129.16", False, False),
        ("fd00:ec2::254", False, False),
        ("fe80::1", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("240.0.0.1", False, False),
        ("2001::1", False, False),
        ("4000::1", False, False),
        ("no address", False, False),
    ],
)
def test_who_may_reach_what(address: str, public: bool, private: bool) -> None:
    assert (OUTSIDE.allows(address), ANYWHERE.allows(address)) == (public, private)


@given(st.integers(0, 2**32 - 1))
def test_every_spelling_of_an_address_is_judged_alike(number: int) -> None:
    plain = str(IPv4Address(number))
    spellings = [0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0xFFFF << 48 | number, 0x2002 << 112 | number << 80]
    spellings += [number] if number > 1 else []
    for guard in (OUTSIDE, ANYWHERE):
        assert {guard.allows(str(IPv6Address(bits))) for bits in spellings} == {guard.allows(plain)}
        assert guard.allows(plain) <= (IPv4Address(number).is_global or guard.private)


def test_the_hook_judges_ports_too() -> None:
    with pytest.raises(Refusal):
        OUTSIDE.socket_for((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 22)))
    OUTSIDE.socket_for((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 443))).close()


async def test_a_name_is_judged_by_what_it_means_at_each_dial(inner: Outside, tmp_path: Path) -> None:
    guard = Watched(open=frozenset({"127.0.0.5"}))
    async with listening("127.0.0.5") as outer, calling(guard, Names([["127.0.0.5"], ["127.0.0.1"]])) as outbound:
        call = Call(f"http://rebinding.example:{outer.port}/")
        assert (await outbound.send(call, tmp_path)).status == 200
        with pytest.raises(AddressRefused):
            await outbound.send(call, tmp_path)
    assert guard.asked == ["127.0.0.5", "127.0.0.1"] and guard.made == ["127.0.0.5"]
    assert len(outer.heard) == 1 and inner.heard == []


async def test_of_a_name_with_several_addresses_only_public_ones_are_dialled(inner: Outside, tmp_path: Path) -> None:
    guard = Watched(open=frozenset({"127.0.0.5"}))
    names = Names([["127.0.0.1", "127.0.0.5"], ["127.0.0.1", "::1", "10.0.0.1"]])
    async with listening("127.0.0.5", inner.port) as outer, calling(guard, names) as outbound:
        call = Call(f"http://many.example:{outer.port}/")
        assert (await outbound.send(call, tmp_path)).status == 200
        with pytest.raises(AddressRefused):
            await outbound.send(call, tmp_path)
    assert guard.made == ["127.0.0.5"] and inner.heard == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1", "user@127.0.0.5"])
async def test_a_redirect_is_judged_like_the_first_address(host: str, inner: Outside, tmp_path: Path) -> None:
    guard = Watched(open=frozenset({"127.0.0.5"}))
    async with listening("127.0.0.5") as outer, calling(guard) as outbound:
        outer.answers["/"] = fixed(302, Location=f"http://{host}:{inner.port}/secret")
        with pytest.raises(AddressRefused, match=ONE_TEXT):
            await outbound.send(Call(outer.url + "/", "GET", redirects=5), tmp_path)
    assert guard.made == ["127.0.0.5"] and inner.heard == []


async def test_nothing_but_a_get_that_asks_for_it_is_redirected(inner: Outside, tmp_path: Path) -> None:
    guard = Watched(open=frozenset({"127.0.0.1"}))
    async with listening() as outer, calling(guard) as outbound:
        outer.answers["/"] = fixed(307, Location=f"{inner.url}/")
        for call in (Call(outer.url + "/", redirects=5), Call(outer.url + "/", "GET")):
            with pytest.raises(CallRejected) as caught:
                await outbound.send(call, tmp_path)
            assert caught.value.facts == {"answered": 307}
    assert inner.heard == []


async def test_redirects_that_may_be_followed(tmp_path: Path) -> None:
    guard = Watched(open=frozenset({"127.0.0.5", "127.0.0.6"}))
    async with listening("127.0.0.5") as first, listening("127.0.0.6") as second, calling(guard) as outbound:
        first.answers |= {"/a": fixed(301, Location="b"), "/b": fixed(302, Location=f"{second.url}/c")}
        second.answers["/c"] = fixed(200, b"here")
        call = Call(first.url + "/a", "GET", {"Authorization": "Bearer x"}, room=100, redirects=2)
        reply: Reply = await outbound.send(call, tmp_path)
        assert reply.path is not None and reply.path.read_bytes() == b"here"
        first.answers["/b"] = fixed(302, Location="/a")
        with pytest.raises(CallFailed, match="redirects more than 2 times"):
            await outbound.send(call, tmp_path)
    assert [heard.headers.get("Authorization") for heard in first.heard[:2]] == ["Bearer x", "Bearer x"]
    assert "Authorization" not in second.heard[0].headers


def test_a_redirect_never_gives_up_tls() -> None:
    start = URL("https://8.8.8.8/a/b")
    assert str(OUTSIDE.onward(start, "../c")) == "https://8.8.8.8/c"
    for location in ("http://8.8.8.8/", "//127.0.0.1:22/", "ftp://8.8.8.8/", "http://[::1", "https://u@8.8.8.8/"):
        with pytest.raises(AddressRefused):
            OUTSIDE.onward(start, location)


async def test_no_proxy_no_cookies_no_netrc(monkeypatch: pytest.MonkeyPatch, inner: Outside, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine cookies.example login me password secret")
    for name, value in {"HTTP_PROXY": inner.url, "ALL_PROXY": inner.url, "NETRC": str(tmp_path / "netrc")}.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    guard, names = Watched(open=frozenset({"127.0.0.5"})), Names([["127.0.0.5"], ["127.0.0.5"]])
    async with listening("127.0.0.5") as outer, calling(guard, names) as outbound:
        outer.answers["/"] = fixed(200, **{"Set-Cookie": "a=b"})
        for _ in range(2):
            await outbound.send(Call(f"http://cookies.example:{outer.port}/"), tmp_path)
    assert inner.heard == [] and len(outer.heard) == 2
    assert not {"Cookie", "Authorization"} & {name for heard in outer.heard for name in heard.headers}
