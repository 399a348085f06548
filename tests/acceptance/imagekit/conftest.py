"""One server with real workers for ImageKit's own clients, and those clients as their registries have them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.acceptance.browsing import CLIENTS, missing, program
from tests.acceptance.conftest import Stack, configured_stack
from tests.acceptance.packages import installed, told
from tests.nodes.studio import PHOTO

HOME = CLIENTS / "imagekit"
KEY = "private_key_test"
CONFIG = """
projects:
  demo:
    public_key: public_test_key
    secret_key: private_key_test
    api_keys: [uk_live_imagekittests]
    allow_private_urls: true
"""

Client = Callable[[], Awaitable[dict[str, Any]]]


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with configured_stack(tmp_path_factory.mktemp("imagekit"), CONFIG) as stack:
        yield stack


async def python(server: Stack, release: str) -> dict[str, Any]:
    """What a script tells that uses this release of imagekitio."""
    packages = await asyncio.to_thread(installed, f"imagekitio=={release}")
    script = HOME / f"python{release[0]}.py"
    return dict(await told(sys.executable, str(script), asked=_asked(server), PYTHONPATH=str(packages)))


async def node(server: Stack) -> dict[str, Any]:
    """What a script tells that uses @imagekit/nodejs."""
    if reason := missing():
        pytest.skip(reason)
    script = await asyncio.to_thread(program, "imagekit")
    return dict(await told("node", str(script), asked=_asked(server)))


def _asked(server: Stack) -> dict[str, Any]:
    return {"address": server.address, "key": KEY, "photo": str(PHOTO)}
