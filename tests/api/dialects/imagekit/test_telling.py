"""Folders that come and go, and videos that are made, as webhooks are told of them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from tests.nodes.test_video import X264, ffmpeg, plain

from .desk import Desk
from .outside import Outside, listening

V1 = "/imagekit/v1"
FOLDERS = ("folder.created", "folder.updated", "folder.deleted")
FILMS = tuple(f"video.transformation.{word}" for word in ("accepted", "ready", "error"))


async def heard(outside: Outside, count: int, secret: str) -> list[dict[str, Any]]:
    """So many messages, each with both signatures looked at, in no order."""
    found = []
    for _ in range(count):
        headers, body = await asyncio.wait_for(outside.heard.get(), 30)
        ms, old = (part[part.index("=") + 1 :] for part in headers["x-ik-signature"].split(","))
        assert old == hmac.new(secret.encode(), f"{ms}.".encode() + body, hashlib.sha256).hexdigest()
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        new = base64.b64encode(hmac.digest(secret.encode(), signed, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{new}"
        found.append(json.loads(body))
    return found


async def folders_heard(outside: Outside, count: int, secret: str) -> list[tuple[str, str]]:
    """The events of folders, each with the path, or with the id where that is all that is told."""
    told = await heard(outside, count, secret)
    assert {frozenset(one["data"]) for one in told if one["type"] == "folder.deleted"} <= {frozenset({"folderId"})}
    return sorted((one["type"], one["data"].get("folderPath") or one["data"]["folderId"]) for one in told)


async def test_folders_are_told_as_they_come_to_be_and_go(
    ik: Desk, outside: Outside, working: subprocess.Popen[bytes]
) -> None:
    secret = await listening(ik, outside, FOLDERS)
    for _ in range(2):  # the second time it is there
        await ik.ok("POST", f"{V1}/folder", {"folderName": "b", "parentFolderPath": "/a"}, 201)
    for name in ("1.txt", "2.txt"):
        await ik.upload(b"1", name, folder="/up/load")
    await ik.upload(b"1", "3.txt", folder="/a/b")
    shown = {one["folderPath"]: one["folderId"] for one in await ik.ok("GET", f"{V1}/files", query={"type": "folder"})}
    made = await heard(outside, 4, secret)
    assert {one["data"]["folderPath"]: one["data"]["folderId"] for one in made} == shown
    assert {one["type"] for one in made} == {"folder.created"} and shown.keys() == {"/a", "/a/b", "/up", "/up/load"}
    assert made[0]["data"].keys() == {
        "type", "name", "folderPath", "folderId", "createdAt", "updatedAt", "customMetadata",
    }  # fmt: skip
    await ik.ok("POST", f"{V1}/bulkJobs/renameFolder", {"folderPath": "/up", "newFolderName": "on"})
    assert await folders_heard(outside, 5, secret) == [
        ("folder.created", "/on"),
        ("folder.created", "/on/load"),
        *sorted(("folder.deleted", shown[path]) for path in ("/up", "/up/load")),
        ("folder.updated", "/on"),
    ]
    await ik.ok("DELETE", f"{V1}/folder", {"folderPath": "/a"}, 204)
    gone = sorted(("folder.deleted", shown[path]) for path in ("/a", "/a/b"))
    assert await folders_heard(outside, 2, secret) == gone
    await ik.ok("POST", f"{V1}/bulkJobs/copyFolder", {"sourceFolderPath": "/on/load", "destinationPath": "/"})
    assert await folders_heard(outside, 1, secret) == [("folder.created", "/load")]
    assert outside.heard.empty()


async def test_a_video_is_told_once_for_each_making(
    ik: Desk, outside: Outside, working: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    secret = await listening(ik, outside, FILMS)
    ffmpeg(*plain("red"), *X264, tmp_path / "red.mp4")
    await ik.upload((tmp_path / "red.mp4").read_bytes(), "red.mp4", folder="films")
    asked = {"User-Agent": "player/1", "X-Request-Id": "watch-1"}
    paths = ["/tr:w-80/films/red.mp4", "/tr:w-40/films/red.mp4/ik-thumbnail.jpg", "/films/red.mp4?tr=so-9"]
    answers = await asyncio.gather(*(ik.fetch(path, headers=asked) for path in paths * 2))
    assert Counter(answer.status for answer in answers) == {200: 4, 400: 2}
    told = await heard(outside, 6, secret)
    assert Counter(one["type"] for one in told) == dict.fromkeys(FILMS, 1) | {FILMS[0]: 3, FILMS[1]: 2}
    home = f"{ik.house.core.settings.base_url}/imagekit/ik/demo"
    for one in told:
        assert one["data"]["asset"]["url"] == f"{home}/films/red.mp4"
        assert (one["request"]["x_request_id"], one["request"]["user_agent"]) == ("watch-1", "player/1")
    film = [one for one in told if one["request"]["url"].endswith(paths[0])]
    options = {"auto_rotate": True, "format": "mp4", "video_codec": "h264", "audio_codec": "aac"}
    made = {"type": "video-transformation", "options": options}
    assert [one["data"]["transformation"] for one in film if one["type"] == FILMS[0]] == [made]
    ready = made | {"output": {"url": film[0]["request"]["url"]}}
    assert [one["data"]["transformation"] for one in film if one["type"] == FILMS[1]] == [ready]
    (frame,) = [one for one in told if one["type"] == FILMS[1] and one not in film]
    assert frame["data"]["transformation"]["type"] == "video-thumbnail"
    (error,) = [one for one in told if one["type"] == FILMS[2]]
    assert error["data"]["transformation"]["error"] == {"reason": "encoding_failed"}
    assert error["request"]["url"].endswith(paths[2])
    # What is there needs no making; a picture is no video.
    for path in (*paths[:2], "/films/red.mp4"):
        assert (await ik.fetch(path)).status == 200
    await ik.fetch("/tr:w-60/films/red.mp4")
    assert {one["type"] for one in await heard(outside, 2, secret)} == {*FILMS[:2]}
    assert outside.heard.empty()
