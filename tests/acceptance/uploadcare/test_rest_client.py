"""@uploadcare/rest-client, unmodified: files, metadata, tags, groups, webhooks, pages, and both ways to sign."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from tests.acceptance.conftest import Stack
from tests.acceptance.uploadcare.clients import ClientError, Node, Outside
from tests.acceptance.uploadcare.test_upload_client import options
from tests.nodes.studio import PHOTO

UNKNOWN = "11111111-1111-4111-8111-111111111111"


class Rest:
    """The client's functions for one project."""

    def __init__(self, server: Stack, node: Node, project: str = "demo", *, simple: bool = False) -> None:
        self.server, self.node, self.project = server, node, project
        auth = {"publicKey": f"{project}publickey", "secretKey": f"{project}secretkey", "simple": simple}
        self.settings = {"apiBaseURL": server.address, "authSchema": {"$auth": auth}, "retryNetworkErrorMaxTimes": 0}

    async def __call__(self, name: str, given: dict[str, Any], **more: Any) -> Any:
        return await self.node.call("rest", name, given, self.settings, **more)

    async def upload(self, **more: Any) -> str:
        made = await self.node.call("upload", "base", {"$path": str(PHOTO)}, options(self.server, self.project, **more))
        return str(made["file"])


@pytest.fixture(params=[False, True], ids=["signed", "simple"])
def rest(request: pytest.FixtureRequest, server: Stack, node: Node) -> Rest:
    return Rest(server, node, simple=request.param)


async def test_a_file_from_its_upload_to_after_its_end(rest: Rest) -> None:
    uuid = await rest.upload(store=False, metadata={"pet": "cat"}, tags=["b", "a"])
    info = await rest("fileInfo", {"uuid": uuid, "include": "appdata"})
    assert (info["uuid"], info["size"], info["mimeType"], info["isReady"]) == (
        uuid, PHOTO.stat().st_size, "image/jpeg", True)  # fmt: skip
    assert (info["datetimeStored"], info["datetimeRemoved"], info["metadata"]) == (None, None, {"pet": "cat"})
    assert (info["tags"], info["appdata"], info["variations"]) == (["b", "a"], {}, None)
    assert info["originalFileUrl"] == f"{rest.server.address}/{uuid}/original"
    stored = await rest("storeFile", {"uuid": uuid})
    assert stored["datetimeStored"] and stored["datetimeStored"].endswith("Z")
    removed = await rest("deleteFile", {"uuid": uuid})
    assert removed["datetimeRemoved"]
    again = await rest("fileInfo", {"uuid": uuid})
    assert (again["datetimeRemoved"] is not None, again["originalFileUrl"]) == (True, None)
    with pytest.raises(ClientError, match="Not found"):
        await rest("storeFile", {"uuid": uuid})


async def test_many_at_once(rest: Rest) -> None:
    uuids = [await rest.upload(store=False) for _ in range(3)]
    told = await rest("storeFiles", {"uuids": [*uuids[:2], UNKNOWN, "x"]})
    assert [file["uuid"] for file in told["result"]] == uuids[:2]
    assert told["problems"] == {UNKNOWN: "Missing in the project", "x": "Invalid"}
    told = await rest("deleteFiles", {"uuids": uuids})
    assert all(file["datetimeRemoved"] for file in told["result"])
    for wrong in ([], uuids * 34):
        with pytest.raises(ClientError):
            await rest("storeFiles", {"uuids": wrong})


async def test_metadata_and_tags(rest: Rest) -> None:
    uuid = await rest.upload()
    assert await rest("getMetadata", {"uuid": uuid}) == {}
    assert await rest("updateMetadata", {"uuid": uuid, "key": "a_b", "value": "1"}) == "1"
    assert await rest("updateMetadata", {"uuid": uuid, "key": "a_b", "value": "2"}) == "2"
    assert await rest("getMetadata", {"uuid": uuid}) == {"a_b": "2"}
    assert await rest("getMetadataValue", {"uuid": uuid, "key": "a_b"}) == "2"
    await rest("deleteMetadata", {"uuid": uuid, "key": "a_b"})
    with pytest.raises(ClientError, match="Not found"):
        await rest("getMetadataValue", {"uuid": uuid, "key": "a_b"})
    with pytest.raises(ClientError):
        await rest("updateMetadata", {"uuid": uuid, "key": "k" * 65, "value": "1"})
    told = await rest("replaceTags", {"uuid": uuid, "tags": ["One", "two"]})
    assert told == {"tags": ["one", "two"], "added": ["one", "two"], "deleted": []}
    told = await rest("updateTags", {"uuid": uuid, "add": ["three"], "delete": ["one", "none"]})
    assert told == {"tags": ["two", "three"], "added": ["three"], "deleted": ["one"]}
    assert await rest("getTags", {"uuid": uuid}) == {"tags": ["two", "three"]}


