"""Which format suits the browser that asks, where an address leaves that open."""

from __future__ import annotations

from pipeline.imaging.picture import Outline

MOST_AVIF = 2_000_000
"""Pixels up to which AVIF is taken, which takes ten times the CPU of WebP."""


def accepted(end: Outline, accept: str) -> str | None:
    """The smallest format that an `Accept` names and that is worth its making; None where it names none."""
    if "image/avif" in accept and end.width * end.height <= MOST_AVIF:
        return "avif"
    return "webp" if "image/webp" in accept else None
