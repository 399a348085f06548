"""The few pixels that are enough to say what a picture looks like, as Pillow holds them."""

from __future__ import annotations

from PIL import Image

from pipeline.imaging.open import readable
from pipeline.imaging.picture import Outline, Picture


def within(outline: Outline, longest: int) -> tuple[int, int]:
    """The size of the picture when its longer side has at most `longest` pixels; it never grows."""
    ratio = min(1.0, longest / max(outline.width, outline.height))
    return max(1, round(outline.width * ratio)), max(1, round(outline.height * ratio))


def demand_for(outline: Outline, width: int, height: int) -> float:
    """Which scale of a picture is enough to show it at this size."""
    return min(1.0, max(width / outline.width, height / outline.height))


def glimpse(image: Picture, width: int, height: int) -> Image.Image:
    """The first frame of a picture at exactly this size, upright, as sRGB with alpha; reads its pixels once."""
    small = image.first_frame().scaled(width, height).settled().pixels
    with readable():
        pixels = (small if small.hasalpha() else small.addalpha()).write_to_memory()
    return Image.frombytes("RGBA", (width, height), bytes(pixels))


def flattened(pixels: Image.Image, background: tuple[int, ...]) -> Image.Image:
    """The picture without alpha, on a plain background."""
    ground = Image.new("RGBA", pixels.size, (*background[:3], 255))
    return Image.alpha_composite(ground, pixels).convert("RGB")
