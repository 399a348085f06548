"""Draw one node on one input as the engine does: decoded at the scale the node demands, in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.imaging.encode import Encoded, encode
from pipeline.imaging.open import open_picture
from pipeline.imaging.picture import Outline, Picture, Wish
from pipeline.nodes import INDEX
from pipeline.nodes.base import ImageNode, Node, OpenNode
from tests.golden.matrix import Frames, Sample
from tests.nodes.studio import opened


@dataclass(frozen=True)
class Drawn:
    """What came of it: frames and delays as Pillow reads them, and what had been foretold."""

    frames: Frames
    delays: tuple[int, ...]
    foretold: Outline
    done: Encoded


def made(type: str, said: Mapping[str, Any]) -> Node:
    return INDEX[type].model_validate({"type": type, **said})


def picture_of(sample: Sample, scale: float = 1.0, upright: bool = True) -> Picture:
    """The input as a flow opens it."""
    picture = open_picture(sample.path, sample.stored, scale, animated=True)
    return picture.oriented() if upright else picture


def applied(
    step: ImageNode, sample: Sample, beside: Mapping[str, Picture], upright: bool = True
) -> tuple[Picture, Outline]:
    """The picture the node makes of the input, and the outline it had foretold."""
    if isinstance(step, OpenNode):
        return step.open(sample.path, 1.0), step.outline_in(sample.path)
    if step.surveys:
        step = step.survey(picture_of(sample, upright=upright))
    outline = sample.stored.upright() if upright else sample.stored
    return step.apply(picture_of(sample, step.demand(outline, 1.0), upright), beside), step.reach(outline)


def drawn(
    step: ImageNode,
    sample: Sample,
    folder: Path,
    beside: Mapping[str, Picture],
    *,
    upright: bool = True,
    as_wished: bool = False,
) -> Drawn:
    """The node's picture, written without loss or, when `as_wished`, as it wishes to be written."""
    picture, foretold = applied(step, sample, beside, upright)
    if not as_wished:
        moves = picture.outline.frames > 1
        picture = picture.wishing(Wish(format="webp", lossless=True) if moves else Wish(format="png"))
    done = encode(picture, folder / "drawn")
    frames, delays = read(done.path)
    return Drawn(frames, delays, replace(foretold, format=done.format), done)


def read(path: Path) -> tuple[Frames, tuple[int, ...]]:
    """Every frame of an image file as RGB or RGBA, and how long each is shown."""
    image, frames, delays = opened(path), [], []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        clear = "A" in image.getbands() or "transparency" in image.info
        frames.append(image.convert("RGBA" if clear else "RGB"))
        delays.append(int(image.info.get("duration", 0)))
    return tuple(frames), tuple(delays) if len(frames) > 1 else ()


def mark(folder: Path, image: Image.Image) -> Picture:
    """A picture that lies ready to be laid over others."""
    path = folder / "mark.png"
    image.save(path)
    clear = image.mode == "RGBA"
    return open_picture(path, Outline(image.width, image.height, alpha=clear)).held()
