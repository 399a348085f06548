"""Derivatives while their workers die: who waits gets what was asked for or hears why not, and nothing is left."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from pipeline.core import Core, open_core
from pipeline.delivery import Recipe
from pipeline.errors import DerivativePoisoned, FileNotFound
from pipeline.model import File, Grant
from tests.faults.ground import Program, worker
from workers.turn import MOST_DEATHS

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]


def slow(file: File, effort: int = 9) -> Recipe:
    """What takes its time."""
    heavy = {"type": "convert", "from": "source", "format": "avif", "lossless": True, "effort": effort}
    return Recipe(file, {"heavy": heavy, "out": {"type": "save", "from": "heavy", "path": "slow"}})


async def until_held(redis: Redis, recipe: Recipe, program: Program) -> None:
    """Return once the worker has begun it."""
    async with asyncio.timeout(60):
        while True:
            mark = await redis.get(f"arq:in-progress:derive:{recipe.key}")
            if mark is not None and f" {program.pid} " in f"{mark.decode()} ":
                return
            await asyncio.sleep(0.01)


async def test_who_waits_gets_it_though_its_worker_was_killed(core: Core, noise: File, redis: Redis) -> None:
    recipe, settings = slow(noise, 4), core.settings.model_copy(update={"delivery_wait": 200.0})
    async with open_core(settings) as one, open_core(settings) as other:
        waiting = [asyncio.create_task(each.delivering.derivative(recipe)) for each in (one, other, one)]
        async with worker(core.settings) as first:
            await until_held(redis, recipe, first)
            first.kill()
            await first.program.wait()
        assert not any(one.done() for one in waiting)
        async with worker(core.settings) as second:
            found = await asyncio.wait_for(asyncio.gather(*waiting), 120)
            await second.stop()
    assert found[0] == found[1] == found[2] and found[0].mime == "image/avif"
    assert await core.delivering.is_whole(found[0])
    derived = core.settings.data_dir / "files/demo/derived"
    assert [path for path in derived.rglob("*") if path.is_file()] == [
        core.storages["default"].local_path(found[0].key)
    ]


async def test_who_waits_hears_that_workers_die_over_it(core: Core, noise: File, redis: Redis) -> None:
    recipe = slow(noise)
    settings = core.settings.model_copy(update={"delivery_wait": 200.0})
    async with open_core(settings) as patient:
        waiting = asyncio.create_task(patient.delivering.derivative(recipe))
        for _ in range(MOST_DEATHS):
            async with worker(settings) as program:
                await until_held(redis, recipe, program)
                program.kill()
                await program.program.wait()
        async with worker(settings) as last:
            with pytest.raises(DerivativePoisoned):
                await asyncio.wait_for(waiting, 120)
            with pytest.raises(DerivativePoisoned):
                await patient.delivering.derivative(recipe)
            await last.stop()


async def test_a_file_deleted_meanwhile_leaves_nothing(core: Core, grant: Grant, noise: File, redis: Redis) -> None:
    recipe = slow(noise, 5)
    waiting = asyncio.create_task(core.delivering.derivative(recipe))
    async with worker(core.settings) as program:
        await until_held(redis, recipe, program)
        await core.files.delete(grant, noise.id)
        with pytest.raises(FileNotFound):
            await asyncio.wait_for(waiting, 60)
        await program.stop()
    assert [path for path in (core.settings.data_dir / "files").rglob("*") if path.is_file()] == []
    assert await core.records.derivatives.of(noise.id) == []
