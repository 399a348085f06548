"""Pick frames of an animation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from pipeline.errors import NodeInvalid
from pipeline.imaging.frames import delays, picked
from pipeline.nodes.base import ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from pipeline.imaging.picture import Outline, Picture


class Frames(ImageNode):
    """Picks one frame of an animation as a still picture, or a range of frames, or every n-th of them."""

    type: Literal["frames"]
    frame: int | None = Field(
        default=None, ge=-65_535, le=65_535, description="The one frame to keep, counted from 0; -1 is the last."
    )
    start: int = Field(default=0, ge=-65_535, le=65_535, description="First frame to keep, counted from 0.")
    end: int = Field(default=-1, ge=-65_535, le=65_535, description="Last frame to keep; -1 is the last there is.")
    every: int = Field(
        default=1, ge=1, le=65_535, description="Keep every n-th; each is shown as long as those it stands for."
    )

    @model_validator(mode="after")
    def _has_one_way(self) -> Self:
        if self.frame is not None and (self.start, self.end, self.every) != (0, -1, 1):
            raise ValueError("frames takes either frame, or start, end and every")
        if (self.start < 0) == (self.end < 0) and self.end < self.start:
            raise ValueError(f"end {self.end} lies before start {self.start}")
        return self

    def reach(self, outline: Outline) -> Outline:
        return replace(outline, frames=len(self._numbers(outline.frames)))

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def needs_frames(self, wanted: bool) -> bool:
        if self.frame is not None:
            return self.frame != 0
        return wanted or self.start != 0 or self.end < -1

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        frames = image.outline.frames
        numbers, shown = self._numbers(frames), delays(image)
        if len(numbers) == frames:
            return image
        # A frame takes over the time of those after it that are left out.
        last = self._bounds(frames)[1]
        return picked(image, numbers, [sum(shown[at : min(at + self.every, last + 1)]) for at in numbers])

    def _numbers(self, frames: int) -> range:
        first, last = self._bounds(frames)
        return range(first, last + 1, self.every)

    def _bounds(self, frames: int) -> tuple[int, int]:
        if self.frame is not None:
            only = _counted("frame", self.frame, frames)
            return only, only
        first = _counted("start", self.start, frames)
        last = self.end + frames if self.end < 0 else min(self.end, frames - 1)
        if last < first:
            raise NodeInvalid(reason=f"end: it lies before frame {first}; the picture has {frames}, counted from 0")
        return first, last


def _counted(name: str, number: int, frames: int) -> int:
    found = number + frames if number < 0 else number
    if not 0 <= found < frames:
        raise NodeInvalid(reason=f"{name}: there is no frame {number}; the picture has {frames}, counted from 0")
    return found
