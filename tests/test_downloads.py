"""Files come as they are or not at all: from servers that lie, dawdle, redirect and inflate, and never from inside."""

from __future__ import annotations

import asyncio
import gzip
import os
import time
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import format_datetime

import pytest
from aiohttp.abc import AbstractResolver

from pipeline.dialing import Guard
from pipeline.downloads import Bounds, Downloads
from pipeline.errors import (
    AddressRefused,
    FetchTimeout,
    FileEmpty,
    HostNotFound,
    RedirectsTooMany,
    SafelightError,
    SourceBroken,
    SourceEncoded,
    SourceFailed,
    SourceInflates,
    SourceNotFound,
    SourceRejected,
    SourceSilent,
    SourceTooSlow,
    SourceUnreachable,
    UrlInvalid,
    UrlSchemeUnknown,
)
from pipeline.model import now
from pipeline.outbound import Outbound
from tests.outside import Outside, Speech, fixed, listening, speaking
from tests.test_dialing import HOSTS, Names, Watched

BODY = os.urandom(300_000)
OK = b"HTTP/1.1 200 OK\r\n"
QUICK = Bounds(within=0.6, head=0.3, silence=0.3, slowest=1000, redirects=3)


@dataclass(frozen=True)
class Got:
    """What came of a download."""

    body: bytes
    name: str
    size: int | None


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Outside]:
    async with listening() as server:
        yield server


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    outbound = Outbound()
    yield outbound
    await outbound.close()


async def whole(downloads: Downloads, url: str, private: bool = True, room: int = 10_000_000) -> Got:
    """The file at `url`; who is sent more than `room` bytes stops reading, as an upload does."""
    async with downloads.open(url, private=private) as download:
        body = bytearray()
        async for chunk in download:
            body += chunk
            assert len(body) == download.received
            if len(body) > room:
                break
        return Got(bytes(body), download.name, download.size)


async def refused(downloads: Downloads, url: str, private: bool = True) -> SafelightError:
    with pytest.raises(SafelightError) as caught:
        await whole(downloads, url, private)
    shown = "".join(traceback.format_exception(caught.value))
    assert "secret" not in shown.split("test_downloads.py")[-1]
    return caught.value


async def spoken(outbound: Outbound, speech: Speech, bounds: Bounds = QUICK) -> SafelightError:
    """What the file of a server ends with that says just this."""
    async with asyncio.timeout(10), speaking(speech) as url:
        return await refused(Downloads(outbound, bounds), f"{url}/secret.jpg")


# What comes


async def test_a_file_comes_as_it_is(server: Outside, outbound: Outbound) -> None:
    server.answers["/a/photo.jpg"] = fixed(200, BODY)
    got = await whole(Downloads(outbound), f"{server.url}/a/photo.jpg?size=1")
    assert got == Got(BODY, "photo.jpg", len(BODY))
    heard = server.heard[-1]
    assert (heard.method, heard.query, heard.headers["Accept-Encoding"]) == ("GET", "size=1", "identity")
    assert not {"Cookie", "Authorization", "Referer"} & set(heard.headers)


async def test_one_of_unknown_length(outbound: Outbound) -> None:
    async def chunked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n4\r\nmore\r\n0\r\n\r\n")
        await writer.drain()

    async def closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhalfmore")
        await writer.drain()

    for speech in (chunked, closed):
        async with speaking(speech) as url:
            assert await whole(Downloads(outbound), url) == Got(b"halfmore", "", None)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="report.pdf"', "report.pdf"),
        ("attachment; filename=plain.jpg", "plain.jpg"),
        ("attachment; filename*=UTF-8''na%C3%AFve%20file.jpg; filename=naive.jpg", "naïve file.jpg"),
        ("inline; filename*=iso-8859-1'de'stra%DFe.png", "straße.png"),
        ('attachment; filename="größe.jpg"', "größe.jpg"),
        ('attachment; filename="a;b.jpg"; size=3', "a;b.jpg"),
        ('attachment; filename="../../etc/passwd"', "../../etc/passwd"),
        ("attachment", "last part.jpg"),
        ("", "last part.jpg"),
        ("attachment; filename=", "last part.jpg"),
        (";;;===", "last part.jpg"),
    ],
)
async def test_its_name(header: str, name: str, server: Outside, outbound: Outbound) -> None:
    server.answers["/dir/last part.jpg"] = fixed(200, b"x", **({"Content-Disposition": header} if header else {}))
    assert (await whole(Downloads(outbound), f"{server.url}/dir/last%20part.jpg?a=/b")).name == name


