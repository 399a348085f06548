"""Peers that are no dependencies of ours: fetched from npm and PyPI when first needed, kept in `.bench/`."""

from __future__ import annotations

import shutil
import subprocess
import sys

from bench.photos import CACHE

SHARP, THUMBOR = CACHE / "sharp", CACHE / "thumbor"


def node_with_sharp() -> str | None:
    """The Node program, sharp installed for it; None where Node or npm is not there."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    if not (SHARP / "node_modules" / "sharp").exists():
        SHARP.mkdir(parents=True, exist_ok=True)
        _run(npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(SHARP), "sharp")
    return node


def python_with_thumbor() -> str | None:
    """A Python program of its own that has thumbor; None where it does not install."""
    python = THUMBOR / "bin" / "python"
    if not (THUMBOR / "complete").exists():
        try:
            _run(sys.executable, "-m", "venv", str(THUMBOR))
            _run(str(python), "-m", "pip", "install", "--quiet", "thumbor")
        except subprocess.CalledProcessError:
            return None
        (THUMBOR / "complete").touch()
    return str(python)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
