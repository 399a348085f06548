"""Write a picture in several widths for responsive pages."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field, model_validator

from pipeline.imaging.encode import EXTENSIONS, Encoded, encode
from pipeline.imaging.open import ANIMATED
from pipeline.model import ImageFacts
from pipeline.nodes.base import Piece, Pixel, SpreadNode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Self

    from pipeline.imaging.picture import Outline, Picture

WebFormat = Literal["avif", "webp", "jpeg", "png", "gif"]
DERIVE_RESIDUAL = 1.5
"""How many times wider a size must be for another to be made from it without loss, as in the planning of a flow."""


class Srcset(SpreadNode):
    """Writes one file for each width and format, never enlarged, and a JSON manifest with ready `srcset` attributes.

    Widths beyond the picture's own become its own. Files are named `<name>-<width>w.<extension>`, the manifest
    `<name>-srcset.json`: `width` and `height` of the picture, `sizes`, `src` (the widest file of the last format),
    `srcset` for each format in order of preference, and `files` with `name`, `width`, `height`, `format`, `type` and
    `bytes`. The names are those of a save without `path`.
    """

    type: Literal["srcset"]
    widths: tuple[Pixel, ...] | None = Field(
        default=None, min_length=1, max_length=40, description="Pixels; instead of the next three."
    )
    min_width: Pixel | None = Field(default=None, description="The smallest width, pixels.")
    max_width: Pixel | None = Field(default=None, description="The largest width, pixels.")
    steps: Annotated[int, Field(ge=2, le=40)] | None = Field(
        default=None,
        description="How many widths from `min_width` to `max_width`, each the same number of times the one before.",
    )
    formats: tuple[WebFormat, ...] = Field(
        default=("webp", "jpeg"), min_length=1, description="Best first; the last is what `src` falls back to."
    )
    quality: Annotated[int, Field(ge=1, le=100)] | None = Field(
        default=None,
        description="For avif, webp and jpeg; left out, the picture's own wish, then each format's default.",
    )
    sizes: str = Field(default="100vw", min_length=1, max_length=1000, description="The `sizes` attribute, told again.")
    prefix: str = Field(
        default="",
        max_length=500,
        pattern=r"^[^\s,\"'<>]*$",
        description="Goes before file names in `srcset` and `src`.",
    )

    @model_validator(mode="after")
    def _has_widths(self) -> Self:
        given = [side is not None for side in (self.min_width, self.max_width, self.steps)]
        if any(given) if self.widths else not all(given):
            raise ValueError("srcset needs either widths, or min_width, max_width and steps")
        if self.min_width and self.max_width and self.min_width > self.max_width:
            raise ValueError(f"min_width {self.min_width} is above max_width {self.max_width}")
        return self

    def demand(self, outline: Outline, wanted: float) -> float:
        width, height = self.boxes(outline)[0]
        return min(1.0, max(width / outline.width, height / outline.height))

    def animates(self, outline: Outline) -> bool:
        return outline.frames > 1 and not ANIMATED.isdisjoint(self.formats)

    def boxes(self, outline: Outline) -> list[tuple[int, int]]:
        """Width and height of every size written for a picture with this outline, the widest first."""
        widths = {min(width, outline.width) for width in self.widths or self._even_widths()}
        return [
            (width, max(1, round(outline.height * width / outline.width))) for width in sorted(widths, reverse=True)
        ]

    def spread(self, image: Picture, folder: Path, stem: str) -> Sequence[Piece]:
        files = []
        for size in self._sizes(image):
            for format in dict.fromkeys(self.formats):
                wish = replace(size.wish, format=format, quality=self.quality or size.wish.quality)
                path = folder / f"{size.outline.width}w.{EXTENSIONS[format]}"
                files.append(encode(size.wishing(wish), path))
        pieces = [_piece(file, f"{stem}-{file.path.name}") for file in files]
        manifest = folder / "srcset.json"
        manifest.write_text(json.dumps(self._manifest(image.outline, pieces), indent=2, ensure_ascii=False))
        return [*pieces, Piece(manifest, f"{stem}-{manifest.name}", "application/json")]

    def _even_widths(self) -> list[int]:
        low, high, steps = self.min_width or 1, self.max_width or 1, self.steps or 2
        return [round(low * (high / low) ** (step / (steps - 1))) for step in range(steps)]

    def _sizes(self, image: Picture) -> Iterator[Picture]:
        """Every size in memory, the widest first, each made from a larger one so that the source is read once.

        The larger one is at least `DERIVE_RESIDUAL` times as wide, or else the widest of all: pixels that are mixed
        anew at every small step would soften. No more than three sizes are held at once.
        """
        donor, following = image, None
        for width, height in self.boxes(image.outline):
            if following and following.outline.width >= DERIVE_RESIDUAL * width:
                donor, following = following, None
            made = donor.scaled(width, height).upright()
            # Brought to sRGB once for all files; a wished profile is reached from the colours there are.
            made = made if made.wish.profile else made.in_srgb()
            made = replace(made, pixels=made.pixels.copy_memory(), streaming=False, scaling=None)
            yield made
            if donor is image:
                donor = made
            elif following is None and donor.outline.width >= DERIVE_RESIDUAL * width:
                following = made

    def _manifest(self, outline: Outline, pieces: Sequence[Piece]) -> dict[str, Any]:
        files = [(piece, piece.image) for piece in pieces if piece.image]
        srcset = {
            format: ", ".join(
                f"{self._address(piece)} {facts.width}w" for piece, facts in reversed(files) if facts.format == format
            )
            for format in self.formats
        }
        return {
            "width": outline.width,
            "height": outline.height,
            "sizes": self.sizes,
            "src": next(self._address(piece) for piece, facts in files if facts.format == self.formats[-1]),
            "srcset": srcset,
            "files": [_entry(piece, facts) for piece, facts in files],
        }

    def _address(self, piece: Piece) -> str:
        # A comma or a space would end the address inside a srcset attribute.
        return self.prefix + quote(piece.name)


def _piece(file: Encoded, name: str) -> Piece:
    facts = ImageFacts(format=file.format, width=file.width, height=file.height, frames=file.frames, alpha=file.alpha)
    return Piece(file.path, name, file.mime, facts)


def _entry(piece: Piece, facts: ImageFacts) -> dict[str, Any]:
    return {
        "name": piece.name,
        "width": facts.width,
        "height": facts.height,
        "format": facts.format,
        "type": piece.mime,
        "bytes": piece.path.stat().st_size,
    }
