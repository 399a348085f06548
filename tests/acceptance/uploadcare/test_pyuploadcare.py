"""pyuploadcare, unmodified: what its users write, against a server of their own."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pytest
from pyuploadcare import Uploadcare
from pyuploadcare.exceptions import (
    AuthenticationError,
    DuplicateFileError,
    InvalidRequestError,
    ThrottledRequestError,
    WebhookIsNotUnique,
)

from tests.acceptance.conftest import Stack
from tests.acceptance.uploadcare.clients import Outside
from tests.acceptance.uploadcare.test_upload_client import digest
from tests.nodes.studio import PHOTO

T = TypeVar("T")
Text = Callable[[str], BinaryIO]


OPEN: list[Uploadcare] = []


def client(server: Stack, project: str = "demo", **more: Any) -> Uploadcare:
    base = f"{server.address}/"
    given = {"public_key": f"{project}publickey", "secret_key": f"{project}secretkey", **more}
    OPEN.append(Uploadcare(upload_base=base, api_base=base, cdn_base=base, **given))
    return OPEN[-1]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """It leaves its connections open."""
    yield
    while OPEN:
        uploadcare = OPEN.pop()
        for one in (uploadcare.rest_client, uploadcare.upload_client, uploadcare.cdn_client):
            one.close()


@pytest.fixture
def text(tmp_path: Path) -> Iterator[Text]:
    """Opens a file with these words, as the client takes nothing that is not one."""
    opened: list[BinaryIO] = []

    def write(words: str) -> BinaryIO:
        path = tmp_path / f"{len(opened)}.txt"
        path.write_text(words)
        opened.append(path.open("rb"))
        return opened[-1]

    yield write
    for file in opened:
        file.close()


async def aside(act: Callable[..., T], *args: Any, **more: Any) -> T:
    """The client blocks; what it speaks to lives in this process too."""
    return await asyncio.to_thread(act, *args, **more)


async def test_upload_and_information(server: Stack) -> None:
    uploadcare = client(server)
    with PHOTO.open("rb") as opened:
        file = await aside(uploadcare.upload, opened, store=True, metadata={"pet": "cat"}, tags=["one"])
    info = await aside(file.update_info)
    assert (info["mime_type"], info["is_image"], info["metadata"], info["tags"]) == (
        "image/jpeg", True, {"pet": "cat"}, ["one"])  # fmt: skip
    assert info["content_info"]["image"]["color_mode"] == "RGB"
    assert (file.filename, file.is_stored, file.is_ready) == (PHOTO.name, True, True)
    assert file.cdn_url == f"{server.address}/{file.uuid}/"
    assert await digest(server, file.uuid) == hashlib.sha256(PHOTO.read_bytes()).hexdigest()


async def test_large_files_go_in_parts(server: Stack, large: dict[int, tuple[Path, str]]) -> None:
    path, wanted = large[12]
    with path.open("rb") as opened:
        file = await aside(client(server).upload, opened)
    assert (await aside(lambda: file.info))["original_filename"] == path.name
    assert await digest(server, file.uuid) == wanted


async def test_several_at_once_and_signed(server: Stack, text: Text) -> None:
    uploadcare = client(server, "signed")
    files = await aside(uploadcare.upload_files, [text("one"), text("two")])
    assert [await digest(server, file.uuid) for file in files] == [
        hashlib.sha256(words.encode()).hexdigest() for words in ("one", "two")
    ]
    with pytest.raises(InvalidRequestError, match=r"`signature` is required\."):
        await aside(client(server, "signed", signed_uploads=False).upload, text("x"))
    with pytest.raises(AuthenticationError, match=r"Invalid signature\."):
        await aside(client(server, "signed", secret_key="x").upload, text("x"))


async def test_from_url(server: Stack, outside: Outside) -> None:
    uploadcare, url, seen = client(server), f"{outside.address}/photo-py.jpg", []
    file = await aside(uploadcare.upload_from_url_sync, url, check_duplicates=True, callback=seen.append)
    assert (await aside(lambda: file.info))["original_filename"] == "photo-py.jpg"
    assert seen[-1].done == PHOTO.stat().st_size
    with pytest.raises(DuplicateFileError) as double:
        await aside(uploadcare.upload_from_url, url, check_duplicates=True)
    assert double.value.file_id == file.uuid


async def test_groups_lists_and_counts(server: Stack, text: Text) -> None:
    uploadcare = client(server)
    files = [await aside(uploadcare.upload, text(f"text {n}")) for n in range(3)]
    group = await aside(uploadcare.create_file_group, files)
    assert group.id.endswith("~3")
    info = await aside(lambda: group.info)
    assert [str(file["uuid"]) for file in info["files"]] == [file.uuid for file in files]
    listed = await aside(lambda: list(uploadcare.list_file_groups(limit=1, ordering="-datetime_created")))
    assert listed[0].id == group.id
    assert await aside(lambda: uploadcare.list_files().count()) >= 3
    newest = await aside(lambda: list(uploadcare.list_files(ordering="-datetime_uploaded", limit=5, request_limit=2)))
    assert [file.uuid for file in newest[:3]] == [file.uuid for file in reversed(files)]
    later = await aside(lambda: list(uploadcare.list_files(starting_point=files[1].datetime_uploaded)))
    assert [file.uuid for file in later][:2] == [file.uuid for file in files[1:]]
    await aside(uploadcare.delete_files, files)
    assert await aside(lambda: files[0].update_info()["datetime_removed"])
    await aside(group.delete)


async def test_copies_metadata_and_tags(server: Stack, text: Text) -> None:
    uploadcare = client(server)
    file = await aside(uploadcare.upload, text("a text"), store=True)
    copy = await aside(file.create_local_copy, store=True)
    assert copy.uuid != file.uuid
    assert await digest(server, copy.uuid) == hashlib.sha256(b"a text").hexdigest()
    assert (await aside(file.create_remote_copy, target="default")).startswith("s3://default/")
    assert await aside(uploadcare.metadata_api.update_or_create_key, file.uuid, "k", "v") == "v"
    assert await aside(uploadcare.metadata_api.get_all_metadata, file.uuid) == {"k": "v"}
    await aside(uploadcare.metadata_api.delete_key, file.uuid, "k")
    assert (await aside(file.set_tags, ["a", "b"])).added == ["a", "b"]
    assert (await aside(file.update_tags, add=["c"], delete=["a"])).tags == ["b", "c"]
    found = await aside(uploadcare.files_api.search, {"tags": {"all": ["b", "c"]}})
    assert [str(one.uuid) for one in found.results] == [file.uuid]


async def test_project_and_webhooks(server: Stack, outside: Outside) -> None:
    uploadcare = client(server)
    project = await aside(uploadcare.get_project_info)
    assert (project.name, project.pub_key, project.autostore_enabled) == ("demo", "demopublickey", True)
    target = f"{outside.address}/hook?python"
    hook = await aside(uploadcare.create_webhook, target, event="file.deleted", signing_secret="abc")
    assert (hook.target_url, hook.event, hook.is_active, hook.signing_secret) == (target, "file.deleted", True, "abc")
    with pytest.raises(WebhookIsNotUnique):
        await aside(uploadcare.create_webhook, target, event="file.deleted")
    changed = await aside(uploadcare.update_webhook, hook, target_url=f"{target}2", is_active=False)
    assert (changed.target_url, changed.is_active) == (f"{target}2", False)
    assert hook.id in [one.id for one in await aside(lambda: list(uploadcare.list_webhooks()))]
    await aside(uploadcare.delete_webhook, hook)
    assert hook.id not in [one.id for one in await aside(lambda: list(uploadcare.list_webhooks()))]


async def test_refusals(server: Stack, text: Text) -> None:
    with pytest.raises(AuthenticationError, match=r"UPLOADCARE_PUB_KEY is invalid\."):
        await aside(client(server, "nobody").upload, text("x"))
    with pytest.raises(AuthenticationError):
        await aside(client(server, secret_key="x").get_project_info)
    slow = client(server, "slowest", retry_throttled=0)

    def hurry() -> None:
        for _ in range(5):
            slow.get_project_info()

    with pytest.raises(ThrottledRequestError):
        await aside(hurry)
