"""Gather pictures into one."""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

import pyvips
from pydantic import Field

from pipeline.errors import NodeInvalid
from pipeline.imaging.letters import LINE, Hand, legible, line, wide
from pipeline.imaging.markup import plain
from pipeline.imaging.picture import Gravity, Outline, Picture, Window, Wish, window_at
from pipeline.nodes.base import Colour, GatherNode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Side = Annotated[int, Field(ge=4, le=4096)]
LARGEST = 100_000_000
LONGEST_SIDE = 65_535


class Collage(GatherNode):
    """Lays all pictures that arrive out in rows of equal cells, with captions if wished: a contact sheet."""

    type: Literal["collage"]
    columns: int | None = Field(
        default=None, ge=1, le=100, description="Cells in a row; left out, about as many as there are rows."
    )
    width: Side = Field(default=320, description="Width of a cell, pixels.")
    height: Side = Field(default=320, description="Height of a cell without its caption, pixels.")
    fit: Literal["cover", "contain"] = Field(
        default="cover", description="`cover` the cell and cut what hangs over, or `contain` the whole picture in it."
    )
    gravity: Gravity = Field(default="center", description="Which part `cover` keeps.")
    gap: int = Field(default=8, ge=0, le=1000, description="Pixels between the cells.")
    margin: int = Field(default=0, ge=0, le=1000, description="Pixels around all of them.")
    background: Colour = Field(default=(255, 255, 255), description="What shows between the pictures, `#rrggbb[aa]`.")
    caption: Literal["name", "stem", "number"] | None = Field(
        default=None,
        description="What stands under each picture: the name of its file, the same without extension, or its number.",
    )
    caption_size: int = Field(default=16, ge=6, le=200, description="Height of the captions' letters, pixels.")
    caption_colour: Colour = Field(default=(34, 34, 34), description="`#rrggbb` or `#rrggbbaa`.")

    def reach_all(self, outlines: Sequence[Outline]) -> Outline:
        columns = self._columns(len(outlines))
        width = self._span(columns, self.width)
        height = self._span(math.ceil(len(outlines) / columns), self._cell_height)
        if width * height > LARGEST or max(width, height) > LONGEST_SIDE:
            raise NodeInvalid(
                reason=f"width: {len(outlines)} cells come to {width} x {height} pixels; {LARGEST // 10**6} megapixels "
                f"and {LONGEST_SIDE} a side are the most"
            )
        return Outline(width, height, alpha=len(self.background) == 4, format=outlines[0].format)

    def demand(self, outline: Outline, wanted: float) -> float:
        ratio = self._ratio(outline)
        return ratio if outline.vector else min(1.0, ratio)

    def gather(self, images: Iterable[Picture | None], names: Sequence[str]) -> Picture:
        cells, outlines, wishes = [], [], []
        for number, (image, name) in enumerate(zip(images, names, strict=True)):
            cells.append(self._cell(image, name, number))
            outlines += [image.outline] if image else []
            wishes += [image.wish] if image else []
        outline = self.reach_all([*outlines, *outlines[:1] * (len(cells) - len(outlines))])
        pixels = self._laid_out(cells, outline)
        return Picture(pixels, outline, wish=Wish(format=wishes[0].format))

    def _laid_out(self, cells: Sequence[pyvips.Image], outline: Outline) -> pyvips.Image:
        columns = self._columns(len(cells))
        full = [*cells, *[self._blank()] * (-len(cells) % columns)]
        sheet = pyvips.Image.arrayjoin(full, across=columns, shim=self.gap, background=self._fill)
        size = (outline.width, outline.height)
        return sheet.embed(self.margin, self.margin, *size, extend="background", background=self._fill)

    @property
    def _fill(self) -> list[int]:
        return list(self.background)

    @property
    def _cell_height(self) -> int:
        return self.height + (math.ceil(self.caption_size * LINE * 1.2) if self.caption else 0)

    def _columns(self, count: int) -> int:
        return min(count, self.columns or math.ceil(math.sqrt(count)))

    def _span(self, cells: int, side: int) -> int:
        return cells * side + (cells - 1) * self.gap + 2 * self.margin

    def _ratio(self, outline: Outline) -> float:
        ratios = self.width / outline.width, self.height / outline.height
        return max(ratios) if self.fit == "cover" else min(ratios)

    def _cell(self, image: Picture | None, name: str, number: int) -> pyvips.Image:
        cell = self._blank()
        if image is None:
            return cell
        fitted = self._fitted(image.first_frame())
        spot = window_at(Outline(self.width, self.height), fitted.outline.width, fitted.outline.height, "center")
        cell = _put(cell, fitted.pixels, spot)
        words = self._words(name, number)
        strip = self._cell_height - self.height
        caption = line(words, self._hand(), self.width, strip) if words else None
        if caption:
            cell = _put(cell, caption.pixels, Window(0, self.height, self.width, strip))
        # Drawn at once, so that its source can be let go.
        return cell.copy_memory()

    def _blank(self) -> pyvips.Image:
        return pyvips.Image.black(self.width, self._cell_height).new_from_image(self._fill).copy(interpretation="srgb")

    def _fitted(self, image: Picture) -> Picture:
        ratio = self._ratio(image.outline)
        size = (max(1, round(side * ratio)) for side in (image.outline.width, image.outline.height))
        scaled = image.scaled(*size)
        if self.fit == "contain":
            return scaled.settled()
        width, height = min(self.width, scaled.outline.width), min(self.height, scaled.outline.height)
        return scaled.windowed(width, height, self.gravity, None).settled()

    def _hand(self) -> Hand:
        return Hand(self.caption_size, weight="regular", colour=self.caption_colour)

    def _words(self, name: str, number: int) -> str:
        """The caption, with an ellipsis in its middle where it is wider than the cell."""
        if self.caption is None:
            return ""
        said = {"name": name, "stem": PurePosixPath(name).stem, "number": str(number + 1)}[self.caption]
        words = " ".join(legible(said).split())[:200]
        kept = len(words)
        while kept > 1 and (across := wide(plain(_shortened(words, kept)), self._hand())) > self.width:
            kept = min(kept - 1, kept * self.width // across)
        return plain(_shortened(words, kept))


def _shortened(words: str, kept: int) -> str:
    if kept >= len(words):
        return words
    tail = kept // 2
    return f"{words[: kept - tail]}…{words[len(words) - tail :]}"


def _put(cell: pyvips.Image, pixels: pyvips.Image, spot: Window) -> pyvips.Image:
    if pixels.hasalpha():
        mixed = cell.composite2(pixels, "over", x=spot.left, y=spot.top).cast("uchar")
        return mixed if cell.hasalpha() else mixed.extract_band(0, n=3)
    return cell.insert(pixels.addalpha() if cell.hasalpha() else pixels, spot.left, spot.top)
