"""Archives of large files, from every storage: read by others, and never held."""

from __future__ import annotations

import tarfile
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archives import FORMS, Form, distinct, length_of, members_of, packed
from pipeline.model import File
from pipeline.storage import STORAGES, MemoryStorage, Storage, open_storage
from tests.records.nouns import a_file

MIB = 1024 * 1024


@pytest.fixture(params=list(STORAGES))
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory://",
        "file": lambda: f"file://{tmp_path}/files",
        "s3": lambda: request.getfixturevalue("s3_url").replace("/tests?", f"/{uuid4()}?"),
    }
    opened = open_storage(urls[request.param]())
    yield opened
    await opened.close()


async def kept(storage: Storage, name: str, size: int, mime: str) -> File:
    async def blocks() -> AsyncIterator[bytes]:
        for start in range(0, size, 65536):
            yield bytes(min(65536, size - start))

    file = a_file(name=name, size=size, mime=mime)
    await storage.put(file.key, blocks(), size, mime)
    return file


@pytest.mark.parametrize("form", FORMS)
async def test_forty_mebibytes_are_packed_in_bounded_memory(storage: Storage, form: Form, tmp_path: Path) -> None:
    sizes = {"big.bin": 30 * MIB + 7, "leer.txt": 0, "text.txt": 10 * MIB}
    mimes = {"txt": "text/plain", "bin": "video/mp4"}
    files = [await kept(storage, name, size, mimes[name[-3:]]) for name, size in sizes.items()]
    members = members_of(files, {"default": storage})
    tracemalloc.start()
    try:
        with (tmp_path / "archive").open("wb") as archive:
            async for piece in packed(form, members):
                archive.write(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    if not isinstance(storage, MemoryStorage):
        assert peak < 12 * MIB
    if form == "tar":
        assert length_of(form, members) == (tmp_path / "archive").stat().st_size
        with tarfile.open(tmp_path / "archive") as packed_tar:
            assert {entry.name: entry.size for entry in packed_tar} == sizes
    else:
        assert length_of(form, members) is None
        with zipfile.ZipFile(tmp_path / "archive") as packed_zip:
            assert packed_zip.testzip() is None
            assert {entry.filename: entry.file_size for entry in packed_zip.infolist()} == sizes


@pytest.mark.parametrize("form", FORMS)
def test_the_length_beyond_four_gigabytes_is_known(form: Form) -> None:
    files = [a_file(name="ü" * 90, size=5 * 1024**3, mime="video/mp4"), a_file(size=3, mime="image/jpeg")]
    length = length_of(form, members_of(files, {"default": MemoryStorage()}))
    assert length is not None and 5 * 1024**3 < length < 5 * 1024**3 + 10_000


@given(st.lists(st.sampled_from(["a.txt", "A.TXT", "a-2.txt", "a", ".a", "b.tar.gz", "ß"]), max_size=12))
def test_no_two_names_are_the_same_on_any_disk(names: list[str]) -> None:
    found = distinct(names)
    assert len({name.lower() for name in found}) == len(names)
    assert all(new == old for new, old in zip(found[:1], names[:1], strict=True))
