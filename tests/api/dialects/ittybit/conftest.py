"""A served application with a real worker, whose projects differ in what the API refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from tests.api.conftest import serving
from tests.api.dialects.ittybit.desk import CONFIG, JUDGED, TWO_SIZES, Desk


@pytest.fixture(scope="package")
async def it(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """Everything of one package, so that its records are not emptied between tests."""
    data = tmp_path_factory.mktemp("ittybit")
    (data / "flows").mkdir()
    async with serving(CONFIG, redis_url, data, "it-demo-key") as house:
        for name, text in (("two-sizes", TWO_SIZES), ("judged", JUDGED)):
            await house.core.flows.put(name, text)
        environ = {**os.environ, "SAFELIGHT_CONFIG": str(house.config)}
        worker = subprocess.Popen([sys.executable, "-m", "workers"], env=environ, stderr=subprocess.DEVNULL)
        try:
            yield Desk(house)
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(30)