async def test_a_name_in_latin_1(outbound: Outbound) -> None:
    async def speech(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        header = 'Content-Disposition: attachment; filename="größe.jpg"\r\n'.encode("iso-8859-1")
        writer.write(OK + header + b"Content-Length: 1\r\n\r\nx")
        await writer.drain()

    async with speaking(speech) as url:
        assert (await whole(Downloads(outbound), url)).name == "größe.jpg"


# What is compressed although nobody asked for it


async def test_gzip_is_taken_off(server: Outside, outbound: Outbound) -> None:
    text = b"all work and no play " * 20_000
    members = gzip.compress(text[:1000]) + gzip.compress(text[1000:])
    for packed in (gzip.compress(text), members):
        server.answers["/packed"] = fixed(200, packed, Content_Encoding="gzip")
        got = await whole(Downloads(outbound), f"{server.url}/packed")
        assert (got.body, got.size) == (text, None)


async def test_a_file_that_is_compressed_itself_stays_so(server: Outside, outbound: Outbound) -> None:
    packed = gzip.compress(BODY)
    headers = {"Content-Encoding": "x-gzip", "Content-Type": "application/x-gzip"}
    server.answers["/a.tar.gz"] = fixed(200, packed, **headers)
    assert (await whole(Downloads(outbound), f"{server.url}/a.tar.gz")).body == packed


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "compress"])
async def test_other_codings_are_refused(coding: str, server: Outside, outbound: Outbound) -> None:
    server.answers["/coded"] = fixed(200, b"x" * 100, Content_Encoding=coding)
    error = await refused(Downloads(outbound), f"{server.url}/coded")
    assert isinstance(error, SourceEncoded) and coding in error.message


async def test_a_bomb_does_not_go_off(server: Outside, outbound: Outbound) -> None:
    bomb = gzip.compress(bytes(60_000_000), 1)
    assert len(bomb) < 600_000
    server.answers["/bomb"] = fixed(200, bomb, Content_Encoding="gzip")
    with pytest.raises(SourceInflates):
        async with Downloads(outbound).open(f"{server.url}/bomb", private=True) as download:
            longest = 0
            async for piece in download:
                longest = max(longest, len(piece))
    assert longest <= 256 * 1024 and download.received <= max(10 * 2**20, 100 * len(bomb))


@pytest.mark.parametrize(
    "broken", [b"no gzip at all", gzip.compress(BODY)[:-5], gzip.compress(BODY)[:5000] + b"x" * 99]
)
async def test_what_cannot_be_inflated_is_broken(broken: bytes, server: Outside, outbound: Outbound) -> None:
    server.answers["/broken"] = fixed(200, broken, Content_Encoding="gzip")
    assert isinstance(await refused(Downloads(outbound), f"{server.url}/broken"), SourceBroken)


# What is no file


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (500, SourceFailed, True),
        (503, SourceFailed, True),
        (408, SourceFailed, True),
        (429, SourceFailed, True),
        (404, SourceNotFound, False),
        (410, SourceNotFound, False),
        (400, SourceRejected, False),
        (401, SourceRejected, False),
        (403, SourceRejected, False),
        (304, SourceRejected, False),
        (302, SourceRejected, False),
        (204, FileEmpty, False),
        (200, FileEmpty, False),
    ],
)
async def test_each_status_has_its_code(
    status: int, kind: type[SafelightError], retryable: bool, server: Outside, outbound: Outbound
) -> None:
    server.answers["/status"] = fixed(status)
    error = await refused(Downloads(outbound), f"{server.url}/status")
    assert (type(error), error.retryable) == (kind, retryable)
    assert kind is FileEmpty or str(status) in error.message


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), ("100000", 60), ("-3", None), ("soon", None), ("", None), ("date", 60)]
)
async def test_how_long_a_server_wants_to_be_left_alone(
    header: str, seconds: int | None, server: Outside, outbound: Outbound
) -> None:
    told = format_datetime(now().replace(year=now().year + 1), usegmt=True) if header == "date" else header
    server.answers["/busy"] = fixed(503, Retry_After=told)
    assert (await refused(Downloads(outbound), f"{server.url}/busy")).retry_after == seconds


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 1000\r\n\r\nhalf",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzzzz\r\nhalf\r\n0\r\n\r\n",
        b"Content-Le",
        b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nhalf!",
        b"Content-Length: minus\r\n\r\nhalf",
        b"Content-Length: 4\r\n\r\nhalf and more",
    ],
)
async def test_what_breaks_off_or_lies_is_broken(rest: bytes, outbound: Outbound) -> None:
    async def speech(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + rest)
        await writer.drain()

    error = await spoken(outbound, speech)
    assert isinstance(error, SourceBroken) and error.retryable


