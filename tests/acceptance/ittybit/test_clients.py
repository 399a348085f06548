"""The vendor's own Python client, unmodified, in all its published shapes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from ittybit import AsyncIttybit, Ittybit
from ittybit.core.api_error import ApiError

from tests.acceptance.conftest import Stack
from tests.acceptance.ittybit.conftest import KEY
from tests.acceptance.packages import installed
from tests.nodes.studio import PHOTO

T = TypeVar("T")
TRIGGER = {"kind": "event", "event": "media.created"}


@pytest.fixture(scope="module")
def ittybit(server: Stack) -> Iterator[Ittybit]:
    with httpx.Client(timeout=60) as http:
        yield Ittybit(api_key=KEY, base_url=f"{server.address}/ittybit", httpx_client=http)


@pytest.fixture(scope="module")
def source(server: Stack) -> str:
    """Where a photograph can be fetched: put there as the documentation says."""
    url = f"{server.address}/ittybit/d/demo/source/photo.jpg"
    answer = httpx.put(url, content=PHOTO.read_bytes(), headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 201
    return url


async def aside(act: Callable[..., T], *args: Any, **more: Any) -> T:
    return await asyncio.to_thread(act, *args, **more)


def ended(ittybit: Ittybit, id: str) -> Any:
    """The task once it has ended, as one who polls has it."""
    deadline = time.monotonic() + 40
    while (task := ittybit.tasks.get(id)).status not in ("completed", "failed"):
        assert time.monotonic() < deadline, task
        time.sleep(0.05)
    return task


def test_files(ittybit: Ittybit, source: str) -> None:
    file = ittybit.files.create(url=source, folder="sdk", filename="one.jpg", ref="first", metadata={"n": 1})
    assert (file.kind, file.type, file.folder, file.filename, file.ref) == (
        "image", "image/jpeg", "sdk", "one.jpg", "first")  # fmt: skip
    assert (file.filesize, file.status, file.metadata) == (PHOTO.stat().st_size, "ready", {"n": 1})
    assert httpx.get(file.url).content == PHOTO.read_bytes()
    changed = ittybit.files.update(file.id, folder="moved", metadata={"n": None, "m": "2"})
    assert (changed.folder, changed.metadata, changed.updated > file.created) == ("moved", {"m": "2"}, True)
    assert ittybit.files.list(page=1, limit=1)[0].id == file.id
    assert ittybit.files.get(file.id).folder == "moved"
    assert ittybit.files.delete(file.id).message
    with pytest.raises(ApiError) as missing:
        ittybit.files.get(file.id)
    assert (missing.value.status_code, missing.value.body) == (
        404, {"kind": "not_found", "message": "File not found."})  # fmt: skip


def test_media(ittybit: Ittybit, source: str) -> None:
    assert ittybit.media.create().files == []
    media = ittybit.media.create(title="T", alt="A", metadata={"k": "v"})
    file = ittybit.files.create(url=source, media_id=media.id, ref="main")
    told = ittybit.media.get(media.id)
    assert (told.title, told.kind, told.files[0].id, told.urls["main"]) == ("T", "image", file.id, file.url)
    assert ittybit.media.update(media.id, title="U").title == "U"
    assert media.id in [one.id for one in ittybit.media.list(limit=100)]
    assert ittybit.media.delete(media.id).message
    with pytest.raises(ApiError):
        ittybit.files.get(file.id)


def test_tasks(ittybit: Ittybit, source: str) -> None:
    file = ittybit.files.create(url=source)
    asked = {"kind": "image", "file_id": file.id, "width": 100, "format": "webp", "ref": "small"}
    task = ended(ittybit, ittybit.tasks.create(request=asked).id)
    assert (task.kind, task.status, task.progress, task.output["width"]) == ("image", "completed", 100, 100)
    assert httpx.get(task.output["url"]).headers["Content-Type"] == "image/webp"
    assert ittybit.media.get(file.media_id).urls["small"] == task.output["url"]
    conditions = [{"prop": "kind", "value": "image"}]
    checked = ended(
        ittybit, ittybit.tasks.create(request={"kind": "conditions", "file_id": file.id, "conditions": conditions}).id
    )
    assert checked.results is not None and checked.results.passed == conditions
    assert checked.id in [one.id for one in ittybit.tasks.list(limit=5)]
    failed = ended(ittybit, ittybit.tasks.create(request={"kind": "image", "url": f"{source}-nothing"}).id)
    assert failed.status == "failed" and failed.error
    with pytest.raises(ApiError) as unknown:
        ittybit.tasks.create(request={"kind": "speech", "file_id": file.id})
    assert unknown.value.status_code == 400 and "`speech`" in unknown.value.body["message"]


def test_signatures(ittybit: Ittybit) -> None:
    put = ittybit.signatures.create(filename="note.txt", folder="signed", method="put", expiry=int(time.time()) + 60)
    assert (put.method, put.folder, put.filename) == ("put", "signed", "note.txt")
    assert httpx.put(put.url, content=b"some words").status_code == 201
    get = ittybit.signatures.create(filename="note.txt", folder="signed")
    assert httpx.get(get.url).content == b"some words"
    assert httpx.put(get.url, content=b"x").status_code == 403
    size = 1000
    for start, end in ((600, 1000), (0, 600)):
        header = {"Content-Range": f"bytes={start}-{end - 1}/{size}"}
        answer = httpx.put(put.url, content=bytes(end - start), headers=header)
    assert (answer.status_code, answer.json()["filesize"]) == (201, size)


def test_automations(ittybit: Ittybit, server: Stack, source: str) -> None:
    workflow = [{"kind": "image", "width": 30, "ref": "thumb", "next": [{"kind": "image", "width": 10, "ref": "tiny"}]}]
    made = ittybit.automations.create(name="A", trigger=TRIGGER, workflow=workflow)  # type: ignore[arg-type]
    try:
        assert (made.name, made.status, made.trigger.event) == ("A", "active", "media.created")
        assert ittybit.automations.get(made.id).id == made.id
        file = ittybit.files.create(url=source)
        deadline = time.monotonic() + 40
        while len((media := ittybit.media.get(file.media_id)).files) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert set(media.urls) == {"original", "thumb", "tiny"}
        assert ittybit.automations.update(made.id, status="paused").status == "paused"
        assert [one.status for one in ittybit.automations.list() if one.id == made.id] == ["paused"]
    finally:
        assert ittybit.automations.delete(made.id).message


async def test_the_asynchronous_twin_with_a_version(server: Stack, source: str) -> None:
    async with httpx.AsyncClient(timeout=60) as http:
        speaks = AsyncIttybit(
            api_key=KEY, base_url=f"{server.address}/ittybit", version="2025-07-01", httpx_client=http
        )
        file = await speaks.files.create(url=source)
        assert (await speaks.files.list(limit=1))[0].id == file.id
        made = await speaks.automations.create(trigger=TRIGGER, workflow=[{"kind": "image"}], status="paused")  # type: ignore[arg-type]
        assert made.id.startswith("auto_")
        await speaks.automations.delete(made.id)
        wrong = AsyncIttybit(api_key="wrong", base_url=f"{server.address}/ittybit", httpx_client=http)
        with pytest.raises(ApiError) as refused:
            await wrong.files.list()
        assert refused.value.status_code == 401


@pytest.mark.parametrize("version", ["0.9.0", "0.7.0"])
async def test_older_clients(server: Stack, source: str, version: str) -> None:
    folder = await asyncio.to_thread(installed, f"ittybit=={version}", alone=True)
    script = Path(__file__).with_name("older.py")
    environ = os.environ | {"PYTHONPATH": str(folder)}
    program = await asyncio.create_subprocess_exec(
        sys.executable, str(script), version, f"{server.address}/ittybit", KEY, source,
        env=environ, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(program.communicate(), 60)
    assert program.returncode == 0
    told = json.loads(said)
    assert (told["folder"], told["metadata"], told["filename"]) == ("older", {"by": version}, "renamed.jpg")
    assert (told["listed"], told["kind"], told["width"], told["created"]) == (2, "image", 50, "datetime")
    assert told["total"][1] == 2 and told["total"][0] >= 2
    assert (told["automations"], told["renamed"]) == (1, "renamed")
    status, body = told["refusal"]
    assert status == 404 and "File not found." in str(body)
    assert httpx.put(told["put"], content=b"x").status_code == 201
