"""What workers do: the flow and the webhook of a route, and pictures made of files, decoded and measured."""

from __future__ import annotations

import asyncio
import hmac
import io
import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
import pytest
from PIL import Image
from qstash import Receiver
from qstash.errors import SignatureError

from pipeline.api.dialects.uploadkit.transforms import signature
from tests.acceptance.uploadkit.kit import SECRET, Kit
from tests.nodes.studio import PHOTO
from tests.outside import Heard, Outside

RED, BLUE = (220, 40, 40), (40, 60, 220)


@pytest.fixture(scope="module")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_route_starts_its_flow_and_tells_its_webhook_once_however_many_complete(
    kit: Kit, receiver: Outside, session: aiohttp.ClientSession
) -> None:
    late = {"userId": "123", "width": 3}
    asked = await kit.put_up(PHOTO, "image/jpeg", "imageUploader", metadata={"userId": "early"})

    async def complete() -> tuple[int, Any]:
        own, done = aiohttp.TCPConnector(force_close=True), {"fileId": asked["fileId"], "metadata": late}
        async with (
            aiohttp.ClientSession(connector=own, headers={"x-api-key": kit.key}) as client,
            client.post(f"{kit.base}/api/v1/upload/complete", json=done) as answer,
        ):
            return answer.status, await answer.json()

    told = await asyncio.gather(*(complete() for _ in range(10)))
    files = [document for status, document in told if status == 200]
    assert files and files == [files[0]] * len(files)
    assert all(status == 404 and document["code"] == "NOT_FOUND" for status, document in told if status != 200)
    file = files[0]
    async with asyncio.timeout(30):
        while not (heard := told_of(receiver, file["id"])):
            await asyncio.sleep(0.02)
    (message,) = heard
    told = json.loads(message.body)
    assert told["event"] == "onUploadComplete" and told["projectId"] == "demo"
    names = {"id", "key", "name", "size", "type", "url", "metadata", "fileName", "fileSize", "contentType", "status"}
    assert {name: told["file"][name] for name in names} == {name: file[name] for name in names}
    assert told["metadata"] == late
    proof = {"signature": message.headers["Upstash-Signature"], "url": f"{receiver.url}/hook"}
    Receiver(current_signing_key=SECRET, next_signing_key="other" * 8).verify(body=message.body.decode(), **proof)
    Receiver(current_signing_key="other" * 8, next_signing_key=SECRET).verify(body=message.body.decode(), **proof)
    for body, key, url in (("{}", SECRET, None), (message.body.decode(), "other" * 8, None)):
        with pytest.raises(SignatureError):
            Receiver(key, key).verify(body=body, url=url, signature=proof["signature"])
    assert message.headers["Upstash-Message-Id"].startswith("msg_")

    base, headers = kit.base.removesuffix("/uploadkit"), {"Authorization": f"Bearer {kit.key}"}
    async with session.get(f"{base}/v1/files/{file['id']}", headers=headers) as answer:
        run = (await answer.json())["follow"]
    made: Any = {"status": "queued"}
    async with asyncio.timeout(30):
        while made["status"] in ("queued", "running"):
            async with session.get(f"{base}/v1/runs/{run}", headers=headers) as answer:
                made = await answer.json()
            await asyncio.sleep(0.02)
    assert made["status"] == "completed", made
    (output,) = made["outputs"]
    assert (output["path"], output["width"], output["height"]) == ("avatars/123.webp", 64, 64)
    assert len(told_of(receiver, file["id"])) == 1, "told once, in one dialect's words"


def told_of(receiver: Outside, id: str) -> list[Heard]:
    return [one for one in receiver.heard if one.path == "/hook" and id.encode() in one.body]


# Transforms


