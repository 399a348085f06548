"""Pictures in a served application with a worker, and what can be said of what is delivered of them."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from urllib.parse import quote

from PIL import Image, ImageCms

from pipeline.model import Grant
from tests.api.house import House
from tests.api.quarters import (
    DRAWING,
    GREEN,
    RED,
    Look,
    Viewer,
    at,
    edged,
    encoded,
    moving,
    near,
    quarters,
    turned,
)
from tests.imaging.papers import pdf, quartered

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
KEY = "ik-demo-key"


@dataclass
class Gallery(Viewer):
    """Who looks at files by their paths behind the project."""

    def address(self, path: str) -> str:
        return f"/imagekit/ik/demo{path}"

    async def refused(self, path: str, status: int = 400) -> str:
        headers, text = await self.refusal(path, status)
        code, dash, message = headers["ik-error"].partition(" - ")
        assert (dash, code.isupper(), bool(message)) == (" - ", True, True)
        return text

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
    clear = quarters(mode="RGBA")
    clear.putalpha(Image.new("L", clear.size, 0))
    clear.paste((*RED, 255), (0, 0, 320, 480))
    p3 = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    mostly = quarters()
    mostly.paste(GREEN, (0, 0, 640, 400))
    pictures = {
        "photo.png": encoded(quarters()),
        "shop/shoes/photo.jpg": encoded(quarters(), "JPEG", quality=95),
        "turned.jpg": turned(),
        "edged.png": edged(),
        "clear.png": encoded(clear),
        "wide.png": encoded(quarters(400, 100)),
        "mostly.png": encoded(mostly),
        "moving.gif": moving(),
        "drawing.svg": DRAWING,
        "note.txt": b"no picture",
        "paper.pdf": pdf([quartered(100, 50), quartered(60, 60)]),
        "profiled.jpg": encoded(quarters(), "JPEG", icc_profile=p3),
        "a b/ünïcode.png": encoded(Image.new("RGB", (30, 20), GREEN)),
    }  # fmt: skip
    for path, body in pictures.items():
        await gallery.send(body, path)
    return gallery


def alpha(image: Image.Image, x: float, y: float) -> int:
    pixel = image.convert("RGBA").getpixel((int(x * (image.width - 1)), int(y * (image.height - 1))))
    assert isinstance(pixel, tuple)
    return int(pixel[3])


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
