"""Two web processes with real workers for the documented ways to call them, and a receiver of their webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.acceptance.conftest import Stack, configured_stack
from tests.acceptance.uploadkit.kit import CONFIG, FLOW, SECRET, Kit
from tests.outside import Outside, fixed, listening


@pytest.fixture(scope="package")
async def receiver() -> AsyncIterator[Outside]:
    async with listening() as outside:
        outside.answers["/hook"] = fixed(204)
        yield outside


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory, receiver: Outside, s3_url: str) -> Iterator[Stack]:
    data = tmp_path_factory.mktemp("uploadkit")
    config = CONFIG.format(data=data, bucket=s3_url, hook=f"{receiver.url}/hook", secret=SECRET)
    flows = data / "flows"
    flows.mkdir()
    (flows / "avatar.yaml").write_text(FLOW)
    with configured_stack(data, config, web=2, SAFELIGHT_FLOWS_DIR=str(flows)) as stack:
        yield stack


@pytest.fixture
def kit(server: Stack) -> Kit:
    return Kit(f"{server.address}/uploadkit")
