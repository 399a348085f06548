"""Scale a video to a size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.imaging.video.encode import Box, Fit, resize
from pipeline.imaging.video.ffmpeg import NEEDED
from pipeline.nodes.base import FileNode
from pipeline.nodes.video_transcode import filmed

if TYPE_CHECKING:
    from typing import Self

    from pipeline.artifacts import Artifact, Tools

Side = Annotated[int, Field(ge=2, le=7680)]


class VideoResize(FileNode):
    """Scales a video to a width, a height or a box, both sides even; MP4, MOV, WebM and MKV stay what they are."""

    type: Annotated[Literal["video_resize"], NEEDED]
    width: Side | None = Field(default=None, description="Pixels; left out, it follows from the height.")
    height: Side | None = Field(default=None, description="Pixels; left out, it follows from the width.")
    fit: Fit = Field(
        default="inside",
        description="`inside` the box, `contain` in it and pad the rest with black, `cover` it and cut what hangs "
        "over, or `fill` it without keeping the aspect ratio.",
    )
    enlarge: bool = Field(default=False, description="Whether a smaller video grows.")

    each: ClassVar[bool] = True

    @model_validator(mode="after")
    def _has_a_side(self) -> Self:
        if self.width is None and self.height is None:
            raise ValueError("video_resize needs a width, a height or both")
        return self

    async def run(self, tools: Tools, node: str, sources: Sequence[Artifact]) -> Sequence[Artifact]:
        return await filmed(tools, node, sources, resize, Box(self.width, self.height, self.fit, self.enlarge))
