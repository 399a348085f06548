"""What an upload has made of its file before it is stored and behind that, what extensions find, and who is told."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import json
import subprocess
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from tests.api.house import photo

from .desk import UPLOAD, Desk, Field, form, signed
from .outside import TAGS, Outside, listening


async def sent(ik: Desk, content: bytes, transformation: Any, **more: str) -> Any:
    given = {"fileName": "a.jpg", "useUniqueFileName": "false", "transformation": json.dumps(transformation), **more}
    fields: list[Field] = [("file", content, "a.jpg"), *given.items()]
    return await ik.ok("POST", UPLOAD, form(fields), headers={"X-Request-Id": "upload-1"})


async def picture(ik: Desk, url: str) -> Image.Image:
    """What is delivered at an address; webhooks know the server by another name than the tests."""
    parts = urlsplit(url)
    answer = await ik.send("GET", f"{parts.path}?{parts.query}", key=None)
    assert answer.status == 200, answer.body[:500]
    return Image.open(io.BytesIO(answer.body))


async def test_what_is_stored_is_what_pre_makes(ik: Desk, outside: Outside, working: subprocess.Popen[bytes]) -> None:
    await listening(ik, outside)
    checks = '"mediaMetadata.width" = 40 AND "file.mime" = "image/png"'
    made = await sent(ik, photo(120, 80), {"pre": "w-40,h-40,f-png"}, tags="a", folder="made", checks=checks)
    assert (made["width"], made["height"], made["tags"], made["filePath"]) == (40, 40, ["a"], "/made/a.jpg")
    found = await picture(ik, made["url"] + "?tr=orig-true")
    assert (found.format, found.size) == ("PNG", (40, 40))
    files = (await ik.house.core.records.files.list("demo")).items
    assert [file.mime for file in files] == ["image/png"]
    told = await outside.several(2)
    assert told["file.created"][0]["data"]["fileId"] == made["fileId"]
    (success,) = told["upload.pre-transform.success"]
    assert success["data"]["fileId"] == made["fileId"]
    assert success["request"] == {"x_request_id": "upload-1", "transformation": "w-40,h-40,f-png"}
    again = await sent(ik, photo(120, 80), {"pre": "w-30"}, folder="made")
    assert (again["fileId"], again["versionInfo"]["name"], again["width"]) == (made["fileId"], "Version 2", 30)
    assert set(await outside.several(2)) == {"file-version.created", "upload.pre-transform.success"}


async def test_a_pre_that_cannot_be_leaves_nothing(
    ik: Desk, outside: Outside, working: subprocess.Popen[bytes]
) -> None:
    await listening(ik, outside)
    before = await ik.house.leftovers()
    fields: list[Field]
    for pre in ("l-image,i-none.png,l-end", "n-unknown", "e-nothing"):
        fields = [("file", photo(), "a.jpg"), ("fileName", "a.jpg")]
        told = await ik.refusal("POST", UPLOAD, form([*fields, ("transformation", json.dumps({"pre": pre}))]))
        assert (told[0], told[1].startswith("Your request contains invalid transformation parameter.")) == (400, True)
        event = await outside.next()
        assert event["type"] == "upload.pre-transform.error"
        assert (event["data"]["name"], event["data"]["path"][:3]) == ("a.jpg", "/a.")
        assert event["data"]["transformation"]["error"]["reason"]
    fields = [("file", photo()[:200], "a.jpg"), ("fileName", "a.jpg"), ("transformation", '{"pre": "w-20"}')]
    assert (await ik.refusal("POST", UPLOAD, form(fields)))[0] == 400
    assert {file for file in (await ik.house.leftovers())[0] if "/files/" in file} == {
        file for file in before[0] if "/files/" in file
    }


async def test_a_page_lays_no_private_picture_over_its_own(ik: Desk, working: subprocess.Popen[bytes]) -> None:
    await ik.upload(photo(), "secret.png", isPrivateFile="true")
    pre = {"transformation": json.dumps({"pre": "l-image,i-secret.png,l-end"})}
    fields: list[Field] = [("file", photo(), "a.jpg"), ("fileName", "a.jpg"), *pre.items()]
    status, message = await ik.refusal("POST", UPLOAD, form([*fields, *signed().items()]), key=None)
    assert (status, "there is no picture" in message) == (400, True)
    await ik.ok("POST", UPLOAD, form(fields))


async def test_what_post_asks_for_is_made_and_told_one_by_one(
    ik: Desk, outside: Outside, working: subprocess.Popen[bytes]
) -> None:
    await listening(ik, outside)
    posts = [
        {"type": "transformation", "value": "w-50"},
        {"type": "transformation", "value": "l-image,i-none.png,l-end"},
        {"type": "thumbnail", "value": "w-20,h-20"},
    ]
    made = await sent(ik, photo(120, 80), {"post": posts})
    told = await outside.several(4)
    (created,), (error,) = told["file.created"], told["upload.post-transform.error"]
    assert created["data"]["versionInfo"] == made["versionInfo"]
    assert error["data"]["transformation"]["error"]["reason"].startswith("`l-image`: there is no picture")
    assert error["request"]["transformation"] == posts[1]
    sizes = set()
    for success in told["upload.post-transform.success"]:
        assert (success["data"]["fileId"], success["data"]["name"]) == (made["fileId"], "a.jpg")
        assert success["request"]["x_request_id"] == "upload-1"
        sizes.add((await picture(ik, success["data"]["url"])).size)
    assert sizes == {(50, 33), (20, 20)}


async def test_an_animation_becomes_a_video_behind_its_upload(
    ik: Desk, outside: Outside, working: subprocess.Popen[bytes]
) -> None:
    await listening(ik, outside)
    frames, out = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")], io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=100)
    await sent(ik, out.getvalue(), {"post": [{"type": "gif-to-video", "value": "w-16"}]})
    (told,) = (await outside.several(2))["upload.post-transform.success"]
    parts = urlsplit(told["data"]["url"])
    assert parts.path.endswith("/tr:w-16/a.jpg/ik-gif-video.mp4")
    answer = await ik.send("GET", parts.path, key=None)
    assert (answer.status, answer.headers["Content-Type"], answer.body[4:8]) == (200, "video/mp4", b"ftyp")


async def test_files_and_versions_are_told_and_signed_twice(
    ik: Desk, outside: Outside, working: subprocess.Popen[bytes]
) -> None:
    secret = await listening(ik, outside)
    first = await ik.upload(b"first", "a.txt")
    headers, body = await asyncio.wait_for(outside.heard.get(), 30)
    created = json.loads(body)
    assert (created["type"], created["data"]["filePath"], created["data"]["fileId"]) == (
        "file.created", "/a.txt", first["fileId"])  # fmt: skip
    time, _, old = headers["x-ik-signature"].partition(",v1=")
    assert old == hmac.new(secret.encode(), time[2:].encode() + b"." + body, hashlib.sha256).hexdigest()
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    new = base64.b64encode(hmac.digest(secret.encode(), signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{new}"
    second = await ik.upload(b"second", "a.txt")
    told = await outside.next()
    assert (told["type"], told["data"]["versionInfo"]) == ("file-version.created", second["versionInfo"])
    await ik.ok("PATCH", f"/imagekit/v1/files/{first['fileId']}/details", {"tags": ["x"]})
    told = await outside.next()
    assert (told["type"], told["data"]["tags"]) == ("file.updated", ["x"])
    await ik.ok("DELETE", f"/imagekit/v1/files/{first['fileId']}", status=204)
    told = await outside.several(2)
    version = {"fileId": first["fileId"], "versionId": first["versionInfo"]["id"]}
    assert told["file-version.deleted"][0]["data"] == version
    assert told["file.deleted"][0]["data"] == {"fileId": first["fileId"]}


FLOWS = {
    "tagging": """
