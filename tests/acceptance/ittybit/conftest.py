"""One server with real workers for Ittybit's own clients."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Stack, configured_stack

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
    flows = shutil.copytree(Path(__file__).with_name("flows"), data / "flows")
    with configured_stack(data, CONFIG.format(key=KEY), SAFELIGHT_FLOWS_DIR=str(flows)) as stack:
        yield stack
