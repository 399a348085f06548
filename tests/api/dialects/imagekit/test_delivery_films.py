"""Videos: pictures, parts, sizes and formats of them, measured with ffmpeg; documents; and recipes of uploads."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from PIL import Image

from pipeline.api.dialects.imagekit.delivery import recipe_of
from pipeline.api.dialects.imagekit.delivery.addresses import FILM, THUMBNAIL
from pipeline.errors import RequestInvalid
from pipeline.imaging.video.probe import Probe, probe
from tests.api.dialects.imagekit.gallery import Gallery
from tests.api.quarters import at, near
from tests.nodes.test_video import X264, ffmpeg, plain


@pytest.fixture(scope="module")
async def films(gallery: Gallery, tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """`clock.mp4` is red for a second, then blue, with a tone."""
    clock = tmp_path_factory.mktemp("films") / "clock.mp4"
    halves = ["-filter_complex", "[0:v][1:v]concat=n=2:v=1:a=0[v]", "-map", "[v]", "-map", "2:a"]
    ffmpeg(*plain("red"), *plain("blue"), "-f", "lavfi", "-i", "sine=d=2", *halves, *X264, "-c:a", "aac", clock)
    await gallery.send(clock.read_bytes(), "films/clock.mp4")
    return gallery


async def film(gallery: Gallery, path: str, folder: Path) -> Probe:
    status, headers, body = await gallery.get(path)
    assert status == 200, (path, body[:200])
    target = folder / "film"
    target.write_bytes(body)
    found = probe(target)
    assert headers["content-type"] == found.mime, path
    return found


async def test_pictures_of_videos(films: Gallery) -> None:
    rows = [
        ("/films/clock.mp4/ik-thumbnail.jpg", (160, 120), (255, 0, 0)),
        ("/tr:so-1.5/films/clock.mp4/ik-thumbnail.jpg", (160, 120), (0, 0, 255)),
        ("/tr:so-idu_mul_0.75,w-80/films/clock.mp4/ik-thumbnail.jpg", (80, 60), (0, 0, 255)),
        ("/tr:w-iw_div_4,h-30,c-force/films/clock.mp4/ik-thumbnail.jpg", (40, 30), (255, 0, 0)),
        ("/tr:w-0.5:rt-90/films/clock.mp4/ik-thumbnail.jpg", (60, 80), (255, 0, 0)),
    ]
    for path, size, colour in rows:
        status, headers, body = await films.get(path, Accept="image/webp")
        image = Image.open(io.BytesIO(body))
        assert (status, headers["content-type"], image.size) == (200, "image/webp", size), path
        assert near(at(image, 0.5, 0.5), colour, 20), path


async def test_videos(films: Gallery, tmp_path: Path) -> None:
    whole = await film(films, "/films/clock.mp4", tmp_path)
    assert (whole.width, whole.height, whole.audio_codec) == (160, 120, "aac")
    rows = [
        ("w-80", (80, 60), 2, "h264", "aac"),
        ("w-80,h-80", (80, 80), 2, "h264", "aac"),
        ("w-80,h-80,c-at_max", (80, 60), 2, "h264", "aac"),
        ("w-60,h-60,c-at_least", (80, 60), 2, "h264", "aac"),
        ("w-80,h-80,cm-pad_resize", (80, 80), 2, "h264", "aac"),
        ("w-80,h-100,c-force", (80, 100), 2, "h264", "aac"),
        ("h-60,ar-2-1", (120, 60), 2, "h264", "aac"),
        ("so-1,du-0.5", (160, 120), 0.5, "h264", "aac"),
        ("so-0.5,eo-1.5,w-80", (80, 60), 1, "h264", "aac"),
        ("ac-none,w-80", (80, 60), 2, "h264", None),
        ("f-webm,w-80", (80, 60), 2, "vp9", "opus"),
        ("vc-vp9,w-80,q-20", (80, 60), 2, "vp9", "opus"),
    ]

    async def check(steps: str, size: tuple[int, int], seconds: float, pictures: str, sound: str | None) -> None:
        (folder := tmp_path / steps).mkdir()
        found = await film(films, f"/tr:{steps}/films/clock.mp4", folder)
        assert (found.width, found.height, found.video_codec, found.audio_codec) == (*size, pictures, sound), steps
        assert found.duration == pytest.approx(seconds, abs=0.15), steps

    await asyncio.gather(*(check(*row) for row in rows))
    for path in ("/moving.gif/ik-gif-video.mp4", "/tr:f-mp4/moving.gif", "/tr:w-32,f-mp4/moving.gif"):
        found = await film(films, path, tmp_path)
        assert (found.video_codec, found.width) == ("h264", 32 if "w-32" in path else 64)
    as_it_was = await films.get("/tr:f-auto/films/clock.mp4")
    assert as_it_was[2] == (await films.get("/films/clock.mp4"))[2]


@pytest.mark.parametrize("steps", [
    "sr-240_360", "rt-90", "e-grayscale", "x-1,w-10,h-10", "cm-extract,w-10,h-10", "fo-top,w-10,h-10", "so-9", "so-x",
    "bg-red,cm-pad_resize,w-10,h-10", "vc-none", "vc-h264,f-webm", "f-png", "l-text,i-a,l-end", "so-1,eo-0.5", "w-9000",
])  # fmt: skip
async def test_what_is_not_done_to_videos_is_refused(films: Gallery, steps: str) -> None:
    await films.refused(f"/tr:{steps}/films/clock.mp4")


async def test_recipes_of_uploads(films: Gallery) -> None:
    core, project = films.house.core, films.house.core.settings.projects["demo"]

    async def made(folder: str, name: str, text: str, suffix: str = "") -> tuple[str, tuple[int, int] | None]:
        file = await core.records.lineages.at("demo", folder, name)
        assert file is not None
        found = await core.delivering.derivative(await recipe_of(core, project, file, text, suffix))
        return found.mime, (found.image.width, found.image.height) if found.image else None

    assert await made("", "photo.png", "tr:w-100:rt-90") == ("image/png", (75, 100))
    assert await made("shop/shoes", "photo.jpg", "n-thumb") == ("image/jpeg", (200, 100))
    assert await made("", "photo.png", "l-image,i-clear.png,w-10,l-end,f-webp") == ("image/webp", (640, 480))
    assert await made("", "paper.pdf", "w-30,f-jpg", THUMBNAIL) == ("image/jpeg", (30, 15))
    assert await made("films", "clock.mp4", "w-40", THUMBNAIL) == ("image/jpeg", (40, 30))
    assert (await made("films", "clock.mp4", "w-40"))[0] == "video/mp4"
    assert (await made("", "moving.gif", "", FILM))[0] == "video/mp4"
    for name, text in (("photo.png", "w-x"), ("photo.png", "n-nobody"), ("note.txt", "w-10"), ("photo.png", "f-mp4")):
        with pytest.raises(RequestInvalid):
            await made("", name, text)
