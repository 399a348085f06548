"""Keep a part of a video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.imaging.video.encode import Cut, trim
from pipeline.imaging.video.ffmpeg import NEEDED
from pipeline.nodes.base import FileNode
from pipeline.nodes.video_transcode import filmed
from pipeline.units import Seconds

if TYPE_CHECKING:
    from typing import Self

    from pipeline.artifacts import Artifact, Tools


class VideoTrim(FileNode):
    """Keeps the part of a video between two times, without loss and at once, or `exact` to the frame."""

    type: Annotated[Literal["video_trim"], NEEDED]
    start: Seconds = Field(default=0, description="Where the part begins.")
    end: Seconds | None = Field(default=None, gt=0, description="Where it ends; left out, where the video does.")
    duration: Seconds | None = Field(default=None, gt=0, description="How long it is, instead of `end`.")
    exact: bool = Field(
        default=False,
        description="Encode anew, so that it begins with exactly the frame at `start`. Otherwise nothing is encoded: "
        "MP4 and MOV files are played from `start` on, others begin with the key frame before it.",
    )

    each: ClassVar[bool] = True

    @model_validator(mode="after")
    def _says_which_part(self) -> Self:
        if self.end is not None and self.duration is not None:
            raise ValueError("video_trim takes either end or duration")
        if not self.start and self.end is None and self.duration is None:
            raise ValueError("video_trim needs a start, an end or a duration")
        if self.end is not None and self.end <= self.start:
            raise ValueError("end: it comes after start")
        return self

    async def run(self, tools: Tools, node: str, sources: Sequence[Artifact]) -> Sequence[Artifact]:
        end = self.end if self.duration is None else self.start + self.duration
        return await filmed(tools, node, sources, trim, Cut(self.start, end, self.exact))
