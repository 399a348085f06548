"""What it costs to hand small files on to S3."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import aioboto3

from bench.ingest.servers import MEMORY
from bench.results import Result
from pipeline.storage import open_storage
from pipeline.storage.base import Content
from pipeline.storage.s3 import S3Storage
from tests.weed import running_weed

SIZE = 50_000
MANIFEST = bytes(700)
FILES, AT_ONCE = 200, 8
ROUNDS = 7


async def s3_cpu_vs_aioboto3() -> AsyncIterator[Result]:
    """CPU of ours, which puts a manifest beside each, for each of a plain loop over `put_object`, per file of 50 KB."""
    body = bytes(range(256)) * (SIZE // 256) + bytes(SIZE % 256)
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder, running_weed(Path(folder)) as url:
        storage = open_storage(url)
        assert isinstance(storage, S3Storage)
        bucket = storage.bucket
        session = aioboto3.Session(bucket.access_key, bucket.secret_key, region_name=bucket.region)
        async with session.client("s3", endpoint_url=bucket.endpoint) as client:

            async def ours(name: str) -> None:
                content = Content(f"ours/{name}/body.bin", body, "application/octet-stream")
                await storage.put_all([content, Content(content.key + ".json", MANIFEST, "application/json")])

            async def theirs(name: str) -> None:
                await client.put_object(Bucket=bucket.name, Key=f"theirs/{name}", Body=body)

            spent: dict[str, list[float]] = {"ours": [], "theirs": []}
            for turn in range(ROUNDS + 1):
                for who, act in (("ours", ours), ("theirs", theirs)):
                    cpu = await _cpu(act)
                    if turn:
                        spent[who].append(cpu)
        await storage.close()
    ratio = statistics.median(our / their for our, their in zip(*spent.values(), strict=True))
    value = 1000 * statistics.median(spent["ours"])
    yield Result("ingest.s3_cpu_vs_aioboto3", value, "ms CPU/file", "aioboto3 put_object", ratio, ROUNDS)


async def _cpu(act: Callable[[str], Awaitable[None]]) -> float:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with gate:
            await act(uuid4().hex)

    before = time.process_time()
    await asyncio.gather(*(one() for _ in range(FILES)))
    return (time.process_time() - before) / FILES
