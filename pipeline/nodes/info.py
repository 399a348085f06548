"""Tell what a file is."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pipeline.nodes.base import FactNode, Facts

if TYPE_CHECKING:
    from pipeline.artifacts import Artifact
    from pipeline.imaging.picture import Picture


class Info(FactNode):
    """Finds what the header of the file says, its size as shown; nothing is decoded."""

    type: Literal["info"]

    pixels: ClassVar[bool] = False

    def observe(self, file: Artifact, image: Picture | None) -> Facts:
        found: Facts = {"mime": file.mime, "size": file.size}
        header = file.image
        if header is None:
            return found
        return {
            **found,
            "format": header.format,
            "width": header.width,
            "height": header.height,
            "ratio": round(header.width / header.height, 6),
            "frames": header.frames,
            "pages": header.pages,
            "alpha": header.alpha,
            "colour_space": header.colour_space,
            "dpi": header.dpi,
            "orientation": header.orientation,
        }
