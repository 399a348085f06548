"""What is to be made of a file: nodes as a flow has them, the other files they need, and the name it is kept under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any

import orjson

from pipeline.graph.flow import Flow, made_flow
from pipeline.model import File
from pipeline.stored import derivative_key

VERSION = 1
"""Raised when the same nodes make something else than before, so that nothing old is shown for it."""
SOURCE = "source"
"""The input node that the file enters by."""
FLOW = "delivery"
"""What the flow of a recipe is called."""


@dataclass(frozen=True)
class Recipe:
    """Nodes that make one file of a file, or find something out about it; frozen, and equal ones are made once.

    `nodes` are those of a flow document, the inputs left out: `source`, and one for each of the files `beside`.
    """

    file: File
    nodes: Mapping[str, Any]
    beside: Mapping[str, File] = field(default_factory=dict)
    orient: bool = True
    """Whether the file is turned as its EXIF orientation says, before anything else."""

    @cached_property
    def document(self) -> Mapping[str, Any]:
        """All of it as a flow."""
        source = {"type": "input"} if self.orient else {"type": "input", "orient": False}
        return {"nodes": {SOURCE: source} | {name: {"type": "input"} for name in self.beside} | dict(self.nodes)}

    @property
    def files(self) -> Mapping[str, File]:
        """The files by the input they enter by."""
        return {SOURCE: self.file, **self.beside}

    @cached_property
    def key(self) -> str:
        """Where in the storage of the file it is kept; another one if anything about it is different."""
        files = [(name, file.id, file.sha256) for name, file in self.files.items()]
        nodes = list(self.document["nodes"].items())
        told = orjson.dumps([VERSION, files, nodes], option=orjson.OPT_SORT_KEYS, default=str)
        return derivative_key(self.file, sha256(told).hexdigest()[:40])

    def flow(self) -> Flow:
        """The graph of it; raises `FlowInvalid`."""
        return made_flow(FLOW, self.document)
