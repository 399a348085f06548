"""Make a picture of a video."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from pipeline.imaging.video.ffmpeg import NEEDED
from pipeline.imaging.video.frames import outline_of, picture_of
from pipeline.nodes.base import Kind, OpenNode
from pipeline.units import SECOND_UNITS, Seconds, quantity

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.imaging.picture import Outline, Picture

PERCENT = re.compile(r"^(100|\d{1,2})(\.\d+)?%$")


def _moment(value: Any) -> Any:
    """Percent stay text, anything else becomes seconds."""
    if isinstance(value, str) and PERCENT.match(value) and float(value.removesuffix("%")) <= 100:
        return value
    seconds = quantity(value, SECOND_UNITS, "3s, or a part of the video such as 50%")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise ValueError("write seconds such as 3s, or a part of the video such as 50%")
    return float(seconds)


MOMENT_SCHEMA = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(%|ms|s|m|min|h|d)\s*$"},
    ],
    "examples": ["50%", "3s"],
}
Moment = Annotated[float | str, BeforeValidator(_moment), WithJsonSchema(MOMENT_SCHEMA)]


class VideoThumbnail(OpenNode):
    """Takes a frame out of a video as a picture, or several as an animation: save that as `.webp` or `.gif`."""

    foreseen: ClassVar[bool] = False

    type: Annotated[Literal["video_thumbnail"], NEEDED]
    at: Moment = Field(default="10%", description="When the frame is shown: seconds, or percent of the duration.")
    length: Seconds | None = Field(
        default=None, gt=0, le=60, description="Make an animation of what follows within this time; left out, a still."
    )
    fps: float = Field(default=10, ge=1, le=30, description="Frames a second of the animation.")

    takes: ClassVar[Kind] = "any"

    def outline_in(self, file: Path) -> Outline:
        return outline_of(file, self.at, self.length, self.fps)

    def open(self, file: Path, scale: float) -> Picture:
        return picture_of(file, self.at, self.length, self.fps, scale)