async def test_copies(rest: Rest) -> None:
    uuid = await rest.upload(metadata={"a": "b"})
    address = f"{rest.server.address}/{uuid}/"
    copy = await rest("copyFileToLocalStorage", {"source": address, "store": True, "metadata": {"c": "d"}})
    assert (copy["type"], copy["result"]["metadata"]) == ("file", {"c": "d"})
    assert copy["result"]["uuid"] != uuid
    assert copy["result"]["datetimeStored"]
    small = await rest("copyFileToLocalStorage", {"source": f"{address}-/resize/40x/-/format/png/"})
    assert (small["result"]["contentInfo"]["image"]["width"], small["result"]["mimeType"]) == (40, "image/png")
    with pytest.raises(ClientError, match="nonsense"):
        await rest("copyFileToLocalStorage", {"source": f"{address}-/nonsense/40x/"})
    given = {"source": uuid, "target": "bucket", "makePublic": True, "pattern": "shelf/${uuid}${ext}"}
    told = await rest("copyFileToRemoteStorage", given)
    assert told["type"] == "url"
    assert told["result"].startswith("s3://bucket/")
    assert told["result"].endswith(f"/{uuid}")
    with pytest.raises(ClientError):
        await rest("copyFileToRemoteStorage", {"source": uuid, "target": "nowhere"})
    with pytest.raises(ClientError, match="Not found"):
        await rest("copyFileToLocalStorage", {"source": UNKNOWN})


async def test_groups(rest: Rest) -> None:
    files = [await rest.upload() for _ in range(2)]
    given = options(rest.server)
    made = await rest.node.call("upload", "group", [files[0], f"{files[1]}/-/resize/x80/"], given)
    group = await rest("groupInfo", {"uuid": made["id"]})
    assert [file["uuid"] for file in group["files"]] == files
    assert [file["defaultEffects"] for file in group["files"]] == ["", "resize/x80/"]
    await rest("deleteFile", {"uuid": files[0]})
    assert (await rest("groupInfo", {"uuid": made["id"]}))["files"][0] is None
    (page, *_) = await rest("listOfGroups", {"limit": 2, "ordering": "-datetime_created"}, paged=True)
    assert page["results"][0]["id"] == made["id"]
    assert "files" not in page["results"][0]
    await rest("deleteGroup", {"uuid": made["id"]})
    with pytest.raises(ClientError, match="Not found"):
        await rest("groupInfo", {"uuid": made["id"]})
    assert (await rest("fileInfo", {"uuid": files[1]}))["datetimeRemoved"] is None


async def test_250_files_by_pages(server: Stack, node: Node) -> None:
    rest = Rest(server, node, "many")
    uuids: set[str] = set()
    for _ in range(25):
        uuids |= set(await asyncio.gather(*(rest.upload(store=bool(number % 2)) for number in range(10))))
    assert len(uuids) == 250
    for ordering in ("datetime_uploaded", "-datetime_uploaded"):
        pages = await rest("listOfFiles", {"limit": 60, "ordering": ordering}, paged=True)
        found = [file for page in pages for file in page["results"]]
        assert [len(page["results"]) for page in pages] == [60, 60, 60, 60, 10]
        assert {file["uuid"] for file in found} == uuids
        times = [file["datetimeUploaded"] for file in found]
        assert times == sorted(times, reverse=ordering.startswith("-"))
        assert {page["total"] for page in pages} == {250}
    pages = await rest("listOfFiles", {"limit": 100, "stored": True}, paged=True)
    assert [len(page["results"]) for page in pages] == [100, 25]
    assert all(file["datetimeStored"] for page in pages for file in page["results"])
    assert pages[0]["totals"] == {"removed": 0, "stored": 125, "unstored": 125}
    gone = pages[0]["results"][:3]
    await rest("deleteFiles", {"uuids": [file["uuid"] for file in gone]})
    removed = await rest("listOfFiles", {"limit": 2, "removed": True}, paged=True)
    assert [file["uuid"] for page in removed for file in page["results"]] == [file["uuid"] for file in gone]


