"""Upload addresses: once, for a short time, with all that was said when they were asked for."""

from __future__ import annotations

import asyncio
import io
import time

import pytest

from pipeline.model import Intake
from tests.api.house import Multipart, photo

from .desk import BARE, MIB, Desk, boundaryless

PAGE = {"Origin": "https://page.example"}


async def test_an_address_and_the_media_that_comes_of_it(it: Desk) -> None:
    told = await it.ok("POST", "/uploads", headers={})
    assert set(told) == {"meta", "data", "error", "links"}
    assert (told["error"], told["links"]) == (None, {})
    meta = told["meta"]
    assert {name: meta[name] for name in ("method", "path", "version", "status", "type")} == {
        "method": "POST", "path": "/uploads", "version": "2024-08-21", "status": 200, "type": "object"}  # fmt: skip
    assert (meta["id"][:4], meta["org_id"], meta["project_id"]) == ("req_", "org_demo", "prj_demo")
    url = told["data"]["url"]
    assert url.startswith(f"{it.house.base}/ittybit/store/single?key=")
    assert 0 < told["data"]["expiry"] - time.time() <= 1800
    content = photo(90, 60)
    used = await it.send(url, content, "Urlaub.jpg")
    assert (used.status, used.document["error"]) == (200, None)
    media = used.document["data"]
    (file,) = media["files"]
    assert {name: media[name] for name in ("object", "kind", "width", "height", "filename", "status", "title")} == {
        "object": "media", "kind": "image", "width": 90, "height": 60, "filename": "Urlaub.jpg", "status": "ready",
        "title": None}  # fmt: skip
    assert media["sources"] == [file] and media["original"] == file
    assert (media["tracks"], media["intelligence"]) == ([], [])
    assert (file["object"], file["type"], file["filesize"], file["orientation"]) == (
        "source", "image/jpeg", len(content), "landscape")  # fmt: skip
    assert media["urls"] == {"original": file["url"]}
    async with it.house.session.get(file["url"]) as answer:
        assert (answer.status, await answer.read()) == (200, content)


async def test_everything_that_is_said_beforehand_is_remembered(it: Desk) -> None:
    said = {
        "metadata": {
            "user_id": "12345678",
            "purpose": "avatar",
            "level": 3,
            "deep": {"a": [1, None]},
            "a key": "x",
        },
        "filename": "usr_abcd/profile/video",
        "folder": "all",
        "title": "A title",
        "alt": "What it shows",
        "label": "first",
        "alias": "my-alias",
        "campaign": {"id": 7},
    }
    media = await it.upload(**said)
    assert media["metadata"] == said["metadata"]
    assert (media["title"], media["alt"], media["label"], media["alias"]) == (
        "A title", "What it shows", "first", "my-alias")  # fmt: skip
    assert media["campaign"] == {"id": 7}
    assert (media["folder"], media["filename"]) == ("all/usr_abcd/profile", "video")
    for id in (media["id"], "my-alias"):
        assert (await it.ok("GET", f"/media/{id}"))["campaign"] == {"id": 7}
    file = await it.ok("GET", f"/files/{media['files'][0]['id']}")
    assert (file["media_id"], file["metadata"]) == (media["id"], said["metadata"])
    async with it.house.session.get(f"{it.house.base}/ittybit/d/demo/all/usr_abcd/profile/video") as answer:
        assert (answer.status, answer.content_type) == (200, "image/jpeg")


async def test_once_and_by_one_of_many_at_once(it: Desk) -> None:
    url = await it.url()
    answers = await asyncio.gather(*(it.send(url) for _ in range(6)))
    assert sorted(told.status for told in answers) == [200, *[410] * 5]
    assert await it.refused("POST", url, 410, data=b"x", key=None) == "This upload URL has already been used."
    media = next(told.document["data"] for told in answers if told.status == 200)
    assert len((await it.ok("GET", f"/media/{media['id']}"))["files"]) == 1


