"""Files and folders by their paths: copied, moved, renamed, made and deleted; and what is dropped by its address."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pipeline.api.dialects.imagekit.manage import folders, hauls
from pipeline.jobs import ERRANDS
from pipeline.model import Grant
from pipeline.records.lineages import lineage_of
from tests.api.dialects.imagekit.desk import Desk
from tests.api.house import photo

V1 = "/imagekit/v1"
FILES = f"{V1}/files"


async def paths(ik: Desk, **query: str) -> list[str]:
    """What a list has, folders with a slash at their ends."""
    found = await ik.ok("GET", FILES, query={"sort": "ASC_NAME", "type": "all", **query})
    return [f"{one['folderPath']}/" if one["type"] == "folder" else one["filePath"] for one in found]


async def versions(ik: Desk, id: str) -> list[tuple[str, str, int]]:
    found = await ik.ok("GET", f"{FILES}/{id}/versions")
    return [(one["filePath"], one["versionInfo"]["name"], one["size"]) for one in found]


async def by_path(ik: Desk, path: str) -> dict[str, Any]:
    folder, _, name = path.rpartition("/")
    query = {"path": folder or "/", "searchQuery": f'name = "{name}"'}
    (found,) = await ik.ok("GET", FILES, query=query)
    return dict(found)


async def copying(ik: Desk, source: str, target: str, status: int = 204, **more: Any) -> None:
    await ik.ok("POST", f"{FILES}/copy", {"sourceFilePath": source, "destinationPath": target, **more}, status)


async def over(ik: Desk, *ids: str) -> None:
    """Return once work on many files has ended, which an answer waits for only a while."""
    core = ik.house.core
    for id in ids:
        haul = await core.shelving.hauling.wait(Grant(project=core.settings.projects["demo"]), id, 30)
        assert haul.status == "completed", haul


async def test_a_file_is_copied_with_or_without_its_versions(ik: Desk) -> None:
    id = (await ik.upload(b"1", "copied.txt", folder="x", tags="t"))["fileId"]
    await ik.upload(b"22", "copied.txt", folder="x", tags="u")
    await copying(ik, "/x/copied.txt", "/y/z/")
    copy = await by_path(ik, "/y/z/copied.txt")
    assert copy["fileId"] != id
    assert (copy["tags"], copy["versionInfo"]["name"]) == (["u"], "Version 1")
    await copying(ik, "x/copied.txt", "/y/z", includeFileVersions=True)  # to where one is: appended to its versions
    assert await versions(ik, copy["fileId"]) == [
        ("/y/z/copied.txt", "Version 3", 2),
        ("/y/z/copied.txt", "Version 2", 1),
        ("/y/z/copied.txt", "Version 1", 2),
    ]
    await copying(ik, "/x/copied.txt", "/", includeVersions=True)
    root = await by_path(ik, "/copied.txt")
    assert [name for _, name, _ in await versions(ik, root["fileId"])] == ["Version 2", "Version 1"]
    assert len(await versions(ik, id)) == 2
    assert (await ik.fetch("/copied.txt")).body == (await ik.fetch("/x/copied.txt")).body == b"22"


async def test_a_file_is_moved_with_its_versions(ik: Desk) -> None:
    moved = (await ik.upload(b"1", "moved.txt", folder="x"))["fileId"]
    await ik.upload(b"22", "moved.txt", folder="x")
    await ik.ok("POST", f"{FILES}/move", {"sourceFilePath": "/x/moved.txt", "destinationPath": "/new folder/"}, 204)
    assert await versions(ik, moved) == [
        ("/new_folder/moved.txt", "Version 2", 2),
        ("/new_folder/moved.txt", "Version 1", 1),
    ]
    assert (await ik.fetch("/x/moved.txt")).status == 404
    there = (await ik.upload(b"333", "moved.txt", folder="y"))["fileId"]
    await ik.ok("POST", f"{FILES}/move", {"sourceFilePath": "/new_folder/moved.txt", "destinationPath": "y"}, 204)
    assert await versions(ik, there) == [
        ("/y/moved.txt", "Version 3", 2),
        ("/y/moved.txt", "Version 2", 1),
        ("/y/moved.txt", "Version 1", 3),
    ]
    assert (await ik.refusal("GET", f"{FILES}/{moved}/details"))[0] == 404
    assert (await ik.fetch("/y/moved.txt")).body == b"22"
    assert await paths(ik) == ["/y/", "/y/moved.txt"]


@pytest.mark.usefixtures("working")
async def test_a_file_is_renamed_with_its_versions(ik: Desk) -> None:
    id = (await ik.upload(b"1", "a.txt", folder="x"))["fileId"]
    await ik.upload(b"22", "a.txt", folder="x")
    await ik.upload(b"333", "b.txt", folder="x")
    assert await ik.ok("PUT", f"{FILES}/rename", {"filePath": "/x/a.txt", "newFileName": "c d.txt"}) == {}
    assert await versions(ik, id) == [("/x/c_d.txt", "Version 2", 2), ("/x/c_d.txt", "Version 1", 1)]
    wish = {"filePath": "/x/c_d.txt", "newFileName": "e.txt", "purgeCache": True}
    request = (await ik.ok("PUT", f"{FILES}/rename", wish))["purgeRequestId"]
    await over(ik, request)
    assert await ik.ok("GET", f"{FILES}/purge/{request}") == {"status": "Completed"}
    answer = await ik.send("PUT", f"{FILES}/rename", {"filePath": "/x/e.txt", "newFileName": "b.txt"})
    assert (answer.status, answer.document["reason"]) == (409, "FILE_ALREADY_EXISTS")
    assert answer.document["message"] == "File with name b.txt already exists at the same location."
    assert answer.headers["x-should-retry"] == "false"  # clients of 5.x would try it two times more
    answer = await ik.send("PUT", f"{FILES}/rename", {"filePath": "/x/a.txt", "newFileName": "f.txt"})
    assert (answer.status, answer.document["reason"]) == (404, "FILE_MISSING")


@pytest.mark.parametrize("act", ["copy", "move"])
async def test_what_cannot_be_copied_or_moved(ik: Desk, act: str) -> None:
    await ik.upload(b"1", "a.txt", folder="x")
    answer = await ik.send("POST", f"{FILES}/{act}", {"sourceFilePath": "/path/to/b.txt", "destinationPath": "/x"})
    assert (answer.status, answer.document["reason"]) == (404, "SOURCE_FILE_MISSING")
    assert answer.document["message"] == "No file found with filePath /path/to/b.txt"
    source = {"sourceFilePath": "/x/a.txt"}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"destinationPath": "/y"}, "Your request is missing sourceFilePath parameter."),
        (source, "Your request is missing destinationPath parameter."),
        ({**source, "destinationPath": "/x/"}, "sourceFilePath and destinationPath cannot be same."),
    ]
    for wish, message in wrong:
        assert await ik.refusal("POST", f"{FILES}/{act}", wish) == (400, message)
    answer = await ik.send("POST", f"{FILES}/{act}", {"sourceFilePath": "/x/a.txt", "destinationPath": "/x/../y"})
    assert (answer.status, answer.document["reason"]) == (400, "INVALID_FOLDER_PATH")


async def test_two_that_go_to_one_path_at_once_are_versions_of_one_file(ik: Desk) -> None:
    for folder in "abcd":
        await ik.upload(folder.encode(), "a.txt", folder=folder)
    wishes = [{"sourceFilePath": f"/{folder}/a.txt", "destinationPath": "/z"} for folder in "abcd"]
    await asyncio.gather(*(ik.ok("POST", f"{FILES}/move", wish, 204) for wish in wishes))
    file = await by_path(ik, "/z/a.txt")
    assert [name for _, name, _ in await versions(ik, file["fileId"])] == [f"Version {n}" for n in (4, 3, 2, 1)]


@pytest.mark.usefixtures("working")
async def test_folders_are_made_and_deleted(ik: Desk) -> None:
    for _ in range(2):
        made = await ik.ok("POST", f"{V1}/folder", {"folderName": "new folder!", "parentFolderPath": "a/b/"}, 201)
        assert made == {}
    await ik.upload(b"1", "a.txt", folder="/a/b/c")
    assert await paths(ik, type="folder") == ["/a/", "/a/b/", "/a/b/c/", "/a/b/new_folder_/"]
    assert await paths(ik, path="/a/b") == ["/a/b/c/", "/a/b/new_folder_/"]
    (folder,) = await ik.ok("GET", FILES, query={"type": "folder", "path": "/"})
    assert folder == {
        "type": "folder",
        "name": "a",
        "folderPath": "/a",
        "folderId": folder["folderId"],
        "createdAt": folder["createdAt"],
        "updatedAt": folder["updatedAt"],
        "customMetadata": {},
    }
    answer = await ik.send("DELETE", f"{V1}/folder", {"folderPath": "/a/x"})
    assert (answer.status, answer.document["reason"]) == (404, "FOLDER_NOT_FOUND")
    assert answer.document["message"] == "No folder found with folderPath /a/x"
    await ik.ok("DELETE", f"{V1}/folder", {"folderPath": "/a/b/"}, 204)
    assert await paths(ik) == ["/a/"]
    assert (await ik.refusal("DELETE", f"{V1}/folder", {"folderPath": "/"}))[0] == 400
    slash = (400, "folderName parameter cannot have a slash.")
    assert await ik.refusal("POST", f"{V1}/folder", {"folderName": "/a", "parentFolderPath": "/"}) == slash
    missing = (400, "Your request is missing parentFolderPath parameter.")
    assert await ik.refusal("POST", f"{V1}/folder", {"folderName": "a"}) == missing
    for name, parent in (("..", "/"), ("a", "/../b"), ("a", "/x" * 50)):
        answer = await ik.send("POST", f"{V1}/folder", {"folderName": name, "parentFolderPath": parent})
        assert answer.status == 400, answer.document


async def jobs(ik: Desk, act: str, wish: dict[str, Any]) -> dict[str, Any]:
    id = (await ik.ok("POST", f"{V1}/bulkJobs/{act}", wish))["jobId"]
    await over(ik, id)
    told: dict[str, Any] = await ik.ok("GET", f"{V1}/bulkJobs/{id}")
    assert told.pop("jobId") == id
    return told


async def tree(ik: Desk) -> None:
    await ik.upload(b"1", "a.txt", folder="/x/deep/er")
    await ik.upload(b"22", "a.txt", folder="/x/deep/er")
    await ik.upload(b"333", "b.txt", folder="/x")
    await ik.ok("POST", f"{V1}/folder", {"folderName": "empty", "parentFolderPath": "/x"}, 201)


@pytest.mark.usefixtures("working")
async def test_a_folder_is_copied_into_another(ik: Desk) -> None:
    await tree(ik)
    told = await jobs(ik, "copyFolder", {"sourceFolderPath": "/x", "destinationPath": "/y/", "includeVersions": True})
    assert told == {"type": "COPY_FOLDER", "status": "Completed"}
    copied = ["/y/x/deep/", "/y/x/deep/er/", "/y/x/empty/", "/y/x/b.txt", "/y/x/deep/er/a.txt"]
    assert sorted(await paths(ik, searchQuery='path : "/y/x" AND type IN ["file", "folder"]')) == sorted(copied)
    assert len(await versions(ik, (await by_path(ik, "/y/x/deep/er/a.txt"))["fileId"])) == 2
    # Once more: what is there becomes an older version. Into itself: what was there before, and no more.
    await jobs(ik, "copyFolder", {"sourceFolderPath": "/x/", "destinationPath": "y"})
    assert len(await versions(ik, (await by_path(ik, "/y/x/b.txt"))["fileId"])) == 2
    await jobs(ik, "copyFolder", {"sourceFolderPath": "/x", "destinationPath": "/x/deep"})
    assert await paths(ik, type="file", searchQuery='path : "/x/deep/x"') == [
        "/x/deep/x/deep/er/a.txt",
        "/x/deep/x/b.txt",
    ]


@pytest.mark.usefixtures("working")
@pytest.mark.parametrize(
    ("act", "wish", "type", "target"),
    [
        ("moveFolder", {"sourceFolderPath": "/x", "destinationPath": "/y/z"}, "MOVE_FOLDER", "/y/z/x"),
        ("renameFolder", {"folderPath": "/x", "newFolderName": "n w", "purgeCache": True}, "RENAME_FOLDER", "/n_w"),
    ],
)
async def test_a_folder_is_moved_or_renamed(ik: Desk, act: str, wish: dict[str, Any], type: str, target: str) -> None:
    await tree(ik)
    told = await jobs(ik, act, wish)
    purge = told.pop("purgeRequestId", None)
    assert told == {"type": type, "status": "Completed"}
    if purge:
        await over(ik, purge)
        assert await ik.ok("GET", f"{FILES}/purge/{purge}") == {"status": "Completed"}
    file = await by_path(ik, f"{target}/deep/er/a.txt")
    assert [path for path, _, _ in await versions(ik, file["fileId"])] == [f"{target}/deep/er/a.txt"] * 2
    found = await paths(ik)
    assert f"{target}/empty/" in found and not [path for path in found if path.startswith("/x/")]


async def test_what_cannot_be_done_to_folders(ik: Desk) -> None:
    await tree(ik)
    for act in ("copyFolder", "moveFolder"):
        answer = await ik.send("POST", f"{V1}/bulkJobs/{act}", {"sourceFolderPath": "/no", "destinationPath": "/y"})
        assert (answer.status, answer.document["reason"]) == (404, "NO_FILES_FOLDER")
        assert answer.document["message"] == "No files & folder found at sourceFolderPath /no"
        same = (400, "sourceFolderPath and destinationPath cannot be same.")
        for wish in (
            {"sourceFolderPath": "/x", "destinationPath": "/x/"},
            {"sourceFolderPath": "x", "destinationPath": "/"},
        ):
            assert await ik.refusal("POST", f"{V1}/bulkJobs/{act}", wish) == same
    inside = {"sourceFolderPath": "/x", "destinationPath": "/x/deep"}
    assert (await ik.refusal("POST", f"{V1}/bulkJobs/moveFolder", inside))[0] == 400
    answer = await ik.send("POST", f"{V1}/bulkJobs/renameFolder", {"folderPath": "/x/deep", "newFolderName": "empty"})
    assert (answer.status, answer.document["reason"]) == (400, "FOLDER_ALREADY_EXISTS")
    assert (await ik.refusal("POST", f"{V1}/bulkJobs/renameFolder", {"folderPath": "/q", "newFolderName": "a"}))[
        0
    ] == 404
    assert (await ik.refusal("GET", f"{V1}/bulkJobs/0123"))[0] == 404


@pytest.mark.usefixtures("working")
async def test_how_far_it_is_and_what_it_could_not_be_done_to_is_told(
    ik: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tree(ik)
    core = ik.house.core
    full = await core.records.lineages.get("demo", (await ik.upload(b"0", "b.txt", folder="/y/x"))["fileId"])
    for number in range(2, 101):
        update = {"id": f"{number:08x}{full.id[8:]}", "lineage": lineage_of(full), "version": number}
        await core.records.files.create(full.model_copy(update=update))
    monkeypatch.setattr(hauls, "PATIENCE", 0.05)
    await core.records.queues.pause(ERRANDS)
    try:
        wish = {"sourceFolderPath": "/x", "destinationPath": "/y"}
        id = (await ik.ok("POST", f"{V1}/bulkJobs/moveFolder", wish))["jobId"]
        told = {"jobId": id, "type": "MOVE_FOLDER", "status": "Pending"}
        assert await ik.ok("GET", f"{V1}/bulkJobs/{id}") == told
        request = (await ik.ok("POST", f"{FILES}/purge", {"url": f"{ik.base}/ik/demo/x/*"}, 201))["requestId"]
        assert await ik.ok("GET", f"{FILES}/purge/{request}") == {"status": "Pending"}
        assert (await ik.refusal("GET", f"{V1}/bulkJobs/{request}"))[0] == 404  # of another kind
        assert (await ik.refusal("GET", f"{V1}/bulkJobs/{id}", key="private_other_key"))[0] == 404
    finally:
        await core.records.queues.resume(ERRANDS)
    await over(ik, id, request)
    errors = [{"path": "/x/b.txt", "error": "A file has 100 versions at most."}]
    assert await ik.ok("GET", f"{V1}/bulkJobs/{id}") == told | {"status": "Completed", "errors": errors}
    assert await ik.ok("GET", f"{FILES}/purge/{request}") == {"status": "Completed"}
    assert [path for path in await paths(ik) if path.startswith("/x/")] == ["/x/", "/x/b.txt"]


@pytest.mark.usefixtures("working")
async def test_a_deletion_is_done_by_workers_and_spares_what_comes_after_it(
    ik: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tree(ik)
    await ik.ok("DELETE", f"{V1}/folder", {"folderPath": "/x"}, 204)
    assert await paths(ik) == []  # what is small is gone when it is answered, also versions and empty folders
    await tree(ik)
    monkeypatch.setattr(folders, "PATIENCE", 0.05)
    queues = ik.house.core.records.queues
    await queues.pause(ERRANDS)
    try:
        await ik.ok("DELETE", f"{V1}/folder", {"folderPath": "/x"}, 204)
        await ik.upload(b"4444", "late.txt", folder="/x/deep")
        assert len(await paths(ik, type="file")) == 3  # no worker came by yet
    finally:
        await queues.resume(ERRANDS)
    async with asyncio.timeout(20):
        while sorted(await paths(ik)) != ["/x/", "/x/deep/", "/x/deep/late.txt"]:
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("working")
async def test_what_was_made_of_files_is_dropped(ik: Desk) -> None:
    files = [await ik.upload(photo(), f"{name}.jpg", folder="p") for name in "ab"]
    records = ik.house.core.records
    ids = [(await records.lineages.get("demo", file["fileId"])).id for file in files]

    async def drawn() -> list[int]:
        for name in "ab":
            assert (await ik.fetch(f"/tr:w-20/p/{name}.jpg")).status == 200
        return await counts()

    async def counts() -> list[int]:
        return [len(await records.derivatives.of(id)) for id in ids]

    async def purge(url: str) -> list[int]:
        assert await drawn() == [1, 1]
        request = (await ik.ok("POST", f"{FILES}/purge", {"url": url}, 201))["requestId"]
        await over(ik, request)
        assert await ik.ok("GET", f"{FILES}/purge/{request}") == {"status": "Completed"}
        return await counts()

    url = files[0]["url"]
    assert await purge(url) == [0, 1]
    assert await purge(url.replace("/p/", "/tr:w-20/p/")) == [0, 1]
    assert await purge("https://cdn.example/imagekit/ik/demo/p/b.jpg?tr=w-20") == [1, 0]
    assert await purge(f"{ik.base}/ik/demo/p/*") == [0, 0]
    assert await purge(f"{ik.base}/ik/demo/p/a.j*") == [0, 1]
    assert await purge(f"{ik.base}/ik/demo/none.jpg") == [1, 1]
    for bad in (
        "https://example.com/a.jpg",
        "/p/a.jpg",
        f"{ik.base}/ik/other/p/a.jpg",
        "http://[",
        f"{ik.base}/ik/demo/",
    ):
        assert await ik.refusal("POST", f"{FILES}/purge", {"url": bad}) == (400, "Invalid url")
    unknown = (400, "No request found for this requestId.")
    assert await ik.refusal("GET", f"{FILES}/purge/0123") == unknown
    assert await ik.refusal("POST", f"{FILES}/purge", {}) == (400, "Your request is missing url parameter.")
