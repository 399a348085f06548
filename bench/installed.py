"""Peers that are no dependencies of ours: fetched from npm and PyPI when first needed, kept in `.bench/`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from bench.photos import CACHE

SHARP, THUMBOR = CACHE / "sharp", CACHE / "thumbor"
BULLMQ, QUEUES = CACHE / "bullmq", CACHE / "queues"
TUS, TUSPY = CACHE / "tus", CACHE / "tuspy"
# No extras: what some ask of the Redis client keeps others at releases that do not work.
QUEUE_ENGINES = (
    "saq",
    "taskiq",
    "taskiq-redis>=1.2.4",
    "dramatiq",
    "celery",
    "packaging",
    "redis",
    "hiredis",
    "uvloop",
)


def node_with_sharp() -> str | None:
    """The Node program, sharp installed for it; None where Node or npm is not there."""
    return _node(SHARP, "sharp")


def node_with_bullmq() -> str | None:
    """The Node program, BullMQ installed for it; None where Node or npm is not there."""
    return _node(BULLMQ, "bullmq", "ioredis")


def node_with_tus() -> str | None:
    """The Node program, @tus/server installed for it; None where Node or npm is not there."""
    return _node(TUS, "@tus/server", "@tus/file-store")


def python_with_tus() -> str | None:
    """A Python program of its own that has tuspyserver; None where it does not install."""
    return _python(TUSPY, "tuspyserver", "uvicorn[standard]", "fastapi")


def python_with_thumbor() -> str | None:
    """A Python program of its own that has thumbor; None where it does not install."""
    return _python(THUMBOR, "thumbor")


def python_with_queues() -> str | None:
    """A Python program of its own that has the other queue engines; None where they do not install."""
    return _python(QUEUES, *QUEUE_ENGINES)


def _node(folder: Path, *packages: str) -> str | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    if not all((folder / "node_modules" / package).exists() for package in packages):
        folder.mkdir(parents=True, exist_ok=True)
        _run(npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), *packages)
    return node


def _python(folder: Path, *packages: str) -> str | None:
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        try:
            _run(sys.executable, "-m", "venv", str(folder))
            _run(str(python), "-m", "pip", "install", "--quiet", *packages)
        except subprocess.CalledProcessError:
            return None
        (folder / "complete").touch()
    return str(python)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