async def test_a_body_that_is_no_good_gives_the_address_back(it: Desk) -> None:
    url = await it.url(conditions=[{"prop": "kind", "value": "image"}])
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert await it.refused("POST", url, 400, data=b"nonsense", key=None, headers=form)
    assert await it.refused("POST", url, 400, data=b"--x--\r\n", key=None, headers=form)
    told = await it.send(url, b"plain text", "a.txt")
    assert told.status == 400
    assert told.document["error"]["message"].startswith("The file does not meet the conditions: `kind` is not 'image'")
    _, writer = await asyncio.open_connection("127.0.0.1", it.house.port)
    path = url.removeprefix(it.house.base)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 999\r\n"
    )
    writer.write(f'{head}\r\n--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'.encode())
    await writer.drain()
    writer.close()
    async with asyncio.timeout(10):
        while (told := await it.send(url)).status == 410:  # until it is noticed that nobody sends any more
            await asyncio.sleep(0.05)
    assert told.status == 200


async def test_a_form_whose_boundary_nobody_told(it: Desk) -> None:
    content = photo(33, 22)
    for more in ({}, {"Origin": "https://page.example"}):
        form = boundaryless(content, "phone.jpg")
        headers = {"Content-Type": "multipart/form-data", **more}
        told = await it.ask("POST", await it.url(), data=form.body, key=None, headers=headers)
        assert told.status == 200, told
        assert told.document["data"]["files"][0]["filesize"] == len(content)
        assert told.document["data"]["filename"] == "phone.jpg"
    for body in (b"no line", b"--\r\n", b"--" + b"x" * 300 + b"\r\n", b"\r\n--x\r\n"):
        headers = {"Content-Type": "multipart/form-data"}
        assert "multipart body" in await it.refused("POST", await it.url(), 400, data=body, key=None, headers=headers)


async def test_pages_may_use_it(it: Desk) -> None:
    url = await it.url()
    asking = {**PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    async with it.house.session.options(url, headers=asking) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, "*")
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    form = boundaryless(photo())
    told = await it.ask("POST", url, data=form.body, key=None, headers={**PAGE, "Content-Type": "multipart/form-data"})
    assert (told.status, told.headers["Access-Control-Allow-Origin"]) == (200, "*")
    used = await it.ask("POST", url, data=form.body, key=None, headers={**PAGE, "Content-Type": "multipart/form-data"})
    assert (used.status, used.headers["Access-Control-Allow-Origin"]) == (410, "*")


async def test_unknown_and_expired_addresses(it: Desk) -> None:
    base = f"{it.house.base}/ittybit/store/single"
    for url in (base, f"{base}?key=", f"{base}?key=nonsense", (await it.url())[:-4] + "AAAA"):
        assert (await it.send(url)).document["error"]["message"] == "Upload URL not found."
        assert (await it.send(url)).status == 404
    late = it.house.core.tickets.issue(it.grant(), Intake(), -5)
    told = await it.send(f"{base}?key={late.token}")
    assert (told.status, told.document["error"]["message"]) == (403, "This upload URL has expired.")


async def test_sixty_four_megabytes(it: Desk) -> None:
    url, most = await it.url(), 64 * MIB
    reader, writer = await asyncio.open_connection("127.0.0.1", it.house.port)
    path = url.removeprefix(it.house.base)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data\r\nContent-Length: {most + 1}\r\n\r\n"
    writer.write(head.encode())
    answer = (await asyncio.wait_for(reader.readuntil(b'"links":{}}'), 10)).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 413 ") and '"message":"Request Entity Too Large"' in answer

    async def endless() -> object:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(65):
            yield bytes(MIB)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    async with it.house.session.post(url, data=endless(), headers=headers) as told:
        assert (told.status, (await told.json())["error"]["message"]) == (413, "Request Entity Too Large")
    form = Multipart("x").field("file", bytes(most - 200), "big.bin").end()
    assert most - 200 < len(form["data"]) <= most
    whole = await it.ask("POST", url, data=form["data"], key=None, headers=form["headers"])
    assert (whole.status, whole.document["data"]["files"][0]["filesize"]) == (200, most - 200)


async def test_a_project_may_allow_less(it: Desk) -> None:
    small = Desk(it.house, "it-small-key")
    told = await small.send(await small.url(), bytes(21_000), "a.bin")
    assert (told.status, told.document["error"]["message"]) == (413, "Request Entity Too Large")


