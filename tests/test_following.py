"""The run that follows an upload comes to be with its file, once; and how far uploads are is told, but seldom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from pipeline.core import Core, open_core
from pipeline.errors import (
    FileTooLarge,
    FlowNotFound,
    FlowVersionNotFound,
    RecordsUnavailable,
    RunNotFound,
    TypeNotAllowed,
)
from pipeline.jobs import run_slip
from pipeline.model import Follow, Grant, Intake, Project, Route
from pipeline.records.trails import BYTES, Bytes
from pipeline.settings import Settings
from pipeline.uploads.progress import PACE
from tests.records.nouns import a_file, a_run

FLOW = """
accept: {{types: ["text/*"], max_size: {size}}}
params: {{copies: {{type: integer, default: 1}}}}
nodes:
  letter: {{type: input}}
  out: {{type: save, path: "out/{{file.name}}"}}
"""


@pytest.fixture
async def core(redis_url: str, redis: Redis, tmp_path: Path) -> AsyncIterator[Core]:
    settings = Settings(redis_url=redis_url, data_dir=tmp_path, storages={"default": "memory://"})
    async with open_core(settings) as core:
        await core.flows.put("letters", FLOW.format(size="1MB"))
        yield core


@pytest.fixture
def grant() -> Grant:
    return Grant(project=Project(id="demo"))


async def once(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def letter(**fields: Any) -> Intake:
    return Intake(**({"name": "letter.txt", "follow": Follow(flow="letters")} | fields))


async def told(core: Core, subject: str) -> list[str]:
    return [event.type for event in await core.events.read("demo", subject)]


async def test_the_run_is_known_from_the_beginning_and_there_when_the_file_is(core: Core, grant: Grant) -> None:
    follow = Follow(flow="letters", params={"copies": 2}, metadata={"to": "you"})
    upload = await core.uploads.begin(grant, letter(follow=follow))
    assert upload.run is not None
    with pytest.raises(RunNotFound):
        await core.runs.get(grant, upload.run)
    await core.uploads.append(grant, upload.id, 0, once(b"dear reader"))
    file = await core.uploads.finish(grant, upload.id)
    assert await core.uploads.finish(grant, upload.id) == file and file.follow == upload.run
    run = await core.runs.get(grant, upload.run)
    assert (run.flow, run.params, run.metadata) == ("letters", {"copies": 2}, {"to": "you"})
    assert run.inputs == {"letter": (file.id,)} and run.status == "queued"
    assert await told(core, run.id) == ["run.queued"] and await core.runs.recover() == 0
    assert [one.id for one in (await core.runs.list(grant)).items] == [run.id]


async def test_what_cannot_be_recorded_is_neither_a_file_nor_a_run(core: Core, grant: Grant, redis: Redis) -> None:
    upload = await core.uploads.begin(grant, letter())
    assert upload.run is not None
    await core.uploads.append(grant, upload.id, 0, once(b"dear reader"))
    run = a_run()
    await redis.config_set("maxmemory", 1)  # a server that takes no more writes
    try:
        with pytest.raises(RecordsUnavailable):
            await core.records.uploads.finish(upload.id, a_file(), None, (run, run_slip("safelight:", run)))
        with pytest.raises(RecordsUnavailable):
            await core.uploads.finish(grant, upload.id)
    finally:
        await redis.config_set("maxmemory", 0)
    assert await core.records.files.get_many([upload.id]) == [None]
    assert (await core.runs.list(grant)).items == ()
    file = await core.uploads.finish(grant, upload.id)
    assert file.follow == upload.run and (await core.runs.get(grant, upload.run)).inputs == {"letter": (file.id,)}


async def test_the_version_is_the_one_that_was_active_when_it_began(core: Core, grant: Grant) -> None:
    upload = await core.uploads.begin(grant, letter())
    before = (await core.flows.pointer("letters")).active
    await core.flows.put("letters", FLOW.format(size="2MB"))
    await core.uploads.append(grant, upload.id, 0, once(b"dear reader"))
    file = await core.uploads.finish(grant, upload.id)
    assert file.follow is not None and (await core.runs.get(grant, file.follow)).version == before


async def test_a_version_that_is_gone_destroys_no_bytes(core: Core, grant: Grant, redis: Redis) -> None:
    upload = await core.uploads.begin(grant, letter())
    await core.uploads.append(grant, upload.id, 0, once(b"dear reader"))
    kept = await redis.hgetall("safelight:flow-texts:letters")
    await redis.delete("safelight:flow-texts:letters")
    core.flows._parsed.clear()
    with pytest.raises(FlowVersionNotFound):
        await core.uploads.finish(grant, upload.id)
    await redis.hset("safelight:flow-texts:letters", mapping=kept)
    assert (await core.uploads.finish(grant, upload.id)).size == 11


async def test_the_file_is_held_to_what_the_flow_accepts(core: Core, grant: Grant) -> None:
    with pytest.raises(FileTooLarge):
        await core.uploads.begin(grant, letter(declared_size=1_000_001))
    with pytest.raises(TypeNotAllowed):
        await core.uploads.accept(grant, letter(), once(b"\x89PNG\r\n\x1a\n" + bytes(100)))
    # What a route lets in, the flow still judges.
    with pytest.raises(TypeNotAllowed):
        await core.uploads.accept(grant, letter(types=("image/*",)), once(b"dear reader"))
    assert (await core.runs.list(grant)).items == ()


async def test_whoever_knows_only_the_public_key_names_only_flows_of_the_project(core: Core) -> None:
    await core.flows.put("other", FLOW.format(size="1MB"))
    project = Project(id="demo", routes={"letters": Route(flow="letters")})
    stranger = Grant(project=project, public=True)
    assert (await core.uploads.begin(stranger, letter())).run is not None
    with pytest.raises(FlowNotFound):
        await core.uploads.begin(stranger, letter(follow=Follow(flow="other")))
    assert (await core.uploads.begin(Grant(project=project), letter(follow=Follow(flow="other")))).run is not None


# Progress


async def test_progress_is_told_at_most_twice_a_second(core: Core, grant: Grant, redis: Redis) -> None:
    upload = await core.uploads.begin(grant, Intake(name="a.bin", declared_size=100_000))
    heard = asyncio.Queue[int | None]()

    async def listen() -> None:
        async with aclosing(core.records.trails.follow("demo", upload.id, None)) as trail:
            async for one in trail:
                if isinstance(one, Bytes):
                    heard.put_nowait(one.offset)

    listener = asyncio.create_task(listen())
    began = asyncio.get_running_loop().time()
    for number in range(60):
        await core.uploads.append(grant, upload.id, number * 1000, once(bytes(1000)))
    seconds = asyncio.get_running_loop().time() - began
    assert await asyncio.wait_for(heard.get(), 5) == 1000
    listener.cancel()
    assert heard.qsize() <= seconds / (PACE * 0.9)
    assert await redis.xlen(f"safelight:{BYTES}{upload.id}") == 1
    assert 0 < await redis.ttl(f"safelight:{BYTES}{upload.id}") <= 3600


async def test_a_small_file_is_not_told_of_on_its_way(core: Core, grant: Grant, redis: Redis) -> None:
    await core.uploads.accept(grant, Intake(name="a.txt"), once(b"hello"))
    upload = await core.uploads.begin(grant, Intake(name="a.txt", declared_size=5))
    await core.uploads.append(grant, upload.id, 0, once(b"hello"))
    await core.uploads.finish(grant, upload.id)
    assert await redis.keys(f"safelight:{BYTES}*") == []
