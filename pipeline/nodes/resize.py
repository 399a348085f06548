"""Scale a picture to a size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from pipeline.imaging.faces import close_to, cut_to, finder, look_scale, near
from pipeline.imaging.picture import INTERESTS, window_at
from pipeline.nodes.base import Colour, FaceGravity, FaceNode, Focus, ImageNode, Pixel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from pipeline.imaging.picture import Outline, Picture

Fit = Literal["contain", "cover", "fill", "inside", "outside"]
EXACT: frozenset[str] = frozenset({"contain", "cover", "fill"})


class Resize(FaceNode, ImageNode):
    """Scales the picture to a width, a height or a box; the aspect ratio stays except with `fit: fill`."""

    type: Literal["resize"]
    width: Pixel | None = Field(default=None, description="Pixels; left out, it follows from the height.")
    height: Pixel | None = Field(default=None, description="Pixels; left out, it follows from the width.")
    fit: Fit = Field(
        default="inside",
        description="`inside` the box, `outside` it, `cover` it and cut what hangs over, `contain` in it and pad the "
        "rest with `background`, or `fill` it without keeping the aspect ratio.",
    )
    enlarge: bool | None = Field(
        default=None,
        description="Whether a smaller picture grows; left out, it does only where the box is exact "
        "(cover, contain, fill). A drawing (svg, pdf) stays sharp when it grows.",
    )
    gravity: FaceGravity = Field(
        default="center",
        description="Which part `cover` keeps and where `contain` puts it; `face` keeps every face that fits, the "
        "largest first (needs the setting `face_model`; without a face, `attention`).",
    )
    zoom: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="With `gravity: face` and both sides, how close the faces are: at 1 they take up half of the "
        "box, at 2 all of it. Left out, the box shows as much of the picture as it can.",
    )
    focus: Focus | None = Field(default=None, description="The point `cover` keeps in view, instead of `gravity`.")
    background: Colour = Field(default=(255, 255, 255), description="What `contain` pads with, `#rrggbb[aa]`.")

    @model_validator(mode="after")
    def _has_a_side(self) -> Self:
        if self.width is None and self.height is None:
            raise ValueError("resize needs a width, a height or both")
        if self.zoom and not (self._seeks_faces and self.width and self.height):
            raise ValueError("zoom is said of `fit: cover` with `gravity: face` and both sides")
        return self

    def reach(self, outline: Outline) -> Outline:
        scaled = outline.sized(*self._scaled_size(outline))
        box = self._box(scaled)
        pads = self.fit == "contain" and box != (scaled.width, scaled.height)
        alpha = outline.alpha or (pads and len(self.background) == 4)
        return type(outline)(*box, outline.frames, alpha, outline.format, outline.orientation)

    def demand(self, outline: Outline, wanted: float) -> float:
        if self.zoom:
            # How small the part is that will be shown, only the pixels tell.
            return 1.0
        width, height = self._scaled_size(outline)
        changes = self._box(outline.sized(width, height)) != (width, height)
        # What is scaled down further needs no pixels between, except to be padded.
        needed = 1.0 if changes and self.fit == "contain" else wanted
        scale = max(width / outline.width, height / outline.height) * needed
        if self._seeks_faces and changes:
            scale = max(scale, look_scale(outline))
        return scale if outline.vector else min(1.0, scale)

    def scales_only(self, outline: Outline) -> bool:
        size = self._scaled_size(outline)
        return self._box(outline.sized(*size)) == size and self.fit != "fill" and not self.zoom

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        if self._seeks_faces:
            return self._cut_to_faces(image)
        scaled = image.scaled(*self._scaled_size(image.outline))
        box = self._box(scaled.outline)
        if box == (scaled.outline.width, scaled.outline.height):
            return scaled
        if self.fit == "contain":
            return self._padded(scaled, *box)
        return scaled.windowed(*box, self.gravity, self.focus.point if self.focus else None)

    @property
    def _seeks_faces(self) -> bool:
        return self.gravity == "face" and self.fit == "cover" and not self.focus

    def _cut_to_faces(self, image: Picture) -> Picture:
        find, size = finder(self._face_model), self._scaled_size(image.outline)
        box = self._box(image.outline.sized(*size))
        if self.zoom:
            whole = image.held()
            faces = find.faces(whole)
            if faces:
                return whole.cropped(close_to(whole.outline, *box, faces, self.zoom, self.enlarge is not False)).scaled(
                    *box
                )
            return cut_to(whole.scaled(*size), *box, faces)
        if box == size:
            return image.scaled(*size)
        held = near(image, *size)
        return cut_to(held.scaled(*size), *box, find.faces(held))

    def _scaled_size(self, outline: Outline) -> tuple[int, int]:
        across = self.width / outline.width if self.width else None
        down = self.height / outline.height if self.height else None
        grows = self.fit in EXACT if self.enlarge is None else self.enlarge
        if self.fit == "fill" and across and down:
            across, down = (across, down) if grows else (min(1.0, across), min(1.0, down))
            return round(outline.width * across), round(outline.height * down)
        given = [ratio for ratio in (across, down) if ratio]
        ratio = max(given) if self.fit in ("cover", "outside") else min(given)
        ratio = ratio if grows else min(1.0, ratio)
        return max(1, round(outline.width * ratio)), max(1, round(outline.height * ratio))

    def _box(self, scaled: Outline) -> tuple[int, int]:
        width, height = self.width or scaled.width, self.height or scaled.height
        if self.fit == "cover":
            return min(width, scaled.width), min(height, scaled.height)
        if self.fit == "contain":
            return max(width, scaled.width), max(height, scaled.height)
        return scaled.width, scaled.height

    def _padded(self, scaled: Picture, width: int, height: int) -> Picture:
        gravity = self.gravity if self.gravity not in INTERESTS | {"face"} else "center"
        spot = window_at(scaled.outline.sized(width, height), scaled.outline.width, scaled.outline.height, gravity)
        return scaled.padded(spot, width, height, self.background)
