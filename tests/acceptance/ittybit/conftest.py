"""One server with real workers for Ittybit's own clients."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Stack, running_stack

KEY = "it_live_ittybittests"
CONFIG = """
projects:
  demo:
    api_keys: [{key}]
    allow_private_urls: true
    workflows: {{wf_12345678: two-sizes}}
"""


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    data = tmp_path_factory.mktemp("ittybit")
    config, flows = data / "own.yaml", data / "flows"
    shutil.copytree(Path(__file__).with_name("flows"), flows)
    config.write_text(CONFIG.format(key=KEY))
    with running_stack(data, SAFELIGHT_CONFIG=str(config), SAFELIGHT_FLOWS_DIR=str(flows)) as stack:
        yield stack
