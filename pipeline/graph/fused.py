"""The part of a run that touches pixels: one call in a sandbox child, from files to encoded files.

Each source is decoded once, at the smallest scale that serves everybody; pictures stay lazy until they are encoded or
are read more than once, when they are held in memory, the smaller sizes then being made from the larger ones.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.artifacts import Artifact
from pipeline.errors import ImageUnreadable, SafelightError
from pipeline.graph.facts import artifact_facts, stored_outline, suggested_name
from pipeline.graph.flow import NodeSpec
from pipeline.graph.plan import Export, Ref, Stage
from pipeline.graph.sketch import (
    MAIN_PORT,
    Element,
    Seen,
    Shape,
    Sketch,
    Unseen,
    demands,
    encoding,
    main_source,
    needs_pixels,
    shape_of,
    sketch,
    source_index,
    upright,
)
from pipeline.imaging.encode import EXTENSIONS, encode
from pipeline.imaging.open import open_picture, open_shipped, readable
from pipeline.imaging.picture import Outline, Picture, Wish
from pipeline.imaging.quality import quality_of
from pipeline.imaging.sandbox import report
from pipeline.model import ImageFacts
from pipeline.nodes.base import FactNode, Facts, GatherNode, ImageNode, Node, OpenNode, Piece, SpreadNode


@dataclass(frozen=True)
class Assignment:
    """Everything a sandbox child needs to know to do its part of a run."""

    stage: Stage
    specs: Mapping[str, NodeSpec]
    given: Mapping[Ref, Sequence[Artifact] | None]
    chosen: Mapping[str, Ref]
    common: Mapping[str, Any]
    assets: Mapping[str, Path]
    folder: Path
    face_model: Path | None = None


@dataclass
class Drawing:
    """What came of it: the files each export yielded (None when its source was skipped), and what was skipped."""

    exports: dict[Export, list[Artifact] | None] = field(default_factory=dict)
    skipped: dict[str, SafelightError | None] = field(default_factory=dict)
    facts: dict[str, list[Facts]] = field(default_factory=dict)
    """What each fact node found out, for every artifact."""
    learned: dict[str, dict[str, Facts]] = field(default_factory=dict)
    """The same by the id of the input file it is about, and the type of the node that found it."""
    ms: dict[str, float] = field(default_factory=dict)


class Studio:
    """One fused part of a run: what was decided before a pixel is decoded, and the acts that follow from it."""

    def __init__(self, assignment: Assignment, seen: Seen | None = None, look: str | None = None) -> None:
        self.assignment = assignment
        self.look_for = look
        self.stage, self.specs = assignment.stage, assignment.specs
        self.pictures: dict[Element, Picture] = {}
        self.spread: dict[str, list[Artifact]] = {}
        self.encoded: dict[tuple[Element, Wish], Artifact] = {}
        self.seen = Seen() if seen is None else seen
        self.sketch: Sketch = self._sketched()
        self.common = self.seen.common(assignment.common)
        demands(self.sketch, self.stage, self.specs, self.common, self.looked_at(look))
        self.readers = _readers(self.sketch, self.stage)
        self.names = {
            name: [_name(shape_of(self.sketch, element).origin) for element in elements]
            for name, elements in self.sketch.gathered.items()
        }
        self.drawing = Drawing(skipped=dict(self.sketch.skipped))

    def _sketched(self) -> Sketch:
        """The sketch, once everything has been looked at that decides which way it goes."""
        given, chosen, common = self.assignment.given, self.assignment.chosen, self.assignment.common
        while True:
            try:
                return sketch(self.stage, self.specs, given, chosen, common, self.seen)
            except Unseen as unseen:
                Studio(self.up_to(unseen.node), self.seen, unseen.node).look()

    def up_to(self, node: str) -> Assignment:
        """The part of the work that leads to a node, without the node and without what is made of it."""
        needed, names = set(), [node]
        while names:
            edges = self.stage.wires[names.pop()]
            names += [edge.source for edge in edges if edge.source not in needed]
            needed |= {edge.source for edge in edges}
        fused = tuple(name for name in self.stage.fused if name in needed)
        return replace(self.assignment, stage=replace(self.stage, fused=fused, exports=()))

    def looked_at(self, node: str | None) -> dict[Element, float]:
        """The pictures that a look for a node is taken at, with the scale it needs."""
        if node is None:
            return {}
        found: dict[Element, float] = {}
        for element, model, outline in self._inputs_of(node):
            if outline is not None and (not isinstance(model, FactNode) or model.pixels):
                found[element] = model.demand_of(outline) if isinstance(model, FactNode) else 1.0
        return found

    def _inputs_of(self, node: str) -> Iterator[tuple[Element, Node, Outline | None]]:
        source = main_source(self.stage, node)
        for index, shape in enumerate(self.sketch.shapes.get(source) or []):
            facts = artifact_facts(shape.origin, shape.outline, self.common)
            yield (*source, index), self.specs[node].build(facts), shape.outline

    def look(self) -> None:
        """Let the node this part of the work leads to see its input, and note what it saw."""
        node = self.look_for
        assert node is not None
        with blamed(node):
            for element, model, _ in self._inputs_of(node):
                self._note(node, element, model)

    def _note(self, node: str, element: Element, model: Node) -> None:
        shape = (self.sketch.shapes[element[0], element[1]] or [])[element[2]]
        model = model.equipped(self.assignment.face_model)
        if isinstance(model, FactNode):
            image = self._picture(element) if model.pixels and shape.outline else None
            self.seen.facts[node, element[2]] = dict(model.observe(shape.origin, image))
        elif isinstance(model, ImageNode):
            self.seen.surveyed[node, element[2]] = model.survey(self._picture(element))

    def draw(self) -> Drawing:
        """Do the work; raises the error of the first node that failed, its `node` set."""
        for name in self.stage.fused:
            if name in self.sketch.skipped:
                self._tell(name, "skipped")
            elif issubclass(self.specs[name].cls, FactNode):
                if name not in self.stage.again:
                    self._forgiving(name, partial(self._observe, name))
            elif issubclass(self.specs[name].cls, SpreadNode):
                self._forgiving(name, partial(self._spread, name))
            elif not issubclass(self.specs[name].cls, ImageNode):
                self.drawing.ms[name] = 0.0
                self._tell(name, "completed", 0.0)
            else:
                self._forgiving(name, partial(self._apply, name))
        for export in self.stage.exports:
            self._forgiving(export.consumer, partial(self._export, export))
        return self.drawing

    def _forgiving(self, name: str, act: Callable[[], None]) -> None:
        try:
            with blamed(name):
                act()
        except SafelightError as error:
            if self.specs[name].on_error != "skip":
                raise
            self._skip(name, error)

    def _skip(self, name: str, error: SafelightError | None) -> None:
        """Take a node out, and everything that hangs on it."""
        self.drawing.skipped[name] = error
        self._tell(name, "skipped")
        for port in self.specs[name].cls.outputs or (None,):
            self.sketch.shapes[name, port] = None

    def _apply(self, name: str) -> None:
        started = time.perf_counter()
        self._tell(name, "running")
        missing = [self.sketch.shapes.get((edge.source, edge.source_port)) is None for edge in self.stage.wires[name]]
        if all(missing) if self.specs[name].cls.gathers else any(missing):
            self._skip(name, None)
            return
        for index in range(len(self.sketch.shapes[name, None] or [])):
            if (name, None, index) in self.sketch.wanted:
                self._picture((name, None, index))
        self._done(name, started)

    def _observe(self, name: str) -> None:
        started = time.perf_counter()
        self._tell(name, "running")
        source = main_source(self.stage, name)
        found: list[Facts] = []
        for index, shape in enumerate(self.sketch.shapes.get(source) or []):
            if (name, index) not in self.seen.facts:
                self._note(name, (*source, index), self.sketch.models[name, index])
            found.append(self.seen.facts[name, index])
            if shape.untouched and shape.origin.origin and not shape.origin.encoded:
                self.drawing.learned.setdefault(shape.origin.origin.id, {})[self.specs[name].type] = found[-1]
        self.drawing.facts[name] = found
        self._done(name, started)

    def _spread(self, name: str) -> None:
        started = time.perf_counter()
        self._tell(name, "running")
        source = main_source(self.stage, name)
        made: list[Artifact] = []
        for index, shape in enumerate(self.sketch.shapes.get(source) or []):
            model = self.sketch.models[name, index]
            assert isinstance(model, SpreadNode)
            folder = self.assignment.folder / f"{name}-{index}"
            folder.mkdir()
            pieces = model.spread(self._picture((*source, index)), folder, PurePosixPath(_name(shape.origin)).stem)
            made += [_artifact(name, piece, shape.origin) for piece in pieces]
        self.spread[name] = made
        self._done(name, started)

    def _done(self, name: str, started: float) -> None:
        self.drawing.ms[name] = (time.perf_counter() - started) * 1000
        self._tell(name, "completed", self.drawing.ms[name])

    def _picture(self, element: Element) -> Picture:
        """The picture an artifact is; made when first asked for, in memory when it will be asked for again."""
        root = self.sketch.root(element)
        if root not in self.pictures:
            picture = self._made(root)
            with blamed(root[0]):
                self.pictures[root] = picture.held() if self.readers[root] > 1 else picture
        return self.pictures[root]

    def _made(self, root: Element) -> Picture:
        """A picture made now, whether or not it has been made before."""
        drawn = (root[0], root[2]) in self.sketch.models
        with blamed(root[0]):
            return self._applied(root[0], root[2]) if drawn else self._opened(root)

    def _applied(self, name: str, index: int) -> Picture:
        model = self.sketch.models[name, index]
        assert isinstance(model, ImageNode)
        if isinstance(model, GatherNode):
            return self._gathered(name, model)
        if isinstance(model, OpenNode):
            origin = shape_of(self.sketch, (name, None, index)).origin
            return model.open(origin.path, self.sketch.wanted.get((name, None, index), 1.0))
        beside = {port: open_shipped(self.assignment.assets[ref]) for port, ref in model.assets().items()}
        for edge in self.stage.wires[name]:
            source = (edge.source, edge.source_port)
            if edge.target_port != MAIN_PORT:
                beside[edge.target_port] = self._picture((*source, source_index(self.sketch, source, index)))
        return model.equipped(self.assignment.face_model).apply(self._main(name, index), beside)

    def _gathered(self, name: str, model: GatherNode) -> Picture:
        return model.gather(self._one_by_one(self.sketch.gathered[name]), self.names[name])

    def _one_by_one(self, elements: Sequence[Element]) -> Iterator[Picture | None]:
        """The pictures, None for one that was lost; nothing is kept of those that nobody else reads."""
        for element in elements:
            lost = self.sketch.shapes[element[0], element[1]] is None
            yield None if lost else self._picture(element)
            root = self.sketch.root(element)
            if self.readers[root] == 1:
                self.pictures.pop(root, None)

    def _main(self, name: str, index: int) -> Picture:
        """What arrives at the main input; the pixels of a larger sibling where they serve as well."""
        source = main_source(self.stage, name)
        donor = self.sketch.derived.get((name, index))
        if donor is None:
            return self._picture((*source, index))
        try:
            larger = self._picture((donor[0], None, donor[1]))
        except SafelightError:
            # The sibling answers for its own failure; this one is still owed its source.
            return self._made(self.sketch.root((*source, index)))
        shape = (self.sketch.shapes[source] or [])[index]
        assert shape.outline is not None
        frames, alpha = larger.outline.frames, larger.outline.alpha
        return replace(larger, outline=replace(shape.outline, frames=frames, alpha=alpha))

    def _opened(self, element: Element) -> Picture:
        shapes = self.sketch.shapes[element[0], element[1]]
        assert shapes is not None
        shape = shapes[element[2]]
        stored = stored_outline(shape.origin)
        if stored is None:
            raise ImageUnreadable(
                reason=f"`{shape.origin.name}` is {shape.origin.mime}, not an image this flow can use"
            )
        scale = self.sketch.wanted.get(element, 1.0)
        picture = open_picture(shape.origin.path, stored, scale, element in self.sketch.animated)
        orients = upright(self.specs[shape.origin.node])
        return picture.oriented() if orients else picture

    def _export(self, export: Export) -> None:
        shapes = self.sketch.shapes.get(export.source)
        if shapes is None:
            self.drawing.exports[export] = None
            return
        if export.source[0] in self.spread:
            self.drawing.exports[export] = self.spread[export.source[0]]
            return
        started = time.perf_counter()
        if export.consumer not in self.stage.fused:
            self._tell(export.consumer, "running")
        found = [self._exported(export, index, shape) for index, shape in enumerate(shapes)]
        self.drawing.exports[export] = found
        spent = (time.perf_counter() - started) * 1000
        self.drawing.ms[export.consumer] = self.drawing.ms.get(export.consumer, 0.0) + spent

    def _exported(self, export: Export, index: int, shape: Shape) -> Artifact:
        said = encoding(self.specs[export.consumer], export.source[0], shape, self.common)
        if not needs_pixels(shape, said):
            return replace(shape.origin, node=export.source[0])
        element = (*export.source, index)
        picture = self._picture(element)
        wish = replace(picture.wish, **said)
        key = (self.sketch.root(element), wish)
        if key not in self.encoded:
            self.encoded[key] = self._encode(export.source[0], shape.origin, picture.wishing(wish))
        return replace(self.encoded[key], node=export.source[0])

    def _encode(self, node: str, origin: Artifact, picture: Picture) -> Artifact:
        name = picture.wish.format or "png"
        path = self.assignment.folder / f"{len(self.encoded)}-{node}.{EXTENSIONS[name]}"
        done = encode(picture, path)
        facts = ImageFacts(
            format=done.format,
            width=done.width,
            height=done.height,
            frames=done.frames,
            alpha=done.alpha,
            quality=quality_of(str(done.path)) if done.format == "jpeg" else None,
            profile=done.profile,
        )
        if picture.wish.optimises:
            told = {"format": done.format, "quality": done.quality, "bytes": done.size, "fits": done.fits}
            self.drawing.facts.setdefault(node, []).append(told)
        title = suggested_name(_name(origin), node, done.format)
        return Artifact(node, done.path, title, done.mime, done.size, done.sha256, facts, origin.origin, encoded=True)

    def _tell(self, name: str, status: str, ms: float | None = None) -> None:
        report({"node": name, "status": status, "ms": ms})


def _readers(made: Sketch, stage: Stage) -> Counter[Element]:
    """How often each artifact's pixels will be read: by nodes, by siblings derived from it, by exports."""
    count: Counter[Element] = Counter()
    for (name, index), model in made.models.items():
        if (name, None, index) not in made.wanted or not isinstance(model, ImageNode) or isinstance(model, OpenNode):
            continue
        if isinstance(model, GatherNode):
            count.update(made.root(element) for element in made.gathered[name])
            continue
        for edge in stage.wires[name]:
            source = (edge.source, edge.source_port)
            donor = made.derived.get((name, index)) if edge.target_port == MAIN_PORT else None
            element = (donor[0], None, donor[1]) if donor else (*source, source_index(made, source, index))
            count[made.root(element)] += 1
    return count + made.reads


def _name(origin: Artifact) -> str:
    return origin.origin.name if origin.origin else origin.name


def _artifact(node: str, piece: Piece, origin: Artifact) -> Artifact:
    with piece.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = piece.path.stat().st_size
    return Artifact(node, piece.path, piece.name, piece.mime, size, digest, piece.image, origin.origin, encoded=True)


@contextmanager
def blamed(name: str) -> Iterator[None]:
    """Name the node in whatever goes wrong inside."""
    try:
        with readable():
            yield
    except SafelightError as error:
        error.node = error.node or name
        raise
