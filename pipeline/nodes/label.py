"""Begin with a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.imaging.letters import written
from pipeline.imaging.picture import Outline, Picture
from pipeline.imaging.shapes import plain_picture
from pipeline.nodes.base import Colour, OpenNode, Pixel
from pipeline.nodes.text import SHARES, Lettering

if TYPE_CHECKING:
    from pathlib import Path

Paddings = Annotated[tuple[Annotated[int, Field(ge=0, le=1000)], ...], Field(min_length=1, max_length=4)]
WIDEST = 10_000
"""Pixels a line may have where nothing is said of it."""
NARROWEST = 16
CLEAR = (0, 0, 0, 0)


class Label(Lettering, OpenNode):
    """Makes a picture of a text, as large as that is, to be laid over others; nothing of the file is looked at."""

    type: Literal["label"]
    width: Pixel | None = Field(
        default=None, description="Pixels it is wide in all, its lines wrapped to that; left out, as wide as its text."
    )
    padding: Paddings = Field(
        default=(0,), description="Pixels around the text: one for all sides, or up to four as CSS orders them."
    )
    background: Colour | None = Field(default=None, description="What is behind the text, `#rrggbb[aa]`.")

    def outline_in(self, file: Path) -> Outline:
        return self._drawn().outline

    def open(self, file: Path, scale: float) -> Picture:
        return self._drawn()

    def _drawn(self) -> Picture:
        top, right, bottom, left = self._paddings()
        room = max(NARROWEST, self.width - left - right) if self.width else WIDEST
        letters = written(self.spelt(), self.hand(), room)
        # A text of which nothing shows has no size.
        across, down = (letters.outline.width, letters.outline.height) if letters else (0, 0)
        width, height = max(1, self.width or across + left + right), max(1, down + top + bottom)
        plate = plain_picture(width, height, self.background or CLEAR)
        if letters is None:
            return plate
        spare = max(0, width - left - right - across)
        x = left + round(SHARES[self.align] * spare)
        laid = plate.pixels.composite2(letters.pixels, "over", x=x, y=top).cast("uchar")
        return Picture(laid.copy_memory(), plate.outline)

    def _paddings(self) -> tuple[int, int, int, int]:
        """Above, at the right, below and at the left, as `padding` of CSS reads one to four lengths."""
        said = self.padding
        top = said[0]
        right = said[1] if len(said) > 1 else top
        return top, right, said[2] if len(said) > 2 else top, said[3] if len(said) > 3 else right
