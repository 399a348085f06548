"""What only a storage in a folder has: links, a disk that fills, and folders that come and go."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PathInvalid, StorageFull, StorageUnavailable
from pipeline.storage import LocalStorage, open_storage, together
from pipeline.storage.base import Content
from pipeline.storage.local import DRAFT_AGE

MIB = 1024 * 1024


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "files")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 1 MiB; skips where mounting is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def no_large_files() -> Iterator[None]:
    """This process may write no file beyond 1 MiB."""
    signalled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, signalled)


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def files(storage: LocalStorage) -> list[str]:
    return sorted(str(path.relative_to(storage.root)) for path in storage.root.rglob("*") if path.is_file())


async def test_no_link_leads_out(storage: LocalStorage, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    storage.root.mkdir()
    (storage.root / "folder").symlink_to(outside)
    (storage.root / "file").symlink_to(outside / "secret")
    for key in ("folder/secret", "file"):
        with pytest.raises(PathInvalid):
            await anext(storage.open(key))
        with pytest.raises(PathInvalid):
            await storage.put(key, pieces(b"overwritten"), None, "text/plain")
        with pytest.raises(PathInvalid):
            await storage.delete(key)
        with pytest.raises(PathInvalid):
            storage.local_path(key)
    assert (outside / "secret").read_bytes() == b"secret"
    assert os.listdir(outside) == ["secret"]


async def test_small_files_leave_the_root_by_no_link(storage: LocalStorage, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (storage.root / "demo").mkdir(parents=True)
    (storage.root / "demo/files").symlink_to(outside)
    with pytest.raises(PathInvalid):
        await storage.put_all([Content("demo/files/ab/1/a.txt", b"x", "text/plain")])
    assert os.listdir(outside) == [] and files(storage) == []


async def test_small_files_whose_folder_is_a_file_leave_nothing(storage: LocalStorage) -> None:
    await storage.put("demo/files", pieces(b"x"), None, "text/plain")
    with pytest.raises(PathInvalid):
        await storage.put_all([Content("demo/files/1/a.txt", b"x", "text/plain")])
    assert files(storage) == ["demo/files"]


async def test_small_files_find_a_disk_full_or_their_staging_gone(small_disk: Path) -> None:
    storage = LocalStorage(small_disk)
    with pytest.raises(StorageFull):
        await storage.put_all([Content("a/1/large", bytes(3_000_000), "text/plain")])
    assert files(storage) == []
    storage.staging.rmdir()
    await storage.put_all([Content("a/2/small", b"fits", "text/plain")])
    assert files(storage) == ["a/2/small"]


async def test_a_bundle_left_by_a_killed_writer_goes_when_it_is_old(tmp_path: Path) -> None:
    left = tmp_path / ".staging/put-1"
    left.mkdir(parents=True)
    (left / "a.txt").write_bytes(b"x")
    os.utime(left, times=(time.time() - DRAFT_AGE - 60,) * 2)
    await LocalStorage(tmp_path).put("b", pieces(b"x"), None, "text/plain")
    assert not left.exists()


async def test_a_link_to_the_root_itself_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    await LocalStorage(tmp_path / "link").put("a/b", pieces(b"x"), None, "text/plain")
    assert (tmp_path / "real/a/b").read_bytes() == b"x"


async def test_a_full_disk_is_told_and_leaves_nothing(small_disk: Path) -> None:
    storage = LocalStorage(small_disk)
    await storage.put("kept", pieces(b"kept"), None, "text/plain")
    with pytest.raises(StorageFull):
        await storage.put("large", pieces(*[bytes(100_000)] * 30), None, "text/plain")
    assert files(storage) == ["kept"]
    await storage.put("small", pieces(b"fits"), None, "text/plain")


async def test_a_limit_on_files_is_a_full_storage(storage: LocalStorage, no_large_files: None) -> None:
    with pytest.raises(StorageFull):
        await storage.put("large", pieces(bytes(2 * MIB)), None, "text/plain")
    assert files(storage) == []


async def test_a_root_that_cannot_be_is_unavailable() -> None:
    storage = LocalStorage(Path("/proc/nowhere"))
    with pytest.raises(StorageUnavailable):
        await storage.check()
    with pytest.raises(StorageUnavailable):
        await storage.put("key", pieces(b"x"), None, "text/plain")


async def test_a_file_cannot_be_a_folder_too(storage: LocalStorage) -> None:
    await storage.put("a", pieces(b"x"), None, "text/plain")
    await storage.put("b/c", pieces(b"x"), None, "text/plain")
    for key in ("a/below", "b"):
        with pytest.raises(PathInvalid):
            await storage.put(key, pieces(b"y"), None, "text/plain")
    assert files(storage) == ["a", "b/c"]


async def test_a_delete_takes_empty_folders_and_no_others(storage: LocalStorage) -> None:
    await storage.put("a/b/c/one", pieces(b"x"), None, "text/plain")
    await storage.put("a/two", pieces(b"x"), None, "text/plain")
    await storage.delete("a/b/c/one")
    assert not (storage.root / "a/b").exists()
    assert files(storage) == ["a/two"]
    await storage.delete("a/two")
    assert sorted(os.listdir(storage.root)) == [".staging"]


async def test_what_a_killed_writer_left_goes_after_a_day(storage: LocalStorage) -> None:
    storage.staging.mkdir(parents=True)
    for name, age in (("put-old", DRAFT_AGE + 60), ("put-new", 60), ("an-upload", 30 * DRAFT_AGE)):
        (storage.staging / name).write_bytes(b"x")
        os.utime(storage.staging / name, (time.time() - age,) * 2)
    await storage.check()
    assert sorted(os.listdir(storage.staging)) == ["an-upload", "put-new"]


async def test_the_folder_may_go_while_the_server_runs(storage: LocalStorage) -> None:
    await storage.put("a", pieces(b"x"), None, "text/plain")
    (storage.root / "a").unlink()
    storage.staging.rmdir()
    storage.root.rmdir()
    await storage.put("a", pieces(b"y"), None, "text/plain")
    assert files(storage) == ["a"]


async def test_bytes_are_on_the_disk_before_they_are_seen_and_names_before_put_returns(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []
    threads: set[int] = set()
    fsync, target = os.fsync, storage.root / "a/b/key"

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        name = "draft" if path.name.startswith("put-") else str(path.relative_to(storage.root))
        synced.append((name, target.exists()))
        threads.add(threading.get_ident())

    monkeypatch.setattr(os, "fsync", noted)
    await storage.put("a/b/key", pieces(b"bytes"), 5, "text/plain")
    assert synced[0] == ("draft", False)
    assert sorted(synced[1:]) == [(".", True), ("a", True), ("a/b", True)]
    assert threading.get_ident() not in threads, "the event loop waited for the disk"


async def test_small_files_put_together_share_a_thread_and_the_sync_of_their_folder(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await storage.put("a/before", pieces(b"x"), None, "text/plain")
    synced: list[str] = []
    threads: set[int] = set()
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.partition("-")[0])
        threads.add(threading.get_ident())

    monkeypatch.setattr(os, "fsync", noted)
    await asyncio.gather(*(storage.put(f"a/{name}", pieces(name.encode()), 1, "text/plain") for name in "123"))
    assert synced == ["put", "put", "put", "a"] and len(threads) == 1
    assert [(storage.root / "a" / name).read_text() for name in "123"] == ["1", "2", "3"]


async def test_of_files_put_together_each_has_its_own_fault(storage: LocalStorage) -> None:
    await storage.put("a", pieces(b"x"), None, "text/plain")
    puts = [storage.put(key, pieces(b"y"), None, "text/plain") for key in ("b", "a/below", "c")]
    told = await asyncio.gather(*puts, return_exceptions=True)
    assert [type(one) for one in told] == [int, PathInvalid, int]
    assert files(storage) == ["a", "b", "c"]


async def test_a_put_that_is_cancelled_leaves_no_draft(storage: LocalStorage) -> None:
    await storage.check()
    for turns in range(12):
        doomed = asyncio.create_task(storage.put("a", pieces(b"x"), None, "text/plain"))
        for _ in range(turns):
            await asyncio.sleep(0)
        doomed.cancel()
        await asyncio.gather(doomed, return_exceptions=True)
        assert os.listdir(storage.staging) == [] and set(files(storage)) <= {"a"}


async def test_addresses() -> None:
    absolute, relative = open_storage("file:///srv/safe%20light"), open_storage("file://./data/files")
    assert isinstance(absolute, LocalStorage) and absolute.root == Path("/srv/safe light")
    assert isinstance(relative, LocalStorage) and relative.root == Path.cwd() / "data/files"


async def test_a_put_is_settled_also_when_all_settlers_end_as_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, over, settled = LocalStorage(tmp_path), asyncio.Event(), 0
    await storage.prepare()
    finished = together.finished

    async def held_back(work: Callable[[], Any]) -> Any:
        nonlocal settled
        done = await finished(work)
        settled += 1
        await over.wait()
        return done

    async def late() -> int:
        await over.wait()
        return await storage.put("late", pieces(b"x"), 1, "text/plain")

    monkeypatch.setattr(together, "finished", held_back)
    early = []
    for number in range(together.SETTLERS):
        early.append(asyncio.create_task(storage.put(f"early-{number}", pieces(b"x"), 1, "text/plain")))
        while len(storage._landings._settlers) <= number:
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # the settler has taken its put
    while settled < together.SETTLERS:
        await asyncio.sleep(0.01)
    last = asyncio.create_task(late())  # it comes behind them when all of them are woken
    await asyncio.sleep(0)
    over.set()
    async with asyncio.timeout(10):
        assert await asyncio.gather(*early, last) == [1] * (together.SETTLERS + 1)


@pytest.mark.parametrize("bundled", [False, True])
async def test_a_folder_that_a_delete_takes_away_while_it_is_made_is_made_again(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, bundled: bool
) -> None:
    await storage.prepare()
    mkdir, folder, met = os.mkdir, str(storage.root / "shared/folder"), []

    def there_for_a_moment(path: Any, mode: int = 0o777) -> None:
        if str(path) == folder and not met:
            met.append(path)
            raise FileExistsError(17, "File exists", folder)
        mkdir(path, mode)

    monkeypatch.setattr(os, "mkdir", there_for_a_moment)
    if bundled:
        await storage.put_all([Content("shared/folder/one/a.txt", b"x", "text/plain")])
    else:
        await storage.put("shared/folder/one/a.txt", pieces(b"x"), 1, "text/plain")
    assert met and (storage.root / "shared/folder/one/a.txt").read_bytes() == b"x"