async def test_a_server_that_is_not_there(outbound: Outbound) -> None:
    async with listening() as gone:
        url = gone.url
    error = await refused(Downloads(outbound), url)
    assert isinstance(error, SourceUnreachable) and error.retryable


async def test_a_server_that_speaks_no_tls(server: Outside, outbound: Outbound) -> None:
    error = await refused(Downloads(outbound), server.url.replace("http:", "https:"))
    assert isinstance(error, SourceUnreachable)


# What takes too long


async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def stopping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"Content-Length: 100000\r\n\r\nhalf")
    await writer.drain()
    await reader.read()


def dripping(size: int, pause: float) -> Speech:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b"x" * size)
            await writer.drain()
            await asyncio.sleep(pause)

    return drip


async def heading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)
    while True:
        writer.write(b"X-More: x\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("speech", "kind", "least", "most"),
    [
        (mute, SourceSilent, 0.3, 0.5),
        (heading, SourceSilent, 0.3, 0.5),
        (stopping, SourceSilent, 0.3, 0.5),
        (dripping(1, 0.02), SourceTooSlow, 0.3, 0.6),
        (dripping(500, 0.02), FetchTimeout, 0.6, 0.8),
    ],
    ids=["no answer", "no end of headers", "silence", "drip", "no end"],
)
async def test_time_runs_out(
    speech: Speech, kind: type[SafelightError], least: float, most: float, outbound: Outbound
) -> None:
    began = time.monotonic()
    assert type(await spoken(outbound, speech)) is kind
    assert least <= time.monotonic() - began < most + 1


async def test_what_is_slow_on_our_side_is_not_the_servers_fault(server: Outside, outbound: Outbound) -> None:
    server.answers["/file"] = fixed(200, BODY)
    bounds = Bounds(within=5, head=0.05, silence=1, slowest=100_000_000)
    async with Downloads(outbound, bounds).open(f"{server.url}/file", private=True) as download:
        size = 0
        async for chunk in download:
            size += len(chunk)
            await asyncio.sleep(0.05)
    assert size == len(BODY)


async def test_who_stops_reading_hangs_up(outbound: Outbound) -> None:
    hung_up = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write((OK + b"\r\n") if not hung_up.is_set() else b"")
                writer.write(bytes(65536))
                await writer.drain()
        finally:
            hung_up.set()

    async with speaking(endless) as url:
        got = await whole(Downloads(outbound), url, room=1_000_000)
        await asyncio.wait_for(hung_up.wait(), 5)
    assert 1_000_000 < len(got.body) < 3_000_000


# Redirects


async def test_redirects_are_followed_up_to_a_number(server: Outside, outbound: Outbound) -> None:
    async with listening("127.0.0.2") as other:
        other.answers["/end.png"] = fixed(200, b"here")
        server.answers |= {
            "/1": fixed(301, Location="2?x=1"),
            "/2": fixed(302, Location="/3", Set_Cookie="a=b"),
            "/3": fixed(307, Location=f"{other.url}/end.png"),
        }
        assert await whole(Downloads(outbound, QUICK), f"{server.url}/1") == Got(b"here", "end.png", 4)
        assert "Cookie" not in server.heard[-1].headers
        server.answers["/0"] = fixed(308, Location="/1")
        error = await refused(Downloads(outbound, QUICK), f"{server.url}/0")
    assert isinstance(error, RedirectsTooMany) and "3 times" in error.message


