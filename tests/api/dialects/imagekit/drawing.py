"""Draw what a transformation makes of a picture: read and executed as a worker does it, without the way there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.api.dialects.imagekit.delivery import layers, making
from pipeline.api.dialects.imagekit.delivery.draft import Draft, Ground
from pipeline.api.dialects.imagekit.delivery.operations import perform
from pipeline.api.dialects.imagekit.delivery.steps import layers_in, steps_of
from pipeline.graph.execute import execute
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import File
from tests.graph.desk import Desk, file_at

Colour = tuple[int, ...]


@dataclass
class Easel:
    """A picture, others by their paths, and a sandbox to draw in."""

    sandbox: Sandbox
    folder: Path
    pictures: dict[str, Image.Image]
    """By their paths; `base` is what all is done to."""
    extensions: Mapping[str, str] = field(default_factory=dict)

    def draft(self, text: str, base: str = "base") -> Draft:
        """What grows of the transformation."""
        steps = steps_of(text)
        paths = {path for layer in layers_in(steps) if (path := layers.path_of(layer))}
        paths |= {path for step in steps if (layer := layers.flat(step)) and (path := layers.path_of(layer))}
        found = {path: self._file(path) for path in paths if path in self.pictures}
        file = self._file(base)
        ground = Ground(found, extensions=self.extensions)
        draft = Draft(ground, making.outline_of(file), file)
        draft.writing.format = "png"
        perform(draft, steps)
        return draft

    async def draw(self, text: str, base: str = "base", **options: Any) -> Image.Image:
        """The picture that comes of it, as Pillow reads it."""
        draft = self.draft(text, base)
        assert draft.file is not None
        recipe = making.picture(draft, draft.file, "").recipe
        desk = Desk(self.folder, self.folder / "out", sandbox=self.sandbox)
        files = {name: [file] for name, file in recipe.files.items()}
        await execute(recipe.flow(), files, {}, {}, "run", desk, desk.emit, self.sandbox, **options)
        (made,) = desk.made.values()
        return desk.image(made.path)

    def _file(self, path: str) -> File:
        place = self.folder / f"{path.replace('/', '-')}.png"
        if not place.exists():
            self.pictures[path].save(place)
        return file_at(place, "image/png")


def at(image: Image.Image, x: float, y: float) -> Colour:
    """The pixel at a place."""
    found = image.convert("RGBA").getpixel((int(x), int(y)))
    assert isinstance(found, tuple)
    return found


def near(one: Colour, other: Colour, within: int = 3) -> bool:
    """Whether two colours are alike; one without alpha is opaque."""
    return all(abs(a - b) <= within for a, b in zip((*one, 255)[:4], (*other, 255)[:4], strict=True))


def box_of(image: Image.Image, colour: Colour, within: int = 3) -> tuple[int, int, int, int] | None:
    """The box around all that has this colour."""
    bands = [
        band.point(lambda level, wanted=wanted: 255 * (abs(level - wanted) <= within))
        for band, wanted in zip(image.convert("RGB").split(), colour, strict=True)
    ]
    both = Image.merge("RGB", bands).convert("L").point(lambda level: 255 * (level == 255))
    return both.getbbox()
