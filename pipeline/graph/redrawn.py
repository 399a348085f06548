"""What a fused part drew, as a checkpoint: files and plain values, from which the drawing is made again."""

from __future__ import annotations

from pipeline.artifacts import Kept
from pipeline.graph.fused import Drawing
from pipeline.graph.plan import Export


def packed(drawing: Drawing) -> Kept:
    """A drawing of which nothing was skipped, to be kept."""
    exports = [
        [*export.source, export.consumer, None if files is None else len(files)]
        for export, files in drawing.exports.items()
    ]
    files = [file for found in drawing.exports.values() for file in found or ()]
    told = {"exports": exports, "facts": drawing.facts, "learned": drawing.learned, "ms": drawing.ms}
    return Kept(files, (told,))


def unpacked(kept: Kept) -> Drawing:
    """The drawing that was kept."""
    (told,), files = kept.found, iter(kept.artifacts or ())
    exports = {
        Export((name, port), consumer): None if count is None else [next(files) for _ in range(count)]
        for name, port, consumer, count in told["exports"]
    }
    return Drawing(exports, facts=told["facts"], learned=told["learned"], ms=told["ms"])
