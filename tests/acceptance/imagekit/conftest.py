"""One server with real workers for ImageKit's own clients, and those clients as their registries have them."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.browsing import CACHE, CLIENTS, bundle, missing
from tests.acceptance.conftest import Stack, running_stack
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
    data = tmp_path_factory.mktemp("imagekit")
    config = data / "own.yaml"
    config.write_text(CONFIG)
    with running_stack(data, SAFELIGHT_CONFIG=str(config)) as stack:
        yield stack


async def python(server: Stack, release: str) -> dict[str, Any]:
    """What a script tells that uses this release of imagekitio."""
    packages = await asyncio.to_thread(_installed, f"imagekitio=={release}")
    script = HOME / f"python{release[0]}.py"
    return await _told(server, sys.executable, str(script), PYTHONPATH=str(packages))


async def node(server: Stack) -> dict[str, Any]:
    """What a script tells that uses @imagekit/nodejs."""
    if reason := missing():
        pytest.skip(reason)
    await asyncio.to_thread(bundle, "imagekit")
    script = CACHE / "imagekit" / "node.mjs"
    shutil.copyfile(HOME / "node.mjs", script)  # beside its packages
    return await _told(server, "node", str(script))


async def _told(server: Stack, *command: str, **variables: str) -> dict[str, Any]:
    asked = json.dumps({"address": server.address, "key": KEY, "photo": str(PHOTO)})
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        *command, asked, stdout=pipe, stderr=pipe, env={**os.environ, **variables}
    )
    out, err = await asyncio.wait_for(child.communicate(), 90)
    assert child.returncode == 0, err.decode()[-3000:]
    told: dict[str, Any] = json.loads(out)
    return told


def _installed(requirement: str) -> Path:
    """A folder with a package of PyPI and what it needs, which is fetched when it is first asked for."""
    folder = CACHE / "imagekit" / requirement
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            draft = folder.with_name("draft")
            shutil.rmtree(draft, ignore_errors=True)
            pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            subprocess.run((*pip, "--target", str(draft), requirement), check=True, stderr=subprocess.DEVNULL)
            draft.rename(folder)
    return folder