async def test_a_loop_of_redirects_ends(server: Outside, outbound: Outbound) -> None:
    server.answers["/loop"] = fixed(302, Location="/loop")
    before = len(server.heard)
    assert isinstance(await refused(Downloads(outbound, QUICK), f"{server.url}/loop"), RedirectsTooMany)
    assert len(server.heard) - before == 4


async def test_a_redirect_to_what_is_no_http(server: Outside, outbound: Outbound) -> None:
    server.answers["/away"] = fixed(302, Location="file:///etc/passwd")
    assert isinstance(await refused(Downloads(outbound), f"{server.url}/away"), UrlSchemeUnknown)


# What lies inside


@pytest.fixture(scope="module")
async def inner() -> AsyncIterator[Outside]:
    """What must never hear anything."""
    async with listening() as server:
        yield server
        assert server.heard == []


class Wire:
    """Downloads over a guard that notes every dial, to whom loopback addresses given as `open` are public."""

    def __init__(self, *open: str, names: AbstractResolver | None = None) -> None:
        self.guard = Watched(open=frozenset(open))
        self._outbound = Outbound(public=self.guard, resolver=names)
        self.downloads = Downloads(self._outbound, QUICK)

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._outbound.close()


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
async def test_no_form_of_an_inner_address_is_dialled(host: str, inner: Outside) -> None:
    async with Wire() as wire:
        error = await refused(wire.downloads, f"http://{host}:{inner.port}/secret", private=False)
    assert isinstance(error, AddressRefused | UrlInvalid)
    assert wire.guard.made == [] and str(inner.port) not in error.message


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
async def test_no_redirect_leads_inside(host: str, inner: Outside) -> None:
    async with listening("127.0.0.5") as outer, Wire("127.0.0.5") as wire:
        outer.answers["/"] = fixed(302, Location=f"http://{host}:{inner.port}/secret")
        error = await refused(wire.downloads, f"{outer.url}/", private=False)
    assert not isinstance(error, SourceRejected) and error.status == 422
    assert wire.guard.made == ["127.0.0.5"] and len(outer.heard) == 1


async def test_a_name_is_judged_by_what_it_means_at_each_dial(inner: Outside) -> None:
    names = Names([["127.0.0.5"], ["127.0.0.1"]])
    async with listening("127.0.0.5", inner.port) as outer, Wire("127.0.0.5", names=names) as wire:
        outer.answers["/"] = fixed(302, Location=f"http://rebinding.example:{inner.port}/again")
        error = await refused(wire.downloads, f"http://rebinding.example:{inner.port}/", private=False)
    assert isinstance(error, HostNotFound)
    assert (wire.guard.asked, wire.guard.made) == (["127.0.0.5", "127.0.0.1"], ["127.0.0.5"])


@pytest.mark.parametrize(
    "answers", [["10.0.0.1"], ["127.0.0.1", "::1"], ["10.0.0.1", "169.254.169.254", "fd00::1"], ["::ffff:10.0.0.1"]]
)
async def test_a_name_known_inside_looks_like_one_that_does_not_exist(answers: list[str], inner: Outside) -> None:
    async with Wire(names=Names([answers])) as wire:
        inside = await refused(wire.downloads, f"http://known.example:{inner.port}/", private=False)
    outbound = Outbound(public=Guard(ports=None))
    missing = await refused(Downloads(outbound), "http://does-not-exist.invalid:81/", private=False)
    await outbound.close()
    assert (type(inside), inside.message) == (type(missing), missing.message) == (HostNotFound, HostNotFound().message)
    assert wire.guard.made == []


@pytest.mark.parametrize("port", [1, 22, 25, 6379])
async def test_ports_tell_nothing(port: int) -> None:
    outbound = Outbound()
    errors = [
        await refused(Downloads(outbound), f"http://{host}:{port}/", private=False)
        for host in ("127.0.0.1", "10.0.0.1", "8.8.8.8", "example.com")
    ]
    await outbound.close()
    assert {(type(error), error.message) for error in errors} == {(AddressRefused, AddressRefused().message)}


async def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch, inner: Outside) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, inner.url)
    async with listening("127.0.0.5") as outer, Wire("127.0.0.5", names=Names([["127.0.0.5"]])) as wire:
        outer.answers["/"] = fixed(200, b"here")
        assert (await whole(wire.downloads, f"http://outer.example:{outer.port}/", private=False)).body == b"here"
