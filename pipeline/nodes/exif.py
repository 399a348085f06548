"""Read what the camera noted."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pipeline.imaging.exif import read_exif
from pipeline.nodes.base import FactNode, Facts

if TYPE_CHECKING:
    from pipeline.artifacts import Artifact
    from pipeline.imaging.picture import Picture


class Exif(FactNode):
    """Finds the EXIF tags of the file by name, GPS as degrees; binary ones are left out."""

    type: Literal["exif"]

    pixels: ClassVar[bool] = False

    def observe(self, file: Artifact, image: Picture | None) -> Facts:
        return read_exif(file.path, file.image.format) if file.image else {}
