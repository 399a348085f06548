"""Pictures in a served application with a worker, and what can be said of what is delivered of them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from PIL import Image, ImageCms
from yarl import URL

from pipeline.model import Grant
from tests.api.house import House
from tests.imaging.papers import pdf, quartered

RED, GREEN, BLUE, YELLOW = (220, 40, 40), (40, 200, 60), (40, 60, 220), (230, 220, 40)
WIDTH, HEIGHT = 640, 480
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
KEY = "ik-demo-key"


def quarters(width: int = WIDTH, height: int = HEIGHT, mode: str = "RGB") -> Image.Image:
    """Red and green above blue and yellow."""
    image = Image.new(mode, (width, height))
    half = width // 2, height // 2
    for place, colour in zip(((0, 0), (half[0], 0), (0, half[1]), half), (RED, GREEN, BLUE, YELLOW), strict=True):
        image.paste(colour, (*place, place[0] + half[0], place[1] + half[1]))
    return image


def encoded(image: Image.Image, form: str = "PNG", **said: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **said)
    return out.getvalue()


@dataclass
class Gallery:
    """A served house with a worker, and files in it by their paths."""

    house: House

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body at a path behind the project, sent as it is written."""
        url = f"{self.house.base}/imagekit/ik/demo{path}"
        spelt = {name.replace("_", "-"): text for name, text in headers.items()}
        asked = self.house.session.request(method, URL(url, encoded=True), headers=spelt, skip_auto_headers=["Accept"])
        async with asked as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read()

    async def picture(self, path: str, **headers: str) -> Image.Image:
        status, _, body = await self.get(path, **headers)
        assert status == 200, (path, body[:300])
        image = Image.open(io.BytesIO(body))
        image.load()
        return image

    async def refused(self, path: str, status: int = 400) -> str:
        found, headers, body = await self.get(path, Origin="https://page.example")
        assert (found, headers["access-control-allow-origin"]) == (status, "*"), (path, found, body[:300])
        code, dash, message = headers["ik-error"].partition(" - ")
        assert (dash, code.isupper(), bool(message)) == (" - ", True, True)
        assert b"Traceback" not in body
        return body.decode()

    async def send(self, body: bytes, path: str, **said: str) -> str:
        """The id of a file that lies at a path from now on."""
        folder, _, name = path.rpartition("/")
        query = "".join(f"&{key}={quote(value)}" for key, value in {"folder": folder, **said}.items() if value)
        file = await self.house.json("POST", f"/v1/files?name={quote(name)}{query}", 201, data=body, key=KEY)
        return str(file["id"])

    @property
    def grant(self) -> Grant:
        return Grant(project=self.house.core.settings.projects["demo"])


async def filled(house: House) -> Gallery:
    """A gallery with a picture of every kind, and other files."""
    gallery = Gallery(house)
    turned = Image.Exif()
    turned[0x0112], turned[0x8298] = 6, "Ada"
    edged = Image.new("RGB", (200, 100), WHITE)
    edged.paste(BLACK, (50, 20, 150, 80))
    clear = quarters(mode="RGBA")
    clear.putalpha(Image.new("L", clear.size, 0))
    clear.paste((*RED, 255), (0, 0, 320, 480))
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><rect width="40" height="30"/></svg>'
    p3 = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    mostly = quarters()
    mostly.paste(GREEN, (0, 0, 640, 400))
    pictures = {
        "photo.png": encoded(quarters()),
        "shop/shoes/photo.jpg": encoded(quarters(), "JPEG", quality=95),
        "turned.jpg": encoded(quarters(), "JPEG", exif=turned, quality=95),
        "edged.png": encoded(edged),
        "clear.png": encoded(clear),
        "wide.png": encoded(quarters(400, 100)),
        "mostly.png": encoded(mostly),
        "moving.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=200),
        "drawing.svg": drawing,
        "note.txt": b"no picture",
        "paper.pdf": pdf([quartered(100, 50), quartered(60, 60)]),
        "profiled.jpg": encoded(quarters(), "JPEG", icc_profile=p3),
        "a b/ünïcode.png": encoded(Image.new("RGB", (30, 20), GREEN)),
    }  # fmt: skip
    for path, body in pictures.items():
        await gallery.send(body, path)
    return gallery


def at(image: Image.Image, x: float, y: float) -> tuple[int, ...]:
    """The colour at fractions of the picture."""
    pixel = image.convert("RGB").getpixel((int(x * (image.width - 1)), int(y * (image.height - 1))))
    assert isinstance(pixel, tuple)
    return pixel


def alpha(image: Image.Image, x: float, y: float) -> int:
    pixel = image.convert("RGBA").getpixel((int(x * (image.width - 1)), int(y * (image.height - 1))))
    assert isinstance(pixel, tuple)
    return int(pixel[3])


def near(one: tuple[int, ...], other: tuple[int, ...], most: int = 14) -> bool:
    return all(abs(a - b) <= most for a, b in zip(one, other, strict=True))


def is_whole(image: Image.Image) -> bool:
    """Whether all four quarters are where they belong."""
    spots = ((0.1, 0.1, RED), (0.9, 0.1, GREEN), (0.1, 0.9, BLUE), (0.9, 0.9, YELLOW))
    return all(near(at(image, x, y), colour) for x, y, colour in spots)


Look = Callable[[Image.Image], bool]
Row = tuple[str, tuple[int, int], Look]


def shows(x: float, y: float, colour: tuple[int, ...]) -> Look:
    return lambda image: near(at(image, x, y), colour)


def clear_at(x: float, y: float, least: int = 0, most: int = 0) -> Look:
    return lambda image: least <= alpha(image, x, y) <= most


def every(*looks: Look) -> Look:
    return lambda image: all(look(image) for look in looks)


async def wrong(gallery: Gallery, rows: list[Row], name: str = "photo.png") -> list[str]:
    """What of these transformations does not come out as it should, a few of them asked for at a time."""

    async def check(steps: str, size: tuple[int, int], look: Look) -> str | None:
        status, _, body = await gallery.get(f"/tr:{steps}/{name}")
        if status != 200:
            return f"{steps}: {status} {body[:200]!r}"
        image = Image.open(io.BytesIO(body))
        image.load()
        return None if image.size == size and look(image) else f"{steps}: {image.size} {image.mode} {at(image, 0, 0)}"

    found: list[str] = []
    for start in range(0, len(rows), 8):
        found += filter(None, await asyncio.gather(*(check(*row) for row in rows[start : start + 8])))
    return found
