"""Who takes part: programs that are called with `JOB PHOTO FOLDER TIMES` and print what they spent."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from bench.contest import Contestant
from bench.installed import node_with_sharp, python_with_thumbor
from pipeline.imaging.encode import EFFORTS, QUALITIES


def ours(job: str) -> Contestant:
    """Our engine on the flow of that name in `bench/flows`."""
    return Contestant("ours", _module("bench.ours"), job)


def vips(job: str, compared: bool = True) -> Contestant:
    return Contestant(f"pyvips_{job}", _module("bench.peers.vips"), job, compared)


def pillow(job: str) -> Contestant:
    return Contestant(f"pillow_{job}", _module("bench.peers.pillow"), job)


def sharp(*jobs: str) -> Sequence[Contestant]:
    """npm sharp at our encoder defaults; nobody where Node is not there."""
    node = node_with_sharp()
    settings = {
        "webp": {"quality": QUALITIES["webp"], "effort": EFFORTS["webp"]},
        "jpeg": {"quality": QUALITIES["jpeg"]},
    }
    program = (node or "", "bench/peers/sharp.mjs", json.dumps(settings))
    return [Contestant(f"sharp_{job}", program, job) for job in jobs] if node else []


def thumbor(*jobs: str) -> Sequence[Contestant]:
    """A thumbor server, whose WebP encoder works at its own effort 4; nobody where it does not install."""
    python = python_with_thumbor()
    program = (*_module("bench.peers.thumbor"), python or "")
    return [Contestant(f"thumbor_{job}", program, job) for job in jobs] if python else []


def _module(name: str) -> tuple[str, ...]:
    return sys.executable, "-m", name
