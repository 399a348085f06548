"""Write on a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from pipeline.imaging.letters import Align, Hand, Typeface, Weight, legible, plated, turned, written
from pipeline.imaging.markup import pango, plain
from pipeline.imaging.overlay import laid
from pipeline.nodes.base import Colour, Compass, Fraction, ImageNode, parse_colour

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from pipeline.imaging.picture import Picture


class Text(ImageNode):
    """Writes a text on the picture, wrapped to its width."""

    type: Literal["text"]
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
    background: Colour | None = Field(default=None, description="A plate behind the text, `#rrggbb[aa]`.")
    padding: int = Field(default=16, ge=0, le=1000, description="How far the plate reaches beyond the text, pixels.")
    position: Compass = Field(default="bottom-left", description="Where the text sits.")
    margin: int = Field(default=32, ge=0, le=10_000, description="Distance from the edges, pixels.")
    width: Fraction = Field(default=1.0, gt=0, description="Widest a line may be, as a fraction of the room there is.")
    align: Align = Field(default="left", description="How lines of different length stand to each other.")
    rotate: float = Field(default=0, ge=-360, le=360, description="Turns text and plate clockwise, degrees.")
    opacity: Fraction = Field(default=1.0, description="0 invisible, 1 as it is.")

    @model_validator(mode="after")
    def _markup_is_sound(self) -> Self:
        try:
            self._spelt()
        except ValueError as error:
            raise ValueError(f"text: {error}") from error
        return self

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        inset = self.padding if self.background else 0
        room = max(16, round((image.outline.width - 2 * (self.margin + inset)) * self.width))
        letters = written(self._spelt(), self._hand(), room)
        if letters is None:
            return image
        mark = plated(letters, inset, self.background) if self.background else letters
        return laid(image, turned(mark, self.rotate), self.position, self.margin, self.opacity)

    def _spelt(self) -> str:
        text = legible(self.text)
        return pango(text, self.size, parse_colour) if self.markup else plain(text)

    def _hand(self) -> Hand:
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
