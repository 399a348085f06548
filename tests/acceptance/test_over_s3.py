"""The same job with every byte in a real S3: no file of a user's ever rests on the server's disk."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import aiohttp
import boto3
import pytest
from PIL import Image

from pipeline.storage import open_storage
from tests.acceptance.conftest import Client, Stack, client_of, running_stack
from tests.nodes.studio import PHOTO, difference, opened


@pytest.fixture(scope="module")
def bucket(s3_url: str) -> str:
    return s3_url.replace("/tests?", f"/{uuid4()}?")


@pytest.fixture(scope="module")
def s3_stack(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("s3"), SAFELIGHT_STORAGES__DEFAULT=bucket) as stack:
        yield stack


@pytest.fixture
async def s3_client(s3_stack: Stack) -> AsyncIterator[Client]:
    async with client_of(s3_stack) as client:
        yield client


async def test_a_photo_goes_through_a_flow(s3_client: Client, s3_stack: Stack, bucket: str, tmp_path: Path) -> None:
    run = await s3_client.run("image-gallery", PHOTO, params={"watermark": False})
    assert run["status"] == "completed", run
    assert [(output["width"], output["height"]) for output in run["outputs"]] == [(1600, 900), (800, 450), (320, 180)]
    for output in run["outputs"]:
        found = await s3_client.image(output, tmp_path)
        reference = opened(PHOTO).resize(found.size, Image.Resampling.LANCZOS)
        assert difference(found, reference) < 4

    storage = open_storage(bucket)
    try:
        key = f"demo/runs/{run['id']}/out/{run['outputs'][0]['path']}"
        stat = await storage.stat(key)
        assert stat is not None and stat.size == run["outputs"][0]["size"]
    finally:
        await storage.close()
    left = [path for path in s3_stack.data.rglob("*") if path.is_file() and path.suffix in {".jpg", ".webp", ".part"}]
    assert left == []


async def test_a_large_file_arrives_whole_and_is_read_in_parts(s3_client: Client) -> None:
    content = random.Random(1).randbytes(13 * 2**20 + 17)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]

    async with s3_client.session.post("/v1/files?name=large.bin", data=pieces()) as answer:
        file = await answer.json()
        assert answer.status == 201, file
    assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    part = {"Range": "bytes=5242870-5242900"}
    async with aiohttp.ClientSession() as stranger, stranger.get(file["url"], headers=part) as answer:
        assert answer.status == 206
        assert await answer.read() == content[5242870:5242901]


async def test_chunks_by_range_become_one_file(s3_client: Client) -> None:
    content = random.Random(2).randbytes(7 * 2**20 + 5)
    chunks = [(start, content[start : start + 3 * 2**20]) for start in range(0, len(content), 3 * 2**20)]
    wrong = (0, bytes(3 * 2**20))
    # In their order they go into one upload; what comes again lies apart, and all of it is joined.
    for order in (chunks, [wrong, chunks[1], chunks[0], chunks[2]]):
        for start, piece in order:
            header = {"Content-Range": f"bytes {start}-{start + len(piece) - 1}/{len(content)}"}
            url = "/ittybit/d/demo/film.bin"
            async with s3_client.session.put(url, data=io.BytesIO(piece), headers=header) as answer:
                assert answer.status == (201 if piece is chunks[2][1] else 202), await answer.text()
        async with s3_client.session.get(url) as answer:
            assert await answer.read() == content


def keys_in(bucket: str) -> list[str]:
    """Every key under the prefix of a storage URL, seen with Amazon's own client."""
    address = urlsplit(bucket)
    options = dict(parse_qsl(address.query))
    client = boto3.client(
        "s3", endpoint_url=options["endpoint"], region_name=options["region"],
        aws_access_key_id=options["access_key"], aws_secret_access_key=options["secret_key"],
    )  # fmt: skip
    with closing(client):
        listed = client.list_objects_v2(Bucket=address.netloc, Prefix=address.path.lstrip("/"))
        return [found["Key"] for found in listed.get("Contents", [])]


async def test_a_truncated_image_leaves_nothing_in_the_bucket(s3_client: Client, bucket: str) -> None:
    before = keys_in(bucket)
    cut = io.BytesIO(PHOTO.read_bytes()[:-50_000])
    async with s3_client.session.post("/v1/files?name=cut.jpg", data=cut) as answer:
        problem = await answer.json()
    assert (answer.status, problem["code"]) == (422, "IMAGE_UNREADABLE")
    assert keys_in(bucket) == before
