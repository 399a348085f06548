"""Conversions answered by flows, and add-ons: the virus scan, and a flow that asks a server outside."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import aiohttp
import pytest
from PIL import Image

from tests.acceptance.conftest import Stack
from tests.acceptance.uploadcare.clients import CUT, ClientError, Node, Outside
from tests.acceptance.uploadcare.test_rest_client import Rest
from tests.acceptance.uploadcare.test_upload_client import options
from tests.nodes.clamd import EICAR
from tests.nodes.studio import PHOTO

DEMO = PHOTO.parent


async def uploaded(server: Stack, node: Node, path: Any, project: str = "demo") -> str:
    return str((await node.call("upload", "base", {"$path": str(path)}, options(server, project)))["file"])


async def ended(rest: Rest, name: str, given: dict[str, Any], going: set[str]) -> Any:
    async with asyncio.timeout(60):
        while (told := await rest(name, given))["status"] in going:
            await asyncio.sleep(0.05)
    return told


async def test_a_document_becomes_a_picture(server: Stack, node: Node) -> None:
    rest, file = Rest(server, node), await uploaded(server, node, DEMO / "page.pdf")
    formats = await rest("conversionInfo", {"uuid": file})
    assert formats["format"]["conversionFormats"] == [{"name": "jpg"}]
    path, none, broken = f"{file}/document/-/format/jpg/-/page/1/", f"{file}/document/-/format/docx/", "nonsense"
    told = await rest("convert", {"type": "document", "paths": [path, none, broken]})
    assert told["problems"] == {none: "Conversion to docx is not supported.", broken: "Invalid path."}
    (made,) = told["result"]
    assert made["originalSource"] == path
    given = {"type": "document", "token": made["token"]}
    end = await ended(rest, "conversionJobStatus", given, {"pending", "processing"})
    assert (end["status"], end["result"]["uuid"]) == ("finished", made["uuid"])
    info = await rest("fileInfo", {"uuid": made["uuid"]})
    assert (info["mimeType"], info["isImage"]) == ("image/jpeg", True)
    with pytest.raises(ClientError):
        await rest("conversionJobStatus", {"type": "video", "token": made["token"]})


async def test_a_video_is_converted(server: Stack, node: Node) -> None:
    rest, file = Rest(server, node), await uploaded(server, node, DEMO / "clip.mp4")
    told = await rest("convert", {"type": "video", "paths": [f"{file}/video/-/format/mp4/"]})
    (made,) = told["result"]
    assert made["thumbnailsGroupUuid"]
    given = {"type": "video", "token": made["token"]}
    end = await ended(rest, "conversionJobStatus", given, {"pending", "processing"})
    assert end["status"] == "finished", end
    assert (await rest("fileInfo", {"uuid": made["uuid"]}))["mimeType"] == "video/mp4"


async def test_a_virus_scan(server: Stack, node: Node, tmp_path: Any) -> None:
    rest, bad = Rest(server, node), tmp_path / "bad.txt"
    bad.write_bytes(EICAR)
    for path, found in ((PHOTO, {"infected": False, "infected_with": None}), (bad, {"infected": True})):
        file = await uploaded(server, node, path)
        told = await rest("executeAddon", {"addonName": "uc_clamav_virus_scan", "target": file})
        given = {"addonName": "uc_clamav_virus_scan", "requestId": told["requestId"]}
        assert (await rest("addonExecutionStatus", given))["status"] == "done"
        info = await rest("fileInfo", {"uuid": file, "include": "appdata"})
        assert info["appdata"]["uc_clamav_virus_scan"]["data"].items() >= found.items()
    purge = {"addonName": "uc_clamav_virus_scan", "target": file, "params": {"purge_infected": True}}
    await rest("executeAddon", purge)
    assert (await rest("fileInfo", {"uuid": file}))["datetimeRemoved"]
    with pytest.raises(ClientError) as refused:
        await uploaded(server, node, bad, "scanned")
    assert refused.value.code == "FileInfectedError"


async def test_a_background_is_removed_by_a_server_outside(server: Stack, node: Node, outside: Outside) -> None:
    rest, file = Rest(server, node), await uploaded(server, node, PHOTO)
    asked = {"addonName": "remove_bg", "target": file, "params": {"server": outside.address, "unknown": 1}}
    told = await rest("executeAddon", asked)
    given = {"addonName": "remove_bg", "requestId": told["requestId"]}
    end = await ended(rest, "addonExecutionStatus", given, {"in_progress"})
    assert end["status"] == "done", end
    url = f"{server.address}/v1/files/{end['result']['fileId']}/content"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        made = Image.open(io.BytesIO(await answer.read()))
    assert (made.size, made.mode) == (Image.open(io.BytesIO(CUT)).size, "RGBA")
    with pytest.raises(ClientError):
        await rest("executeAddon", {"addonName": "aws_rekognition_detect_labels", "target": file})
    strange = {"addonName": "remove_bg", "requestId": "11111111-1111-4111-8111-111111111111"}
    assert (await rest("addonExecutionStatus", strange))["status"] == "unknown"
