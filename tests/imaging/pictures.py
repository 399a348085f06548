"""Pictures in every format and variant the imaging tests look at, made by Pillow and libvips."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import pyvips
from PIL import ExifTags, Image

NOISE = random.Random(7)


def noisy(width: int = 96, height: int = 64, mode: str = "RGB") -> Image.Image:
    """A picture that does not compress away."""
    bands = len(Image.new(mode, (1, 1)).tobytes())
    return Image.frombytes(mode, (width, height), NOISE.randbytes(width * height * bands))


def exif(**more: Any) -> Image.Exif:
    """Orientation 6, a date with an offset, and a place."""
    made = Image.Exif()
    made[ExifTags.Base.Orientation] = 6
    shot = made.get_ifd(ExifTags.IFD.Exif)
    shot[ExifTags.Base.DateTimeOriginal] = "2024:05:01 12:34:56"
    shot[ExifTags.Base.OffsetTimeOriginal] = "+02:00"
    position = made.get_ifd(ExifTags.IFD.GPSInfo)
    position[ExifTags.GPS.GPSLatitudeRef] = "S"
    position[ExifTags.GPS.GPSLatitude] = (Fraction(33), Fraction(51), Fraction(2145, 100))
    position[ExifTags.GPS.GPSLongitudeRef] = "E"
    position[ExifTags.GPS.GPSLongitude] = (Fraction(151), Fraction(12), Fraction(36))
    for name, value in more.items():
        position[ExifTags.GPS[name]] = value
    return made


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def vips(suffix: str, image: Image.Image | None = None, **options: Any) -> bytes:
    source = image or noisy()
    picture = pyvips.Image.new_from_memory(
        source.tobytes(), source.width, source.height, len(source.getbands()), "uchar"
    )
    interpretation = "b-w" if picture.bands < 3 else "srgb"
    return bytes(picture.copy(interpretation=interpretation).write_to_buffer(suffix, **options))


def animation(format: str, **options: Any) -> bytes:
    first, *others = (noisy(48, 32) for _ in range(5))
    return saved(first, format, save_all=True, append_images=others, duration=80, loop=0, **options)


def with_thumbnail() -> bytes:
    """A JPEG whose EXIF holds a whole JPEG of its own, with an end marker long before that of the picture."""
    small = saved(noisy(32, 24), "JPEG")
    body = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + small
    outer = saved(noisy(), "JPEG")
    return outer[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + outer[2:]


def trailing(data: bytes) -> bytes:
    return data + b"\0\0garbage after the end" + data[:40]


VARIANTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "jpeg baseline": ("jpeg", lambda: saved(noisy(), "JPEG", quality=90)),
    "jpeg progressive": ("jpeg", lambda: saved(noisy(), "JPEG", progressive=True)),
    "jpeg grey": ("jpeg", lambda: saved(noisy(mode="L"), "JPEG")),
    "jpeg cmyk": ("jpeg", lambda: saved(noisy(mode="CMYK"), "JPEG")),
    "jpeg exif": ("jpeg", lambda: saved(noisy(), "JPEG", exif=exif(), dpi=(300, 300))),
    "jpeg thumbnail": ("jpeg", with_thumbnail),
    "jpeg restarts": ("jpeg", lambda: saved(noisy(), "JPEG", restart_marker_blocks=2)),
    "jpeg comment": ("jpeg", lambda: saved(noisy(), "JPEG", comment=b"\xff\xd9 not the end")),
    "jpeg vips": ("jpeg", lambda: vips(".jpg", interlace=True, trellis_quant=True, optimize_scans=True)),
    "jpeg mpo": ("jpeg", lambda: saved(noisy(), "MPO", save_all=True, append_images=[noisy()])),
    "png": ("png", lambda: saved(noisy(), "PNG")),
    "png alpha": ("png", lambda: saved(noisy(mode="RGBA"), "PNG", dpi=(144, 144))),
    "png palette": ("png", lambda: saved(noisy().quantize(16), "PNG")),
    "png 16 bit": ("png", lambda: saved(noisy(mode="I;16"), "PNG")),
    "png interlaced": ("png", lambda: vips(".png", interlace=True)),
    "png animated": ("png", lambda: animation("PNG")),
    "png exif": ("png", lambda: saved(noisy(), "PNG", exif=exif())),
    "webp": ("webp", lambda: saved(noisy(), "WEBP")),
    "webp lossless": ("webp", lambda: saved(noisy(mode="RGBA"), "WEBP", lossless=True)),
    "webp alpha": ("webp", lambda: saved(noisy(mode="RGBA"), "WEBP")),
    "webp animated": ("webp", lambda: animation("WEBP")),
    "webp exif": ("webp", lambda: saved(noisy(), "WEBP", exif=exif())),
    "webp vips": ("webp", lambda: vips(".webp", near_lossless=True)),
    "gif": ("gif", lambda: saved(noisy().quantize(64), "GIF")),
    "gif interlaced": ("gif", lambda: saved(noisy().quantize(64), "GIF", interlace=1)),
    "gif animated": ("gif", lambda: animation("GIF")),
    "gif vips": ("gif", lambda: vips(".gif")),
    "avif": ("avif", lambda: saved(noisy(), "AVIF", speed=10)),
    "avif alpha": ("avif", lambda: saved(noisy(mode="RGBA"), "AVIF", speed=10)),
    "avif exif": ("avif", lambda: saved(noisy(), "AVIF", speed=10, exif=exif())),
    "avif animated": ("avif", lambda: animation("AVIF", speed=10)),
    "avif vips": ("avif", lambda: vips(".avif", effort=0)),
    "avif 10 bit": ("avif", lambda: vips(".avif", effort=0, bitdepth=10)),
    "tiff": ("tiff", lambda: saved(noisy(), "TIFF", dpi=(240, 240))),
    "tiff lzw": ("tiff", lambda: saved(noisy(), "TIFF", compression="tiff_lzw")),
    "tiff jpeg": ("tiff", lambda: saved(noisy(), "TIFF", compression="jpeg")),
    "tiff bilevel": ("tiff", lambda: saved(noisy().convert("1"), "TIFF", compression="group4")),
    "tiff pages": ("tiff", lambda: animation("TIFF")),
    "tiff exif": ("tiff", lambda: saved(noisy(), "TIFF", exif=exif().tobytes())),
    "tiff tiled": ("tiff", lambda: vips(".tif", tile=True, tile_width=32, tile_height=16, compression="deflate")),
    "tiff pyramid": ("tiff", lambda: vips(".tif", noisy(300, 200), tile=True, pyramid=True)),
    "tiff big": ("tiff", lambda: vips(".tif", bigtiff=True)),
    "tiff big tiled": ("tiff", lambda: vips(".tif", bigtiff=True, tile=True, tile_width=16, tile_height=16)),
    "tiff big-endian": ("tiff", lambda: big_endian_tiff()),
}


def big_endian_tiff() -> bytes:
    """A grey 4 x 4 TIFF in Motorola byte order."""
    entries = [(256, 4), (257, 4), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 4), (279, 16)]
    directory = len(entries).to_bytes(2, "big")
    for tag, value in entries:
        directory += tag.to_bytes(2, "big") + b"\0\x03\0\0\0\x01" + value.to_bytes(2, "big") + b"\0\0"
    return b"MM\0*" + (24).to_bytes(4, "big") + bytes(range(16)) + directory + b"\0\0\0\0"


def variants() -> Iterator[tuple[str, str, bytes]]:
    """Name, format and bytes of each variant."""
    for name, (format, make) in VARIANTS.items():
        yield name, format, make()
