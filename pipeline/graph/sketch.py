"""Reason over outlines before a pixel is decoded: which way artifacts go, how large they get, what scale suffices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.artifacts import Artifact
from pipeline.errors import ImageUnreadable, NodeInvalid, SafelightError
from pipeline.graph.facts import artifact_facts, stored_outline
from pipeline.graph.flow import NodeSpec
from pipeline.graph.plan import Ref, Stage
from pipeline.imaging.open import ANIMATED, saved_as
from pipeline.imaging.picture import Outline
from pipeline.nodes.base import (
    ChoiceNode,
    Encoding,
    FactNode,
    Facts,
    GatherNode,
    ImageNode,
    Node,
    OpenNode,
    SpreadNode,
)
from pipeline.nodes.input import Input

DERIVE_RESIDUAL = 1.5
"""How much reducing must be left for a size to be derived from a larger sibling instead of the source."""

MAIN_PORT = "image"


@dataclass(frozen=True)
class Shape:
    """One artifact on an edge: the file it descends from, its outline, and whether it is still that file."""

    origin: Artifact
    outline: Outline | None
    untouched: bool = True


Element = tuple[str, str | None, int]
"""A node, its output port, and the number of the artifact among those that leave it."""


@dataclass
class Sketch:
    """What is decided without pixels."""

    shapes: dict[Ref, list[Shape] | None] = field(default_factory=dict)
    """What leaves each port; None when it was skipped."""
    models: dict[tuple[str, int], Node] = field(default_factory=dict)
    """The node with its placeholders filled in for each artifact."""
    chosen: dict[str, Ref] = field(default_factory=dict)
    """Which source each choice hands on."""
    skipped: dict[str, SafelightError | None] = field(default_factory=dict)
    """Nodes that do not run, with the error that `on_error: skip` forgave."""
    wanted: dict[Element, float] = field(default_factory=dict)
    """The largest scale anybody needs of each artifact; absent when nobody needs it."""
    animated: set[Element] = field(default_factory=set)
    """Artifacts whose every frame is needed."""
    reads: Counter[Element] = field(default_factory=Counter)
    """How often each artifact's pixels are read to be encoded or written."""
    gathered: dict[str, list[Element]] = field(default_factory=dict)
    """What each gathering picture step makes one picture of, in the order of its sources."""
    derived: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    """Node and artifact -> the larger sibling whose pixels it is made from."""

    def root(self, element: Element) -> Element:
        """The artifact itself, found through the choices that only handed it on."""
        while element[0] in self.chosen:
            element = (*self.chosen[element[0]], element[2])
        return element


@dataclass
class Seen:
    """What only pixels could tell, found out so far."""

    facts: dict[tuple[str, int], Facts] = field(default_factory=dict)
    """What fact nodes found, by node and artifact."""
    surveyed: dict[tuple[str, int], ImageNode] = field(default_factory=dict)

    def common(self, common: Mapping[str, Any]) -> dict[str, Any]:
        """The facts of the run with what was found among them, as `facts.<node>.<key>`."""
        found: dict[str, Any] = dict(common)
        for (node, index), facts in self.facts.items():
            if index == 0:
                found |= flat_facts(node, facts)
        return found


class Unseen(Exception):
    """The sketch cannot go on before this node has seen its input."""

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.node = node


