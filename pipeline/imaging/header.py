"""What the web process asks the header sandbox for; importing this loads no image library, only calling it does."""

from __future__ import annotations

from pipeline.imaging.whole import check_whole
from pipeline.model import ImageFacts


def read_header(path: str, mime: str, max_pixels: int, max_frames: int) -> ImageFacts:
    """The facts of the image file at `path`, once it is sure that all of it is there.

    Raises `ImageUnreadable` or `ImageTooLarge`. Pixels are counted as width x height x frames.
    """
    from pipeline.imaging.measure import FORMATS, measure

    check_whole(path, FORMATS[mime])
    return measure(path, mime, max_pixels, max_frames)


def warm() -> None:
    """In a child, before its first call: load the image libraries."""
    import pipeline.imaging.measure  # noqa: F401
