"""Files of the media library by their ids: looked at, changed, tagged, deleted, and their versions."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from PIL import Image, ImageCms

from tests.api.dialects.imagekit.desk import Desk
from tests.api.house import photo

V1 = "/imagekit/v1"
FILES = f"{V1}/files"
UNKNOWN = "0123456789abcdef01234567"
DETAILS = f"{FILES}/{{}}/details"
GONE = "The requested asset does not exist."


async def field(ik: Desk, name: str, **schema: Any) -> dict[str, Any]:
    body = {"name": name, "label": name.title(), "schema": schema}
    made: dict[str, Any] = await ik.ok("POST", f"{V1}/customMetadataFields", body, 201)
    return made


async def test_who_is_let_in_and_what_every_answer_has(ik: Desk) -> None:
    answer = await ik.send("GET", FILES)
    assert (answer.status, answer.document) == (200, [])
    assert answer.headers["x-ik-requestId"]
    assert await ik.refusal("GET", FILES, key=None) == (401, "Your request does not contain private API key.")
    assert await ik.refusal("GET", FILES, key="nobody") == (403, "Your account cannot be authenticated.")
    assert await ik.ok("GET", f"{FILES}/", key="private_other_key") == []
    assert (await ik.refusal("PUT", FILES))[0] == 405
    assert (await ik.refusal("GET", f"{V1}/nothing"))[0] == 404
    await ik.ok("GET", FILES, key="private_slow_key")
    answer = await ik.send("GET", FILES, key="private_slow_key")
    assert (answer.status, answer.headers["X-RateLimit-Limit"]) == (429, "1")
    assert int(answer.headers["X-RateLimit-Reset"]) <= 60_000 == int(answer.headers["X-RateLimit-Interval"])


async def test_a_file_in_all_its_fields(ik: Desk) -> None:
    made = await ik.upload(photo(120, 80), "a photo.jpg", folder="/shop/shoes", tags="red,summer", description="A shoe")
    file = await ik.ok("GET", DETAILS.format(made["fileId"]))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", file.pop("createdAt")) and file.pop("updatedAt")
    assert re.fullmatch(r"[0-9a-f]{24}", file["versionInfo"]["id"])
    assert file == {
        "type": "file",
        "fileId": made["fileId"],
        "name": "a_photo.jpg",
        "filePath": "/shop/shoes/a_photo.jpg",
        "tags": ["red", "summer"],
        "AITags": None,
        "versionInfo": {"id": file["versionInfo"]["id"], "name": "Version 1"},
        "isPrivateFile": False,
        "isPublished": True,
        "customCoordinates": None,
        "url": f"{ik.base}/ik/demo/shop/shoes/a_photo.jpg",
        "thumbnail": f"{ik.base}/ik/demo/tr:n-ik_ml_thumbnail/shop/shoes/a_photo.jpg",
        "fileType": "image",
        "mime": "image/jpeg",
        "width": 120,
        "height": 80,
        "size": made["size"],
        "hasAlpha": False,
        "customMetadata": {},
        "embeddedMetadata": file["embeddedMetadata"],
        "description": "A shoe",
    }
    assert (await ik.fetch(file["url"] + "?tr=orig-true")).body == photo(120, 80)


async def test_a_file_is_changed(ik: Desk) -> None:
    await field(ik, "price", type="Number", minValue=0)
    await field(ik, "brand", type="Text")
    id = (await ik.upload(photo(120, 80)))["fileId"]
    path = DETAILS.format(id)
    wish = {
        "tags": ["Été", "a b"],
        "customCoordinates": "10,10,20,30",
        "customMetadata": {"price": 12.5, "brand": "Nike"},
        "description": "Text",
    }
    for spelling in (path, f"{path}/"):  # 4.x has a slash at the end
        file = await ik.ok("PATCH", spelling, wish)
        assert {name: file[name] for name in wish} == wish
    assert await ik.ok("GET", path) == file
    file = await ik.ok("PATCH", path, {"tags": None, "customCoordinates": None, "customMetadata": {"brand": None}})
    assert (file["tags"], file["customCoordinates"], file["customMetadata"]) == (None, None, {"price": 12.5})
    assert file["description"] == "Text"
    assert await ik.ok("PATCH", path, {}) == file
    wish = {"extensions": [{"name": "ai-tasks", "tasks": []}], "webhookUrl": "https://hooks.example/a"}
    told = await ik.ok("PATCH", path, wish)  # its flow is not there
    assert (told["extensionStatus"], told["tags"]) == ({"ai-tasks": "failed"}, None)
    native = await ik.house.json("GET", "/v1/files?folder=/", headers={"Authorization": "Bearer ik-demo-key"})
    assert native["items"][0]["metadata"] == {"price": "12.5"}


async def test_ai_tags_are_removed(ik: Desk) -> None:
    id = (await ik.upload())["fileId"]
    found = [{"name": name, "confidence": 90.5, "source": "google-auto-tagging"} for name in ("Shirt", "Dress", "Hat")]
    core = ik.house.core
    file = await core.records.lineages.get("demo", id)
    await core.records.files.learn(file.id, {"ai_tags": found})
    assert (await ik.ok("GET", DETAILS.format(id)))["AITags"] == found
    assert [one["fileId"] for one in await ik.ok("GET", FILES, query={"searchQuery": 'tags IN ["Hat"]'})] == [id]
    file = await ik.ok("PATCH", DETAILS.format(id), {"removeAITags": ["Shirt", "Shoe"]})
    assert [tag["name"] for tag in file["AITags"]] == ["Dress", "Hat"]
    told = await ik.ok("POST", f"{FILES}/removeAITags", {"fileIds": [id], "AITags": ["Hat"]})
    assert told == {"successfullyUpdatedFileIds": [id]}
    assert await ik.ok("GET", FILES, query={"searchQuery": 'tags IN ["Hat"]'}) == []
    assert (await ik.ok("PATCH", DETAILS.format(id), {"removeAITags": "all"}))["AITags"] is None


async def test_what_is_not_published_is_delivered_to_nobody(ik: Desk) -> None:
    file = await ik.upload(b"one", "published.txt")
    await ik.upload(b"two", "published.txt")
    path = DETAILS.format(file["fileId"])
    told = await ik.ok("PATCH", path, {"publish": {"isPublished": False}})
    assert told["isPublished"] is False
    versions = await ik.ok("GET", f"{FILES}/{file['fileId']}/versions")
    assert [one["isPublished"] for one in versions] == [False, True]
    assert (await ik.fetch("/published.txt")).status == 404
    await ik.ok("PATCH", path, {"publish": {"isPublished": True}})
    assert (await ik.fetch("/published.txt")).body == b"two"
    await ik.ok("PATCH", path, {"publish": {"isPublished": False, "includeFileVersions": True}})
    versions = await ik.ok("GET", f"{FILES}/{file['fileId']}/versions")
    assert [one["isPublished"] for one in versions] == [False, False]


async def test_what_a_file_cannot_become(ik: Desk) -> None:
    await field(ik, "size", type="SingleSelect", selectOptions=["S", "M", 30])
    await field(ik, "stock", type="Number", minValue=1, isValueRequired=True, defaultValue=7)
    id = (await ik.upload(photo(120, 80)))["fileId"]
    path = DETAILS.format(id)
    misfits: list[tuple[Any, str]] = [
        ({"tags": "%"}, "tags"),
        ({"tags": [1]}, "tags"),
        ({"tags": ["x" * 99] * 1 + [f"{n}" + "y" * 90 for n in range(6)]}, "tags"),
        ({"tags": ["50%"]}, "tags"),
        ({"customCoordinates": "10,10"}, "customCoordinates"),
        ({"customCoordinates": [1, 2, 3, 4]}, "customCoordinates"),
        ({"customMetadata": {"colour": "red"}}, "customMetadata"),
        ({"customMetadata": {"size": "XL"}}, "customMetadata"),
        ({"customMetadata": {"stock": 0}}, "customMetadata"),
        ({"customMetadata": []}, "customMetadata"),
        ({"removeAITags": "some"}, "removeAITags"),
        ({"description": 5}, "description"),
        ({"publish": {"isPublished": "yes"}}, "publish"),
        ({"publish": True}, "publish"),
        ({"extensions": [{"name": "remove-bg"}]}, "extensions"),
        ({"extensions": [{"name": "saved-extension", "id": "ext_x"}]}, "extensions"),
        ({"webhookUrl": "x"}, "webhookUrl"),
    ]
    for wish, name in misfits:
        status, message = await ik.refusal("PATCH", path, wish)
        assert (status, message.startswith(f"Your request contains invalid {name} parameter.")) == (400, True), message
    answer = await ik.send("PATCH", path, {"customMetadata": {"size": "XL", "colour": "red"}})
    assert answer.document["errors"].keys() == {"size", "colour"}
    assert (await ik.refusal("PATCH", path, {"customCoordinates": "100,70,40,40"}))[0] == 400
    assert (await ik.refusal("PATCH", path, b"{"))[0] == (await ik.refusal("PATCH", path, b"[]"))[0] == 400
    file = await ik.ok("PATCH", path, {"customMetadata": {"stock": None, "size": 30}})
    assert file["customMetadata"] == {"stock": 7, "size": 30}


async def test_files_that_are_not_there(ik: Desk) -> None:
    other = (await ik.upload())["fileId"]
    for method, end in (("GET", "/details"), ("PATCH", "/details"), ("DELETE", ""), ("GET", "/versions")):
        assert await ik.refusal(method, f"{FILES}/{UNKNOWN}{end}") == (404, GONE)
        bad = (400, "Your request contains invalid fileId parameter.")
        assert await ik.refusal(method, f"{FILES}/fake_123{end}") == bad
        assert (await ik.refusal(method, f"{FILES}/{other}{end}", key="private_other_key"))[0] == 404
    assert (await ik.refusal("GET", f"{FILES}/{UNKNOWN}/metadata"))[0] == 404
    version = f"{FILES}/{other}/versions/{UNKNOWN}"
    for method, path in (("GET", version), ("DELETE", version), ("PUT", f"{version}/restore")):
        assert await ik.refusal(method, path) == (404, "The requested file version does not exist.")
    bad = (400, "Your request contains invalid versionId parameter.")
    assert await ik.refusal("GET", f"{FILES}/{other}/versions/x") == bad


async def test_many_at_once_or_none(ik: Desk) -> None:
    ids = [(await ik.upload(b"x", f"{n}.txt", tags="old"))["fileId"] for n in range(3)]
    told = await ik.ok("POST", f"{FILES}/addTags", {"fileIds": ids, "tags": ["new", "Neu"]})
    assert told == {"successfullyUpdatedFileIds": ids}
    await ik.ok("POST", f"{FILES}/removeTags", {"fileIds": ids[:2], "tags": ["old", "never"]})
    tags = [(await ik.ok("GET", DETAILS.format(id)))["tags"] for id in ids]
    assert tags == [["new", "Neu"], ["new", "Neu"], ["old", "new", "Neu"]]
    acts = [
        ("addTags", {"tags": ["x"]}),
        ("removeTags", {"tags": ["new"]}),
        ("removeAITags", {"AITags": ["x"]}),
        ("batch/deleteByFileIds", {}),
    ]
    for act, more in acts:
        answer = await ik.send("POST", f"{FILES}/{act}", {"fileIds": [ids[0], UNKNOWN, "fake_123"], **more})
        assert (answer.status, answer.document["message"]) == (404, "The requested file(s) does not exist.")
        assert answer.document["missingFileIds"] == [UNKNOWN, "fake_123"]
        missing = (400, "Your request is missing fileIds parameter.")
        assert await ik.refusal("POST", f"{FILES}/{act}", {"fileIds": [], **more}) == missing
        many = {"fileIds": [f"{n:024x}" for n in range(101)], **more}
        assert (await ik.refusal("POST", f"{FILES}/{act}", many))[0] == 400
    assert (await ik.ok("GET", DETAILS.format(ids[0])))["tags"] == ["new", "Neu"]
    assert (await ik.refusal("POST", f"{FILES}/addTags", {"fileIds": ids}))[0] == 400
    # What befalls one of them while others are done is told beside them, with the words that clients read unguarded.
    long = {"fileIds": ids, "tags": [f"{n}{'y' * 98}" for n in range(5)]}
    answer = await ik.send("POST", f"{FILES}/addTags", long)
    assert (answer.status, answer.document["successfullyUpdatedFileIds"]) == (207, [])
    assert answer.document["message"] and answer.document["help"]
    assert [error["fileId"] for error in answer.document["errors"]] == ids
    told = await ik.ok("POST", f"{FILES}/batch/deleteByFileIds", {"fileIds": ids})
    assert told == {"successfullyDeletedFileIds": ids}
    assert await ik.ok("GET", FILES) == []


async def test_versions_are_looked_at_restored_and_deleted(ik: Desk) -> None:
    id = (await ik.upload(b"one", "versioned.txt", tags="first"))["fileId"]
    for content in (b"two", b"three"):
        assert (await ik.upload(content, "versioned.txt"))["fileId"] == id
    versions = await ik.ok("GET", f"{FILES}/{id}/versions")
    assert [(one["type"], one["versionInfo"]["name"], one["size"]) for one in versions] == [
        ("file", "Version 3", 5),
        ("file-version", "Version 2", 3),
        ("file-version", "Version 1", 3),
    ]
    first = f"{FILES}/{id}/versions/{versions[2]['versionInfo']['id']}"
    assert await ik.ok("GET", first) == versions[2]
    assert len({one["fileId"] for one in versions}) == 1
    current = f"{FILES}/{id}/versions/{versions[0]['versionInfo']['id']}"
    assert (await ik.refusal("DELETE", current))[0] == 400
    restored = await ik.ok("PUT", f"{first}/restore")
    assert (restored["type"], restored["versionInfo"]["name"], restored["tags"]) == ("file", "Version 1", ["first"])
    assert (await ik.fetch("/versioned.txt")).body == b"one"
    await ik.ok("DELETE", current, status=204)
    left = await ik.ok("GET", f"{FILES}/{id}/versions")
    assert [one["versionInfo"]["name"] for one in left] == ["Version 1", "Version 2"]
    assert (await ik.upload(b"four", "versioned.txt"))["versionInfo"]["name"] == "Version 3"
    answer = await ik.send("DELETE", f"{FILES}/{id}", headers={"Content-Type": "application/json"})
    assert (answer.status, answer.body) == (204, b"")
    assert (await ik.refusal("GET", DETAILS.format(id)))[0] == (await ik.refusal("DELETE", f"{FILES}/{id}"))[0] == 404
    assert (await ik.house.core.records.usage.get("demo")).files == 0


@pytest.mark.usefixtures("working")
async def test_metadata_by_id_and_by_address(ik: Desk) -> None:
    made = await ik.upload(photo(120, 80, "PNG"), "a.png", folder="x")
    found = await ik.ok("GET", f"{FILES}/{made['fileId']}/metadata")
    assert re.fullmatch(r"[0-9a-f]{16}", found["pHash"])
    assert (found["format"], found["width"], found["height"], found["size"]) == ("png", 120, 80, made["size"])
    assert found["hasTransparency"] is False and found["exif"].keys() >= {"image", "exif", "gps"}
    url = made["url"]
    for address in (url, f"{url}?tr=w-10", url.replace("/ik/demo/", "/ik/demo/tr:w-10/")):
        for path in ("/metadata", "/files/metadata"):
            assert await ik.ok("GET", V1 + path, query={"url": address}) == found
    assert (found["hasColorProfile"], found["quality"]) == (False, 0)
    content, profile = io.BytesIO(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.open(io.BytesIO(photo())).convert("RGB").save(content, "JPEG", quality=87, icc_profile=profile)
    file = await ik.upload(content.getvalue(), "b.jpg")
    told = await ik.ok("GET", f"{FILES}/{file['fileId']}/metadata")
    assert (told["hasColorProfile"], told["quality"]) == (True, 87)
    # What a flow wrote is measured as it is written: here what pre-transformations store.
    pre = {"transformation": '{"pre": "w-20,f-jpg,q-64"}', "responseFields": "metadata"}
    made = await ik.upload(content.getvalue(), "c.jpg", **pre)
    assert (made["metadata"]["hasColorProfile"], made["metadata"]["quality"]) == (False, 64)
    text = await ik.upload(b"text", "a.txt")
    assert await ik.ok("GET", f"{FILES}/{text['fileId']}/metadata") == {"size": 4}
    assert await ik.refusal("GET", f"{V1}/metadata") == (400, "Your request is missing url parameter.")
    assert await ik.refusal("GET", f"{V1}/metadata", query={"url": "https://example.com/a.jpg"}) == (400, "Invalid url")
    status, message = await ik.refusal("GET", f"{V1}/metadata", query={"url": f"{url}.gone"})
    assert (status, message) == (400, f"{url}.gone should be accessible using your ImageKit.io account.")
