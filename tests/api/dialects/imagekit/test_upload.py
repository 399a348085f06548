"""The Upload API beside its refusals: every way a file is sent, every field, names, versions, and what is answered."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from typing import Any

import jwt
from PIL import Image

from tests.api.house import Multipart, photo

from .desk import UPLOAD, UPLOAD_V2, Desk, Field, form, signature, signed

RAW = "image/jpeg"


async def stored(ik: Desk, made: dict[str, Any]) -> Any:
    """The record behind an answer."""
    return await ik.house.core.records.lineages.get("demo", made["fileId"])


async def bytes_of(ik: Desk, made: dict[str, Any]) -> bytes:
    """What was stored, as the native API tells."""
    file = await stored(ik, made)
    answer = await ik.send(
        "GET", f"/v1/files/{file.id}/content", key=None, headers={"Authorization": "Bearer ik-demo-key"}
    )
    assert answer.status == 200
    return answer.body


async def test_everything_that_is_told_of_a_picture(ik: Desk) -> None:
    content = photo(120, 80)
    fields = {"folder": "/été 1/b.c/", "tags": "a, b", "customCoordinates": "10,10,50,40", "description": "A photo"}
    asked = {"responseFields": "isPublished,customMetadata,embeddedMetadata", "isPrivateFile": "true"}
    made = await ik.upload(content, "Prüf (1)-2.jpg", **fields, **asked)
    url = f"{ik.base}/ik/demo"
    path = "/%C3%A9t%C3%A9_1/b_c/Pr%C3%BCf__1_-2.jpg"
    assert made == {
        "fileId": made["fileId"],
        "name": "Prüf__1_-2.jpg",
        "size": len(content),
        "versionInfo": {"id": made["fileId"], "name": "Version 1"},
        "filePath": "/été_1/b_c/Prüf__1_-2.jpg",
        "url": f"{url}{path}",
        "thumbnailUrl": f"{url}/tr:n-ik_ml_thumbnail{path}",
        "fileType": "image",
        "AITags": None,
        "description": "A photo",
        "height": 80,
        "width": 120,
        "orientation": 1,
        "tags": ["a", "b"],
        "isPrivateFile": True,
        "customCoordinates": "10,10,50,40",
        "isPublished": True,
        "customMetadata": {},
        "embeddedMetadata": {},
    }
    assert len(made["fileId"]) == 24
    assert await bytes_of(ik, made) == content


async def test_what_is_no_picture(ik: Desk) -> None:
    made = await ik.upload(b"some text", "a.txt", isPublished="false", customCoordinates="1,1,2,2")
    assert (made["fileType"], made["tags"], made["customCoordinates"], made["isPrivateFile"]) == (
        "non-image", None, None, False)  # fmt: skip
    assert not {"width", "height", "thumbnailUrl", "orientation", "isPublished"} & made.keys()
    assert (await stored(ik, made)).published is False


async def test_every_way_a_file_is_spelt(ik: Desk) -> None:
    content = photo(30, 20, "PNG")
    letters = base64.b64encode(content).decode()
    spelt: dict[str, Field] = {
        "named": ("file", content, "upload"),
        "unnamed bytes": ("file", content),
        "base64": ("file", letters),
        "base64 in lines": ("file", base64.encodebytes(content).decode()),
        "data URI": ("file", f"data:image/png;base64,{letters}"),
        "data URI without padding": ("file", f"data:;base64,{letters.rstrip('=')}"),
    }
    for way, field in spelt.items():
        for fields in ([field, ("fileName", "a.png")], [("fileName", "a.png"), field]):
            made = await ik.ok("POST", UPLOAD, form(fields))
            assert (made["width"], made["height"], made["size"]) == (30, 20, len(content)), way
    plain = await ik.ok("POST", UPLOAD, form([("file", "data:text/plain,a%20b"), ("fileName", "a.txt")]))
    assert await bytes_of(ik, plain) == b"a b"
    text = await ik.ok("POST", UPLOAD, form([("file", "grüezi, not base64"), ("fileName", "a.txt")]))
    assert await bytes_of(ik, text) == "grüezi, not base64".encode()


async def test_a_large_file_in_base64_is_decoded_on_its_way(ik: Desk) -> None:
    content = bytes(range(256)) * 5000
    body = Multipart().field("file", base64.b64encode(content)).field("fileName", "a.bin").end()
    made = await ik.ok("POST", UPLOAD, body["data"], headers=body["headers"])
    assert await bytes_of(ik, made) == content


async def test_the_boundary_of_an_older_client(ik: Desk) -> None:
    body = Multipart("--randomBoundary---------------------").field("file", photo()).field("fileName", "a.jpg").end()
    made = await ik.ok("POST", UPLOAD, body["data"], headers=body["headers"])
    assert made["width"] == 120


async def test_a_body_without_a_length(ik: Desk) -> None:
    body = Multipart().field("fileName", "a.jpg").field("file", photo(), "a.jpg", "Content-Type: text/plain\r\n").end()

    async def pieces() -> Any:
        for start in range(0, len(body["data"]), 500):
            yield body["data"][start : start + 500]

    session, auth = ik.house.session, {"Authorization": f"Basic {base64.b64encode(b'private_test_key:').decode()}"}
    url = f"{ik.house.base}{UPLOAD}"
    async with session.post(url, data=pieces(), headers={**body["headers"], **auth}) as answer:
        assert (answer.status, (await answer.json())["fileType"]) == (200, "image")


async def test_a_file_at_an_address(ik: Desk) -> None:
    first = await ik.upload(photo(64, 48), "at.jpg")
    file = await stored(ik, first)
    url = f"{ik.house.base}/v1/files/{file.id}/content"
    made = await ik.ok("POST", UPLOAD, form([("file", url), ("fileName", "copy.jpg")]))
    assert (made["width"], made["height"]) == (64, 48)
    assert (await stored(ik, made)).source == url


async def test_names_are_made_unique_unless_that_is_not_wanted(ik: Desk) -> None:
    names = [(await ik.upload(name="a b.tar.gz", useUniqueFileName="true"))["name"] for _ in range(2)]
    assert all(len(name) == len("a_b.tar_.gz") + 9 and name.startswith("a_b.tar_") for name in names)
    assert names[0] != names[1]
    made = await ik.ok("POST", UPLOAD, form([("file", b"x", "x"), ("fileName", "n.txt")]))
    assert made["name"] != "n.txt"
    assert (await ik.upload(name="a b.tar.gz"))["name"] == "a_b.tar.gz"


async def test_what_an_overwrite_keeps(ik: Desk) -> None:
    await ik.house.core.records.sheets.add(
        "demo", "imagekit.field", "f" * 24, {"name": "brand", "label": "Brand", "schema": {"type": "Text"}}, "brand"
    )
    said = {"tags": "a,b", "customMetadata": json.dumps({"brand": "x"}), "customCoordinates": "1,1,5,5"}
    first = await ik.upload(photo(), **said, description="first", isPrivateFile="true")
    await _with_ai_tags(ik, first)
    asked = {"responseFields": "customMetadata"}
    kept = {"overwriteTags": "false", "overwriteCustomMetadata": "false", "overwriteAITags": "false"}
    second = await ik.upload(photo(10, 10), **asked, **kept)
    assert second["fileId"] == first["fileId"]
    assert second["versionInfo"]["name"] == "Version 2"
    assert second["versionInfo"]["id"] != first["versionInfo"]["id"]
    assert (second["tags"], second["customMetadata"], second["customCoordinates"]) == (["a", "b"], {"brand": "x"}, None)
    assert second["AITags"] == [{"name": "cat", "confidence": 90, "source": "google-auto-tagging"}]
    assert (second["description"], second["isPrivateFile"]) == (None, True)
    third = await ik.upload(b"text", **asked, tags="c", isPrivateFile="false", overwriteTags="false")
    assert (third["tags"], third["customMetadata"], third["AITags"]) == (["c"], {}, None)
    assert (third["versionInfo"]["name"], third["isPrivateFile"], third["fileType"]) == (
        "Version 3",
        False,
        "non-image",
    )
    versions = await ik.house.core.records.lineages.versions("demo", first["fileId"])
    assert [one.version for one in versions] == [1, 2, 3]


async def _with_ai_tags(ik: Desk, made: dict[str, Any]) -> None:
    file = await stored(ik, made)
    tags = [{"name": "cat", "confidence": 90, "source": "google-auto-tagging"}]
    await ik.house.core.records.files.learn(file.id, {"ai_tags": tags})


async def test_many_at_once_to_one_path_are_versions_of_one_file(ik: Desk) -> None:
    made = await asyncio.gather(*(ik.upload(photo(20 + n, 10)) for n in range(6)))
    assert len({one["fileId"] for one in made}) == 1
    assert sorted(one["versionInfo"]["name"] for one in made) == [f"Version {n}" for n in range(1, 7)]


async def test_a_file_of_another_dialect_is_replaced_like_any_other(ik: Desk) -> None:
    sent = await ik.house.send(b"first", "a.txt", key="ik-demo-key")
    made = await ik.upload(b"second", "a.txt")
    assert (made["fileId"], made["versionInfo"]["name"]) == (sent["id"].replace("-", "")[:24], "Version 2")


async def test_custom_metadata_of_every_type(ik: Desk) -> None:
    schemas: dict[str, dict[str, Any]] = {
        "text": {"type": "Text", "maxLength": 5},
        "number": {"type": "Number", "minValue": 1},
        "date": {"type": "Date"},
        "flag": {"type": "Boolean"},
        "one": {"type": "SingleSelect", "selectOptions": ["small", 7, True]},
        "many": {"type": "MultiSelect", "selectOptions": ["a", 2]},
        "needed": {"type": "Text", "isValueRequired": True, "defaultValue": "usual"},
    }
    for number, (name, schema) in enumerate(schemas.items()):
        body = {"name": name, "label": name, "schema": schema}
        await ik.house.core.records.sheets.add("demo", "imagekit.field", f"{number:024x}", body, name)
    said = {"text": "abc", "number": 12.5, "date": "2024-01-31", "flag": False, "one": 7, "many": ["a", 2]}
    made = await ik.upload(responseFields="customMetadata", customMetadata=json.dumps(said))
    assert made["customMetadata"] == {**said, "needed": "usual"}
    assert (await stored(ik, made)).metadata["number"] == "12.5"
    status, message = await ik.refusal(
        "POST", UPLOAD, form([("file", b"x", "x"), ("fileName", "a"), ("customMetadata", '{"number": 0, "other": 1}')])
    )
    assert status == 400
    assert "number: The value should be at least 1." in message
    assert "other: This custom metadata field does not exist." in message


CHECKS = (
    ('"request.folder" : "marketing/"', True),
    ('"request.folder" = "marketing/spring" AND "file.size" < "1mb"', True),
    ("'file.mime' IN ['image/jpeg', 'image/png'] AND 'mediaMetadata.width' <= 120", True),
    ('"request.tags" IN ["sale"] OR "file.size" > 10gb', True),
    ('"request.customMetadata.brand" NOT = "x"', True),
    ('"request.folder" EXISTS', True),
    ('("request.tags" NOT IN ["sale"] OR "request.isPrivateFile" = true)', False),
    ('"mediaMetadata.height" < 80', False),
    ('"file.mime" : video', False),
    ('"request.fileName" NOT = "photo.jpg"', False),
    ('"request.customMetadata.brand" = "x"', False),
)


async def test_what_does_not_pass_the_checks_is_not_there(ik: Desk) -> None:
    body = {"name": "brand", "label": "Brand", "schema": {"type": "Text"}}
    await ik.house.core.records.sheets.add("demo", "imagekit.field", "f" * 24, body, "brand")
    given = {"folder": "marketing/spring", "tags": "sale,new", "useUniqueFileName": "false"}
    for checks, passes in CHECKS:
        fields: list[Field] = [("file", photo(), "photo.jpg"), ("fileName", "photo.jpg"), *given.items()]
        before = await ik.house.leftovers()
        answer = await ik.send("POST", UPLOAD, form([*fields, ("checks", checks)]))
        assert answer.status == (200 if passes else 400), (checks, answer.document)
        assert (await ik.house.leftovers() == before) is not passes
        assert passes or answer.document["message"] == "Your request did not pass the checks."


# Who sends


async def test_pages_send_with_a_signature_before_or_behind_the_file(ik: Desk) -> None:
    file: Field = ("file", photo(), "a.jpg")
    for fields in (
        [("fileName", "a.jpg"), *signed().items(), file],
        [file, ("fileName", "a.jpg"), *signed().items()],
    ):
        answer = await ik.send("POST", UPLOAD, form(fields), key=None, headers={"Origin": "https://page.example"})
        assert (answer.status, answer.document["width"]) == (200, 120)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "X-Ik-RequestId" in answer.headers["Access-Control-Expose-Headers"]
        assert answer.headers.getall("Access-Control-Allow-Origin") == ["*"]  # type: ignore[attr-defined]


def token(fields: dict[str, str], key: str = "private_test_key", seconds: int = 600, **changed: Any) -> str:
    import time
    import warnings

    at = int(time.time())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return jwt.encode(
            {**fields, "iat": at, "exp": at + seconds, **changed}, key, "HS256", {"kid": "public_test_key"}
        )


async def test_version_2_takes_a_jwt_of_the_whole_form(ik: Desk) -> None:
    said = {"fileName": "dress.jpg", "useUniqueFileName": "false", "tags": "a,b"}
    fields: list[Field] = [("file", photo(), "a.jpg"), *said.items(), ("token", token(said))]
    made = await ik.ok("POST", UPLOAD_V2, form(fields), key=None)
    assert (made["name"], made["tags"]) == ("dress.jpg", ["a", "b"])
    assert (await ik.refusal("POST", UPLOAD_V2, form(fields), key=None))[0] == 400
    assert (await ik.ok("POST", UPLOAD_V2, form(fields[:-1])))["versionInfo"]["name"] == "Version 2"


def test_the_vectors_that_clients_test_themselves_with() -> None:
    assert signature("your_token", "1582269249", "private_key_test") == "e71bcd6031016b060d349d212e23e85c791decdd"
    token, expire = "1bab386f-45ea-49e1-9f0d-6afe49a5b250", "1580372696"
    assert signature(token, expire, "private_test_key") == "ed99d0f63f0d80452a621a50477f8ef16e698331"


async def test_pages_of_the_project_are_given_what_they_need(ik: Desk) -> None:
    own = {"Origin": "https://other.example"}
    answer = await ik.send("GET", "/imagekit/auth/other", key=None, headers=own)
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert set(answer.document) == {"token", "expire", "signature"}
    assert answer.headers["Access-Control-Allow-Origin"] == "https://other.example"
    told = {name: str(value) for name, value in answer.document.items()}
    fields = [("file", b"x", "x"), ("fileName", "a.txt"), ("publicKey", "public_other_key"), *told.items()]
    await ik.ok("POST", UPLOAD, form(fields), key=None)
    for path, headers in (("other", {}), ("other", {"Origin": "https://evil.example"}), ("demo", own), ("none", own)):
        assert (await ik.refusal("GET", f"/imagekit/auth/{path}", key=None, headers=headers))[0] == 403
    made = await ik.ok("GET", "/imagekit/auth/demo", query={"token": "t", "expire": signed()["expire"]})
    assert made["signature"] == signature("t", str(made["expire"]))
    assert (await ik.refusal("GET", "/imagekit/auth/other"))[0] == 403
    assert (await ik.refusal("GET", "/imagekit/auth/demo", query={"expire": "soon"}))[0] == 400


async def test_metadata_when_it_is_asked_for(ik: Desk, working: object) -> None:
    image, exif = Image.new("RGB", (40, 30), "#336699"), Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    out = io.BytesIO()
    image.save(out, "JPEG", exif=exif, dpi=(72, 72))
    made = await ik.upload(out.getvalue(), responseFields="metadata,embeddedMetadata")
    told = made["metadata"]
    assert (told["width"], told["height"], told["format"], told["density"]) == (30, 40, "jpg", 72)
    assert (len(told["pHash"]), told["hasTransparency"]) == (16, False)
    assert (told["exif"]["image"]["Make"], told["exif"]["exif"]["DateTimeOriginal"]) == (
        "Camera",
        "2024:05:06 07:08:09",
    )
    assert made["embeddedMetadata"]["DateTimeOriginal"] == "2024-05-06T07:08:09.000Z"
    assert made["orientation"] == 6
