"""Cut away a plain edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr

from pipeline.imaging.picture import Window
from pipeline.nodes.base import Colour, Fraction, ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture


class Trim(ImageNode):
    """Cuts away the edges that have the colour of the background; a picture of one colour stays as it is."""

    type: Literal["trim"]
    threshold: int = Field(default=10, ge=0, le=255, description="How far a colour may be from the background's.")
    background: Colour | None = Field(default=None, description="The colour to cut; left out, the top left pixel's.")
    margin: int = Field(default=0, ge=0, le=10_000, description="Pixels of the edge to leave.")
    amount: Fraction = Field(default=1.0, description="How much of the edge is cut: 0 nothing, 1 all of it.")
    edges: Literal["plain", "transparent"] = Field(
        default="plain", description="`transparent` cuts only what cannot be seen, whatever colour the rest has."
    )

    surveys: ClassVar[bool] = True
    _found: Window | None = PrivateAttr(default=None)

    def survey(self, image: Picture) -> Self:
        seen = self.model_copy()
        seen._found = self._widened(
            image.edges(self.threshold, self.background, unseen=self.edges == "transparent"), image.outline
        )
        return seen

    def reach(self, outline: Outline) -> Outline:
        window = self._window(outline)
        return outline.sized(window.width, window.height)

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        return image.cropped(self._window(image.outline))

    def _window(self, outline: Outline) -> Window:
        return self._found or Window(0, 0, outline.width, outline.height)

    def _widened(self, found: Window | None, outline: Outline) -> Window | None:
        if found is None:
            return None
        left, top = self._edge(found.left), self._edge(found.top)
        right = outline.width - self._edge(outline.width - found.left - found.width)
        bottom = outline.height - self._edge(outline.height - found.top - found.height)
        return Window(left, top, right - left, bottom - top)

    def _edge(self, plain: int) -> int:
        """How much is cut of an edge of which so much is plain."""
        return round(max(0, plain - self.margin) * self.amount)
