"""A served application whose projects differ in what the API refuses, on disk and on a real S3; and a webhook."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from tests.api.conftest import serving
from tests.api.dialects.uploadkit.desk import CONFIG, Desk


@pytest.fixture(scope="package")
async def opened(redis_url: str, s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    data = tmp_path_factory.mktemp("uploadkit")
    more = {"s3": s3_url.replace("/tests?", f"/tests/{uuid4()}?"), "hook": "http://127.0.0.1:9/hook"}
    async with serving(CONFIG, redis_url, data, **more) as house:
        yield Desk(house)


@pytest.fixture
async def uk(opened: Desk, redis: Redis) -> Desk:
    """The API of a server whose records are empty."""
    return opened
