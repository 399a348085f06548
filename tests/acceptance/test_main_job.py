"""The main job on real photographs through real parts: each shipped flow, as its tutorial promises."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.acceptance.conftest import Client, Stack
from tests.nodes.studio import PHOTO, PHOTO_SIZE, difference, opened

SUNSET = Path("tests/photos/sunset.jpg")
SUNSET_SIZE = (4272, 2848)
LOSSY = 4.0
"""Mean difference, of 255, that WebP and JPEG at our qualities stay under beside an exact resize."""


def checked(run: dict[str, Any]) -> list[dict[str, Any]]:
    assert run["status"] == "completed", run
    assert run["error"] is None
    assert {state["status"] for state in run["nodes"].values()} <= {"completed", "skipped"}
    outputs: list[dict[str, Any]] = run["outputs"]
    return outputs


def resized(photo: Path, size: tuple[int, int]) -> Image.Image:
    return opened(photo).resize(size, Image.Resampling.LANCZOS)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_line_that_up_prints_does_what_it_says(stack: Stack, tmp_path: Path) -> None:
    told = subprocess.run(shlex.split(stack.curl), capture_output=True, check=True).stdout
    (output,) = checked(json.loads(told))
    fetched = subprocess.run(["curl", "-sS", output["url"]], capture_output=True, check=True).stdout
    assert hashlib.sha256(fetched).hexdigest() == output["sha256"]
    assert len(fetched) == output["size"]
    (tmp_path / "avatar.webp").write_bytes(fetched)
    found = opened(tmp_path / "avatar.webp")
    assert (found.format, found.size) == ("WEBP", (512, 512))


async def test_profile_picture_is_a_square_part_of_the_photo(client: Client, tmp_path: Path) -> None:
    (output,) = checked(await client.run("profile-picture", SUNSET, params={"size": 256}))
    found = await client.image(output, tmp_path)
    assert (found.format, found.size) == ("WEBP", (256, 256))
    # Which part is the most interesting is for the engine to say; that it is a part of the photo is not.
    whole = resized(SUNSET, (round(SUNSET_SIZE[0] * 256 / SUNSET_SIZE[1]), 256))
    parts = [whole.crop((left, 0, left + 256, 256)) for left in range(whole.width - 256 + 1)]
    assert min(difference(found, part) for part in parts) < LOSSY


async def test_product_images_are_a_thumbnail_and_a_marked_full_size(client: Client, tmp_path: Path) -> None:
    thumb, marked = checked(await client.run("product-images", PHOTO, params={"quality": 90}))
    assert [thumb["source"], marked["source"]] == ["thumb", "marked"]
    assert (await client.image(thumb, tmp_path)).size == (320, 320)
    found = await client.image(marked, tmp_path)
    reference = resized(PHOTO, (1600, 900))
    assert found.size == reference.size
    corner = (1600 - 16 - 407, 900 - 16 - 80, 1600 - 16, 900 - 16)
    assert difference(found.crop((0, 0, 1600, 700)), reference.crop((0, 0, 1600, 700))) < LOSSY
    assert difference(found.crop(corner), reference.crop(corner)) > 3 * LOSSY


@pytest.mark.parametrize("marked", [True, False])
async def test_image_gallery_is_three_sizes(marked: bool, client: Client, tmp_path: Path) -> None:
    outputs = checked(await client.run("image-gallery", PHOTO, params={"watermark": marked}))
    sizes = [(1600, 900), (800, 450), (320, 180)]
    assert [(output["width"], output["height"]) for output in outputs] == sizes
    assert [Path(output["path"]).name for output in outputs] == [f"{w}x{h}.webp" for w, h in sizes]
    for output, size in zip(outputs, sizes, strict=True):
        found, reference = await client.image(output, tmp_path), resized(PHOTO, size)
        upper = (0, 0, size[0], size[1] * 3 // 4)
        assert difference(found.crop(upper), reference.crop(upper)) < LOSSY
    corner = (1350, 830, 1600, 900)
    large = await client.image(outputs[0], tmp_path)
    assert (difference(large.crop(corner), resized(PHOTO, sizes[0]).crop(corner)) > 3 * LOSSY) is marked


async def test_document_upload_keeps_texts_and_treats_scans(client: Client, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("Nothing to see here.\n")
    (kept,) = checked(await client.run("document-upload", notes, field="document"))
    assert kept["path"].endswith("-notes.txt") and kept["mime"] == "text/plain"
    assert (await client.fetch(kept, tmp_path)).read_text() == notes.read_text()

    page, preview = checked(await client.run("document-upload", SUNSET, field="document"))
    found = await client.image(page, tmp_path)
    assert (found.format, found.size) == ("JPEG", (2480, 1653))
    assert difference(found, resized(SUNSET, found.size)) < LOSSY
    assert (await client.image(preview, tmp_path)).size == (400, 267)


async def test_document_upload_refuses_what_it_does_not_accept(client: Client, tmp_path: Path) -> None:
    program = tmp_path / "invoice.pdf"
    program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(1000))
    with program.open("rb") as file:
        form = {"document": file}
        async with client.session.post("/v1/flows/document-upload/runs", data=form) as answer:
            problem = await answer.json()
    assert answer.status == 415
    assert answer.content_type == "application/problem+json"
    assert problem["code"] in ("TYPE_NOT_ALLOWED", "TYPE_MISMATCH")


async def test_social_card_is_cut_and_titled(client: Client, tmp_path: Path) -> None:
    (output,) = checked(await client.run("social-card", PHOTO, params={"title": "Spring is here"}))
    found = await client.image(output, tmp_path)
    assert (found.format, found.size) == ("JPEG", (1200, 630))
    assert "progressive" in found.info
    plate = found.crop((50, 630 - 48 - 100, 300, 630 - 48))
    assert any(min(pixel) > 200 for pixel in plate.get_flattened_data())


async def test_social_card_asks_for_its_title(client: Client) -> None:
    with PHOTO.open("rb") as file:
        async with client.session.post("/v1/flows/social-card/runs", data={"photo": file}) as answer:
            problem = await answer.json()
    assert (answer.status, problem["code"]) == (422, "PARAMS_INVALID")
    assert "title" in problem["detail"]


async def test_archive_packs_several_photos_into_one_zip(client: Client, tmp_path: Path) -> None:
    (output,) = checked(await client.run("archive", PHOTO, SUNSET, field="photos"))
    path = await client.fetch(output, tmp_path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["photo-jpeg.jpg", "sunset-jpeg.jpg", "photo.jpg", "sunset.jpg"]
        archive.extractall(tmp_path)
    assert (tmp_path / "sunset.jpg").read_bytes() == SUNSET.read_bytes()
    for name, photo, size in (("photo", PHOTO, PHOTO_SIZE), ("sunset", SUNSET, SUNSET_SIZE)):
        found = opened(tmp_path / f"{name}-jpeg.jpg")
        assert max(found.size) == 1600
        assert difference(found, resized(photo, found.size)) < LOSSY
        assert found.size == (1600, round(1600 * size[1] / size[0]))
