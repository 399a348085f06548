"""Let only files pass that keep to the rules."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline import sniff
from pipeline.errors import VerificationFailed
from pipeline.nodes.base import FactNode, Facts, Fraction, Pixel
from pipeline.units import Bytes, Pixels

if TYPE_CHECKING:
    from typing import Self

    from pipeline.artifacts import Artifact
    from pipeline.imaging.picture import Picture

MediaRange = Annotated[str, Field(pattern=r"^(\*|[A-Za-z0-9.+-]+)/(\*|[A-Za-z0-9.+-]+)$")]
BOUNDED = ("size", "width", "height", "pixels", "frames")


class Verify(FactNode):
    """Fails unless the file keeps to every rule given; with `on_error: skip` it is left out instead."""

    type: Literal["verify"]
    types: tuple[MediaRange, ...] = Field(
        default=(), description="Media types that may pass, `image/png` or `image/*`."
    )
    min_size: Bytes | None = Field(default=None, description="Fewest bytes, such as 10KB.")
    max_size: Bytes | None = Field(default=None, description="Most bytes, such as 25MB.")
    min_width: Pixel | None = Field(default=None, description="Pixels, as shown.")
    max_width: Pixel | None = Field(default=None, description="Pixels, as shown.")
    min_height: Pixel | None = Field(default=None, description="Pixels, as shown.")
    max_height: Pixel | None = Field(default=None, description="Pixels, as shown.")
    min_pixels: Pixels | None = Field(default=None, description="Fewest pixels of one frame, such as 1MP.")
    max_pixels: Pixels | None = Field(default=None, description="Most pixels of one frame, such as 100MP.")
    min_frames: int | None = Field(default=None, ge=1, description="2 lets only animations pass.")
    max_frames: int | None = Field(default=None, ge=1, description="1 lets only still pictures pass.")
    aspect: str | None = Field(
        default=None, pattern=r"^\d+(\.\d+)?:\d+(\.\d+)?$", description="Width to height, such as `16:9`."
    )
    tolerance: Fraction = Field(default=0.01, description="How far the aspect ratio may be off; 0.01 is one percent.")

    pixels: ClassVar[bool] = False

    @model_validator(mode="after")
    def _can_pass(self) -> Self:
        for name in BOUNDED:
            least, most = self._bounds(name)
            if least is not None and most is not None and least > most:
                raise ValueError(f"nothing can pass: min_{name} is larger than max_{name}")
        if self.aspect and float(min(self.aspect.split(":"), key=float)) == 0:
            raise ValueError("an aspect ratio has no zero side")
        if not self.types and not self.aspect and all(self._bounds(name) == (None, None) for name in BOUNDED):
            raise ValueError("verify needs at least one rule")
        self._check_area()
        return self

    def _check_area(self) -> None:
        """Refuse sides that no number of pixels and no aspect ratio within the rules could have."""
        most = (self.max_width or inf) * (self.max_height or inf)
        if self.min_pixels and most < self.min_pixels:
            raise ValueError("nothing can pass: max_width x max_height is less than min_pixels")
        if self.max_pixels and (self.min_width or 1) * (self.min_height or 1) > self.max_pixels:
            raise ValueError("nothing can pass: min_width x min_height is more than max_pixels")
        if self.aspect:
            widest = self.max_width / (self.min_height or 1) if self.max_width else inf
            narrowest = (self.min_width or 1) / self.max_height if self.max_height else 0.0
            wanted = _ratio(self.aspect)
            if wanted * (1 + self.tolerance) < narrowest or wanted * (1 - self.tolerance) > widest:
                raise ValueError(f"nothing can pass: no sides within the rules are {self.aspect}")

    def observe(self, file: Artifact, image: Picture | None) -> Facts:
        """`{"passed": true}`; raises `VerificationFailed` with the first rule that is broken."""
        for complaint in self._complaints(file):
            raise VerificationFailed(reason=complaint)
        return {"passed": True}

    def _complaints(self, file: Artifact) -> Iterator[str]:
        if self.types and not sniff.allowed(file.mime, self.types):
            yield f"types: {file.mime} is not one of {', '.join(self.types)}"
        for name, found in self._measures(file).items():
            least, most = self._bounds(name)
            if found is None and (least, most) != (None, None):
                yield f"{name}: the file is {file.mime}, not an image whose {name} is known"
            elif found is not None and least is not None and found < least:
                yield f"min_{name}: {found} is less than {least}"
            elif found is not None and most is not None and found > most:
                yield f"max_{name}: {found} is more than {most}"
        yield from self._aspect_complaints(file)

    def _measures(self, file: Artifact) -> dict[str, int | None]:
        header = file.image
        if header is None:
            return {"size": file.size, "width": None, "height": None, "pixels": None, "frames": None}
        width, height = header.width, header.height
        return {"size": file.size, "width": width, "height": height, "pixels": width * height, "frames": header.frames}

    def _aspect_complaints(self, file: Artifact) -> Iterator[str]:
        if not self.aspect:
            return
        if file.image is None:
            yield f"aspect: the file is {file.mime}, not an image"
            return
        found, wanted = file.image.width / file.image.height, _ratio(self.aspect)
        if abs(found / wanted - 1) > self.tolerance:
            yield f"aspect: {file.image.width}:{file.image.height} is not {self.aspect} within {self.tolerance:.2%}"

    def _bounds(self, name: str) -> tuple[int | None, int | None]:
        return getattr(self, f"min_{name}"), getattr(self, f"max_{name}")


def _ratio(aspect: str) -> float:
    across, down = (float(side) for side in aspect.split(":"))
    return across / down
