"""@uploadcare/upload-client and signed-uploads, unmodified, from Node and in a real browser."""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser

from tests.acceptance.browsing import open_page
from tests.acceptance.conftest import Stack
from tests.acceptance.uploadcare.clients import ClientError, Node, Outside
from tests.nodes.studio import PHOTO

Large = dict[int, tuple[Path, str]]


def options(server: Stack, project: str = "demo", **more: Any) -> dict[str, Any]:
    return {"publicKey": f"{project}publickey", "baseURL": server.address, "baseCDN": server.address, **more}


async def digest(server: Stack, uuid: str, project: str = "demo") -> str:
    """The sha256 of what the server holds, fetched as our own API serves it."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{server.address}/v1/files/{uuid}/content") as answer,
    ):
        assert answer.status == 200, project
        return hashlib.sha256(await answer.read()).hexdigest()


async def test_direct(server: Stack, node: Node) -> None:
    more = {"fileName": 'Prüf "q" 猫.jpg', "metadata": {"pet_name": "cat"}, "tags": ["Sale", "summer"], "store": True}
    made = await node.call("upload", "uploadFile", {"$path": str(PHOTO)}, options(server, **more))
    assert (made["name"], made["isImage"], made["isStored"], made["size"]) == (
        "Prf_q.jpg".replace("_", ""), True, True, PHOTO.stat().st_size)  # fmt: skip
    assert made["originalFilename"] == 'Prüf "q" 猫.jpg'
    assert made["metadata"] == {"petName": "cat"}  # the client respells keys
    assert made["cdnUrl"] == f"{server.address}/{made['uuid']}/"
    info = await node.call("upload", "info", made["uuid"], options(server))
    assert info["imageInfo"] == info["contentInfo"]["image"]
    assert (info["imageInfo"]["format"], info["imageInfo"]["colorMode"]) == ("JPEG", "RGB")
    assert info["tags"] == ["sale", "summer"]
    assert await digest(server, made["uuid"]) == hashlib.sha256(PHOTO.read_bytes()).hexdigest()


@pytest.mark.parametrize("size", [12, 40])
async def test_multipart_in_parallel_parts(server: Stack, node: Node, large: Large, size: int) -> None:
    path, wanted = large[size]
    more = {"multipartMinFileSize": 10 * 2**20, "contentType": "video/mp4", "fileName": path.name, "store": "auto"}
    made = await node.call("upload", "uploadFile", {"$path": str(path)}, options(server, **more))
    assert (made["size"], made["originalFilename"]) == (path.stat().st_size, path.name)
    assert await digest(server, made["uuid"]) == wanted


async def test_parts_go_straight_to_a_bucket(server: Stack, node: Node, large: Large) -> None:
    path, wanted = large[12]
    given = options(server, "bucket", contentType="video/mp4", fileName=path.name)
    begun = await node.call("upload", "multipartStart", path.stat().st_size, given)
    assert not any(part.startswith(server.address) for part in begun["parts"])
    assert all("X-Amz-Expires=86400" in part for part in begun["parts"])
    made = await node.call("upload", "uploadFile", {"$path": str(path)}, given | {"multipartMinFileSize": 10 * 2**20})
    assert await digest(server, made["uuid"]) == wanted


async def test_parts_missing_may_follow(server: Stack, node: Node, large: Large) -> None:
    path, wanted = large[12]
    content, step = path.read_bytes(), 5 * 2**20
    given = options(server, contentType="application/octet-stream", multipartChunkSize=step)
    begun = await node.call("upload", "multipartStart", len(content), given)
    async with aiohttp.ClientSession() as session:
        pieces = [content[at : at + step] for at in range(0, len(content), step)]
        for number in (2, 0):  # in any order
            async with session.put(begun["parts"][number], data=io.BytesIO(pieces[number])) as answer:
                assert (answer.status, await answer.read()) == (200, b"")
                assert answer.headers["ETag"]
        with pytest.raises(ClientError, match=r"File size mismatch. Not all parts uploaded\?") as refused:
            await node.call("upload", "multipartComplete", begun["uuid"], given)
        assert refused.value.code == "MultipartUploadSizeTooSmallError"
        async with session.put(begun["parts"][1], data=io.BytesIO(pieces[1])) as answer:
            assert answer.status == 200
        async with session.put(begun["parts"][1], data=b"short") as answer:
            assert answer.status == 422
    made = await node.call("upload", "multipartComplete", begun["uuid"], given)
    assert (made["uuid"], made["isReady"]) == (begun["uuid"], True)
    assert await digest(server, made["uuid"]) == wanted
    with pytest.raises(ClientError, match="File is already uploaded"):
        await node.call("upload", "multipartComplete", begun["uuid"], given)


async def test_from_url_and_its_double(server: Stack, node: Node, outside: Outside) -> None:
    url, given = f"{outside.address}/photo-{time.time_ns()}.jpg", options(server, metadata={"a": "b"})
    checked = given | {"checkForUrlDuplicates": True, "saveUrlForRecurrentUploads": True}
    made = await node.call("upload", "uploadFile", url, checked)
    assert (made["isImage"], made["size"], made["metadata"]) == (True, PHOTO.stat().st_size, {"a": "b"})
    again = await node.call("upload", "fromUrl", url, checked)
    assert (again["type"], again["uuid"], again["fileId"]) == ("file_info", made["uuid"], made["uuid"])
    token = await node.call("upload", "fromUrl", url, given)
    assert token["type"] == "token"
    assert outside.asked.count(url.rpartition("/")[2]) <= 2


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        ("missing", "DownloadFileHTTPClientError", "HTTP client error: The server of the URL answered 404."),
        ("loop", "URLRedirectsLimitExceededError", "Too many redirects."),
    ],
)
async def test_from_url_that_breaks(
    server: Stack, node: Node, outside: Outside, path: str, code: str, text: str
) -> None:
    with pytest.raises(ClientError) as refused:
        await node.call("upload", "uploadFile", f"{outside.address}/{path}", options(server))
    assert (refused.value.code, str(refused.value)) == (code, text)


async def test_tokens_of_nobody_are_of_unknown_status(server: Stack, node: Node) -> None:
    for token in ("945ebb27-1fd6-46c6-a859-b9893712d650", "x"):
        assert await node.call("upload", "fromUrlStatus", token, options(server)) == {"status": "unknown"}


async def test_groups(server: Stack, node: Node) -> None:
    given = options(server)
    (one, two) = [await node.call("upload", "base", {"$path": str(PHOTO)}, given) for _ in range(2)]
    entries = [one["file"], f"https://cdn.example/{two['file']}/-/resize/x800/-/flip/", one["file"]]
    group = await node.call("upload", "group", entries, given)
    assert group["id"].endswith("~3")
    assert group == await node.call("upload", "groupInfo", group["id"], given)
    assert [file["defaultEffects"] for file in group["files"]] == ["", "resize/x800/-/flip/", ""]
    assert group["cdnUrl"] == f"{server.address}/{group['id']}/"
    made = await node.call("upload", "uploadFileGroup", [one["file"], two["file"]], given)
    assert [file["uuid"] for file in made["files"]] == [one["file"], two["file"]]


async def test_signed(server: Stack, node: Node) -> None:
    given = options(server, "signed", retryThrottledRequestMaxTimes=0)
    secret, photo = "signedsecretkey", {"$path": str(PHOTO)}
    pair = await node.call("signed", "generateSecureSignature", secret, {"lifetime": 60_000})
    assert await node.call("upload", "base", photo, given | pair)
    late = await node.call("signed", "generateSecureSignature", secret, {"expire": 1_600_000_000_000})
    wrong = await node.call("signed", "generateSecureSignature", "another", {"lifetime": 60_000})
    for shown, code in (
        ({}, "SignatureRequiredError"),
        (late, "SignatureExpirationError"),
        (wrong, "SignatureInvalidError"),
    ):
        with pytest.raises(ClientError) as refused:
            await node.call("upload", "base", photo, given | shown)
        assert refused.value.code == code


async def test_throttled(server: Stack, node: Node) -> None:
    given = options(server, "slow", retryThrottledRequestMaxTimes=0)
    told = await asyncio.gather(
        *(node.call("upload", "base", {"$path": str(PHOTO)}, given) for _ in range(6)), return_exceptions=True
    )
    refused = [one.code for one in told if isinstance(one, ClientError)]
    assert refused == ["RequestThrottledError"] * 3


async def test_a_browser_reads_everything(server: Stack, node: Node, large: Large, chromium: Browser) -> None:
    async with open_page(chromium, "uploadcare") as page:
        given = options(server, onProgress=True)
        await page.set_input_files("input", str(PHOTO))
        told = await page.evaluate("given => window.uc('uploadFile', '$file', given)", given)
        assert told["made"]["isImage"], told
        assert told["seen"][-1] == 1
        path, wanted = large[12]
        await page.set_input_files("input", str(path))
        sent = given | {"multipartMinFileSize": 10 * 2**20, "contentType": "video/mp4"}
        told = await page.evaluate("given => window.uc('uploadFile', '$file', given)", sent)
        assert await digest(server, told["made"]["uuid"]) == wanted
        refused = await page.evaluate("given => window.uc('base', '$file', given)", given | {"publicKey": "nobody"})
        assert refused["error"]["code"] == "ProjectPublicKeyInvalidError"
        assert refused["error"]["message"] == "UPLOADCARE_PUB_KEY is invalid."
        slow = options(server, "slow", retryThrottledRequestMaxTimes=0)
        throttled = await page.evaluate("given => window.uc('base', '$file', given)", slow)
        assert throttled["error"]["code"] == "RequestThrottledError"
        asked = "url => fetch(url, {method: 'POST'}).then(answer => answer.headers.get('retry-after'))"
        after = f"{server.address}/base/?UPLOADCARE_PUB_KEY=slowpublickey&jsonerrors=1"
        assert 1 <= int(await page.evaluate(asked, after)) <= 60


async def test_a_flow_starts_with_an_upload_and_knows_its_metadata(server: Stack, node: Node) -> None:
    given = options(server, "flowing", store=True, metadata={"shelf": "A-7"})
    made = await node.call("upload", "base", {"$path": str(PHOTO)}, given)
    headers = {"Authorization": "Bearer uk_live_flowingtests"}
    async with aiohttp.ClientSession(server.address, headers=headers) as session, asyncio.timeout(30):
        run = None
        while run is None or run["status"] not in ("completed", "failed"):
            async with session.get("/v1/runs") as answer:
                runs = (await answer.json())["items"]
            run = next((one for one in runs if one["inputs"] == {"photo": [made["file"]]}), None)
    assert run["status"] == "completed", run
    assert run["outputs"][0]["path"].startswith("A-7/")
