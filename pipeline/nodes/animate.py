"""Say how an animation plays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from pipeline.imaging.frames import delays, picked, timed
from pipeline.nodes.base import ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from pipeline.imaging.picture import Outline, Picture


class Animate(ImageNode):
    """Sets speed, direction and repetition of an animation; a still picture is handed on as it is."""

    type: Literal["animate"]
    speed: float = Field(
        default=1.0,
        ge=0.01,
        le=100,
        description="2 plays twice as fast, 0.5 half as fast; no frame is briefer than 20 ms.",
    )
    delay: int | None = Field(
        default=None, ge=20, le=600_000, description="Milliseconds each frame is shown; left out, as long as before."
    )
    loop: int | None = Field(
        default=None, ge=0, le=65_535, description="How often it plays, 0 without end; left out, as often as before."
    )
    reverse: bool = Field(default=False, description="Play it from the last frame to the first.")

    @model_validator(mode="after")
    def _has_one_pace(self) -> Self:
        if self.delay is not None and self.speed != 1:
            raise ValueError("animate takes either speed or delay")
        return self

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def needs_frames(self, wanted: bool) -> bool:
        return wanted or self.reverse

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        if image.outline.frames == 1:
            return image
        shown = [self.delay or round(time / self.speed) for time in delays(image)]
        if not self.reverse:
            return timed(image, shown, self.loop)
        numbers = range(image.outline.frames - 1, -1, -1)
        return timed(picked(image, numbers, shown[::-1]), shown[::-1], self.loop)
