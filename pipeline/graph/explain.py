"""What a flow will do with given files: which way, how small it decodes, what it holds, about how much memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from pipeline.graph.facts import stored_outline
from pipeline.graph.fused import Assignment, Studio
from pipeline.graph.plan import Stage
from pipeline.graph.sketch import Element, encoding, needs_pixels
from pipeline.imaging.open import ANIMATED, open_picture
from pipeline.nodes.base import ChoiceNode, ImageNode, InputNode

STREAM_LINES = 256
"""Lines a streaming decode keeps, about."""
ENCODER_BYTES = {"avif": 12, "webp": 6}
"""Bytes an encoder that holds the whole picture needs for each pixel, about; the others stream."""


@dataclass(frozen=True)
class Step:
    """One thing that happens: to what, how, pixels that are computed for it, and bytes it keeps in memory, about."""

    act: str
    node: str
    how: str
    pixels: int = 0
    memory: int = 0


def explain(assignment: Assignment) -> list[Step]:
    """The steps of the fused part of a run, in order; called in a sandbox child, as some need a look at pixels."""
    studio = Studio(_with_choices(assignment))
    return [*_decodes(studio), *_nodes(studio), *_encodes(studio, assignment.stage)]


def _with_choices(assignment: Assignment) -> Assignment:
    """The same with the choices between files in it, which a run makes before."""
    whole, specs = assignment.stage, assignment.specs
    inputs = tuple(name for name in whole.before if issubclass(specs[name].cls, InputNode))
    choices = tuple(name for name in whole.before if issubclass(specs[name].cls, ChoiceNode))
    return replace(assignment, stage=replace(whole, before=inputs, fused=(*choices, *whole.fused)))


def _decodes(studio: Studio) -> Iterator[Step]:
    made = studio.sketch
    for element, scale in made.wanted.items():
        if made.root(element) != element or (element[0], element[2]) in made.models:
            continue
        shape = (made.shapes[element[0], element[1]] or [])[element[2]]
        stored = stored_outline(shape.origin)
        if stored is None:
            continue
        animated = element in made.animated and stored.format in ANIMATED
        picture = open_picture(shape.origin.path, stored, scale, animated)
        width, height, bands = picture.pixels.width, picture.pixels.height, picture.pixels.bands
        held = studio.readers[element] > 1
        whole = held or bool(picture.pixels.get_typeof("jpeg-multiscan") and picture.pixels.get("jpeg-multiscan"))
        kept = width * height * bands if whole else width * min(height, STREAM_LINES) * bands
        how = f"{shape.origin.name}, {stored.format} {stored.width} x {stored.height}, decoded as {width} x {height}"
        how += f" (scale {scale:.3f} is wanted), " + ("held in memory" if held else "streamed")
        yield Step("decode", element[0], how, width * height, kept)


def _nodes(studio: Studio) -> Iterator[Step]:
    made = studio.sketch
    for name in studio.stage.fused:
        if name in made.skipped:
            yield Step("skip", name, "nothing comes in")
            continue
        shapes = made.shapes.get((name, None)) or []
        for index, shape in enumerate(shapes):
            element: Element = (name, None, index)
            if isinstance(made.models.get((name, index)), ImageNode) and element in made.wanted and shape.outline:
                yield _node(studio, name, index, element)
        if name in made.chosen:
            source = made.chosen[name]
            way = next((port for port in ("then", "else") if made.shapes.get((name, port)) is not None), None)
            yield Step("hand on", name, f"{source[0]}{f' by {way}' if way else ''}")


def _node(studio: Studio, name: str, index: int, element: Element) -> Step:
    made = studio.sketch
    outline = (made.shapes[name, None] or [])[index].outline
    assert outline is not None
    scale = made.wanted[element]
    pixels = ceil(outline.width * scale) * ceil(outline.height * scale) * outline.frames
    donor = made.derived.get((name, index))
    held = studio.readers[element] > 1
    how = f"{studio.specs[name].type} to {outline.width} x {outline.height}"
    how += f", derived from {donor[0]}" if donor else ""
    how += ", held in memory" if held else ""
    return Step("make", name, how, pixels, pixels * (4 if outline.alpha else 3) if held else 0)


def _encodes(studio: Studio, whole: Stage) -> Iterator[Step]:
    made = studio.sketch
    for export in whole.exports:
        for shape in made.shapes.get(export.source) or []:
            said = encoding(studio.specs[export.consumer], export.source[0], shape, studio.common)
            if not needs_pixels(shape, said):
                yield Step("pass on", export.consumer, f"{shape.origin.name} as it is")
            elif shape.outline:
                name = said.get("format") or shape.outline.format
                pixels = shape.outline.width * shape.outline.height * shape.outline.frames
                how = f"{export.source[0]} as {name}, {shape.outline.width} x {shape.outline.height}"
                yield Step("encode", export.consumer, how, pixels, pixels * ENCODER_BYTES.get(name, 0))
