"""Write a video in another format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from uuid import uuid4

from pydantic import Field, model_validator

from pipeline.artifacts import Artifact
from pipeline.imaging.video.encode import EFFORT, FORMATS, QUALITY, Codec, Film, Format, Style, transcode
from pipeline.imaging.video.ffmpeg import NEEDED
from pipeline.nodes.base import FileNode

if TYPE_CHECKING:
    from typing import Self

    from pipeline.artifacts import Tools


class VideoTranscode(FileNode):
    """Writes a video as MP4 or WebM that browsers play, upright, of even size, in usual colours, without metadata."""

    type: Annotated[Literal["video_transcode"], NEEDED]
    format: Format = Field(default="mp4", description="`mp4` begins with its index, so that it plays while it loads.")
    codec: Codec | None = Field(
        default=None,
        description="`h264`, `hevc` or `av1` in mp4, `vp9` or `av1` in webm; left out, h264 or vp9.",
    )
    quality: int = Field(default=QUALITY, ge=1, le=100, description="100 is hardly told from the source.")
    effort: int = Field(default=EFFORT, ge=1, le=9, description="CPU spent on fewer bytes.")
    audio: Literal["keep", "drop"] = Field(
        default="keep", description="Sound is kept as it is where the format holds it, or else becomes AAC or Opus."
    )
    fps: float | None = Field(default=None, ge=1, le=240, description="Frames a second at most.")

    each: ClassVar[bool] = True

    @model_validator(mode="after")
    def _holds_the_codec(self) -> Self:
        known = FORMATS[self.format].codecs
        if self.codec is not None and self.codec not in known:
            raise ValueError(f"{self.format} holds {', '.join(known)}, not {self.codec}")
        return self

    async def run(self, tools: Tools, node: str, sources: Sequence[Artifact]) -> Sequence[Artifact]:
        style = Style(self.format, self.codec, self.quality, self.effort, self.audio, self.fps)
        return await filmed(tools, node, sources, transcode, style)


async def filmed(
    tools: Tools, node: str, sources: Sequence[Artifact], write: Callable[[Path, Path, Any], Film], how: Any
) -> list[Artifact]:
    """What `write` makes of each video in the sandbox, named after the file it comes from."""
    made = []
    for source in sources:
        film = await tools.apart(write, source.path, tools.folder / f"{node}-{uuid4().hex}", how)
        name = source.origin.name if source.origin else source.name
        title = f"{PurePosixPath(name).stem}-{node}{film.path.suffix}"
        made.append(
            Artifact(node, film.path, title, film.mime, film.size, film.sha256, None, source.origin, encoded=True)
        )
    return made
