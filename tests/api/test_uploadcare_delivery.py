"""Delivery as Uploadcare's URL API has it, by a real server and a real worker: every operation decoded and measured."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat
from pyuploadcare.secure_url import AkamaiSecureUrlBuilderWithAclToken, AkamaiSecureUrlBuilderWithUrlToken

from pipeline.model import Grant
from tests.api.house import House
from tests.api.quarters import (
    BLUE,
    DRAWING,
    GREEN,
    RED,
    YELLOW,
    Look,
    Viewer,
    at,
    edged,
    encoded,
    is_whole,
    moving,
    near,
    quarters,
    turned,
)


@dataclass
class Shop(Viewer):
    """Who looks at pictures by their names: `{name}` in a path is the id of one."""

    ids: dict[str, str]

    def address(self, path: str) -> str:
        return path.format(**self.ids)

    async def refused(self, path: str, status: int = 400) -> str:
        return (await self.refusal(path, status))[1]


async def sent(house: House, body: bytes, name: str, **said: Any) -> str:
    file = await house.send(body, name, **said)
    return str(file["id"])


@pytest.fixture(scope="module")
async def shop(served: House, worker: subprocess.Popen[bytes]) -> AsyncIterator[Shop]:
    clear = quarters(mode="RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    ids = {
        "photo": await sent(served, encoded(quarters()), "photo.png"),
        "jpeg": await sent(served, encoded(quarters(), "JPEG", quality=95), "photo.jpg"),
        "turned": await sent(served, turned(), "turned.jpg"),
        "mark": await sent(served, encoded(Image.new("RGB", (100, 50), "#ff00ff")), "mark.png"),
        "edged": await sent(served, edged(), "edged.png"),
        "clear": await sent(served, encoded(clear), "clear.png"),
        "moving": await sent(served, moving(), "moving.gif"),
        "grey": await sent(served, encoded(Image.linear_gradient("L").point(lambda v: 80 + v // 4)), "grey.png"),
        "text": await sent(served, b"no picture", "note.txt"),
        "wide": await sent(served, encoded(Image.new("L", (4000, 100), 128)), "wide.png"),
        "drawing": await sent(served, DRAWING, "drawing.svg"),
    }
    yield Shop(served, ids)


GEOMETRY: list[tuple[str, tuple[int, int], Look]] = [
    ("preview/", (640, 480), is_whole),
    ("preview/320x320/", (320, 240), is_whole),
    ("preview/2000x2000/", (640, 480), is_whole),
    ("resize/320x/", (320, 240), is_whole),
    ("resize/x120/", (160, 120), is_whole),
    ("resize/100x200/", (100, 200), is_whole),
    ("resize/1280x/", (1280, 960), is_whole),
    ("stretch/off/-/resize/1280x/", (640, 480), is_whole),
    ("stretch/off/-/scale_crop/152x152/center/", (152, 152), is_whole),
    ("stretch/fill/-/setfill/00ff00/-/resize/800x600/", (800, 600), lambda i: near(at(i, 0, 0), (0, 255, 0))),
    ("scale_crop/100x100/", (100, 100), lambda i: near(at(i, 0.1, 0.1), RED)),
    ("scale_crop/100x100/center/", (100, 100), is_whole),
    ("scale_crop/480x240/50p,100p/", (480, 240), lambda i: near(at(i, 0.1, 0.9), BLUE)),
    ("scale_crop/100x100/smart/", (100, 100), lambda i: True),
    ("scale_crop/90x90/smart_faces_objects/", (90, 90), lambda i: True),
    ("scale_crop/100x100/smart_objects_points/", (100, 100), lambda i: True),
    ("crop/100x50/", (100, 50), lambda i: near(at(i, 0.5, 0.5), RED)),
    ("crop/100x50/400,300/", (100, 50), lambda i: near(at(i, 0.5, 0.5), YELLOW)),
    ("crop/100x50/right/", (100, 50), lambda i: near(at(i, 0.5, 0.1), GREEN)),
    ("crop/50px50p/100p,0p/", (320, 240), lambda i: near(at(i, 0.5, 0.5), GREEN)),
    ("crop/50%25x50%25/bottom/", (320, 240), lambda i: near(at(i, 0.1, 0.9), BLUE)),
    ("crop/1:1/", (480, 480), is_whole),
    ("crop/16:9/top/", (640, 360), lambda i: near(at(i, 0.1, 0.1), RED)),
    ("setfill/0000ff/-/crop/800x600/center/", (800, 600), lambda i: near(at(i, 0, 0), (0, 0, 255))),
    ("rotate/90/", (480, 640), lambda i: near(at(i, 0.1, 0.1), GREEN) and near(at(i, 0.1, 0.9), RED)),
    ("rotate/180/", (640, 480), lambda i: near(at(i, 0.1, 0.1), YELLOW)),
    ("flip/", (640, 480), lambda i: near(at(i, 0.1, 0.1), BLUE)),
    ("mirror/", (640, 480), lambda i: near(at(i, 0.1, 0.1), GREEN)),
    ("border_radius/60/-/format/png/", (640, 480), lambda i: i.getpixel((1, 1))[3] == 0),  # type: ignore[index]
    ("border_radius/0,50p/-/format/png/", (640, 480), lambda i: i.getpixel((1, 1))[3] == 255),  # type: ignore[index]
    ("setfill/123456/-/border_radius/200/-/format/jpeg/", (640, 480), lambda i: near(at(i, 0, 0), (0x12, 0x34, 0x56))),
    ("rect/ff000080/50%25x50%25/0,0/", (640, 480), lambda i: near(at(i, 0.3, 0.3), (237, 20, 20), 4)),
    ("overlay/{mark}/50px50p/center/", (640, 480), lambda i: near(at(i, 0.5, 0.5), (255, 0, 255))),
    ("overlay/{mark}/50%25x50%25/0,0/50p/", (640, 480), lambda i: near(at(i, 0.1, 0.1), (238, 20, 148), 4)),
    ("overlay/self/20px20p/100p,100p/", (640, 480), lambda i: near(at(i, 0.82, 0.82), RED)),
]  # fmt: skip


async def test_sizes_and_shapes(shop: Shop) -> None:
    for operations, size, look in GEOMETRY:
        image = await shop.picture(f"/{{photo}}/-/{operations}")
        assert image.size == size, operations
        assert look(image), operations


def level(image: Image.Image) -> float:
    return ImageStat.Stat(image.convert("L")).mean[0]


def colour(image: Image.Image) -> float:
    return ImageStat.Stat(image.convert("HSV")).mean[1]


TONES: list[tuple[str, Callable[[Image.Image, Image.Image], bool]]] = [
    ("grayscale/", lambda new, old: colour(new) == 0),
    ("invert/", lambda new, old: near(at(new, 0.1, 0.1), tuple(255 - part for part in RED))),
    ("brightness/50/", lambda new, old: level(new) > level(old) + 20),
    ("brightness/-100/", lambda new, old: level(new) == 0),
    ("exposure/-200/", lambda new, old: level(new) < level(old) * 0.7),
    ("gamma/200/", lambda new, old: level(new) > level(old) + 15),
    ("contrast/-100/", lambda new, old: near(at(new, 0.1, 0.1), (128, 128, 128), 2)),
    ("contrast/100/", lambda new, old: at(new, 0.1, 0.1)[0] > at(old, 0.1, 0.1)[0]),
    ("saturation/-100/", lambda new, old: colour(new) < 3),
    ("saturation/100/", lambda new, old: colour(new) > colour(old)),
    ("vibrance/-100/", lambda new, old: 3 < colour(new) < colour(old)),
    ("vibrance/100/", lambda new, old: colour(new) > colour(old)),
    ("warmth/100/", lambda new, old: at(new, 0.9, 0.9)[2] < at(old, 0.9, 0.9)[2] and at(new, 0.1, 0.9)[0] > 45),
    ("warmth/-100/", lambda new, old: at(new, 0.1, 0.1)[0] < at(old, 0.1, 0.1)[0]),
    ("blur/200/", lambda new, old: not near(at(new, 0.49, 0.2), RED, 40)),
    ("blur/200/50/", lambda new, old: not near(at(new, 0.49, 0.2), RED, 20)),
    ("blur/50/-100/", lambda new, old: at(new, 0.495, 0.2)[0] >= at(old, 0.495, 0.2)[0]),
    ("sharp/20/", lambda new, old: ImageChops.difference(new.convert("RGB"), old).getbbox() is not None),
    ("blur_region/100x100/270,190/200/", lambda new, old: not near(at(new, 0.5, 0.5), YELLOW, 30) and is_whole(new)),
]


async def test_light_and_colour(shop: Shop) -> None:
    old = await shop.picture("/{photo}/-/preview/")
    old = old.convert("RGB")
    for operations, look in TONES:
        new = await shop.picture(f"/{{photo}}/-/{operations}")
        assert new.size == old.size, operations
        assert look(new, old), (operations, at(new, 0.1, 0.1), level(new), colour(new))


async def test_enhance_uses_the_whole_range(shop: Shop) -> None:
    low, high = (await shop.picture("/{grey}/-/enhance/100/")).convert("L").getextrema()
    assert low <= 3 and high >= 252  # type: ignore[operator]
    low, high = (await shop.picture("/{grey}/-/enhance/0/")).convert("L").getextrema()
    assert low >= 79 and high <= 144  # type: ignore[operator]


async def test_trim_and_zoom(shop: Shop) -> None:
    assert (await shop.picture("/{edged}/-/trim/")).size == (100, 60)
    assert (await shop.picture("/{edged}/-/trim/10p/5/")).size == (110, 70)
    assert (await shop.picture("/{edged}/-/zoom_objects/50/")).size == (150, 80)


async def test_text_is_written_into_its_box(shop: Shop) -> None:
    path = "/{grey}/-/resize/640x480/-/text_align/center/center/-/text_box/fill/00ff00/-/font/bold/40/ff0000"
    path += "/-/text/50px50p/0,0/a~sb~n%7B%C3%BC%7D/"
    image = await shop.picture(path)
    assert near(at(image, 0.02, 0.02), (0, 255, 0))
    assert near(at(image, 0.75, 0.75), at(await shop.picture("/{grey}/-/resize/640x480/"), 0.75, 0.75))
    box = image.convert("RGB").crop((0, 0, 320, 240))
    assert any(near(pixel, (255, 0, 0), 60) for _, pixel in box.getcolors(100_000) or [])  # type: ignore[arg-type]


async def test_formats_qualities_and_metadata(shop: Shop) -> None:
    for format, kind in (("jpeg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("preserve", "PNG")):
        assert (await shop.picture(f"/{{photo}}/-/format/{format}/")).format == kind
    assert (await shop.picture("/{jpeg}/-/preview/100x100/")).format == "JPEG"
    sizes = {}
    for quality in ("lightest", "lighter", "normal", "better", "best", "smart"):
        _, _, body = await shop.get(f"/{{grey}}/-/format/jpeg/-/quality/{quality}/")
        sizes[quality] = len(body)
    assert sizes["lightest"] < sizes["normal"] < sizes["best"] and sizes["smart"] == sizes["normal"]
    plain = await shop.picture("/{jpeg}/-/resize/300x/")
    coarse = await shop.picture("/{jpeg}/-/progressive/yes/-/resize/300x/")
    assert "progressive" in coarse.info and "progressive" not in plain.info
    assert not (await shop.picture("/{turned}/-/preview/")).getexif()
    kept = (await shop.picture("/{turned}/-/strip_meta/none/-/preview/")).getexif()
    assert kept[0x8298] == "Ada" and kept.get(0x0112, 1) == 1
    assert (await shop.picture("/{turned}/-/strip_meta/sensitive/-/preview/")).getexif()[0x8298] == "Ada"


async def test_auto_format_follows_accept_and_alpha(shop: Shop) -> None:
    path = "/{clear}/-/format/auto/-/preview/120x120/"
    for accept, kind in (("image/avif,image/webp,*/*", "AVIF"), ("image/webp,*/*", "WEBP"), ("*/*", "PNG")):
        status, headers, body = await shop.get(path, Accept=accept)
        assert (status, headers["vary"], Image.open(io.BytesIO(body)).format) == (200, "Accept", kind)
    # The answers that lie ready by now are told apart too.
    for accept, kind in (("image/avif,image/webp,*/*", "AVIF"), ("image/webp,*/*", "WEBP"), ("*/*", "PNG")):
        assert (await shop.picture(path, Accept=accept)).format == kind
    assert (await shop.picture("/{photo}/-/format/auto/-/preview/")).format == "JPEG"
    _, headers, _ = await shop.get("/{photo}/-/preview/")
    assert "vary" not in headers


async def test_photographs_are_turned_upright(shop: Shop) -> None:
    image = await shop.picture("/{turned}/-/preview/")
    assert image.size == (480, 640) and near(at(image, 0.1, 0.1), BLUE) and near(at(image, 0.9, 0.1), RED)
    lying = await shop.picture("/{turned}/-/autorotate/no/-/preview/")
    assert lying.size == (640, 480) and near(at(lying, 0.1, 0.1), RED)


async def test_json_tells_of_the_picture(shop: Shop) -> None:
    status, headers, body = await shop.get("/{turned}/-/json/", Origin="https://page.example")
    told = await shop.house.session.get(f"{shop.house.base}/{shop.ids['turned']}/-/json/")
    document = await told.json()
    assert (status, headers["access-control-allow-origin"], headers["content-type"]) == (200, "*", "application/json")
    assert (document["id"], document["width"], document["height"]) == (shop.ids["turned"], 480, 640)
    assert (document["format"], document["orientation"], document["sequence"]) == ("JPEG", 6, False)
    assert len(document["hash"]) == 16 and int(document["hash"], 16) >= 0
    _, headers, body = await shop.get("/{turned}/-/jsonp/?callback=told")
    assert body.startswith(b"told({") and headers["content-type"].startswith("application/javascript")
    assert await shop.refused("/{turned}/-/jsonp/?callback=alert(1)//") == "`callback` is the name of a function.\n"
    _, _, body = await shop.get("/{mark}/-/main_colors/3/")
    assert b'"main_colors":[[255,0,255]]' in body
    assert "face_model" in await shop.refused("/{photo}/detect_faces/")


async def test_animations_are_stills_or_films(shop: Shop) -> None:
    still = await shop.picture("/{moving}/-/format/png/")
    assert getattr(still, "n_frames", 1) == 1 and near(at(still, 0.5, 0.5), (255, 0, 0))
    status, headers, body = await shop.get("/{moving}/gif2video/-/format/mp4/-/quality/lighter/-/resize/32x/")
    assert (status, headers["content-type"], body[4:8]) == (200, "video/mp4", b"ftyp")
    assert 'filename="moving.mp4"' in headers["content-disposition"]
    status, headers, body = await shop.get("/{moving}/gif2video/-/format/webm/")
    assert (status, headers["content-type"], body[:4]) == (200, "video/webm", b"\x1a\x45\xdf\xa3")
    status, headers, body = await shop.get("/{moving}/gif2video/-/scale_crop/20x20/center/")
    assert (status, headers["content-type"]) == (200, "video/mp4")
    assert "GIF" in await shop.refused("/{photo}/gif2video/")
    assert "`crop`" in await shop.refused("/{moving}/gif2video/-/resize/30x/-/crop/10x10/center/")


async def test_originals_names_and_drawings(shop: Shop) -> None:
    status, headers, body = await shop.get("/{photo}/")
    assert (status, body) == (200, encoded(quarters()))
    assert headers["content-disposition"].startswith('inline; filename="photo.png"')
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert headers["x-content-type-options"] == "nosniff" and "sandbox" in headers["content-security-policy"]
    _, headers, _ = await shop.get("/{photo}/k%C3%A4se.png")
    assert headers["content-disposition"].endswith("filename*=UTF-8''k%C3%A4se.png")
    _, headers, _ = await shop.get("/{photo}/-/preview/100x100/small.png")
    assert headers["content-disposition"].startswith('inline; filename="small.png"')
    _, headers, _ = await shop.get("/{photo}/-/inline/no/")
    assert headers["content-disposition"].startswith("attachment")
    _, headers, body = await shop.get("/{text}/")
    assert headers["content-disposition"].startswith("attachment") and body == b"no picture"
    _, headers, _ = await shop.get("/{drawing}/")
    assert headers["content-type"] == "image/svg+xml" and "sandbox" in headers["content-security-policy"]
    assert (await shop.picture("/{drawing}/-/rasterize/-/resize/80x/")).size == (80, 60)
    assert (await shop.picture("/{photo}/-/preview/200x200/-/@clib/blocks/1.0/uc-img/")).size == (200, 150)


async def test_conditions_ranges_and_heads(shop: Shop) -> None:
    path = "/{photo}/-/preview/101x101/"
    for _ in range(2):  # the second from what lies ready
        status, headers, body = await shop.get(path, X_Request_Id="mine", Origin="https://page.example")
        assert (status, headers["x-request-id"], headers["access-control-allow-origin"]) == (200, "mine", "*")
        assert int(headers["content-length"]) == len(body) and headers["accept-ranges"] == "bytes"
        assert headers["cache-control"] == "public, max-age=31536000, immutable"
    tag = headers["etag"]
    assert tag.strip('"') == hashlib.sha256(body).hexdigest()
    for condition in (tag, f'"other", W/{tag}', "*"):
        status, told, empty = await shop.get(path, If_None_Match=condition)
        assert (status, told["etag"], empty) == (304, tag, b"")
    assert (await shop.get(path, If_None_Match='"other"'))[0] == 200
    status, told, part = await shop.get(path, Range="bytes=2-5")
    assert (status, told["content-range"], part) == (206, f"bytes 2-5/{len(body)}", body[2:6])
    assert (await shop.get(path, Range="bytes=999999-"))[0] == 416
    status, told, empty = await shop.get(path, "HEAD")
    assert (status, told["content-length"], told["etag"], empty) == (200, str(len(body)), tag, b"")


async def test_short_way_keeps_to_whole_requests(shop: Shop) -> None:
    """What comes in pieces, at once, with a body or in old ways is answered too, and nothing is taken for another."""
    path = f"/{shop.ids['photo']}/-/preview/60x60/"
    await shop.get(path)
    await shop.get(path)
    head = f"Host: 127.0.0.1:{shop.house.port}\r\n".encode()
    get = b"GET " + path.encode() + b" HTTP/1.1\r\n" + head
    last = get + b"Connection: close\r\n\r\n"
    for pieces, answers in (
        ((get + b"\r\n", last), 2),
        ((get + b"\r\n" + get + b"\r\n" + last,), 3),
        ((get[:20], get[20:] + b"\r\n", last), 2),
    ):
        told = await shop.house.speak(*pieces)
        assert told.count(b"HTTP/1.1 ") == answers, pieces
        assert told.count(b"HTTP/1.1 200 OK") >= answers - 1
    unread = b"POST /nothing HTTP/1.1\r\n" + head + b"Content-Length: 40\r\n\r\n"
    assert b"image/png" not in await shop.house.speak(unread, get[:40], last)
    told = await shop.house.speak(get + b"Content-Length: 5\r\n\r\nGET /" + last)
    assert told.count(b"HTTP/1.1 ") == 1
    smuggled = b"GET /livez HTTP/1.1\r\n" + head + b"X-A: 1\r\n"
    told = await shop.house.speak(smuggled, get + b"Connection: close\r\n\r\n")
    assert told.startswith(b"HTTP/1.0 400 ") and b"image/png" not in told


async def test_many_who_want_the_same_share_one_job(shop: Shop) -> None:
    path = "/{photo}/-/blur/30/-/preview/333x333/"
    async with shop.house.redis.pubsub() as line:
        await line.subscribe("safelight:drawn")
        answers = await asyncio.gather(*(shop.get(path) for _ in range(20)))
        await shop.get("/{photo}/-/preview/334x334/")
        called: list[str] = []
        while len(set(called)) < 2:
            message = await line.get_message(ignore_subscribe_messages=True, timeout=5)
            called += [message["data"].decode()] if message else []
    assert {status for status, _, _ in answers} == {200}
    assert len({body for _, _, body in answers}) == 1
    # Called out as each is made: once for all of them, then the one behind.
    assert len(called) == 2


async def test_what_was_made_goes_with_its_file(shop: Shop) -> None:
    id = await sent(shop.house, encoded(quarters(50, 40)), "gone.png")
    for path in (f"/{id}/-/preview/20x20/", f"/{id}/"):
        for _ in range(3):
            assert (await shop.get(path))[0] == 200
    (made,) = await shop.house.core.records.derivatives.of(id)
    place = shop.house.data / "files" / made.key
    assert place.is_file() and made.size == place.stat().st_size
    await shop.house.json("DELETE", f"/v1/files/{id}", 204)
    assert not place.exists()
    async with asyncio.timeout(2):
        while (await shop.get(f"/{id}/-/preview/20x20/"))[0] != 404 or (await shop.get(f"/{id}/"))[0] != 404:
            await asyncio.sleep(0.02)
    assert await shop.house.core.records.derivatives.of(id) == []


async def test_lost_bytes_are_made_again(shop: Shop) -> None:
    id = await sent(shop.house, encoded(quarters(50, 40)), "cut.png")
    path = f"/{id}/-/preview/21x21/"
    _, _, body = await shop.get(path)
    (made,) = await shop.house.core.records.derivatives.of(id)
    place = shop.house.data / "files" / made.key
    await shop.house.json("PATCH", f"/v1/files/{id}", json={"name": "other.png"})
    place.write_bytes(body[:10])
    async with asyncio.timeout(5):
        while True:
            status, headers, again = await shop.get(path)
            if "other.png" in headers.get("content-disposition", ""):
                break
    assert (status, again) == (200, body) and place.read_bytes() == body


async def test_unreadable_pictures_are_not_drawn_again_and_again(shop: Shop) -> None:
    broken = encoded(Image.effect_noise((300, 300), 90))
    middle = len(broken) // 2
    id = await sent(shop.house, broken[:middle] + b"\0" * 200 + broken[middle + 200 :], "broken.png")
    found = [await shop.get(f"/{id}/-/preview/200x200/") for _ in range(3)]
    assert {(status, headers["safelight-error"]) for status, headers, _ in found} == {(400, "IMAGE_UNREADABLE")}
    assert {headers["cache-control"] for _, headers, _ in found} == {"no-store"}


BAD = [
    ("/{photo}/-/resize/99999999x/", "resize"),
    ("/{photo}/-/resize/3001x/", "3000"),
    ("/{photo}/-/preview/5001x5001/-/format/jpeg/", "5000"),
    ("/{photo}/-/resize/0x0/", "resize"),
    ("/{photo}/-/resize/-5x/", "resize"),
    ("/{photo}/-/resize/", "resize/WxH"),
    ("/{photo}/-/blur/1e9/", "blur"),
    ("/{photo}/-/brightness/101/", "from -100 to 100"),
    ("/{photo}/-/rotate/361/", "rotate"),
    ("/{photo}/-/overlay/nothing/", "overlay"),
    ("/{photo}/-/overlay/00000000-0000-4000-8000-000000000000/", "no file"),
    ("/{photo}/-/overlay/{text}/", "pictures"),
    ("/{photo}/-/setfill/zzz/-/preview/", "colour"),
    ("/{photo}/-/crop/10x10/700,0/", "outside"),
    ("/{photo}/-/text/10x10/0,0/a%2Fb/", "encoded slashes"),
    ("/{photo}/-/preview%00/", "NUL"),
    ("/{photo}/-/text/10x10/0,0/%ff%fe/", "UTF-8"),
    ("/{photo}/preview/1x1/", "no operation"),
    ("/{photo}/" + "-/flip/" * 61, "60 operations"),
    ("/{photo}/-/text/50px50p/0,0/" + "a" * 6000 + "/", "longer"),
    ("/{text}/-/preview/", "pictures"),
    ("/{text}/-/json/", "pictures"),
    ("/{wide}/-/crop/3500x100/-/resize/3000x/-/crop/1:1/-/rotate/0.5/-/pad/1/", "`pad` is not an operation"),
]  # fmt: skip


async def test_what_cannot_be_done_is_told(shop: Shop) -> None:
    for path, told in BAD:
        assert told in await shop.refused(path), path
    all_at_once = await shop.refused("/{photo}/-/filter/adaris/-/smart_resize/10x10/-/nonsense/1/-/resize/ten/")
    for named in ("`filter` is not spoken", "`smart_resize` is not spoken", "`nonsense`", "`resize/ten`"):
        assert named in all_at_once


async def test_limits_of_the_result(shop: Shop) -> None:
    assert (await shop.picture("/{wide}/-/preview/")).size == (2048, 51)
    assert (await shop.picture("/{photo}/-/format/jpeg/-/resize/4000x100/")).size == (4000, 100)
    assert "3000 a side" in await shop.refused("/{wide}/-/resize/x1000/")


async def test_nothing_is_told_of_what_is_not_public(shop: Shop) -> None:
    private = await sent(shop.house, encoded(quarters(20, 20)), "mine.png&private=true")
    for path in (f"/{private}/", f"/{private}/-/preview/", "/00000000-0000-4000-8000-000000000000/", "/1-2-3-4-5/"):
        status, headers, _ = await shop.get(path, Origin="https://page.example")
        assert (status, headers["access-control-allow-origin"]) == (404, "*"), path
    async with shop.house.ask("POST", f"/{private}/") as answer:
        assert answer.status == 405


async def test_groups(shop: Shop) -> None:
    ids = [shop.ids["photo"], shop.ids["mark"]]
    core = shop.house.core
    grant = Grant(project=core.settings.projects["demo"])
    group = await core.groups.create(core.groups.drafted(grant, ids, ["crop/1:1/-/flip/", ""]))
    status, _, body = await shop.get(f"/{group.id}/")
    assert status == 200 and group.id.encode() in body
    first = await shop.picture(f"/{group.id}/nth/0/")
    assert first.size == (480, 480) and near(at(first, 0.1, 0.1), BLUE)
    assert (await shop.picture(f"/{group.id}/nth/0/-/resize/100x/")).size == (100, 100)
    assert (await shop.get(f"/{group.id}/nth/1/"))[2] == (await shop.get("/{mark}/"))[2]
    assert (await shop.get(f"/{group.id}/nth/2/"))[0] == 404
    for form, magic in (("zip", b"PK"), ("tar", b"photo.png")):
        for tail in ("", "/", "/all.bin"):
            status, headers, body = await shop.get(f"/{group.id}/archive/{form}{tail}")
            assert (status, body[: len(magic)]) == (200, magic), (form, tail)
    assert 'filename="all.bin"' in headers["content-disposition"]
    assert (await shop.get(f"/{group.id}/archive/rar/"))[0] == 404
    assert (await shop.get("/00000000-0000-4000-8000-000000000000~3/"))[0] == 404
    await core.groups.delete(grant, group.id)
    async with asyncio.timeout(2):
        while (await shop.get(f"/{group.id}/nth/1/"))[0] != 404:
            await asyncio.sleep(0.02)


async def test_tokens_open_signed_delivery(shop: Shop) -> None:
    id = await sent(shop.house, encoded(quarters(60, 40)), "locked.png", key="signed-key")
    secret = base64.b16encode(b"0123456789abcdef").decode().lower()
    acl, url = (kind("x", secret) for kind in (AkamaiSecureUrlBuilderWithAclToken, AkamaiSecureUrlBuilderWithUrlToken))
    path = f"/{id}/-/resize/30x/"

    async def opened(asked: str, token: str) -> int:
        return (await shop.get(f"{asked}?token={token}"))[0]

    assert (await shop.get(path))[0] == 403
    assert await opened(path, acl.get_token(path)) == 200
    assert await opened(f"/{id}/-/preview/", acl.get_token(path)) == 403
    assert await opened(path, acl.get_token(f"/{id}/", wildcard=True)) == 200
    assert await opened(path, url.get_token(path)) == 200
    assert await opened(f"/{id}/", url.get_token(path)) == 403
    late = f"exp={int(time.time()) - 5}~acl=/{id}/*"
    signed = hmac.new(bytes.fromhex(secret), late.encode(), hashlib.sha256).hexdigest()
    assert await opened(path, f"{late}~hmac={signed}") == 403
    assert await opened(path, f"exp=9999999999~acl=/{id}/*~hmac={'0' * 64}") == 403
    assert await opened(path, "nonsense") == 403
    assert (await shop.get(path))[0] == 403
