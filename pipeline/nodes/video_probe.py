"""Ask a video what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pipeline.imaging.video.ffmpeg import NEEDED
from pipeline.imaging.video.probe import probe
from pipeline.nodes.base import FactNode, Facts

if TYPE_CHECKING:
    from pipeline.artifacts import Artifact
    from pipeline.imaging.picture import Picture


class VideoProbe(FactNode):
    """Finds out how long a video is, its size as shown, frame rate, codecs, bit rate, rotation, whether it is HDR."""

    type: Annotated[Literal["video_probe"], NEEDED]

    pixels: ClassVar[bool] = False

    def observe(self, file: Artifact, image: Picture | None) -> Facts:
        found = probe(file.path)
        return {
            "duration": found.duration,
            "width": found.width,
            "height": found.height,
            "fps": found.fps,
            "video_codec": found.video_codec,
            "audio_codec": found.audio_codec,
            "has_audio": found.audio_codec is not None,
            "bit_rate": found.bit_rate,
            "rotation": found.rotation,
            "hdr": found.hdr,
        }
