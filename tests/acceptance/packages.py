"""Vendors' Python packages in releases that are not ours to depend on, and scripts that use them."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.acceptance.browsing import CACHE

PATIENCE = 90.0
"""Seconds that a script may take."""


def installed(requirement: str, *, alone: bool = False) -> Path:
    """A folder with a package of PyPI and, unless it is to be `alone`, what it needs; fetched when first asked for."""
    folder = CACHE / "packages" / requirement
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other processes test beside this one
        if not folder.exists():
            draft = folder.with_name("draft")
            shutil.rmtree(draft, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, *["--no-deps"] * alone, "--target", str(draft), requirement], check=True)
            draft.rename(folder)
    return folder


async def told(*command: str, asked: dict[str, Any], **variables: str) -> Any:
    """What a script prints as JSON, whose last argument is what it is asked."""
    pipe = asyncio.subprocess.PIPE
    environ = {**os.environ, **variables}
    child = await asyncio.create_subprocess_exec(*command, json.dumps(asked), stdout=pipe, stderr=pipe, env=environ)
    out, err = await asyncio.wait_for(child.communicate(), PATIENCE)
    assert child.returncode == 0, err.decode()[-3000:]
    return json.loads(out)
