"""How much memory a sandbox call will take at its peak, told from the sketch before a pixel is decoded.

The acts of a `Studio` are gone through in its order, with sizes instead of pixels. Bytes are kept until the call ends
(pictures that are read more than once, layers, decoders that do not let go), needed in a burst (a decoder or encoder
that holds the whole picture), or lie in rows on their way from a source to an encoder. What each takes was measured:
see `account`, `working` and `imaging.footprint` for the figures, `bench/engine/memory.py` for the measuring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from pipeline.graph.account import SOURCE, Account, Stream
from pipeline.graph.facts import stored_outline
from pipeline.graph.fused import Studio
from pipeline.graph.plan import Export
from pipeline.graph.sketch import (
    MAIN_PORT,
    Element,
    encoding,
    main_source,
    needs_pixels,
    shape_of,
    source_index,
    upright,
)
from pipeline.graph.working import WORKINGS, Act, held, turned
from pipeline.imaging import footprint
from pipeline.imaging.open import ANIMATED, saved_as
from pipeline.imaging.picture import Outline, Wish
from pipeline.nodes.base import FactNode, GatherNode, ImageNode, OpenNode, SpreadNode
from pipeline.nodes.deepzoom import Deepzoom
from pipeline.nodes.srcset import Srcset

TRIED = 1.5
"""Bytes of a file for each pixel, where several are compared."""
STRIPS = 4
"""Rows of tiles a pyramid holds: two of each level, and all levels together are twice the largest."""
ALIVE = 3
"""Sizes a srcset holds at once."""


def estimate(studio: Studio) -> int:
    """Most bytes alive at once beyond what an idle child has, looks that were made to sketch it included."""
    return Reckoning(studio).drawn().account.peak


class Reckoning:
    """Goes through the acts of a studio; what it found of each picture and each encoding stays to be told."""

    def __init__(self, studio: Studio) -> None:
        self._studio, self._made = studio, studio.sketch
        self.account = Account()
        self.streams: dict[Element, Stream] = {}
        """Each picture as it was opened or made, before it was held."""
        self.encoders: dict[tuple[Export, int], int] = {}
        """Bytes of each encoder."""
        self._pictures: dict[Element, Stream] = {}
        self._written: set[tuple[Element, Wish]] = set()

    def drawn(self) -> Reckoning:
        """The same once everything is drawn."""
        seen, stage = self._studio.seen, self._studio.stage
        for name in dict.fromkeys(name for name, _ in (*seen.surveyed, *seen.facts)):
            self._look(name)
        for name in stage.fused:
            self._do(name)
        for export in stage.exports:
            self._export(export)
        return self

    def _look(self, name: str) -> None:
        """A look that was made before; nothing of it is left but its peak."""
        ahead = Studio(self._studio.up_to(name), self._studio.seen, name)
        inner = Reckoning(ahead)
        for element in ahead.looked_at(name):
            outline = shape_of(inner._made, element).outline
            stream = inner._picture(element)
            if outline and not issubclass(ahead.specs[name].cls, FactNode):
                inner.account.settled(stream, outline, hold=True)
            else:
                inner.account.read(stream.sized(1, 1))
        self.account.peak = max(self.account.peak, inner.account.peak)

    def _do(self, name: str) -> None:
        cls, stage = self._studio.specs[name].cls, self._studio.stage
        if name in self._made.skipped:
            return
        if issubclass(cls, FactNode | SpreadNode):
            if name in stage.again and issubclass(cls, FactNode):
                return
            source = main_source(stage, name)
            for index in range(len(self._made.shapes.get(source) or [])):
                self._taken(name, (*source, index))
        elif issubclass(cls, ImageNode):
            for index in range(len(self._made.shapes.get((name, None)) or [])):
                if (name, None, index) in self._made.wanted:
                    self._picture((name, None, index))

    def _taken(self, name: str, element: Element) -> None:
        """A step takes the pixels that makes no picture of them."""
        model = self._made.models[name, element[2]]
        outline = shape_of(self._made, element).outline
        if outline is None or (isinstance(model, FactNode) and (not model.pixels or self._is_seen(name, element))):
            return
        stream = self._picture(element)
        if isinstance(model, Srcset):
            self._sizes(model, stream, outline)
        elif isinstance(model, Deepzoom):
            tile = model.tile_size or 512
            self.account.read(stream, STRIPS * tile * stream.row)
        else:
            self.account.read(stream.sized(1, 1))

    def _is_seen(self, name: str, element: Element) -> bool:
        return (name, element[2]) in self._studio.seen.facts

    def _sizes(self, model: Srcset, stream: Stream, outline: Outline) -> None:
        """Each size is made from a larger one; the widest is there longest."""
        boxes = model.boxes(outline)[:ALIVE]
        made = [stream.sized(*box) for box in boxes]
        whole = list(accumulate(one.size for one in made))
        wishes = [(name, replace(stream.wish, quality=model.quality or stream.wish.quality)) for name in model.formats]
        frames, bands = stream.frames, stream.bands
        encoders = [max(footprint.encoding(name, wish, *box, frames, bands) for name, wish in wishes) for box in boxes]
        self.account.read(made[0], made[0].size)
        self.account.encode(max(map(sum, zip(whole, encoders, strict=True))))

    # Pictures

    def _picture(self, element: Element) -> Stream:
        root = self._made.root(element)
        if root not in self._pictures:
            self.streams[root] = stream = self._stream(root)
            self._pictures[root] = self.account.held(stream) if self._studio.readers[root] > 1 else stream
        return self._pictures[root]

    def _stream(self, root: Element) -> Stream:
        model = self._made.models.get((root[0], root[2]))
        if isinstance(model, GatherNode):
            return self._gathered(root[0], model)
        if isinstance(model, OpenNode):
            return self._page(root)
        return self._applied(root[0], root[2], model) if isinstance(model, ImageNode) else self._opened(root)

    def _opened(self, element: Element) -> Stream:
        shape = shape_of(self._made, element)
        stored = stored_outline(shape.origin)
        if stored is None:
            # No picture: that is said when it is drawn.
            return Stream(1, 1, 1, 1, Wish())
        animated = element in self._made.animated and stored.format in ANIMATED
        found = footprint.decoding(shape.origin.path, stored, self._made.wanted.get(element, 1.0), animated)
        stream = Stream(
            found.width, found.height, stored.frames if animated else 1, found.bands, Wish(format=saved_as(stored)),
            found.depth, burst=found.burst, left=found.left,
        )  # fmt: skip
        if stored.format in footprint.AT_OPENING:
            self.account.need(found.burst)
            self.account.keep(found.left)
            stream = replace(stream, burst=0, left=0, counted=found.left)
        stream = replace(stream, rows=SOURCE * stream.row)
        return turned(stream, stored.orientation) if upright(self._studio.specs[shape.origin.node]) else stream

    def _page(self, element: Element) -> Stream:
        """What a node opens in its own way, drawn into memory."""
        outline = shape_of(self._made, element).outline
        assert outline is not None
        scale = self._made.wanted.get(element, 1.0)
        width, height = max(1, round(outline.width * scale)), max(1, round(outline.height * scale))
        stream = Stream(width, height, 1, 4 if outline.alpha else 3, Wish(format=outline.format), streaming=False)
        self.account.keep(stream.size + footprint.DOCUMENT)
        return stream

    def _applied(self, name: str, index: int, model: ImageNode) -> Stream:
        source = main_source(self._studio.stage, name)
        before = shape_of(self._made, (*source, source_index(self._made, source, index))).outline
        after = shape_of(self._made, (name, None, index)).outline
        assert before is not None and after is not None
        assets = {port: self._shipped(reference) for port, reference in model.assets().items()}
        beside = {**assets, **self._ports(name, index)}
        donor = self._made.derived.get((name, index))
        stream = self._picture((donor[0], None, donor[1]) if donor else (*source, index))
        made = WORKINGS.get(model.type, held)(Act(self.account, model, before, after, beside), stream)
        self.account.keep(-sum(asset.size for asset in assets.values()))
        return made

    def _shipped(self, reference: str) -> Stream:
        width, height = footprint.shipped(self._studio.assignment.assets[reference])
        asset = Stream(width, height, 1, 4, Wish(), streaming=False)
        self.account.keep(asset.size)
        return asset

    def _ports(self, name: str, index: int) -> dict[str, Stream]:
        beside = [edge for edge in self._studio.stage.wires[name] if edge.target_port != MAIN_PORT]
        sources = {edge.target_port: (edge.source, edge.source_port) for edge in beside}
        return {port: self._picture((*ref, source_index(self._made, ref, index))) for port, ref in sources.items()}

    def _gathered(self, name: str, model: GatherNode) -> Stream:
        """One source after the other; the one before is still there when the next is read."""
        after = shape_of(self._made, (name, None, 0)).outline
        elements, before = self._made.gathered[name], 0
        assert after is not None
        bands = 4 if after.alpha else 3
        sheet = Stream(after.width, after.height, 1, bands, Wish(format=after.format), streaming=False)
        for element in elements:
            outline = shape_of(self._made, element).outline
            assert outline is not None
            stream, scale = self._picture(element), model.demand(outline, 1.0)
            small = stream.sized(round(outline.width * scale), round(outline.height * scale))
            self.account.read(small, before + sheet.size // len(elements) + small.size)
            self.account.keep(sheet.size // len(elements))
            before = small.left
            if self._studio.readers[self._made.root(element)] == 1:
                self.account.keep(-small.left)
                self._pictures.pop(self._made.root(element), None)
        return sheet

    # Files

    def _export(self, export: Export) -> None:
        if export.source[0] in self._studio.specs and issubclass(self._studio.specs[export.source[0]].cls, SpreadNode):
            return
        for index, shape in enumerate(self._made.shapes.get(export.source) or []):
            said = encoding(self._studio.specs[export.consumer], export.source[0], shape, self._studio.common)
            if needs_pixels(shape, said) and shape.outline:
                element = (*export.source, index)
                stream = self._picture(element)
                wish = replace(stream.wish, **said)
                key = (self._made.root(element), wish)
                if key not in self._written:
                    self._written.add(key)
                    self.encoders[export, index] = self._encode(stream, wish, shape.outline)

    def _encode(self, stream: Stream, wish: Wish, outline: Outline) -> int:
        names = wish.formats if wish.format is None and wish.formats else (wish.format or "png",)
        moving = not ANIMATED.isdisjoint(names)
        frames = stream.frames if moving else 1
        shown = replace(stream, frames=frames).sized(outline.width, outline.height)
        kept = self.account.kept
        sized = self.account.upright(shown)
        taken = self._encoders(names, wish, outline, sized)
        if wish.optimises:
            # Once in memory for all, and as a file for each.
            sized = self.account.held(sized)
            taken += round(TRIED * outline.width * outline.height * len(names))
        self.account.read(sized, taken)
        # What was held for the encoder alone is gone with it.
        self.account.keep(kept + shown.left - self.account.kept)
        return taken

    def _encoders(self, names: Sequence[str], wish: Wish, outline: Outline, stream: Stream) -> int:
        size = (outline.width, outline.height, stream.frames)
        return max(footprint.encoding(name, wish, *size, stream.bands) for name in names)