def flat_facts(node: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a fact node found as conditions name it: `facts.<node>.<key>`, nested mappings with further dots."""
    found: dict[str, Any] = {}
    for key, value in facts.items():
        if isinstance(value, Mapping):
            found |= flat_facts(f"{node}.{key}", value)
        else:
            found[f"facts.{node}.{key}" if not node.startswith("facts.") else f"{node}.{key}"] = value
    return found


def sketch(
    stage: Stage,
    specs: Mapping[str, NodeSpec],
    given: Mapping[Ref, Sequence[Artifact] | None],
    chosen: Mapping[str, Ref],
    common: Mapping[str, Any],
    seen: Seen,
) -> Sketch:
    """Decide everything that needs no pixels for the fused nodes, fed with the files `given` and what was `seen`.

    `chosen` says which source each choice between files handed on. Raises the error of the first node that cannot be
    done, its `node` set, and `Unseen` when something must be looked at first.
    """
    common = seen.common(common)
    made = Sketch(chosen=dict(chosen))
    for ref, artifacts in given.items():
        made.shapes[ref] = None if artifacts is None else [_shape(artifact, specs) for artifact in artifacts]
    for name in stage.fused:
        _decide(made, name, stage, specs, common, seen)
    return made


def demands(
    made: Sketch,
    stage: Stage,
    specs: Mapping[str, NodeSpec],
    common: Mapping[str, Any],
    looked_at: Mapping[Element, float] | None = None,
) -> None:
    """Work out, from the exports backwards, at which scale each artifact is needed and what can be derived.

    `looked_at` are artifacts whose pixels somebody wants to see at that scale beside.
    """
    for element, scale in (looked_at or {}).items():
        made.reads[made.root(element)] += 1
        _want(made, element, scale, False)
    for export in stage.exports:
        for index, shape in enumerate(made.shapes.get(export.source) or []):
            wish = encoding(specs[export.consumer], export.source[0], shape, common)
            if needs_pixels(shape, wish):
                made.reads[made.root((*export.source, index))] += 1
                _want(made, (*export.source, index), 1.0, (wish.get("format") or _format(shape)) in ANIMATED)
    for name in reversed((*stage.before, *stage.fused)):
        _pass_back(made, name, stage)
    _derive(made, stage)


def encoding(spec: NodeSpec, source: str, shape: Shape, common: Mapping[str, Any]) -> dict[str, Any]:
    """What the node that takes the artifact from `source` says about its encoding."""
    if issubclass(spec.cls, ImageNode):
        return {}
    model = spec.build(artifact_facts(shape.origin, shape.outline, common) | {"node": source})
    return model.said() if isinstance(model, Encoding) else {}


def needs_pixels(shape: Shape, wish: Mapping[str, Any]) -> bool:
    """Whether the artifact has to be encoded; a file that is already what is wished passes as it is."""
    if not shape.untouched:
        return True
    if shape.outline is None:
        if wish.get("format"):
            raise ImageUnreadable(reason=f"a {shape.origin.mime} file has no picture to encode as {wish['format']}")
        return False
    return bool(wish) and wish != {"format": _format(shape)}


def _shape(artifact: Artifact, specs: Mapping[str, NodeSpec]) -> Shape:
    stored = stored_outline(artifact)
    return Shape(artifact, stored.upright() if stored and upright(specs[artifact.node]) else stored)


def upright(spec: NodeSpec) -> bool:
    """Whether pictures that enter by this node are turned the way their EXIF orientation says."""
    return not isinstance(spec.fixed, Input) or spec.fixed.orient


def _format(shape: Shape) -> str:
    return shape.outline.format if shape.outline else ""


def _decide(
    made: Sketch, name: str, stage: Stage, specs: Mapping[str, NodeSpec], common: Mapping[str, Any], seen: Seen
) -> None:
    spec = specs[name]
    if _starved(made, spec, stage, name):
        _skip(made, name, spec, None)
        return
    try:
        if issubclass(spec.cls, ChoiceNode):
            _check_seen(made, spec, specs, seen)
            _choose(made, name, spec, [(edge.source, edge.source_port) for edge in stage.wires[name]], common)
        elif issubclass(spec.cls, FactNode):
            _hand_on(made, name, spec, main_source(stage, name), common)
        else:
            _reach(made, name, spec, stage, common, seen)
    except SafelightError as error:
        error.node = error.node or name
        if spec.on_error != "skip":
            raise
        _skip(made, name, spec, error)


def _starved(made: Sketch, spec: NodeSpec, stage: Stage, name: str) -> bool:
    missing = [made.shapes.get((edge.source, edge.source_port)) is None for edge in stage.wires[name]]
    return all(missing) if spec.cls.gathers else any(missing)


def _skip(made: Sketch, name: str, spec: NodeSpec, error: SafelightError | None) -> None:
    made.skipped[name] = error
    for port in spec.cls.outputs or (None,):
        made.shapes[name, port] = None


def _choose(made: Sketch, name: str, spec: NodeSpec, sources: Sequence[Ref], common: Mapping[str, Any]) -> None:
    facts = []
    for source in sources:
        shapes = made.shapes[source]
        facts.append(artifact_facts(shapes[0].origin, shapes[0].outline, common) if shapes else None)
    model = spec.build(next(one for one in facts if one is not None))
    assert isinstance(model, ChoiceNode)
    index, port = model.choose(facts)
    made.chosen[name] = sources[index]
    for out in spec.cls.outputs or (None,):
        made.shapes[name, out] = made.shapes[sources[index]] if out == port else None


def _check_seen(made: Sketch, spec: NodeSpec, specs: Mapping[str, NodeSpec], seen: Seen) -> None:
    """Raise `Unseen` when the choice asks for what a fact node in this sandbox call has not found out yet."""
    asked = str(spec.parameters.get("field", "")).split(".")
    node = asked[1] if asked[0] == "facts" and len(asked) > 2 else None
    if node in made.chosen and node not in made.skipped and (node, 0) not in seen.facts:
        raise Unseen(node)


def _hand_on(made: Sketch, name: str, spec: NodeSpec, source: Ref, common: Mapping[str, Any]) -> None:
    shapes = made.shapes[source] or []
    for index, shape in enumerate(shapes):
        made.models[name, index] = spec.build(artifact_facts(shape.origin, shape.outline, common))
    made.chosen[name], made.shapes[name, None] = source, shapes


def _reach(made: Sketch, name: str, spec: NodeSpec, stage: Stage, common: Mapping[str, Any], seen: Seen) -> None:
    if issubclass(spec.cls, GatherNode):
        _gather(made, name, spec, stage, common)
        return
    source = main_source(stage, name)
    reached = []
    for index, shape in enumerate(made.shapes[source] or []):
        # A node that opens files in its own way also takes those that are no pictures to anybody else.
        outline = shape.outline if issubclass(spec.cls, OpenNode) else _outline(shape)
        model = spec.build(artifact_facts(shape.origin, outline, common))
        if isinstance(model, ImageNode):
            _check_ports(model, name, stage)
            model = _surveyed(model, name, index, seen)
            reached.append(Shape(shape.origin, _reached(model, shape), untouched=False))
        made.models[name, index] = model
    made.shapes[name, None] = reached


def _reached(model: ImageNode, shape: Shape) -> Outline:
    if not isinstance(model, OpenNode):
        reached = model.reach(_outline(shape))
        return replace(reached, format=saved_as(reached))
    if not shape.untouched:
        raise NodeInvalid(reason=f"from: {model.type} takes a file as it came, not a picture that was made of one")
    return model.outline_in(shape.origin.path)


def _outline(shape: Shape) -> Outline:
    if shape.outline is None:
        raise ImageUnreadable(reason=f"`{shape.origin.name}` is {shape.origin.mime}, not an image this flow can use")
    return shape.outline


def _gather(made: Sketch, name: str, spec: NodeSpec, stage: Stage, common: Mapping[str, Any]) -> None:
    sources = [(edge.source, edge.source_port) for edge in stage.wires[name]]
    found = [(*source, index) for source in sources for index in range(len(made.shapes[source] or []))]
    shapes = [shape_of(made, element) for element in found]
    outlines = [_outline(shape) for shape in shapes]
    model = spec.build(artifact_facts(shapes[0].origin, outlines[0], common))
    assert isinstance(model, GatherNode)
    made.models[name, 0], made.gathered[name] = model, found
    made.shapes[name, None] = [Shape(_common_origin(shapes), model.reach_all(outlines), untouched=False)]


def _common_origin(shapes: Sequence[Shape]) -> Artifact:
    """The file they all descend from; with several, the first one's name and no origin."""
    first = shapes[0].origin
    same = all(shape.origin.origin == first.origin for shape in shapes)
    name = first.origin.name if first.origin else first.name
    return first if same else replace(first, origin=None, name=name)


def shape_of(made: Sketch, element: Element) -> Shape:
    """The shape of one artifact that was not skipped."""
    shapes = made.shapes[element[0], element[1]]
    assert shapes is not None
    return shapes[element[2]]


def _surveyed(model: ImageNode, name: str, index: int, seen: Seen) -> ImageNode:
    if model.surveys and (name, index) not in seen.surveyed:
        raise Unseen(name)
    return seen.surveyed.get((name, index), model)


def _check_ports(model: ImageNode, name: str, stage: Stage) -> None:
    wired = {edge.target_port for edge in stage.wires[name]}
    missing = [port for port in model.needs_ports()[1:] if port not in wired and port not in model.assets()]
    if missing:
        raise NodeInvalid(node=name, reason=f"from: nothing arrives at the port `{missing[0]}`")


def main_source(stage: Stage, name: str) -> Ref:
    """Where the main input of an image node comes from."""
    edge = next(edge for edge in stage.wires[name] if edge.target_port == MAIN_PORT)
    return edge.source, edge.source_port


def _want(made: Sketch, element: Element, scale: float, animated: bool) -> None:
    made.wanted[element] = max(scale, made.wanted.get(element, 0.0))
    if animated:
        made.animated.add(element)


def _pass_back(made: Sketch, name: str, stage: Stage) -> None:
    _pass_back_looks(made, name, stage)
    if name in made.chosen:
        for port in ("then", "else", None):
            for index in range(len(made.shapes.get((name, port)) or [])):
                if (name, port, index) in made.wanted:
                    element = (name, port, index)
                    _want(made, (*made.chosen[name], index), made.wanted[element], element in made.animated)
        return
    for index, shape in enumerate(made.shapes.get((name, None)) or []):
        element = (name, None, index)
        model = made.models.get((name, index))
        if element not in made.wanted or not isinstance(model, ImageNode) or isinstance(model, OpenNode):
            continue
        if isinstance(model, GatherNode):
            for one in made.gathered[name]:
                _want(made, one, model.demand(_outline(shape_of(made, one)), made.wanted[element]), False)
            continue
        every_frame = model.needs_frames(element in made.animated)
        for edge in stage.wires[name]:
            source = (edge.source, edge.source_port)
            at = source_index(made, source, index)
            main = edge.target_port == MAIN_PORT
            outline = (made.shapes[source] or [shape])[at].outline
            scale = model.demand(outline, made.wanted[element]) if main and outline else 1.0
            _want(made, (*source, at), scale, every_frame and main)


def _pass_back_looks(made: Sketch, name: str, stage: Stage) -> None:
    """What nodes want that look at pixels or write them, without making a picture."""
    for (node, index), model in made.models.items():
        if node != name or not isinstance(model, FactNode | SpreadNode):
            continue
        element = (*main_source(stage, name), index)
        outline = (made.shapes[element[0], element[1]] or [])[index].outline
        if outline is None or (isinstance(model, FactNode) and not model.pixels):
            continue
        wanted = model.demand_of(outline) if isinstance(model, FactNode) else model.demand(outline, 1.0)
        made.reads[made.root(element)] += 1
        _want(made, element, wanted, isinstance(model, SpreadNode) and model.animates(outline))


def source_index(made: Sketch, source: Ref, index: int) -> int:
    """Which artifact of a source goes with number `index` of the main input: the same one, or the only one."""
    return index if index < len(made.shapes[source] or []) else 0


def _derive(made: Sketch, stage: Stage) -> None:
    readers: dict[Element, list[tuple[float, str, int]]] = {}
    for name in stage.fused:
        for index in range(len(made.shapes.get((name, None)) or [])):
            model = made.models.get((name, index))
            if name not in made.gathered and isinstance(model, ImageNode) and (name, None, index) in made.wanted:
                element = made.root((*main_source(stage, name), index))
                outline = (made.shapes[main_source(stage, name)] or [])[index].outline
                if outline and model.demand(outline, 1.0) < 1.0:
                    readers.setdefault(element, []).append((model.demand(outline, 1.0), name, index))
    for element, sizes in readers.items():
        _cascade(made, element, sorted(sizes, reverse=True))


def _cascade(made: Sketch, element: Element, sizes: Sequence[tuple[float, str, int]]) -> None:
    shapes = made.shapes[element[0], element[1]] or []
    outline = shapes[element[2]].outline
    larger: list[tuple[float, str, int]] = []
    for scale, name, index in sizes:
        donor = next((one for one in reversed(larger) if one[0] >= scale * DERIVE_RESIDUAL), None)
        if donor:
            made.derived[name, index] = (donor[1], donor[2])
        model = made.models[name, index]
        if outline and isinstance(model, ImageNode) and model.scales_only(outline):
            larger.append((scale, name, index))
