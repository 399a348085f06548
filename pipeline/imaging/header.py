"""What the web process asks the header sandbox for; importing this loads no image library, only calling it does."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import structlog

from pipeline.errors import ImageCrashed, ImageTimeout, ImageTooLarge, ImageUnreadable
from pipeline.imaging.sandbox import Sandbox
from pipeline.imaging.whole import WALKS, check_whole
from pipeline.model import ImageFacts
from pipeline.sniff import MEDIA_FORMATS

DOCUMENTS = frozenset({"svg", "pdf"})
"""What is worth keeping even where it cannot be shown as a picture: it is a document first."""

log = structlog.stdlib.get_logger(__name__)


def is_read(mime: str, allowed: Collection[str]) -> bool:
    """Whether files of the sniffed type `mime` are read as pictures where these formats are `allowed`."""
    return MEDIA_FORMATS.get(mime) in allowed


async def facts_of(
    sandbox: Sandbox,
    path: str,
    mime: str,
    allowed: Collection[str],
    max_pixels: int,
    max_frames: int,
    timeout: float,
) -> ImageFacts | None:
    """The facts of a file of the sniffed type `mime`, read in a child of `sandbox` within `timeout` seconds.

    None for what is none of the `allowed` formats, and for a document that cannot be drawn, which is logged. Raises
    `ImageUnreadable`, `ImageTooLarge`, `ImageTimeout` or `ImageCrashed` for any other image.
    """
    if not is_read(mime, allowed):
        return None
    try:
        return await sandbox.call(read_header, path, mime, max_pixels, max_frames, timeout=timeout)
    except (ImageUnreadable, ImageTooLarge, ImageTimeout, ImageCrashed) as error:
        if MEDIA_FORMATS[mime] not in DOCUMENTS:
            raise
        log.info("a document cannot be drawn", type=mime, code=error.code, reason=error.message)
        return None


def read_header(path: str, mime: str, max_pixels: int, max_frames: int) -> ImageFacts:
    """The facts of the image file at `path`, once it is sure that all of it is there.

    Raises `ImageUnreadable` or `ImageTooLarge`. Pixels are counted as width x height x frames.
    """
    from pipeline.imaging.measure import measure

    # The other formats have readers that notice.
    if MEDIA_FORMATS.get(mime) in WALKS:
        check_whole(path, MEDIA_FORMATS[mime])
    return measure(path, mime, max_pixels, max_frames)


def purified_svg(path: str) -> bytes:
    """The SVG file at `path` without what acts or reaches out of it; raises `SvgInvalid`."""
    from pipeline.imaging.purify.rewriting import purified

    return purified(Path(path).read_bytes())


def warm() -> None:
    """In a child, before its first call: load the image libraries."""
    import pipeline.imaging.measure  # noqa: F401
