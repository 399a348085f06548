"""How a result is written: `f`, `q`, `lo`, `pr`, `cp`, `md`, `dn`; and what is taken: `pg`, `di`, `orig`."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.api.dialects.imagekit.delivery import words
from pipeline.api.dialects.imagekit.delivery.draft import Draft
from pipeline.api.dialects.imagekit.delivery.steps import Step

FORMATS: Mapping[str, str] = {
    "auto": "auto",
    "jpg": "jpeg",
    "jpeg": "jpeg",
    "png": "png",
    "webp": "webp",
    "avif": "avif",
    "gif": "gif",
    "svg": "svg",
    "orig": "orig",
    "mp4": "mp4",
    "webm": "webm",
}
FILMS = frozenset({"mp4", "webm"})
DENSEST = 10_000
"""Pixels an inch."""
LAST_PAGE = 1_000_000


def write(draft: Draft, step: Step) -> None:
    """Note what a step says of the result; what is said later counts."""
    told = draft.writing
    told.format = step.read("f", lambda text: words.choice(text, FORMATS)) or told.format
    told.quality = step.read("q", _quality) or told.quality
    told.lossless = _or(step.read("lo", words.flag), told.lossless)
    told.progressive = _or(step.read("pr", words.flag), told.progressive)
    told.keep_profile = _or(step.read("cp", words.flag), told.keep_profile)
    told.keep_metadata = _or(step.read("md", words.flag), told.keep_metadata)
    told.dpi = step.read("dn", lambda text: words.whole(text, 1, DENSEST)) or told.dpi


def _quality(text: str) -> int | None:
    return None if text == "auto" else words.whole(text, 1, 100)


def _or(said: bool | None, known: bool) -> bool:
    return known if said is None else said


def page(step: Step) -> int | None:
    """Which page or frame of a document is shown, from 1."""
    return step.read("pg", lambda text: words.whole(text, 1, LAST_PAGE))


def is_original(step: Step) -> bool:
    """Whether the bytes are wanted as they are stored."""
    return bool(step.read("orig", words.flag))
