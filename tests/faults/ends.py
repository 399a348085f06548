"""What must be true after any fault: every run has ended once, every output is there once, and nothing else is."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import aclosing

from PIL import Image

from pipeline.core import Core, open_core
from pipeline.model import Event, Grant, Run
from pipeline.records.sweeps import Swept
from pipeline.storage import LocalStorage, S3Storage
from pipeline.stored import MANIFEST
from tests.faults.ground import Program, assert_nothing_waits, until_over

LONG_AGO = 1_000_000_000.0
LEAST_AGE = 0.001
"""Seconds: to sweeps that are told this everything is old."""
MOST_EVENTS = 500
AT_ONCE = 4


async def until_told(core: Core, run: Run, type: str, times: int = 1, node: str | None = None) -> Event:
    """The event of that type, and of that node, that is told of the run for the `times`-th time."""
    async with asyncio.timeout(120), aclosing(core.events.follow(run.project, run.id, "0")) as events:
        async for event in events:
            if event is not None and event.type == type and node in (None, event.facts.get("node")):
                times -= 1
                if not times:
                    return event
    raise AssertionError


async def until_settled(core: Core) -> None:
    """Return once every run has ended and no queue knows of any job."""
    await until_over(core, 240)
    await assert_nothing_waits(core.redis)


async def ended_once(core: Core, grant: Grant, run: Run, outputs: int = 1) -> Run:
    """The run, completed and told of once, each of its outputs there, whole and told of once."""
    done = await core.runs.get(grant, run.id)
    assert done.status == "completed", (done.error, done.tries)
    assert len({output.id for output in done.outputs}) == len(done.outputs) == outputs
    told = [event.type for event in await core.events.read(run.project, run.id, None, MOST_EVENTS)]
    assert told.count("run.completed") == 1 and told[-1] == "run.completed"
    for output in done.outputs:
        file = await core.records.files.get(output.id)
        body = b"".join([chunk async for chunk in core.storages[file.storage].open(file.key)])
        assert (hashlib.sha256(body).hexdigest(), len(body)) == (output.sha256, output.size)
        assert await asyncio.to_thread(_size_of, body) == (output.width, output.height)
        stored = [event.type for event in await core.events.read(run.project, output.id, None, MOST_EVENTS)]
        assert stored == ["file.stored"]
    return done


async def all_ended_once(core: Core, grant: Grant, runs: Iterable[Run], outputs: int = 1) -> list[Run]:
    """The same of many."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(run: Run) -> Run:
        async with turns:
            return await ended_once(core, grant, run, outputs)

    return await asyncio.gather(*map(one, runs))


async def its_only_death(core: Core, run: Run, victim: Program) -> None:
    (death,) = await core.records.queues.deaths(f"run:{run.id}:{run.attempt}")
    assert death.pid == victim.pid and await core.records.queues.lost() == 1


async def folders_of(core: Core, run: Run) -> set[str]:
    """The folders in which the run's outputs lie; every try has one of its own."""
    files = await core.records.files.get_many([output.id for output in run.outputs])
    return {"/".join(file.key.split("/")[:3]) for file in files if file is not None}


async def kept_keys(core: Core, runs: Sequence[Run]) -> set[str]:
    """What the storage should hold: the outputs of these runs and their inputs, each with its manifest."""
    ids = {output.id for run in runs for output in run.outputs}
    ids |= {id for run in runs for group in run.inputs.values() for id in group}
    files = await core.records.files.get_many(sorted(ids))
    return {key for file in files if file is not None for key in (file.key, file.key + MANIFEST)}


async def held_keys(core: Core) -> list[str]:
    """Everything the storage holds under our prefix, unfinished bytes too."""
    storage = core.storages["default"]
    if isinstance(storage, LocalStorage):
        return [path.relative_to(storage.root).as_posix() for path in storage.root.rglob("*") if path.is_file()]
    assert isinstance(storage, S3Storage)
    begun = [f"unfinished {one.key}" async for one in storage.begun()]
    return begun + [entry.key async for entry in storage.listed("")]


async def left_over(core: Core, runs: Sequence[Run]) -> Counter[str]:
    """What lies in the storage or among the temporary files and belongs to none of the runs, by kind; none is missing.

    Kinds: `bytes` under a key, an `unfinished` transfer, a `folder` of a run.
    """
    held, kept = await held_keys(core), await kept_keys(core, runs)
    assert len(held) == len(set(held)) and kept <= set(held)
    kinds = ("unfinished" if key.startswith((".staging/", "unfinished ")) else "bytes" for key in set(held) - kept)
    return Counter(kinds) + Counter({"folder": len(_temporary(core))})


async def swept_clean(core: Core, runs: Sequence[Run]) -> Swept:
    """Let the sweeps do what they would have done a day later, after which only what belongs to the runs is left."""
    _grow_old(core)
    swept = Swept()
    async with open_core(core.settings.model_copy(update={"orphan_grace": LEAST_AGE})) as sweeper:
        for name in ("orphans", "staged", "folders"):
            swept += await sweeper.sweeps.sweep(name)
    assert not swept.postponed and not swept.spared
    assert not await left_over(core, runs)
    return swept


def _size_of(body: bytes) -> tuple[int, int]:
    """Of a picture that can be decoded to its end."""
    with Image.open(io.BytesIO(body)) as shown:
        shown.load()
        return shown.size


def _temporary(core: Core) -> list[str]:
    return [path.name for path in (core.settings.data_dir / "tmp").glob("*")]


def _grow_old(core: Core) -> None:
    for path in (core.settings.data_dir / "tmp").glob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