params: {{maxTags: {{type: integer, default: 3}}}}
nodes:
  photo: {{type: input}}
  found:
    type: ask
    url: "{address}/find"
    headers: {{X-Most: "{{params.maxTags}}"}}
    remember: [ai_tags, description]
""",
    "cut-out": """
nodes:
  photo: {{type: input}}
  small: {{type: resize, width: 20}}
  out: {{type: save, path: "cut/{{file.stem}}.png", format: png}}
""",
}


async def test_extensions_are_flows_whose_end_is_told(
    ik: Desk, outside: Outside, working: subprocess.Popen[bytes]
) -> None:
    for name, text in FLOWS.items():
        headers = {"Content-Type": "application/yaml", "Authorization": "Bearer ik-demo-key"}
        data = text.format(address=outside.address).encode()
        await ik.ok("PUT", f"/v1/flows/{name}", data, 201, key=None, headers=headers)
    asked = [{"name": "google-auto-tagging", "maxTags": 5, "minConfidence": 60}, {"name": "ai-tasks", "tasks": []}]
    given = {"extensions": json.dumps(asked), "webhookUrl": f"{outside.address}/hook"}
    made = await ik.upload(photo(), **given)
    assert made["extensionStatus"] == {"google-auto-tagging": "pending", "ai-tasks": "failed"}
    told = await outside.next()
    assert (told["service"], told["status"]) == ("google-auto-tagging", "SUCCESS")
    shown = await ik.ok("GET", f"/imagekit/v1/files/{made['fileId']}/details")
    assert shown["AITags"] == [TAGS[0], {**TAGS[1], "source": None}]
    assert shown["description"] == "A cat on a sofa"
    file = await ik.house.core.records.lineages.get("demo", made["fileId"])
    assert file.facts["ask"]["most"] == "5"
    saved = {"name": "cut", "description": "d", "config": {"name": "aws-auto-tagging"}}
    id = (await ik.ok("POST", "/imagekit/v1/saved-extensions", saved, 201))["id"]
    given["extensions"] = json.dumps([{"name": "saved-extension", "id": id}])
    assert (await ik.upload(photo(), "b.jpg", **given))["extensionStatus"] == {"aws-auto-tagging": "pending"}
    told = await outside.next()
    assert (told["service"], told["status"]) == ("aws-auto-tagging", "SUCCESS")
    assert (await picture(ik, told["fileObject"]["url"])).size == (20, 13)
