"""Begin with a plain canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.imaging.picture import Outline
from pipeline.imaging.shapes import plain_picture
from pipeline.nodes.base import Colour, OpenNode, Pixel

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.imaging.picture import Picture


class Canvas(OpenNode):
    """Makes a plain picture of one colour, to be laid over or under others; nothing of the file is looked at."""

    type: Literal["canvas"]
    width: Pixel = Field(description="Pixels.")
    height: Pixel = Field(description="Pixels.")
    colour: Colour = Field(default=(255, 255, 255), description="`#rrggbb` or `#rrggbbaa`.")

    def outline_in(self, file: Path) -> Outline:
        return Outline(self.width, self.height, alpha=len(self.colour) == 4)

    def open(self, file: Path, scale: float) -> Picture:
        return plain_picture(self.width, self.height, self.colour, alpha=len(self.colour) == 4)
