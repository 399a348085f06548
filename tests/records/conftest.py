"""Records and their log on the real server."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from pipeline.events import EventLog
from pipeline.records import Records
from tests.records.nouns import PREFIX


@pytest.fixture
def records(redis: Redis) -> Records:
    return Records(redis, PREFIX)


@pytest.fixture
def events(redis: Redis) -> EventLog:
    return EventLog(redis, PREFIX)
