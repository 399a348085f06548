"""Cut a flow into stages: what is done on whole files, then every picture step that can follow, fused into one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.graph.flow import Flow
from pipeline.graph.wiring import Edge
from pipeline.nodes.base import FactNode, ImageNode, InputNode, Node, SpreadNode

Ref = tuple[str, str | None]
"""A node and the output port artifacts leave it by, None for the unnamed one."""


@dataclass(frozen=True)
class Export:
    """A place where pictures leave the sandbox as files: the source, and the node whose wishes decide the encoding."""

    source: Ref
    consumer: str


@dataclass(frozen=True)
class Stage:
    """One round of a run: steps on whole files, then one sandbox call; names in topological order."""

    files: tuple[str, ...]
    """Inputs, choices between files, steps on whole files."""
    fused: tuple[str, ...]
    """Picture steps; also those of earlier stages whose pictures are made again here rather than encoded between."""
    again: frozenset[str]
    """The latter."""
    exports: tuple[Export, ...]
    before: tuple[str, ...]
    """The steps on whole files of this stage and of all before it."""
    wires: Mapping[str, tuple[Edge, ...]]
    """Every node's incoming edges, the same in every stage."""


def plan(flow: Flow) -> tuple[Stage, ...]:
    """How `flow` is to be executed: one stage after the other, mostly one that draws and one that saves.

    A picture step waits for a later stage only when it stands behind a step on whole files. Whatever a step on whole
    files takes passes the sandbox of the stage before, as only there it can be encoded anew.
    """
    return _Cut(flow).stages()


class _Cut:
    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.wires = {name: tuple(edge for edge in flow.edges if edge.target == name) for name in flow.order}
        self.fused: dict[str, bool] = {}
        self.level: dict[str, int] = {}
        self.pictures: dict[str, bool] = {}
        """Whether what leaves a node may be pictures, or files that may have to be encoded anew."""
        for name in flow.order:
            self._place(name, flow.nodes[name].cls)

    def _place(self, name: str, cls: type[Node]) -> None:
        sources = [edge.source for edge in self.wires[name]]
        self.pictures[name] = cls.gives in ("image", "file") or (
            cls.gives == "same" and any(self.pictures[source] for source in sources)
        )
        if _is_picture_step(cls):
            self.fused[name], self.level[name] = True, max(map(self._as_files, sources), default=0)
        elif cls.gives == "same" and not _asks_the_world(cls):
            # A choice between a picture and a file is made where the picture is, which then needs no encoding.
            self.fused[name], self.level[name] = any(map(self._is_drawn, sources)), max(map(self._as_files, sources))
        else:
            self.fused[name] = False
            self.level[name] = max((self._as_whole(source, cls) for source in sources), default=0)

    def _is_drawn(self, source: str) -> bool:
        return self.fused[source] and not issubclass(self.flow.nodes[source].cls, SpreadNode)

    def _as_files(self, source: str) -> int:
        """The first stage whose sandbox can be given what comes from `source`."""
        return self.level[source] + (self.fused[source] and not self._is_drawn(source))

    def _as_whole(self, source: str, cls: type[Node]) -> int:
        """The first stage that finds what comes from `source` as a file, encoded as a node of `cls` wants it."""
        encoded = self.fused[source] or (self.pictures[source] and cls.gives != "same")
        return self.level[source] + encoded

    def stages(self) -> tuple[Stage, ...]:
        made: list[Stage] = []
        for number in range(max(self.level.values(), default=0) + 1):
            here = [name for name in self.flow.order if self.level[name] == number]
            files = tuple(name for name in here if not self.fused[name])
            again = frozenset(self._drawn_before(number))
            fused = tuple(name for name in self.flow.order if name in again or (name in here and self.fused[name]))
            before = (*made[-1].before, *files) if made else files
            exports = tuple(self._exports(number))
            made.append(Stage(files, fused, again, exports, before, self.wires))
        return tuple(made)

    def _drawn_before(self, number: int) -> set[str]:
        """The earlier picture steps whose pictures the steps of a stage take up again."""
        found: set[str] = set()
        names = [name for name in self.flow.order if self.fused[name] and self.level[name] == number]
        while names:
            sources = [edge.source for edge in self.wires[names.pop()] if self._is_drawn(edge.source)]
            new = {source for source in sources if self.level[source] < number} - found
            found |= new
            names += new
        return found

    def _exports(self, number: int) -> Iterator[Export]:
        for name in self.flow.order:
            for edge in self.wires[name]:
                if self.level[edge.source] == number and self._leaves(edge.source, name):
                    yield Export((edge.source, edge.source_port), name)
        for name in self.flow.order:
            if self.fused[name] and self.level[name] == number and self._kept(name):
                yield Export((name, None), name)

    def _leaves(self, source: str, target: str) -> bool:
        """Whether what goes from one node to the other leaves a sandbox, or should have passed it."""
        if self.level[target] == self.level[source]:
            return False
        return self.fused[source] != self._is_drawn(source) or not self.fused[target]

    def _kept(self, name: str) -> bool:
        return self.flow.nodes[name].keep and issubclass(self.flow.nodes[name].cls, ImageNode | SpreadNode)


def _is_picture_step(cls: type[Node]) -> bool:
    return issubclass(cls, ImageNode | SpreadNode) or (issubclass(cls, FactNode) and cls.side == "sandbox")


def _asks_the_world(cls: type[Node]) -> bool:
    return issubclass(cls, InputNode) or (issubclass(cls, FactNode) and cls.side == "worker")
