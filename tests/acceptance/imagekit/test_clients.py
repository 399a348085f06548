"""ImageKit's clients, unmodified: what their users write, against a server of their own."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from PIL import Image
from playwright.async_api import Browser, Page

from tests.acceptance.browsing import open_page
from tests.acceptance.conftest import Stack
from tests.acceptance.imagekit.conftest import KEY, node, python
from tests.nodes.studio import PHOTO

HELP = "What this server speaks of ImageKit, and what not, is told in its docs/dialects/imagekit.md."
PARAMETERS = {"token": "your_token", "expire": 1582269249, "signature": "e71bcd6031016b060d349d212e23e85c791decdd"}
"""The vector in the clients' own tests."""
with Image.open(PHOTO) as opened:
    WIDTH, HEIGHT = opened.size


def size(told: dict[str, Any]) -> tuple[int, int]:
    """Of a picture that a script fetched."""
    assert told["status"] == 200, base64.b64decode(told["body"])[:300]
    with Image.open(io.BytesIO(base64.b64decode(told["body"]))) as image:
        image.load()
        return image.size


async def test_python_5(server: Stack) -> None:
    told = await python(server, "5.11.0")
    made, details = told["upload"], told["details"]
    assert (made["name"], made["filePath"], made["fileType"]) == ("summer_sale.jpg", "/py5/summer_sale.jpg", "image")
    assert (made["width"], made["height"], made["size"]) == (WIDTH, HEIGHT, PHOTO.stat().st_size)
    assert (made["tags"], made["customMetadata"], made["isPrivateFile"]) == (["one", "two"], {"py5_stock": 7}, True)
    assert (made["description"], made["versionInfo"]["name"]) == ("On the beach", "Version 1")
    assert len(made["metadata"]["pHash"]) == 16
    assert told["events"] == ["file.created", "folder.created", "upload.post-transform.success"]
    assert told["bytes"]["fileType"] == "non-image"
    assert told["listed"] == [made["fileId"]]
    assert (details["fileId"], details["thumbnail"], details["mime"]) == (
        made["fileId"], made["thumbnailUrl"], "image/jpeg")  # fmt: skip
    assert (told["updated"]["tags"], told["updated"]["customMetadata"]) == (["three"], {})
    assert told["tagged"] == {"successfullyUpdatedFileIds": [made["fileId"]]}
    assert (told["metadata"]["width"], told["metadata"]["pHash"]) == (WIDTH, made["metadata"]["pHash"])
    assert told["folders"] == ["/py5/inner"]
    pictures = told["pictures"]
    assert pictures["bare"]["status"] == 401
    assert size(pictures["signed"]) == size(pictures["expiring"]) == (120, 90)
    assert max(size(pictures["thumbnail"])) <= 400
    refused, denied, clash, gone = (told[name] for name in ("refused", "denied", "clash", "gone"))
    assert (refused["name"], refused["help"]) == ("BadRequestError", HELP)
    assert "none: This custom metadata field does not exist." in refused["message"]
    assert (denied["name"], denied["message"]) == ("PermissionDeniedError", "Your account cannot be authenticated.")
    assert (clash["name"], gone["name"]) == ("ConflictError", "NotFoundError")
    assert clash["ms"] < 1000  # a client that tried again would have waited that long
    assert told["parameters"] == PARAMETERS


async def test_python_4(server: Stack) -> None:
    told = await python(server, "4.2.0")
    made = told["upload"]
    assert (made["name"], made["filePath"], told["version"]) == ("a_photo.jpg", "/py4/a_photo.jpg", "Version 1")
    assert (made["tags"], made["customCoordinates"], made["isPrivateFile"]) == (["one", "two"], "1,2,30,40", True)
    for way in ("raw", "base64", "url"):
        sent = told[way]
        assert (sent["width"], sent["height"], sent["size"]) == (WIDTH, HEIGHT, PHOTO.stat().st_size), way
    assert told["listed"] == [made["fileId"]]
    assert told["details"]["versionInfo"] == made["versionInfo"]
    assert (told["updated"]["tags"], told["updated"]["customCoordinates"]) == (["three"], "0,0,5,5")
    assert told["metadata"]["height"] == HEIGHT
    assert told["moved"] == ["/py4/inner/raw.jpg"]
    pictures = told["pictures"]
    assert pictures["bare"]["status"] == 401
    assert size(pictures["signed"]) == size(pictures["expiring"]) == (90, 120)
    refused, denied, gone = told["refused"], told["denied"], told["gone"]
    assert refused["name"] == "BadRequestException"
    assert refused["message"].startswith("Invalid folder path.")
    assert denied == {"name": "ForbiddenException", "message": "Your account cannot be authenticated."}
    assert gone == {"name": "UnknownException", "message": "The requested asset does not exist."}
    assert told["parameters"] == PARAMETERS