async def test_a_workflow_runs_and_its_outputs_are_found_by_ref(it: Desk) -> None:
    media = await it.upload(photo(200, 100), workflow_id="wf_12345678", metadata={"k": "v"})
    await it.settled()
    told = await it.ok("GET", f"/media/{media['id']}")
    assert set(told["urls"]) == {"original", "thumb", "wide"}
    shown = {file["ref"]: (file["width"], file["type"], file["original"]) for file in told["files"]}
    webp = ("image/webp", False)
    assert shown == {None: (200, "image/jpeg", True), "thumb": (40, *webp), "wide": (80, *webp)}
    async with it.house.session.get(told["urls"]["thumb"]) as answer:
        assert (answer.status, answer.content_type) == (200, "image/webp")
    (run,) = [task for task in (await it.ok("GET", "/tasks")) if task["input"].get("media_id") == media["id"]]
    assert (run["kind"], run["status"], run["progress"], len(run["outputs"])) == ("workflow", "completed", 100, 2)


@pytest.mark.parametrize("workflow", ["wf_unknown", "wf_gone", "wf_other", "auto_" + "0" * 32, "auto_x"])
async def test_an_unknown_workflow_is_refused_at_creation(it: Desk, workflow: str) -> None:
    assert workflow in await it.refused("POST", "/uploads", 400, {"workflow_id": workflow})


BAD = [
    ({"metadata": "text"}, "`metadata` must be an object."),
    ({"metadata": {f"k{n}": "v" for n in range(60)}}, "metadata"),
    ({"metadata": {"k": "x" * 70_000}}, "65536 bytes"),
    ({"folder": "../up"}, "folder"),
    ({"filename": 3}, "`filename` must be a string"),
    ({"expiry": 100}, "`expiry`"),
    ({"expiry": "soon"}, "`expiry`"),
    ({"expiry": int(time.time()) + 10_000_000}, "`expiry`"),
    ({"conditions": [{"prop": "nonsense", "value": 1}]}, "Unknown condition `nonsense`."),
    ({"conditions": [{"prop": "width"}]}, "`prop` and a `value`"),
    ({"conditions": {"kind": "picture"}}, "`kind` is one of"),
    ({"workflow_id": 7}, "`workflow_id`"),
]


async def test_what_cannot_be_is_refused_at_creation(it: Desk) -> None:
    for body, words in BAD:
        told = await it.ask("POST", "/uploads", body)
        assert (told.status, told.document["data"]) == (400, None), body
        assert words in told.document["error"]["message"], body
    assert "JSON" in await it.refused("POST", "/uploads", 400, data=b"{", headers=BARE)
    assert "JSON object" in await it.refused("POST", "/uploads", 400, data=b"[1]", headers=BARE)


async def test_keys(it: Desk) -> None:
    for key in (None, "wrong"):
        told = await it.ask("POST", "/uploads", key=key)
        assert (told.status, told.document["data"]) == (401, None)
        assert told.document["error"]["message"]
    assert (await it.ask("POST", "/uploads", key=None, headers={"Authorization": "it-demo-key"})).status == 200
    assert (await it.ask("POST", "/uploads", key=None, headers={"Authorization": "nonsense"})).status == 401
    slow = Desk(it.house, "it-slow-key")
    await slow.url()
    told = await slow.ask("POST", "/uploads")
    assert (told.status, int(told.headers["Retry-After"]) > 0) == (429, True)


CONDITIONS = [
    ({"kind": "image"}, True),
    ({"kind": "video"}, False),
    ([{"prop": "media.kind", "value": "image"}, {"prop": "width", "value": 120}], True),
    ([{"prop": "width", "value": ">100"}, {"prop": "height", "operator": "lt", "value": 50}], False),
    ({"filesize": {"lte": "2MB"}, "min_width": 100}, True),
    ({"filesize": ">2MB"}, False),
    ({"type": ["image/png", "image/jpeg"], "orientation": "landscape", "animated": False}, True),
    ([{"prop": "kind", "operator": "ne", "value": "video"}], True),
    ({"metadata.plan": "pro"}, True),
    ({"metadata.plan": "free"}, False),
]


async def test_conditions(it: Desk) -> None:
    for conditions, holds in CONDITIONS:
        told = await it.send(await it.url(conditions=conditions, metadata={"plan": "pro"}))
        assert told.status == (200 if holds else 400), conditions


async def test_other_parts_are_passed_over(it: Desk) -> None:
    form = Multipart("x").field("note", "text").field("file", photo(), "a.jpg").end()
    told = await it.ask("POST", await it.url(), data=io.BytesIO(form["data"]), key=None, headers=form["headers"])
    assert told.document["data"]["filename"] == "a.jpg"