async def test_search(server: Stack, node: Node) -> None:
    rest, mark = Rest(server, node), f"needle{time.time_ns()}"
    uuids = [
        await rest.upload(fileName=f"{mark}-{n}.jpg", metadata={"shelf": mark, "n": str(n)}, tags=[mark, f"n{n}"])
        for n in range(5)
    ]
    first = await rest("searchFiles", {"query": mark, "limit": 2, "sort": [{"field": "originalFilename"}]})
    assert (first["total"], [file["uuid"] for file in first["results"]]) == (5, uuids[:2])
    assert first["next"] == f"{server.address}/files/search/?limit=2&offset=2"
    for given, wanted in (
        ({"exact": {"metadata": {"shelf": [mark], "n": ["3"]}}}, uuids[3:4]),
        ({"exact": {"originalFilename": [f"{mark}-1.jpg"]}}, uuids[1:2]),
        ({"tags": {"any": ["n0", "n4"], "all": [mark]}}, [uuids[4], uuids[0]]),
        ({"phrase": {"originalFilename": mark}, "isImage": True, "size": {"gte": 1}}, uuids[::-1]),
        ({"query": mark, "datetimeUploaded": {"gte": "2999-01-01T00:00:00Z"}}, []),
    ):
        told = await rest("searchFiles", given)
        assert [file["uuid"] for file in told["results"]] == wanted, given
    for wrong in ({"query": "abc"}, {}, {"tags": {"none": ["a"]}}, {"phrase": {"metadata": "words"}}):
        with pytest.raises(ClientError) as refused:
            await rest("searchFiles", wrong)
        assert refused.value.name == "RestClientValidationError"


async def test_wrong_keys(server: Stack, node: Node) -> None:
    rest = Rest(server, node)
    for auth, text in (
        ({"publicKey": "nobody", "secretKey": "x"}, "Public key nobody not found."),
        ({"publicKey": "demopublickey", "secretKey": "x"}, "Invalid signature. Please check your Secret key."),
        ({"publicKey": "demopublickey", "secretKey": "x", "simple": True}, "Secret key not found."),
    ):
        rest.settings["authSchema"] = {"$auth": auth}
        with pytest.raises(ClientError) as refused:
            await rest("fileInfo", {"uuid": UNKNOWN})
        assert str(refused.value) == f"[401 Unauthorized] {text}"


async def test_files_of_another_project_are_not_found(server: Stack, node: Node) -> None:
    uuid = await Rest(server, node, "flowing").upload()
    with pytest.raises(ClientError, match="Not found"):
        await Rest(server, node)("fileInfo", {"uuid": uuid})


async def test_a_throttled_request(server: Stack, node: Node) -> None:
    rest = Rest(server, node, "slower")
    rest.settings["retryThrottledRequestMaxTimes"] = 0
    told = await asyncio.gather(*(rest("listOfWebhooks", {}) for _ in range(8)), return_exceptions=True)
    refused = [one for one in told if isinstance(one, ClientError)]
    assert refused
    assert all("throttled" in str(one) for one in refused)


async def test_webhooks_are_heard_and_verified(server: Stack, node: Node, outside: Outside) -> None:
    rest, target = Rest(server, node), f"{outside.address}/hook?{time.time_ns()}"
    given = {"targetUrl": target, "event": "file.uploaded", "isActive": True, "signingSecret": "s3cret words"}
    hook = await rest("createWebhook", given)
    assert (hook["targetUrl"], hook["event"], hook["isActive"]) == (target, "file.uploaded", True)
    with pytest.raises(ClientError, match="already subscribed on this event"):
        await rest("createWebhook", given)
    uuid = await rest.upload(metadata={"pet": "cat"})
    headers, body = await asyncio.wait_for(outside.heard.get(), 30)
    wanted = hmac.new(b"s3cret words", body, hashlib.sha256).hexdigest()
    assert headers["X-Uc-Signature"] == f"v1={wanted}"
    told = json.loads(body)
    assert (told["hook"]["id"], told["hook"]["event"]) == (hook["id"], "file.uploaded")
    assert told["hook"]["project_pub_key"] == "demopublickey"
    assert (told["data"]["uuid"], told["data"]["metadata"]) == (uuid, {"pet": "cat"})
    assert told["file"].startswith(f"{server.address}/{uuid}/")
    changed = await rest("updateWebhook", {"id": hook["id"], "event": "file.info_updated", "isActive": True})
    assert (changed["event"], changed["targetUrl"]) == ("file.info_updated", target)
    await rest("updateMetadata", {"uuid": uuid, "key": "pet", "value": "dog"})
    _, body = await asyncio.wait_for(outside.heard.get(), 30)
    told = json.loads(body)
    assert told["previous_values"]["metadata"] == {"pet": "cat"}
    assert told["data"]["metadata"] == {"pet": "dog"}
    assert hook["id"] in [one["id"] for one in await rest("listOfWebhooks", {})]
    paused = await rest("updateWebhook", {"id": hook["id"], "isActive": False})
    assert paused["isActive"] is False
    await rest("deleteWebhook", {"targetUrl": target})
    assert hook["id"] not in [one["id"] for one in await rest("listOfWebhooks", {})]