async def test_node(server: Stack) -> None:
    told = await node(server)
    made, again = told["upload"], told["again"]
    assert (made["name"], made["filePath"]) == ("Grüße_aus_東京.jpg", "/node/ünder/Grüße_aus_東京.jpg")
    assert (made["width"], made["height"], made["tags"]) == (200, 100, ["one", "two"])
    assert (made["metadata"]["width"], made["metadata"]["format"]) == (200, "jpg")
    assert (again["fileId"], again["versionInfo"]["name"], again["width"]) == (made["fileId"], "Version 2", WIDTH)
    assert again["tags"] == ["one", "two"]
    assert told["base64"]["size"] == told["url"]["size"] == PHOTO.stat().st_size
    assert [file["fileId"] for file in told["listed"]] == [made["fileId"]]
    assert told["details"]["versionInfo"] == again["versionInfo"]
    assert (told["updated"]["tags"], told["updated"]["customCoordinates"]) == (["three"], "0,0,50,50")
    assert [one["versionInfo"]["name"] for one in told["versions"]] == ["Version 2", "Version 1"]
    assert told["metadata"]["width"] == WIDTH
    pictures = told["pictures"]
    assert pictures["bare"]["status"] == 401
    assert size(pictures["signed"]) == size(pictures["expiring"]) == (90, 120)
    assert size(pictures["original"]) == (WIDTH, HEIGHT)
    assert (told["clash"]["name"], told["clash"]["status"]) == ("ConflictError", 409)
    assert told["clash"]["ms"] < 1000
    assert (told["refused"]["name"], told["refused"]["status"]) == ("BadRequestError", 400)
    assert "Invalid folder path." in told["refused"]["message"]
    assert (told["gone"]["name"], told["gone"]["message"]) == ("NotFoundError", "The requested asset does not exist.")
    assert told["parameters"] == PARAMETERS


@pytest.fixture
async def page(chromium: Browser) -> AsyncIterator[Page]:
    async with open_page(chromium, "imagekit") as page:
        yield page


async def signed(server: Stack) -> dict[str, Any]:
    """What the page asks its own server for."""
    auth = {"Authorization": aiohttp.encode_basic_auth(KEY)}
    url = f"{server.address}/imagekit/auth/demo"
    async with aiohttp.ClientSession(headers=auth) as session, session.get(url) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        told: dict[str, Any] = await answer.json()
        return told


async def test_the_browser(server: Stack, page: Page) -> None:
    base, once = f"{server.address}/imagekit", await signed(server)

    async def upload(**given: Any) -> Any:
        options = {"file": "$file", "fileName": "from a page.jpg", "publicKey": "public_test_key", **given}
        return await page.evaluate("([base, options]) => ik.upload(base, options)", [base, options])

    await page.set_input_files("input", PHOTO)
    told = await upload(**once, tags=["a", "b"], folder="/pages", responseFields=["tags"])
    made = told["made"]
    assert (made["width"], made["tags"], made["filePath"].startswith("/pages/from_a_page_")) == (
        WIDTH,
        ["a", "b"],
        True,
    )
    assert told["seen"][-1][0] == told["seen"][-1][1] > PHOTO.stat().st_size
    assert (told["request"]["statusCode"], bool(told["request"]["requestId"])) == (200, True)
    assert told["request"]["headers"]["x-ik-requestid"] == told["request"]["requestId"]
    error = (await upload(**once))["error"]
    assert (error["name"], error["request"]["statusCode"]) == ("ImageKitInvalidRequestError", 400)
    assert error["message"].startswith(f"A token with value '{once['token']}' has been used before.")
    late = (await upload(**{**await signed(server), "expire": 1582269249}))["error"]
    assert "invalid expire parameter" in late["message"]
    assert (await upload(**await signed(server), abort=True))["error"]["name"] == "ImageKitAbortError"
    letters = base64.b64encode(PHOTO.read_bytes()).decode()
    spelt = (await upload(**await signed(server), file=f"data:image/jpeg;base64,{letters}"))["made"]
    assert spelt["size"] == PHOTO.stat().st_size
    shown = {"urlEndpoint": f"{base}/ik/demo", "src": made["filePath"], "transformation": [{"width": 60, "height": 40}]}
    assert await page.evaluate("(options) => ik.size(options)", shown) == [60, 40]
