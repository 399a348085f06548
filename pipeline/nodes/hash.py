"""Hash a file and what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.imaging.glimpse import demand_for, flattened, glimpse
from pipeline.imaging.hashes import dhash, phash
from pipeline.nodes.base import FactNode, Facts

if TYPE_CHECKING:
    from pipeline.artifacts import Artifact
    from pipeline.imaging.picture import Outline, Picture

SAMPLE = 64
"""Pixels of both sides that are looked at; twice what a hash is made of."""
WHITE = (255, 255, 255)


class Hash(FactNode):
    """Finds the sha256 of the file and perceptual hashes of the picture, which alike pictures nearly share."""

    type: Literal["hash"]
    perceptual: tuple[Literal["phash", "dhash"], ...] = Field(
        default=("phash", "dhash"),
        description="64 bits as 16 hex digits; alike pictures differ in few bits. `phash` bears noise and changes of "
        "tone, `dhash` finds the same picture in another size or format. Empty for the sha256 alone.",
    )

    def demand_of(self, outline: Outline) -> float:
        return demand_for(outline, SAMPLE, SAMPLE)

    def observe(self, file: Artifact, image: Picture | None) -> Facts:
        found = {"sha256": file.sha256}
        if image is None or not self.perceptual:
            return found
        # Colours hidden under full transparency are not what the picture shows.
        grey = flattened(glimpse(image, SAMPLE, SAMPLE), WHITE).convert("L")
        return found | {name: HASHES[name](grey) for name in self.perceptual}


HASHES = {"phash": phash, "dhash": dhash}
