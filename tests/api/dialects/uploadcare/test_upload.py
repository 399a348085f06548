"""The Upload API beside its refusals: shapes, spellings of parameters, what is kept and for how long."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from typing import Any

import pytest
from PIL import Image

from tests.api.house import photo

from .desk import MIB, UNKNOWN, Desk, Field

PUB = {"pub_key": "demopublic"}


async def info(uc: Desk, file: str) -> dict[str, Any]:
    told: dict[str, Any] = await uc.ok("GET", "/info/", file_id=file, **PUB)
    return told


def shot() -> bytes:
    """A photograph that was taken upright, stored on its side, somewhere and some day."""
    image, exif = Image.new("RGB", (40, 30), "#336699"), Image.Exif()
    exif[0x0112], exif[0x011A], exif[0x011B], exif[0x0128] = 6, 72, 72, 2
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    gps = exif.get_ifd(0x8825)
    gps.update({1: "N", 2: (52.0, 30.0, 0.0), 3: "E", 4: (13.0, 15.0, 0.0)})
    out = io.BytesIO()
    image.save(out, "JPEG", exif=exif, dpi=(72, 72))
    return out.getvalue()


async def test_everything_that_is_told_of_a_photograph(uc: Desk) -> None:
    content = shot()
    file = await uc.upload(content, "Prüf (1)-2.jpg", **{"metadata[a_b]": "c", "tags": "B, a ,b,,"})
    image = {
        "color_mode": "RGB",
        "format": "JPEG",
        "width": 30,
        "height": 40,
        "orientation": 6,
        "dpi": [72, 72],
        "geo_location": {"latitude": 52.5, "longitude": 13.25},
        "datetime_original": "2024-05-06T07:08:09",
        "sequence": False,
    }
    size = len(content)
    assert await info(uc, file) == {
        "uuid": file,
        "file_id": file,
        "size": size,
        "total": size,
        "done": size,
        "original_filename": "Prüf (1)-2.jpg",
        "filename": "Prf12.jpg",
        "mime_type": "image/jpeg",
        "is_image": True,
        "is_stored": True,
        "is_ready": True,
        "image_info": image,
        "video_info": None,
        "content_info": {"mime": {"mime": "image/jpeg", "type": "image", "subtype": "jpeg"}, "image": image},
        "metadata": {"a_b": "c"},
        "tags": ["b", "a"],
    }


async def test_what_is_no_picture(uc: Desk) -> None:
    told = await info(uc, await uc.upload(b"some text", "a.txt"))
    assert (told["is_image"], told["image_info"], told["video_info"]) == (False, None, None)
    assert told["content_info"] == {"mime": {"mime": "text/plain", "type": "text", "subtype": "plain"}}
    assert (told["metadata"], told["tags"]) == ({}, [])


@pytest.mark.parametrize(
    ("form", "mode", "colours"),
    [("PNG", "RGBA", "RGBA"), ("PNG", "L", "L"), ("JPEG", "CMYK", "CMYK"), ("PNG", "LA", "LA"), ("GIF", "RGB", "RGB")],
)
async def test_colours_are_called_as_pillow_calls_them(uc: Desk, form: str, mode: str, colours: str) -> None:
    out = io.BytesIO()
    Image.new(mode, (4, 4)).save(out, form)
    told = (await info(uc, await uc.upload(out.getvalue(), "a")))["image_info"]
    assert (told["format"], told["color_mode"], told["dpi"], told["orientation"]) == (form, colours, None, None)


async def test_several_files_in_one_form_whatever_stands_first(uc: Desk) -> None:
    fields: list[Field] = [("one", b"first", "1.txt"), ("two", b"second", "2.txt"), ("one", b"third", "3.txt")]
    told = await uc.ok("POST", "/base/", [*fields, ("UPLOADCARE_PUB_KEY", "demopublic"), ("metadata[k]", "v")])
    assert list(told) == ["one", "two"]
    assert [(await info(uc, file))["original_filename"] for file in told.values()] == ["3.txt", "2.txt"]
    assert [(await info(uc, file))["metadata"] for file in told.values()] == [{"k": "v"}] * 2


async def test_one_refused_file_leaves_none_of_its_form(uc: Desk) -> None:
    fields: list[Field] = [("one", photo(), "1.jpg"), ("two", b"text", "2.txt"), ("UPLOADCARE_PUB_KEY", "draftpublic")]
    assert (await uc.refusal("POST", "/base/", fields))[0] == "FileTypeForbiddenError"
    assert not (await uc.house.core.records.files.list("draft")).items


@pytest.mark.parametrize(
    ("project", "store", "kept"),
    [("demo", "1", True), ("demo", "auto", True), ("demo", "0", False), ("demo", "", False), ("draft", "auto", False)],
)
async def test_what_is_not_stored_goes_after_a_day(uc: Desk, project: str, store: str, kept: bool) -> None:
    file = await uc.upload(UPLOADCARE_PUB_KEY=f"{project}public", UPLOADCARE_STORE=store)
    known = await uc.house.core.records.files.get(file)
    assert (known.stored_at is not None) is kept
    assert kept or known.expires_at == known.created_at + timedelta(days=1)
    told = await uc.ok("GET", "/info/", file_id=file, pub_key=f"{project}public")
    assert told["is_stored"] is kept


async def test_parameters_in_query_form_and_urlencoded_body(uc: Desk) -> None:
    file, session, base = await uc.upload(), uc.house.session, uc.house.base
    async with session.post(f"{base}/group//", data={"pub_key": "demopublic", "files[1]": file}) as answer:
        assert (await answer.json())["files_count"] == 1
    async with session.post(f"{base}/group/", params={"pub_key": "demopublic", "files[]": file}) as answer:
        assert (await answer.json())["files_count"] == 1
    async with session.post(f"{base}/from_url/", params={**PUB, "source_url": "x"}, data=b"") as answer:
        assert (answer.status, await answer.text()) == (400, "No URL scheme supplied.")


async def test_groups(uc: Desk) -> None:
    one, two = await uc.upload(), await uc.upload()
    entries = {
        "files[2]": f"https://any.example/{one}/",
        "files[0]": f"{two}/",
        "files[10]": f"{one}/-/crop/1x1/-/flip",
    }
    group = await uc.ok("POST", "/group/", [("pub_key", "demopublic"), *entries.items()])
    assert [file["uuid"] for file in group["files"]] == [two, one, one]
    assert [file["default_effects"] for file in group["files"]] == ["", "", "crop/1x1/-/flip/"]
    assert group["files"][0] == await info(uc, two) | {"default_effects": ""}
    assert (group["datetime_stored"], group["files_count"]) == (None, 3)
    assert datetime.strptime(group["datetime_created"], "%Y-%m-%dT%H:%M:%S.%fZ")
    assert group["cdn_url"] == f"{uc.house.base}/{group['id']}/"
    await uc.house.core.files.delete(_grant(uc, "demo"), one)
    told = await uc.ok("GET", "/group/info/", group_id=group["id"].replace("~", "%7E"), **PUB)
    assert [file and file["uuid"] for file in told["files"]] == [two, None, None]


def _grant(uc: Desk, project: str) -> Any:
    from pipeline.model import Grant

    return Grant(project=uc.house.core.settings.projects[project])


async def test_a_thousand_files_are_a_group(uc: Desk) -> None:
    file = await uc.upload()
    group = await uc.ok("POST", "/group/", [("pub_key", "demopublic"), *(("files[]", file) for _ in range(1000))])
    assert group["files_count"] == len(group["files"]) == 1000


async def test_parts_and_their_addresses(uc: Desk) -> None:
    given = {"UPLOADCARE_PUB_KEY": "demopublic", "filename": "/home/me/film.bin", "content_type": "video/mp4"}
    told = await uc.ok("POST", "/multipart/start/", [*given.items(), ("size", str(11 * MIB))])
    assert len(told["parts"]) == 3
    assert all(part.startswith(uc.house.base + "/") for part in told["parts"])
    upload = await uc.house.core.records.uploads.get(told["uuid"])
    assert (upload.intake.name, upload.part_size) == ("film.bin", 5 * MIB)
    wide = [*given.items(), ("size", str(11 * MIB)), ("part_size", str(6 * MIB))]
    assert len((await uc.ok("POST", "/multipart/start/", wide))["parts"]) == 2
    broken = told["parts"][0][:-3] + "abc"
    async with uc.house.session.put(broken, data=b"x") as answer:
        assert answer.status == 403
    async with uc.house.session.put(told["parts"][0], data=b"short") as answer:
        assert answer.status == 422


async def test_browsers_may_ask_everywhere_and_read_all(uc: Desk) -> None:
    asking = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST",
              "Access-Control-Request-Headers": "x-uc-user-agent,content-type"}  # fmt: skip
    for path in ("/base/", "/multipart/start/", "/multipart/complete/", "/from_url/", "/from_url/status/", "/info/",
                 "/group/", "/group//", "/group/info/", "/v1/parts/x", f"/{UNKNOWN}/-/json/"):  # fmt: skip
        async with uc.house.session.options(uc.house.base + path, headers=asking) as answer:
            assert answer.status == 204, path
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "x-uc-user-agent" in answer.headers["Access-Control-Allow-Headers"]
            assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
        async with uc.house.session.get(uc.house.base + path, headers=asking) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]


async def test_a_file_over_a_megabyte_waits_on_disk_and_leaves_nothing_there(uc: Desk) -> None:
    fields: list[Field] = [("file", bytes(999_000) + b"end", "a.bin"), ("UPLOADCARE_PUB_KEY", "demopublic")]
    assert (await info(uc, (await uc.ok("POST", "/base/", fields))["file"]))["size"] == 999_003
    waiting = uc.house.data / "tmp"
    assert not waiting.exists() or not list(waiting.iterdir())
