"""The composition root: builds without anything to talk to, and takes down what it built, also half-way."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from redis.asyncio import Redis

from pipeline.core import open_core
from pipeline.errors import RecordsUnavailable, SandboxClosed, SettingsInvalid
from pipeline.model import Grant, Intake, Project
from pipeline.settings import Settings


async def once(body: bytes):  # type: ignore[no-untyped-def]
    yield body


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()}


async def clients(redis: Redis) -> int:
    return len(await redis.client_list())


async def test_a_core_closes_what_it_opened(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    before = await clients(redis)
    async with open_core(Settings(redis_url=redis_url, data_dir=tmp_path), sandbox_children=1) as core:
        await core.records.check()
        assert core.sandbox is not None
        await core.sandbox.start()
        mine = {await box.call(os.getpid, timeout=10) for box in (core.sandbox, core.headers)}
        assert len(mine) == 2 and mine <= children()
        headers = core.headers
    assert await clients(redis) == before and not mine & children()
    with pytest.raises(SandboxClosed):
        await headers.call(os.getpid, timeout=10)


async def test_a_web_process_has_no_sandbox_and_starts_no_child_before_it_must(redis_url: str, tmp_path: Path) -> None:
    born = children()
    async with open_core(Settings(redis_url=redis_url, data_dir=tmp_path)) as core:
        assert core.sandbox is None
        await core.uploads.accept(Grant(project=Project(id="demo")), Intake(), once(b"no picture"))
        assert children() <= born


async def test_nothing_need_be_there_to_open_and_close(tmp_path: Path) -> None:
    storages = {"default": "s3://bucket/prefix?endpoint=http://127.0.0.1:9&region=x", "other": f"file://{tmp_path}/o"}
    settings = Settings(redis_url=f"unix://{tmp_path}/none.sock", data_dir=tmp_path, storages=storages)
    async with open_core(settings) as core:
        assert set(core.storages) == set(core.stagings) == {"default", "other"}
        with pytest.raises(RecordsUnavailable):
            await asyncio.wait_for(core.records.check(), 10)


async def test_a_core_that_cannot_be_built_leaves_nothing_open(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    before = await clients(redis)
    storages = {"default": f"file://{tmp_path}/files", "broken": "ftp://nowhere"}
    with pytest.raises(SettingsInvalid):
        async with open_core(Settings(redis_url=redis_url, data_dir=tmp_path, storages=storages)):
            pass
    assert await clients(redis) == before


async def test_a_block_that_fails_is_cleaned_up_too(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    before = await clients(redis)
    with pytest.raises(ZeroDivisionError):
        async with open_core(Settings(redis_url=redis_url, data_dir=tmp_path)) as core:
            await core.records.check()
            raise ZeroDivisionError
    assert await clients(redis) == before
