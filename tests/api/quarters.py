"""A picture of four colours, which tell how it was turned and cut, and whoever asks a house for what it makes of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image
from yarl import URL

from tests.api.house import House

RED, GREEN, BLUE, YELLOW = (220, 40, 40), (40, 200, 60), (40, 60, 220), (230, 220, 40)
WIDTH, HEIGHT = 640, 480
DRAWING = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><rect width="40" height="30"/></svg>'

Look = Callable[[Image.Image], bool]


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


def turned() -> bytes:
    """The quarters as a JPEG of somebody's, to be shown turned."""
    said = Image.Exif()
    said[0x0112], said[0x8298] = 6, "Ada"
    return encoded(quarters(), "JPEG", exif=said, quality=95)


def edged() -> bytes:
    """A black box in the middle of white."""
    image = Image.new("RGB", (200, 100), (255, 255, 255))
    image.paste((0, 0, 0), (50, 20, 150, 80))
    return encoded(image)


def moving() -> bytes:
    """Red, green and blue after one another."""
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=200)


@dataclass
class Viewer:
    """Whoever looks at the pictures of a served house with a worker."""

    house: House

    def address(self, path: str) -> str:
        """What a path of delivery is behind the address of the house."""
        return path

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body, the path sent as it is written."""
        url = URL(self.house.base + self.address(path), encoded=True)
        spelt = {name.replace("_", "-"): text for name, text in headers.items()}
        asked = self.house.session.request(method, url, headers=spelt, skip_auto_headers=["Accept"])
        async with asked as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read()

    async def picture(self, path: str, **headers: str) -> Image.Image:
        status, _, body = await self.get(path, **headers)
        assert status == 200, (path, body[:300])
        image = Image.open(io.BytesIO(body))
        image.load()
        return image

    async def refusal(self, path: str, status: int) -> tuple[dict[str, str], str]:
        """The headers and the text of a refusal that every page may read."""
        found, headers, body = await self.get(path, Origin="https://page.example")
        assert (found, headers["access-control-allow-origin"]) == (status, "*"), (path, found, body[:300])
        assert b"Traceback" not in body
        return headers, body.decode()


def at(image: Image.Image, x: float, y: float) -> tuple[int, ...]:
    """The colour at fractions of the picture."""
    pixel = image.convert("RGB").getpixel((int(x * (image.width - 1)), int(y * (image.height - 1))))
    assert isinstance(pixel, tuple)
    return pixel


def near(one: tuple[int, ...], other: tuple[int, ...], most: int = 12) -> bool:
    return all(abs(a - b) <= most for a, b in zip(one, other, strict=True))


def is_whole(image: Image.Image) -> bool:
    """Whether all four quarters are where they belong."""
    spots = ((0.1, 0.1, RED), (0.9, 0.1, GREEN), (0.1, 0.9, BLUE), (0.9, 0.9, YELLOW))
    return all(near(at(image, x, y), colour) for x, y, colour in spots)