@pytest.fixture(scope="module")
async def halves(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Keys of a picture of 600 x 300, red at the left and blue at the right, a clear one, one that moves, and words."""
    folder, kit = tmp_path_factory.mktemp("halves"), Kit(f"{server.address}/uploadkit")
    image = Image.new("RGB", (600, 300), RED)
    image.paste(BLUE, (300, 0, 600, 300))
    image.save(folder / "halves.png")
    image.resize((60, 30)).save(folder / "tiny.png")
    clear = image.convert("RGBA")
    clear.putalpha(128)
    clear.save(folder / "clear.png")
    frames = [Image.new("RGB", (60, 30), colour) for colour in (RED, BLUE)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:], duration=100)
    Image.new("L", (4, 4000)).save(folder / "sliver.png")
    (folder / "words.txt").write_text("no picture")
    types = dict.fromkeys(("halves.png", "tiny.png", "clear.png", "sliver.png"), "image/png")
    types |= {"moving.gif": "image/gif", "words.txt": "text/plain"}
    return {Path(name).stem: (await kit.upload(folder / name, type))["key"] for name, type in types.items()}


async def got(session: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    async with session.get(url, headers=headers, skip_auto_headers=["Accept"]) as answer:
        return answer.status, answer.headers.copy(), await answer.read()


async def picture(
    kit: Kit, session: aiohttp.ClientSession, key: str, accept: str = "", **asked: Any
) -> tuple[Image.Image, Mapping[str, str], Mapping[str, Any]]:
    """The picture an address leads to, its headers, and what was told of it."""
    status, told = await kit.ask("POST", "/transforms/image", {"key": key, **asked})
    assert status == 200, told
    status, headers, body = await got(session, told["url"], **({"Accept": accept} if accept else {}))
    assert status == 200, body
    image = Image.open(io.BytesIO(body))
    image.load()
    return image, headers, told


FITS = [
    ({"width": 300, "height": 300}, (300, 150)),
    ({"width": 1200}, (600, 300)),
    ({"width": 1200, "fit": "contain"}, (1200, 600)),
    ({"width": 300, "height": 300, "fit": "contain"}, (300, 150)),
    ({"width": 200, "height": 200, "fit": "cover"}, (200, 200)),
    ({"width": 900, "height": 900, "fit": "cover"}, (900, 900)),
    ({"width": 200, "height": 200, "fit": "crop"}, (200, 200)),
    ({"width": 900, "height": 200, "fit": "crop"}, (600, 200)),
    ({"width": 900, "height": 900, "fit": "crop"}, (600, 300)),
    ({"width": 300, "height": 300, "fit": "pad"}, (300, 300)),
    ({"height": 100, "fit": "cover"}, (200, 100)),
    ({"height": 100, "fit": "pad"}, (200, 100)),
]


async def test_how_a_picture_fits(kit: Kit, session: aiohttp.ClientSession, halves: Mapping[str, str]) -> None:
    async def one(asked: Mapping[str, Any], size: tuple[int, int]) -> None:
        image, _, told = await picture(kit, session, halves["halves"], **asked, format="png")
        assert (image.size, image.format) == (size, "PNG"), asked
        assert told["transform"] == {"fit": "scale-down", "quality": 85, "format": "png", **asked}
        rgb, (width, height) = image.convert("RGB"), size
        assert near(rgb.getpixel((width // 8, height // 2)), RED), asked
        assert near(rgb.getpixel((width * 7 // 8, height // 2)), BLUE), asked
        edge = rgb.getpixel((width // 8, 2))
        assert near(edge, (255, 255, 255) if asked.get("fit") == "pad" and len(asked) == 3 else RED), asked

    await asyncio.gather(*(one(*each) for each in FITS))


def near(one: Any, other: tuple[int, int, int]) -> bool:
    return all(abs(a - b) <= 12 for a, b in zip(one, other, strict=True))


FORMATS = [
    ("halves", {"format": "jpeg"}, "", "JPEG"),
    ("halves", {"format": "webp"}, "", "WEBP"),
    ("halves", {"format": "avif"}, "", "AVIF"),
    ("halves", {}, "", "JPEG"),
    ("clear", {}, "", "PNG"),
    ("halves", {}, "image/webp,*/*", "WEBP"),
    ("halves", {}, "image/avif,image/webp,*/*", "AVIF"),
    ("moving", {"format": "jpeg"}, "", "JPEG"),
    ("moving", {"format": "webp"}, "", "WEBP"),
]


async def test_which_format_it_has(kit: Kit, session: aiohttp.ClientSession, halves: Mapping[str, str]) -> None:
    for name, asked, accept, format in FORMATS:
        image, headers, _ = await picture(kit, session, halves[name], accept, width=50, **asked)
        assert (image.format, image.width) == (format, 50), (name, asked)
        assert headers["Content-Type"] == f"image/{format.lower()}"
        assert ("Accept" in headers.get("Vary", "")) == ("format" not in asked)
        assert getattr(image, "n_frames", 1) == (2 if (name, format) == ("moving", "WEBP") else 1)
    sizes = []
    for quality in (5, 95):
        status, told = await kit.ask(
            "POST", "/transforms/image", {"key": halves["halves"], "width": 599, "quality": quality, "format": "jpeg"}
        )
        sizes.append(len((await got(session, told["url"]))[2]))
    assert status == 200 and sizes[0] < sizes[1]


async def test_signed_addresses_end_and_public_ones_last(
    kit: Kit, session: aiohttp.ClientSession, halves: Mapping[str, str]
) -> None:
    key = halves["halves"]
    _, headers, signed = await picture(kit, session, key, width=40)
    expires, hours = int(urlsplit(signed["url"]).path.split("/")[3]), (int(time.time()) // 3600) + 25
    assert expires in (hours * 3600, (hours + 1) * 3600) and signed["delivery"] == "signed"
    assert signed["expiresAt"].endswith(":00:00.000Z")
    assert "immutable" not in headers["Cache-Control"] and "max-age=" in headers["Cache-Control"]
    assert (await kit.ask("POST", "/transforms/image", {"key": key, "width": 40}))[1]["url"] == signed["url"]
    _, headers, public = await picture(kit, session, key, width=40, delivery="public")
    assert public["expiresAt"] is None and "/uploadkit/p/" in public["url"] and "immutable" in headers["Cache-Control"]
    assert public["usage"].keys() == {"period", "used", "limit", "units", "counted"}

    async def refused(url: str, method: str = "GET") -> tuple[int, str]:
        async with session.request(method, url) as answer:
            return answer.status, (await answer.json())["error"]["code"]

    for url in (signed["url"], public["url"]):
        assert await refused(url.replace("w_40", "w_41")) == (403, "INVALID_TRANSFORM_SIGNATURE")
        assert await refused(url.replace("halves", "other")) == (403, "INVALID_TRANSFORM_SIGNATURE")
        for odd in ("w_40,w_40", "w_0", "w_5000", "x_1", "h_040"):
            assert await refused(url.replace("w_40", odd)) == (400, "INVALID_TRANSFORM_URL"), odd
        assert await refused(url.replace("q_85", "q_101")) == (400, "INVALID_TRANSFORM_URL")
        assert await refused(url, "POST") == (405, "METHOD_NOT_ALLOWED")
        async with session.head(url) as answer:
            assert answer.status == 200
    later = signed["url"].replace(str(expires), str(expires + 1))
    assert await refused(later) == (403, "INVALID_TRANSFORM_SIGNATURE")
    assert await refused(signed["url"].replace(str(expires), "soon")) == (400, "INVALID_TRANSFORM_URL")
    assert await refused(past(signed["url"], expires)) == (403, "TRANSFORM_URL_EXPIRED")


def past(url: str, expires: int) -> str:
    """The same address as it was given out long ago."""
    secret = hmac.digest(b"demosecretkey", b"uploadkit transform", "sha256")
    _, _, _, _, given, spec, key = urlsplit(url).path.split("/", 6)
    return url.replace(str(expires), "1760000400").replace(given, signature(secret, 1760000400, spec, unquote(key)))


async def test_what_transforms_refuse(kit: Kit, halves: Mapping[str, str]) -> None:
    status, told = await kit.ask("POST", "/transforms/image", {"key": halves["sliver"], "width": 400, "fit": "contain"})
    assert status == 200
    status, told = await kit.curl(told["url"])
    assert (status, told["error"]["code"]) == (400, "FILE_REJECTED")
    for asked, status, code in (
        ({"key": halves["words"], "width": 10}, 415, "UNSUPPORTED_TRANSFORM_TYPE"),
        ({"key": "uploads/abc/x.jpg", "width": 10}, 404, "NOT_FOUND"),
        ({"key": halves["halves"]}, 400, "VALIDATION_ERROR"),
        ({"key": halves["halves"], "width": 4097}, 400, "VALIDATION_ERROR"),
        ({"key": halves["halves"], "width": 10, "fit": "squeeze"}, 400, "VALIDATION_ERROR"),
        ({"key": halves["halves"], "width": 10, "quality": 0}, 400, "VALIDATION_ERROR"),
    ):
        found, told = await kit.ask("POST", "/transforms/image", asked)
        assert (found, told["code"]) == (status, code), asked


def test_the_worked_signature() -> None:
    told = signature(b"transform_secret_test", 1760000400, "w_300,h_200,fit_cover,q_85,f_auto",
                     "proj/imageUploader/abc/p.jpg")  # fmt: skip
    assert told == "gwz2nqNNErZZh1aXWQFupheAmetYzzCcRIJU7IsEKQw"
