"""What a flow will do with given files: which way, how small it decodes, what it holds, about how much memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from pipeline.graph.estimate import Reckoning
from pipeline.graph.facts import stored_outline
from pipeline.graph.fused import Assignment, Studio
from pipeline.graph.sketch import Element, encoding, needs_pixels, shape_of
from pipeline.imaging.open import ANIMATED, open_picture
from pipeline.nodes.base import ChoiceNode, ImageNode, InputNode


@dataclass(frozen=True)
class Step:
    """One thing that happens: to what, how, pixels that are computed for it, and bytes it takes for itself, about."""

    act: str
    node: str
    how: str
    pixels: int = 0
    memory: int = 0


@dataclass(frozen=True)
class Explanation:
    """The steps in order, and most bytes that are alive at once, beyond what a sandbox child has when it is idle."""

    steps: list[Step]
    peak: int


def explain(assignment: Assignment) -> Explanation:
    """What the fused part of a run does; called in a sandbox child, as some of it needs a look at pixels."""
    studio = Studio(with_choices(assignment))
    reckoned = Reckoning(studio).drawn()
    steps = [*_decodes(studio, reckoned), *_nodes(studio, reckoned), *_encodes(studio, reckoned)]
    drawn = any(step.memory for step in steps)
    return Explanation(steps, reckoned.account.peak if drawn else 0)


def with_choices(assignment: Assignment) -> Assignment:
    """The same with the choices between files in it, which a run makes before."""
    whole, specs = assignment.stage, assignment.specs
    inputs = tuple(name for name in whole.before if issubclass(specs[name].cls, InputNode))
    choices = tuple(name for name in whole.before if issubclass(specs[name].cls, ChoiceNode))
    return replace(assignment, stage=replace(whole, before=inputs, fused=(*choices, *whole.fused)))


def _decodes(studio: Studio, reckoned: Reckoning) -> Iterator[Step]:
    made = studio.sketch
    for element, scale in made.wanted.items():
        if made.root(element) != element or (element[0], element[2]) in made.models:
            continue
        origin = shape_of(made, element).origin
        stored = stored_outline(origin)
        if stored is None:
            continue
        animated = element in made.animated and stored.format in ANIMATED
        pixels = open_picture(origin.path, stored, scale, animated).pixels
        held = studio.readers[element] > 1
        how = f"{origin.name}, {stored.format} {stored.width} x {stored.height}, "
        how += f"decoded as {pixels.width} x {pixels.height} (scale {scale:.3f} is wanted), "
        how += "held in memory" if held else "streamed"
        stream = reckoned.streams[element]
        taken = stream.burst + stream.counted + stream.rows + (stream.size if held else 0)
        yield Step("decode", element[0], how, pixels.width * pixels.height, taken)


def _nodes(studio: Studio, reckoned: Reckoning) -> Iterator[Step]:
    made = studio.sketch
    for name in studio.stage.fused:
        if name in made.skipped:
            yield Step("skip", name, "nothing comes in")
            continue
        shapes = made.shapes.get((name, None)) or []
        for index, shape in enumerate(shapes):
            element: Element = (name, None, index)
            if isinstance(made.models.get((name, index)), ImageNode) and element in made.wanted and shape.outline:
                yield _node(studio, reckoned, element)
        if name in made.chosen:
            source = made.chosen[name]
            way = next((port for port in ("then", "else") if made.shapes.get((name, port)) is not None), None)
            yield Step("hand on", name, f"{source[0]}{f' by {way}' if way else ''}")


def _node(studio: Studio, reckoned: Reckoning, element: Element) -> Step:
    made, (name, _, index) = studio.sketch, element
    outline = shape_of(made, element).outline
    assert outline is not None
    scale = made.wanted[element]
    pixels = ceil(outline.width * scale) * ceil(outline.height * scale) * outline.frames
    donor = made.derived.get((name, index))
    held = studio.readers[element] > 1
    how = f"{studio.specs[name].type} to {outline.width} x {outline.height}"
    how += f", derived from {donor[0]}" if donor else ""
    how += ", held in memory" if held else ""
    return Step("make", name, how, pixels, reckoned.streams[element].size if held else 0)


def _encodes(studio: Studio, reckoned: Reckoning) -> Iterator[Step]:
    made = studio.sketch
    for export in studio.stage.exports:
        for index, shape in enumerate(made.shapes.get(export.source) or []):
            said = encoding(studio.specs[export.consumer], export.source[0], shape, studio.common)
            if not needs_pixels(shape, said):
                yield Step("pass on", export.consumer, f"{shape.origin.name} as it is")
            elif shape.outline:
                name = said.get("format") or shape.outline.format
                pixels = shape.outline.width * shape.outline.height * shape.outline.frames
                how = f"{export.source[0]} as {name}, {shape.outline.width} x {shape.outline.height}"
                yield Step("encode", export.consumer, how, pixels, reckoned.encoders.get((export, index), 0))
