"""Print a picture in two colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from pipeline.imaging.colour import LUMINANCE, Matrix, Row, recoloured
from pipeline.nodes.base import Colour, ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture


class Duotone(ImageNode):
    """Colours the picture from `dark` to `light` by luminance: dark + (light - dark) x Y, Y as in grayscale."""

    type: Literal["duotone"]
    dark: Colour = Field(description="What black becomes, `#rrggbb`.")
    light: Colour = Field(description="What white becomes, `#rrggbb`.")

    @field_validator("dark", "light")
    @classmethod
    def _is_opaque(cls, colour: tuple[int, ...]) -> tuple[int, ...]:
        if len(colour) != 3:
            raise ValueError("a duotone keeps the transparency of the picture: write the colour as #rrggbb")
        return colour

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        return recoloured(image, self._matrix(), self.dark)

    def _matrix(self) -> Matrix:
        rows: list[Row] = []
        for dark, light in zip(self.dark, self.light, strict=True):
            red, green, blue = LUMINANCE
            span = (light - dark) / 255
            rows.append((red * span, green * span, blue * span))
        return rows[0], rows[1], rows[2]
