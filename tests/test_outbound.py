"""What is sent arrives, what comes back is bounded, and nothing that goes wrong tells a secret."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import socket
import traceback
from collections.abc import AsyncIterator
from email import message_from_bytes
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from standardwebhooks import Webhook

from pipeline import outbound as module
from pipeline.calls import Call, Enclosure, Form, Seal
from pipeline.errors import AddressRefused, AnswerInvalid, CallFailed, CallRejected, NodeInvalid, SafelightError
from pipeline.outbound import Outbound
from tests.outside import Outside, fixed, listening, speaking

PHOTO = Path("docs/demo/photo.jpg")
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Outside]:
    async with listening() as server:
        yield server


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    outbound = Outbound()
    yield outbound
    await outbound.close()


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def refused(outbound: Outbound, call: Call, folder: Path) -> SafelightError:
    """What a call to a private address ends with; nothing of its answer is left."""
    with pytest.raises(SafelightError) as caught:
        await outbound.send(call, folder, private=True)
    assert left(folder) == []
    return caught.value


# What goes out


async def test_a_file_arrives_as_it_is_and_so_does_its_answer(
    server: Outside, outbound: Outbound, tmp_path: Path
) -> None:
    content = PHOTO.read_bytes()
    call = Call(
        f"{server.url}/mirror?a=b", "PUT", {"X-Own": "é"}, Enclosure(PHOTO, "photo.jpg", "image/jpeg"), room=10**7
    )
    reply = await outbound.send(call, tmp_path, private=True)
    heard = server.heard[-1]
    assert (heard.method, heard.path, heard.query, heard.body == content) == ("PUT", "/mirror", "a=b", True)
    assert heard.headers["Content-Type"] == "image/jpeg" and heard.headers["Content-Length"] == str(len(content))
    assert heard.headers["X-Own"] == "é" and heard.headers["Accept-Encoding"] == "identity"
    assert not {"Content-Disposition", "Cookie", "Authorization"} & set(heard.headers)
    assert (reply.status, reply.size, reply.mime) == (200, len(content), "image/jpeg")
    assert reply.path is not None and reply.path.read_bytes() == content and reply.path.parent == tmp_path
    assert reply.sha256 == hashlib.sha256(content).hexdigest()


async def test_a_form_is_one_that_others_read(server: Outside, outbound: Outbound, tmp_path: Path) -> None:
    enclosed = Enclosure(PHOTO, 'ein "Föto"\r\n.jpg', "image/jpeg")
    form = Form(enclosed, "image_file", {"size": "auto", "köy": "ä\r\nb"})
    await outbound.send(Call(f"{server.url}/form", body=form), tmp_path, private=True)
    heard = server.heard[-1]
    head = f"Content-Type: {heard.headers['Content-Type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + heard.body).get_payload()
    assert isinstance(parts, list) and int(heard.headers["Content-Length"]) == len(heard.body)
    values = [part.get_payload(decode=True) for part in parts]
    assert values == [b"auto", "ä\r\nb".encode(), PHOTO.read_bytes()]
    names = [line for line in heard.body.split(b"\r\n") if line.startswith(b"Content-Disposition")]
    assert names[0] == b'Content-Disposition: form-data; name="size"'
    assert names[2].decode() == 'Content-Disposition: form-data; name="image_file"; filename="ein \\"Föto\\".jpg"'
    assert parts[2].get_content_type() == "image/jpeg"


async def test_a_sealed_message_verifies(server: Outside, outbound: Outbound, tmp_path: Path) -> None:
    key = bytes(range(32))
    body = '{"type":"x","text":"ä"}'.encode()
    for spelt in (f"whsec_{base64.b64encode(key).decode()}", base64.b64encode(key).decode().rstrip("=")):
        call = Call(f"{server.url}/hook", body=body, seal=Seal("msg_1", spelt), headers={"webhook-id": "forged"})
        assert (await outbound.send(call, tmp_path, private=True)).status == 200
        headers = server.heard[-1].headers
        assert Webhook(key).verify(server.heard[-1].body, dict(headers)) == {"type": "x", "text": "ä"}
        signed = b".".join([b"msg_1", headers["webhook-timestamp"].encode(), body])
        digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{digest}" and headers["webhook-id"] == "msg_1"


async def test_without_a_secret_there_is_no_signature(server: Outside, outbound: Outbound, tmp_path: Path) -> None:
    await outbound.send(Call(f"{server.url}/hook", body=b"{}", seal=Seal("msg_2")), tmp_path, private=True)
    headers = server.heard[-1].headers
    assert headers["webhook-id"] == "msg_2" and "webhook-signature" not in headers


@pytest.mark.parametrize("secret", ["whsec_", "no base64!", "", "abc\n"])
async def test_a_secret_that_cannot_sign_is_told_without_saying_it(
    secret: str, server: Outside, outbound: Outbound, tmp_path: Path
) -> None:
    before = len(server.heard)
    error = await refused(outbound, Call(server.url, body=b"{}", seal=Seal("1", secret)), tmp_path)
    assert isinstance(error, NodeInvalid) and "base64" in error.message and "no base64!" not in error.message
    assert len(server.heard) == before


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "\x7f"])
async def test_a_header_never_holds_a_line_break(
    value: str, server: Outside, outbound: Outbound, tmp_path: Path
) -> None:
    error = await refused(outbound, Call(server.url, headers={"X-Key": value}), tmp_path)
    assert isinstance(error, NodeInvalid) and "X-Key" in error.message and "Evil" not in error.message


async def test_private_addresses_are_for_those_who_may(server: Outside, outbound: Outbound, tmp_path: Path) -> None:
    before = len(server.heard)
    with pytest.raises(AddressRefused):
        await outbound.send(Call(server.url), tmp_path)
    assert (await outbound.send(Call(server.url), tmp_path, private=True)).status == 200
    with pytest.raises(AddressRefused):  # also while a connection of the other kind was just open
        await outbound.send(Call(server.url), tmp_path)
    assert len(server.heard) == before + 1


# What comes in


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 425, 429])
async def test_not_now_may_be_tried_again(status: int, server: Outside, outbound: Outbound, tmp_path: Path) -> None:
    server.answers["/status"] = fixed(status, b"x" * 5000)
    error = await refused(outbound, Call(f"{server.url}/status", room=100), tmp_path)
    assert isinstance(error, CallFailed) and error.retryable and error.facts["answered"] == status
    assert error.message == f"The server that was called gave no answer to go on with: it answered {status}."


@pytest.mark.parametrize("status", [301, 302, 304, 307, 400, 401, 403, 404, 410, 413, 422, 451])
async def test_no_is_no(status: int, server: Outside, outbound: Outbound, tmp_path: Path) -> None:
    server.answers["/status"] = fixed(status, Location="/elsewhere")
    error = await refused(outbound, Call(f"{server.url}/status", room=100), tmp_path)
    assert isinstance(error, CallRejected) and not error.retryable
    assert error.message == f"The server that was called answered {status}."
    assert server.heard[-1].path == "/status"


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_success_without_interest_in_the_body(
    status: int, server: Outside, outbound: Outbound, tmp_path: Path
) -> None:
    server.answers["/status"] = fixed(status)
    reply = await outbound.send(Call(f"{server.url}/status"), tmp_path, private=True)
    assert (reply.status, reply.path) == (status, None) and left(tmp_path) == []


async def test_what_is_announced_too_long_is_not_read(outbound: Outbound, tmp_path: Path) -> None:
    async def long(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 1000001\r\n\r\n")
        await writer.drain()
        assert await reader.read() == b""  # the caller hangs up

    async with speaking(long) as url:
        error = await refused(outbound, Call(url, "GET", room=1_000_000), tmp_path)
    assert isinstance(error, AnswerInvalid) and "longer than 1000000 bytes" in error.message


async def test_what_never_ends_is_cut_at_the_limit(outbound: Outbound, tmp_path: Path) -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            sent += 65536
            await writer.drain()

    async with speaking(endless) as url:
        error = await refused(outbound, Call(url, "GET", room=1_000_000), tmp_path)
    assert isinstance(error, AnswerInvalid) and 1_000_000 < sent < 20_000_000


async def test_exactly_the_limit_is_kept(server: Outside, outbound: Outbound, tmp_path: Path) -> None:
    call = Call(server.url, body=b"x" * 1000, room=1000)
    assert (await outbound.send(call, tmp_path, private=True)).size == 1000


async def test_a_slow_drip_ends_in_time(outbound: Outbound, tmp_path: Path) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with speaking(drip) as url:
        async with asyncio.timeout(5):
            error = await refused(outbound, Call(url, "GET", within=0.3, room=10_000), tmp_path)
    assert isinstance(error, CallFailed) and error.retryable and "did not end within 0.3 seconds" in error.message


async def test_silence_ends_before_the_time(
    monkeypatch: pytest.MonkeyPatch, outbound: Outbound, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.1)

    async def stop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 1000\r\n\r\nhalf")
        await writer.drain()
        await reader.read()

    async with speaking(stop) as url:
        error = await refused(outbound, Call(url, "GET", within=60, room=10_000), tmp_path)
    assert isinstance(error, CallFailed) and "nothing came for 0.1 seconds" in error.message


async def test_no_answer_at_all(outbound: Outbound, tmp_path: Path) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with speaking(mute) as url:
        async with asyncio.timeout(5):
            error = await refused(outbound, Call(url, "GET", within=0.2, room=100), tmp_path)
    assert isinstance(error, CallFailed) and "within 0.2 seconds" in error.message


async def test_a_head_that_never_ends(outbound: Outbound, tmp_path: Path) -> None:
    async def headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        while True:
            writer.write(b"X-More: " + b"x" * 4000 + b"\r\n")
            await writer.drain()

    async with speaking(headers) as url:
        error = await refused(outbound, Call(url, "GET", room=100), tmp_path)
    assert isinstance(error, CallFailed)


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 1000\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", b"Content-Le", b""],
)
async def test_what_breaks_off_is_no_answer(head: bytes, outbound: Outbound, tmp_path: Path) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((OK + head) if head else b"")
        await writer.drain()

    async with speaking(cut) as url:
        error = await refused(outbound, Call(url, "GET", room=10_000), tmp_path)
    assert isinstance(error, CallFailed) and error.retryable


async def test_what_is_no_http(outbound: Outbound, tmp_path: Path) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        await writer.drain()

    async with speaking(other) as url:
        error = await refused(outbound, Call(url, "GET", room=100), tmp_path)
    assert isinstance(error, CallFailed) and "SSH" not in error.message


@pytest.mark.parametrize("coding", ["gzip", "GZIP ", "deflate", "br", "zstd", "gzip, gzip"])
async def test_a_bomb_is_not_inflated(coding: str, server: Outside, outbound: Outbound, tmp_path: Path) -> None:
    async def bomb(request: web.Request, sent: bytes) -> web.StreamResponse:
        return web.Response(body=gzip.compress(bytes(10_000_000)), headers={"Content-Encoding": coding})

    server.answers["/bomb"] = bomb
    error = await refused(outbound, Call(f"{server.url}/bomb", room=100_000), tmp_path)
    assert isinstance(error, AnswerInvalid) and "compressed" in error.message


async def test_nobody_there(outbound: Outbound, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error = await refused(outbound, Call(f"http://127.0.0.1:{port}/"), tmp_path)
    assert isinstance(error, CallFailed) and error.retryable and "there is no connection" in error.message


async def test_a_host_that_does_not_take_the_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "CONNECT_WITHIN", 0.2)
    outbound = Outbound()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]  # a queue that is full drops who comes next
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        error = await refused(outbound, Call(f"http://127.0.0.1:{port}/", within=60), tmp_path)
        for one in waiting:
            one.close()
    await outbound.close()
    assert isinstance(error, CallFailed) and "there is no connection" in error.message


async def test_tls_is_verified(outbound: Outbound, server: Outside, tmp_path: Path) -> None:
    error = await refused(outbound, Call(server.url.replace("http:", "https:")), tmp_path)
    assert isinstance(error, CallFailed) and "there is no connection" in error.message


class Nobody(AbstractResolver):
    """A name server with one answer to everything: a fault."""

    def __init__(self, fault: OSError) -> None:
        self._fault = fault

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        raise self._fault

    async def close(self) -> None:
        pass


async def test_whether_a_name_exists_inside_is_not_told(tmp_path: Path) -> None:
    unknown = Outbound(resolver=Nobody(socket.gaierror(socket.EAI_NONAME, "Name or service not known")))
    away = Outbound(resolver=Nobody(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")))
    call = Call("http://db.internal/")
    with pytest.raises(AddressRefused):
        await unknown.send(call, tmp_path)
    with pytest.raises(CallFailed):
        await away.send(call, tmp_path)
    with pytest.raises(CallFailed):
        await unknown.send(call, tmp_path, private=True)
    await unknown.close()
    await away.close()


# Secrets


SECRET = "s3cr3tvalue"
PLACES = [
    "{url}/{secret}?key={secret}",
    "http://{secret}:{secret}@127.0.0.1/",
    "http://127.0.0.1:99999/{secret}",
    "ftp://127.0.0.1/{secret}",
    "http://127.0.0.1:1/{secret}",
    "http://{secret}.invalid:99/",
    "http://127.1/{secret}",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("private", [False, True])
async def test_no_fault_tells_a_secret(
    place: str, private: bool, server: Outside, outbound: Outbound, tmp_path: Path
) -> None:
    server.answers[f"/{SECRET}"] = fixed(500, SECRET.encode())
    url = place.replace("{url}", server.url).replace("{secret}", SECRET)
    with pytest.raises(SafelightError) as caught:
        await outbound.send(Call(url, headers={"Authorization": SECRET}), tmp_path, private=private)
    error = caught.value
    # A log prints the causes of an error too, but not the text of what was suppressed.
    logged = "".join(traceback.format_exception(error.__cause__)) if error.__cause__ else ""
    chain = "".join(traceback.format_exception(error))
    assert SECRET not in error.message + repr(error.facts) + repr(error.__cause__) + logged + chain
