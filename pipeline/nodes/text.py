"""Write on a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from pipeline.imaging.letters import Align, Hand, Typeface, Weight, legible, plated, turned, written
from pipeline.imaging.markup import pango, plain
from pipeline.imaging.overlay import laid, layered
from pipeline.imaging.picture import Window
from pipeline.imaging.shapes import plain_picture
from pipeline.nodes.base import Colour, Compass, Fraction, ImageNode, Node, parse_colour
from pipeline.nodes.crop import Region, rectangle_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from pipeline.imaging.picture import Outline, Picture


SHARES = {"left": 0.0, "top": 0.0, "center": 0.5, "right": 1.0, "bottom": 1.0}


class Lettering(Node):
    """A text and how its letters are written."""

    text: str = Field(min_length=1, max_length=2000, description="What to write; placeholders are filled in.")
    markup: bool = Field(
        default=False,
        description='Read `<b> <i> <u> <s>` and `<span colour="#rrggbb" size="60" weight="bold">` in the text; a '
        "span's size is in pixels or percent of `size`. A plain `<` is written `&lt;`.",
    )
    size: int = Field(default=48, ge=4, le=1000, description="Height of the letters, pixels.")
    typeface: Typeface = Field(default="sans", description="Inter, Caladea or JetBrains Mono.")
    weight: Weight = Field(
        default="semibold", description="Thickness of the letters; what a typeface lacks is the next bolder one."
    )
    colour: Colour = Field(default=(255, 255, 255), description="`#rrggbb` or `#rrggbbaa`.")
    stroke: float = Field(default=0, ge=0, le=64, description="Width of an outline around the letters, pixels.")
    stroke_colour: Colour = Field(default=(0, 0, 0), description="Colour of the outline, `#rrggbb[aa]`.")
    line_spacing: int = Field(
        default=0, ge=-1000, le=1000, description="Pixels added between lines; negative moves them together."
    )
    letter_spacing: float = Field(
        default=0, ge=-100, le=1000, description="Pixels added between letters; negative moves them together."
    )
    align: Align = Field(default="left", description="How lines of different length stand to each other.")

    @model_validator(mode="after")
    def _markup_is_sound(self) -> Self:
        try:
            self.spelt()
        except ValueError as error:
            raise ValueError(f"text: {error}") from error
        return self

    def spelt(self) -> str:
        """The text as Pango markup."""
        text = legible(self.text)
        return pango(text, self.size, parse_colour) if self.markup else plain(text)

    def hand(self) -> Hand:
        """How it is written."""
        return Hand(
            size=self.size,
            typeface=self.typeface,
            weight=self.weight,
            colour=self.colour,
            align=self.align,
            line_spacing=self.line_spacing,
            letter_spacing=self.letter_spacing,
            stroke=self.stroke,
            stroke_colour=self.stroke_colour,
        )


class Text(Lettering, ImageNode):
    """Writes a text on the picture, wrapped to its width."""

    type: Literal["text"]
    background: Colour | None = Field(default=None, description="A plate behind the text, `#rrggbb[aa]`.")
    padding: int = Field(default=16, ge=0, le=1000, description="How far the plate reaches beyond the text, pixels.")
    position: Compass = Field(default="bottom-left", description="Where the text sits.")
    margin: int = Field(default=32, ge=0, le=10_000, description="Distance from the edges, pixels.")
    width: Fraction = Field(default=1.0, gt=0, description="Widest a line may be, as a fraction of the room there is.")
    box: Region | None = Field(
        default=None,
        description="Write into this rectangle of the picture, instead of where `position`, `margin` and `width` say.",
    )
    valign: Literal["top", "center", "bottom"] = Field(default="center", description="Where in a `box` the text sits.")
    plate: Literal["text", "box"] = Field(
        default="text", description="Whether the `background` is behind the text or fills its `box`."
    )
    rotate: float = Field(default=0, ge=-360, le=360, description="Turns text and plate clockwise, degrees.")
    opacity: Fraction = Field(default=1.0, description="0 invisible, 1 as it is.")

    @model_validator(mode="after")
    def _fills_a_box(self) -> Self:
        if self.plate == "box" and self.box is None:
            raise ValueError("plate: there is no box to fill")
        return self

    def reach(self, outline: Outline) -> Outline:
        if self.box:
            self._inside(outline, self.box)
        return outline

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        return self._boxed(image, self.box) if self.box else self._free(image)

    def _boxed(self, image: Picture, region: Region) -> Picture:
        box = self._inside(image.outline, region)
        inset = self.padding if self.background else 0
        letters = written(self.spelt(), self.hand(), max(16, box.width - 2 * inset))
        if self.background and self.plate == "box":
            image = layered(image, plain_picture(box.width, box.height, self.background), box, self.opacity, "over")
        if letters is None:
            return image
        mark = plated(letters, inset, self.background) if self.background and self.plate == "text" else letters
        mark = turned(mark, self.rotate)
        gap = inset if self.plate == "box" else 0
        across = SHARES[self.align] * (box.width - 2 * gap - mark.outline.width)
        down = SHARES[self.valign] * (box.height - 2 * gap - mark.outline.height)
        spot = Window(
            box.left + gap + round(across), box.top + gap + round(down), mark.outline.width, mark.outline.height
        )
        return layered(image, mark, spot, self.opacity, "over")

    def _inside(self, outline: Outline, region: Region) -> Window:
        return rectangle_of(region, outline, "box")

    def _free(self, image: Picture) -> Picture:
        inset = self.padding if self.background else 0
        room = max(16, round((image.outline.width - 2 * (self.margin + inset)) * self.width))
        letters = written(self.spelt(), self.hand(), room)
        if letters is None:
            return image
        mark = plated(letters, inset, self.background) if self.background else letters
        return laid(image, turned(mark, self.rotate), self.position, self.margin, self.opacity)
