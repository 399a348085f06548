"""Find the faces in a picture."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from pipeline.errors import ImageUnreadable
from pipeline.imaging.faces import finder, look_scale
from pipeline.nodes.base import FaceNode, FactNode, Facts

if TYPE_CHECKING:
    from pipeline.artifacts import Artifact
    from pipeline.imaging.faces import Face
    from pipeline.imaging.picture import Outline, Picture


class Faces(FaceNode, FactNode):
    """Finds the faces in a picture, or an animation's first frame, from about 1/26 of its longer side across."""

    type: Literal["faces"]

    def demand_of(self, outline: Outline) -> float:
        return look_scale(outline)

    def observe(self, file: Artifact, image: Picture | None) -> Facts:
        """`count`, and `faces` as fractions of the picture, the largest first."""
        if image is None:
            raise ImageUnreadable(reason=f"`{file.name}` is {file.mime}, which shows no faces")
        found = finder(self._face_model).faces(image)
        return {"count": len(found), "faces": [_told(face) for face in found]}


def _told(face: Face) -> Facts:
    return {name: round(value, 4) for name, value in asdict(face).items() if value is not None}
