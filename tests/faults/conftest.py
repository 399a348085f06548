"""The core, its project and its picture, as the tests of the workers have them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pipeline.core import Core
from pipeline.model import File, Grant, Intake
from tests.faults.ground import Server, running
from tests.workers.conftest import core as core
from tests.workers.conftest import grant as grant
from tests.workers.conftest import once
from tests.workers.conftest import own_server as own_server
from tests.workers.conftest import photo as photo
from tests.workers.conftest import settings as settings
from tests.workers.test_main import SLOW, noisy


@pytest.fixture
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A Valkey of one test's own, for those whose settings name it."""
    async with running(Server(tmp_path_factory.mktemp("valkey"))) as server:
        yield server


@pytest.fixture
async def noise(core: Core, grant: Grant) -> File:
    """A picture, and the flow `slow` that takes its time over it."""
    await core.flows.put("slow", SLOW)
    return await core.uploads.accept(grant, Intake(name="noise.jpg"), once(noisy(900, 600)))
