"""Reason over outlines before a pixel is decoded: which way artifacts go, how large they get, what scale suffices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.artifacts import Artifact
from pipeline.errors import ImageUnreadable, NodeInvalid, SafelightError
from pipeline.graph.facts import artifact_facts, stored_outline
from pipeline.graph.flow import NodeSpec
from pipeline.graph.plan import Plan, Ref
from pipeline.imaging.open import ANIMATED
from pipeline.imaging.picture import Outline
from pipeline.nodes.base import ChoiceNode, Encoding, ImageNode, Node
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
    derived: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    """Node and artifact -> the larger sibling whose pixels it is made from."""

    def root(self, element: Element) -> Element:
        """The artifact itself, found through the choices that only handed it on."""
        while element[0] in self.chosen:
            element = (*self.chosen[element[0]], element[2])
        return element


def sketch(
    plan: Plan,
    specs: Mapping[str, NodeSpec],
    given: Mapping[Ref, Sequence[Artifact] | None],
    chosen: Mapping[str, Ref],
    common: Mapping[str, Any],
) -> Sketch:
    """Decide everything that needs no pixels for the fused nodes, fed with the files `given`.

    `chosen` says which source each choice between files handed on. Raises the error of the first node that cannot be
    done, its `node` set.
    """
    made = Sketch(chosen=dict(chosen))
    for ref, artifacts in given.items():
        made.shapes[ref] = None if artifacts is None else [_shape(artifact, specs) for artifact in artifacts]
    for name in plan.fused:
        _decide(made, name, plan, specs[name], common)
    return made


def demands(made: Sketch, plan: Plan, specs: Mapping[str, NodeSpec], common: Mapping[str, Any]) -> None:
    """Work out, from the exports backwards, at which scale each artifact is needed and what can be derived."""
    for export in plan.exports:
        for index, shape in enumerate(made.shapes.get(export.source) or []):
            wish = encoding(specs[export.consumer], export.source[0], shape, common)
            if needs_pixels(shape, wish):
                _want(made, (*export.source, index), 1.0, (wish.get("format") or _format(shape)) in ANIMATED)
    for name in reversed((*plan.before, *plan.fused)):
        _pass_back(made, name, plan)
    _derive(made, plan)


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
    """Whether the input turns its pictures the way their EXIF orientation says."""
    return isinstance(spec.fixed, Input) and spec.fixed.orient


def _format(shape: Shape) -> str:
    return shape.outline.format if shape.outline else ""


def _decide(made: Sketch, name: str, plan: Plan, spec: NodeSpec, common: Mapping[str, Any]) -> None:
    if _starved(made, spec, plan, name):
        _skip(made, name, spec, None)
        return
    try:
        if issubclass(spec.cls, ChoiceNode):
            _choose(made, name, spec, [(edge.source, edge.source_port) for edge in plan.wires[name]], common)
        else:
            _reach(made, name, spec, plan, common)
    except SafelightError as error:
        error.node = error.node or name
        if spec.on_error != "skip":
            raise
        _skip(made, name, spec, error)


def _starved(made: Sketch, spec: NodeSpec, plan: Plan, name: str) -> bool:
    missing = [made.shapes.get((edge.source, edge.source_port)) is None for edge in plan.wires[name]]
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


def _reach(made: Sketch, name: str, spec: NodeSpec, plan: Plan, common: Mapping[str, Any]) -> None:
    source = main_source(plan, name)
    reached = []
    for index, shape in enumerate(made.shapes[source] or []):
        if shape.outline is None:
            raise ImageUnreadable(
                reason=f"`{shape.origin.name}` is {shape.origin.mime}, not an image this flow can use"
            )
        model = spec.build(artifact_facts(shape.origin, shape.outline, common))
        assert isinstance(model, ImageNode)
        _check_ports(model, name, plan)
        made.models[name, index] = model
        reached.append(Shape(shape.origin, model.reach(shape.outline), untouched=False))
    made.shapes[name, None] = reached


def _check_ports(model: ImageNode, name: str, plan: Plan) -> None:
    wired = {edge.target_port for edge in plan.wires[name]}
    missing = [port for port in model.inputs[1:] if port not in wired and port not in model.assets()]
    if missing:
        raise NodeInvalid(node=name, reason=f"nothing arrives at its port `{missing[0]}`")


def main_source(plan: Plan, name: str) -> Ref:
    """Where the main input of an image node comes from."""
    edge = next(edge for edge in plan.wires[name] if edge.target_port == MAIN_PORT)
    return edge.source, edge.source_port


def _want(made: Sketch, element: Element, scale: float, animated: bool) -> None:
    made.wanted[element] = max(scale, made.wanted.get(element, 0.0))
    if animated:
        made.animated.add(element)


def _pass_back(made: Sketch, name: str, plan: Plan) -> None:
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
        if element not in made.wanted or not isinstance(model, ImageNode):
            continue
        for edge in plan.wires[name]:
            source = (edge.source, edge.source_port)
            at = source_index(made, source, index)
            main = edge.target_port == MAIN_PORT
            outline = (made.shapes[source] or [shape])[at].outline
            scale = model.demand(outline, made.wanted[element]) if main and outline else 1.0
            _want(made, (*source, at), scale, element in made.animated and main)


def source_index(made: Sketch, source: Ref, index: int) -> int:
    """Which artifact of a source goes with number `index` of the main input: the same one, or the only one."""
    return index if index < len(made.shapes[source] or []) else 0


def _derive(made: Sketch, plan: Plan) -> None:
    readers: dict[Element, list[tuple[float, str, int]]] = {}
    for name in plan.fused:
        for index in range(len(made.shapes.get((name, None)) or [])):
            model = made.models.get((name, index))
            if isinstance(model, ImageNode) and (name, None, index) in made.wanted:
                element = made.root((*main_source(plan, name), index))
                outline = (made.shapes[main_source(plan, name)] or [])[index].outline
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
