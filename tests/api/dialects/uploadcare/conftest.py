"""A served application whose projects differ in what the Upload API refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.api.conftest import serving
from tests.api.dialects.uploadcare.desk import CONFIG, Desk


@pytest.fixture(scope="package")
async def opened(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with serving(CONFIG, redis_url, tmp_path_factory.mktemp("uploadcare")) as house:
        yield Desk(house)


@pytest.fixture
async def uc(opened: Desk, redis: Redis) -> Desk:
    """The Upload API of a server whose records are empty."""
    return opened
