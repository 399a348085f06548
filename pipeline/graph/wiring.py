"""From what each node says under `from` to the edges of a graph, and whether that graph is sound.

Every check reports what it finds to the document and goes on, so that one load names all faults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pipeline.documents import Document, Path, hint_for, nearest, shown
from pipeline.graph.placeholders import Placeholder, pieces, placeholders
from pipeline.nodes.base import GatherNode, ImageNode, Node


@dataclass(frozen=True)
class Edge:
    """One arrow: from a node (and which of its ways out) to an input port of another."""

    source: str
    source_port: str | None
    target: str
    target_port: str


@dataclass(frozen=True)
class Draft:
    """A node as the document has it; `cls` and `sample` are None where the document is at fault."""

    id: str
    cls: type[Node] | None
    above: str | None
    written: Mapping[str, Any]
    sample: Node | None

    @property
    def path(self) -> Path:
        return ("nodes", self.id)

    @property
    def from_path(self) -> Path:
        return (*self.path, "from") if "from" in self.written else self.path

    @property
    def takes_nothing(self) -> bool:
        return self.cls is not None and not self.cls.inputs

    def says(self, name: str) -> Any:
        """The parameter's checked sample, or else what was written."""
        return getattr(self.sample, name, None) if self.sample else self.written.get(name)


@dataclass
class Net:
    """All drafts and the edges between them."""

    document: Document
    drafts: Mapping[str, Draft]
    edges: list[Edge] = field(default_factory=list)
    places: dict[Edge, Path] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    """Nodes with a fault in their wiring."""
    misspelt: set[str] = field(default_factory=set)
    """Nodes that something at fault was probably meant to take from."""

    @cached_property
    def into(self) -> dict[str, list[Edge]]:
        found: dict[str, list[Edge]] = {name: [] for name in self.drafts}
        for edge in self.edges:
            found[edge.target].append(edge)
        return found

    @cached_property
    def out_of(self) -> dict[str, list[Edge]]:
        found: dict[str, list[Edge]] = {name: [] for name in self.drafts}
        for edge in self.edges:
            found[edge.source].append(edge)
        return found

    def complain(self, draft: Draft, path: Path, code: str, message: str, hint: str = "") -> None:
        self.broken.add(draft.id)
        self.document.complain(path, code, message, hint, key=path == draft.path)


def wire(document: Document, drafts: Mapping[str, Draft]) -> Net:
    """The net that the drafts describe, with every unknown source and port complained of."""
    net = Net(document, drafts)
    for draft in drafts.values():
        for port, name, path in _named_sources(net, draft):
            _connect(net, draft, port, name, path)
    return net


# What `from` says


def _named_sources(net: Net, draft: Draft) -> Iterator[tuple[str, Any, Path]]:
    first_port = draft.cls.inputs[0] if draft.cls and draft.cls.inputs else "image"
    path, written = draft.from_path, draft.written.get("from")
    if draft.takes_nothing:
        if written is not None:
            net.complain(draft, path, "VALUE_INVALID", f"`{draft.id}` is an input and takes nothing from other nodes.")
    elif written is None:
        if draft.above is not None and draft.cls is None:
            # What has no known type may be an input, so nothing is concluded from where it stands.
            net.misspelt.add(draft.above)
        elif draft.above is not None:
            yield first_port, draft.above, path
    elif isinstance(written, list):
        yield from _listed(net, draft, first_port, written, path)
    elif isinstance(written, dict):
        yield from _mapped(net, draft, written, path)
    else:
        yield first_port, written, path


def _listed(net: Net, draft: Draft, port: str, names: list[Any], path: Path) -> Iterator[tuple[str, Any, Path]]:
    if draft.cls and not draft.cls.gathers and len(names) > 1:
        hint = f"Name the ports: `from: {{{', '.join(f'{port}: ...' for port in draft.cls.inputs)}}}`."
        net.complain(
            draft,
            path,
            "VALUE_INVALID",
            f"`{draft.id}` takes one source, not a list of {len(names)}.",
            hint if len(draft.cls.inputs) > 1 else "",
        )
        return
    for index, name in enumerate(names):
        yield port, name, (*path, index)


def _mapped(net: Net, draft: Draft, ports: dict[str, Any], path: Path) -> Iterator[tuple[str, Any, Path]]:
    known = [*draft.cls.inputs] if draft.cls else list(ports)
    for port, name in ports.items():
        inner = (*path, port)
        if port not in known:
            message = f"`{draft.id}` has no input port `{shown(port)}`."
            net.broken.add(draft.id)
            net.document.complain(inner, "PORT_UNKNOWN", message, hint_for(port, known), key=True)
        elif isinstance(name, list):
            yield from _listed(net, draft, port, name, inner)
        else:
            yield port, name, inner


def _connect(net: Net, draft: Draft, port: str, name: Any, path: Path) -> None:
    if not isinstance(name, str):
        net.complain(draft, path, "VALUE_INVALID", "Write the name of a node, such as `photo`.")
        return
    source, _, way = name.partition(".")
    found = net.drafts.get(source)
    if found is None:
        near = None if net.document.full else nearest(source, net.drafts)
        net.misspelt |= {near} if near else set()
        hint = f"Did you mean `{near}`?" if near else _listing(net)
        net.complain(draft, path, "SOURCE_UNKNOWN", f"There is no node `{shown(source)}`.", hint)
        return
    if _way_is_known(net, draft, found, way if "." in name else None, path):
        edge = Edge(source, way or None, draft.id, port)
        if edge in net.places:
            net.complain(draft, path, "VALUE_INVALID", f"`{shown(name)}` is named twice.", "Remove one of them.")
            return
        net.edges.append(edge)
        net.places[edge] = path


def _listing(net: Net) -> str:
    return f"Known: {', '.join(net.drafts)}." if len(net.drafts) <= 16 else ""


def _way_is_known(net: Net, draft: Draft, source: Draft, way: str | None, path: Path) -> bool:
    if source.cls is None or way in (source.cls.outputs or (None,)):
        return True
    net.misspelt.add(source.id)
    if way is None:
        ways = [f"`from: {source.id}.{port}`" for port in source.cls.outputs]
        message = f"`{source.id}` has the ports {' and '.join(source.cls.outputs)}; say which."
        net.complain(draft, path, "PORT_UNKNOWN", message, f"Write {' or '.join(ways)}.")
    elif not source.cls.outputs:
        message = f"`{source.id}` has no output port `{shown(way)}`."
        net.complain(draft, path, "PORT_UNKNOWN", message, f"Write `from: {source.id}`.")
    else:
        hint = hint_for(way, source.cls.outputs)
        net.complain(draft, path, "PORT_UNKNOWN", f"`{source.id}` has no output port `{shown(way)}`.", hint)
    return False


# Whether the net is sound


def check(net: Net) -> None:
    """Complain of every missing input, wrong kind, circle, dead end and doubled output path."""
    _check_inputs(net)
    _check_kinds(net)
    circles = _check_circles(net)
    _check_reach(net, circles)
    _check_use(net, circles)
    if not circles:
        _check_choices(net)
        _check_paths(net)


def order(net: Net) -> tuple[str, ...]:
    """Every node after its sources, otherwise as written; only for a net without circles."""
    rank = {name: number for number, name in enumerate(net.drafts)}
    sorter = TopologicalSorter({name: [edge.source for edge in net.into[name]] for name in net.drafts})
    sorter.prepare()
    ready: list[str] = []
    found: list[str] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=rank.__getitem__)
        found.append(ready.pop(0))
        sorter.done(found[-1])
    return tuple(found)


def _check_inputs(net: Net) -> None:
    for draft in net.drafts.values():
        if draft.cls is None or draft.id in net.broken:
            continue
        connected = {edge.target_port for edge in net.into[draft.id]}
        fed = draft.sample.assets() if isinstance(draft.sample, ImageNode) else {}
        needed = draft.sample.needs_ports() if isinstance(draft.sample, ImageNode) else draft.cls.inputs
        for port in sorted(connected & {*fed}):
            message = f"`{draft.id}` is given `{port}` twice, by its `asset:` and by `{_feeding(net, draft, port)}`."
            net.complain(draft, draft.from_path, "VALUE_INVALID", message, "Keep one of them.")
        for port in sorted(connected - {*needed}):
            message = f"`{draft.id}` makes no use of what comes into its port `{port}`."
            net.complain(draft, draft.from_path, "PORT_UNKNOWN", message)
        for port in needed:
            if port in connected or port in fed or (port in draft.cls.optional_inputs and not draft.sample):
                continue
            if port in draft.cls.optional_inputs and not issubclass(draft.cls, ImageNode):
                continue
            _complain_of_input(net, draft, port)


def _feeding(net: Net, draft: Draft, port: str) -> str:
    return next(edge.source for edge in net.into[draft.id] if edge.target_port == port)


def _complain_of_input(net: Net, draft: Draft, port: str) -> None:
    assert draft.cls is not None
    if len(draft.cls.inputs) == 1 or port == draft.cls.inputs[0]:
        hint = "Write `from: <node>`." if draft.above or "from" in draft.written else "Begin with `{type: input}`."
    else:
        first = draft.cls.inputs[0]
        hint = f"Write `from: {{{first}: <node>, {port}: <node>}}`" + (
            ", or name an `asset:`." if port in draft.cls.optional_inputs else "."
        )
    net.complain(draft, draft.from_path, "INPUT_MISSING", f"Nothing comes into `{draft.id}` at `{port}`.", hint)


def _check_kinds(net: Net) -> None:
    waiting: list[tuple[str, Edge]] = []
    for edge in net.edges:
        giver = net.drafts[edge.source].cls
        if giver and giver.gives == "nothing":
            _complain_of_kind(net, edge, f"`{edge.source}` publishes what it takes and hands nothing on.")
        elif giver and giver.gives == "other":
            waiting.append((edge.source, edge))
    passed: set[str] = set()
    while waiting:
        maker, edge = waiting.pop()
        taker = net.drafts[edge.target].cls
        if taker and taker.takes == "image":
            _complain_of_kind(net, edge, f"`{edge.target}` needs an image, but `{maker}` makes a file that is none.")
        elif taker and taker.gives == "same" and edge.target not in passed:
            passed.add(edge.target)
            waiting += [(maker, onward) for onward in net.out_of[edge.target]]


def _complain_of_kind(net: Net, edge: Edge, message: str) -> None:
    target = net.drafts[edge.target]
    hint = "Take it from the node before." if "from" in target.written else "Say `from: <node>`."
    net.complain(target, net.places[edge], "INPUT_KIND", message, hint)


def _check_circles(net: Net) -> set[str]:
    graph = {name: {edge.source for edge in net.into[name]} for name in net.drafts}
    rank = {name: number for number, name in enumerate(net.drafts)}
    circles: set[str] = set()
    while not net.document.full:
        try:
            TopologicalSorter(graph).prepare()
            return circles
        except CycleError as error:
            circle = error.args[1][:-1]
        start = min(range(len(circle)), key=lambda place: rank[circle[place]])
        circle = circle[start:] + circle[:start]
        draft = net.drafts[circle[0]]
        names = [f"`{name}`" for name in [*circle, circle[0]]]
        shortened = names if len(names) <= 12 else [*names[:10], "...", names[-1]]
        message = f"The nodes go round in a circle: {' -> '.join(shortened)}."
        net.document.complain(draft.from_path, "FLOW_CIRCLE", message, key=draft.from_path == draft.path)
        circles |= set(circle)
        # Circles that share a node are told one at a time: breaking one often breaks the others.
        graph |= {name: set() for name in circle}
    return circles


def _check_reach(net: Net, circles: set[str]) -> None:
    starts = [draft.id for draft in net.drafts.values() if draft.takes_nothing or draft.cls is None]
    reached = _spread(starts, lambda name: [edge.target for edge in net.out_of[name]])
    excused = _spread(list(net.broken), lambda name: [edge.target for edge in net.out_of[name]])
    for name in net.drafts:
        if name not in reached | excused | circles:
            draft = net.drafts[name]
            message = f"No way leads from an input to `{name}`."
            net.document.complain(draft.path, "NODE_UNREACHABLE", message, key=True)


def _check_use(net: Net, circles: set[str]) -> None:
    for draft in net.drafts.values():
        if draft.cls is None or draft.id in circles | net.misspelt or net.out_of[draft.id]:
            continue
        if draft.cls.suffices:
            continue
        if draft.cls.gives != "nothing" and draft.says("keep") in (None, False):
            message = f"Nothing that `{draft.id}` makes is saved or kept."
            hint = f"Add a save node with `from: {draft.id}`, or say `keep: true`."
            net.document.complain(draft.path, "NODE_UNUSED", message, hint, key=True)


def _spread(starts: list[str], onward: Any) -> set[str]:
    found, waiting = set(starts), list(starts)
    while waiting:
        for name in onward(waiting.pop()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


# What becomes of the files on their way


@dataclass(frozen=True)
class Trail:
    """What is known of a node's artifacts before any run."""

    origins: frozenset[str] = frozenset()
    """The inputs whose files they are."""
    many: bool = False
    """Whether there may be several of them."""
    formats: frozenset[str] = frozenset()
    """Names for the formats they may have."""
    branches: frozenset[tuple[str, str]] = frozenset()
    """The ways out of conditionals that must all be taken for them to exist."""

    def excludes(self, other: Trail) -> bool:
        """Whether no run can have both."""
        ways = dict(self.branches)
        return any(ways.get(choice, way) != way for choice, way in other.branches)


def _trails(net: Net) -> dict[str, Trail]:
    trails: dict[str, Trail] = {}
    for name in order(net):
        draft = net.drafts[name]
        if draft.takes_nothing:
            trails[name] = Trail(frozenset({name}), draft.says("many") is True, frozenset({f"of {name}"}))
        else:
            trails[name] = _trail(draft, [_arriving(trails, edge) for edge in net.into[name]])
    return trails


def _trail(draft: Draft, arriving: list[Trail]) -> Trail:
    gathers = draft.cls is not None and draft.cls.gathers
    single = draft.cls is not None and gathers and _makes_one(draft.cls)
    leading = arriving if gathers else arriving[:1]
    ways = [trail.branches for trail in arriving]
    says = draft.id if single else draft.says("format")
    return Trail(
        frozenset(origin for trail in leading for origin in trail.origins),
        not single and any(trail.many for trail in arriving),
        frozenset({str(says)}) if says else frozenset(name for trail in leading for name in trail.formats),
        frozenset.intersection(*ways) if gathers and ways else frozenset(way for one in ways for way in one),
    )


def _makes_one(cls: type[Node]) -> bool:
    return cls.gives in ("file", "other") or issubclass(cls, GatherNode)


def _arriving(trails: Mapping[str, Trail], edge: Edge) -> Trail:
    trail = trails[edge.source]
    if edge.source_port is None:
        return trail
    return replace(trail, branches=trail.branches | {(edge.source, edge.source_port)})


def _check_choices(net: Net) -> None:
    trails = _trails(net)
    for edge in net.edges:
        target = net.drafts[edge.target]
        if target.cls and target.cls.outputs and trails[edge.source].many:
            message = f"`{edge.target}` cannot choose one way for several files at once."
            hint = f"Take `many` from the input `{', '.join(sorted(trails[edge.source].origins))}`."
            net.complain(target, net.places[edge], "CONDITIONAL_MANY", message, hint)


def _check_paths(net: Net) -> None:
    trails = _trails(net)
    taken: dict[tuple[str, str], list[tuple[Edge, Trail]]] = {}
    for edge in net.edges:
        target = net.drafts[edge.target]
        if target.cls is None or target.cls.gives != "nothing" or target.id in net.broken:
            continue
        trail = _arriving(trails, edge)
        path = _output_path(target, edge.source, trail)
        storage = str(target.says("storage"))
        rivals = taken.setdefault((storage, path), [])
        rival = next((other for other, passed in rivals if not passed.excludes(trail)), None)
        rivals.append((edge, trail))
        if rival:
            _complain_of_paths(net, edge, rival)
        elif trail.many and not _tells_files_apart(target):
            message = f"All files of `{', '.join(sorted(trail.origins))}` would be saved under one path."
            _complain_at_path(net, target, message, "Put `{file.id}` into the path.")


def _complain_of_paths(net: Net, edge: Edge, rival: Edge) -> None:
    target = net.drafts[edge.target]
    if edge.target == rival.target:
        message = f"`{edge.target}` saves `{rival.source}` and `{edge.source}` under the same path."
        _complain_at_path(net, target, message, "Put `{node}` into the path.")
    else:
        message = f"`{edge.target}` and `{rival.target}` save under the same path."
        _complain_at_path(net, target, message, "Give each save its own path.")


def _complain_at_path(net: Net, target: Draft, message: str, hint: str) -> None:
    path = (*target.path, "path") if "path" in target.written else target.path
    net.complain(target, path, "OUTPUT_NOT_UNIQUE", message, hint)


DEFAULT_PATH = "{file.stem}-{node}.{format}"
"""What a save without a path comes to; `pipeline.nodes.save` spells it with the extension of the format."""


def _template(save: Draft) -> str:
    path = save.written.get("path")
    return path if isinstance(path, str) else DEFAULT_PATH


def _tells_files_apart(save: Draft) -> bool:
    return any(piece.name in ("file.id", "file.name", "file.stem") for piece in placeholders(_template(save)))


def _output_path(save: Draft, source: str, trail: Trail) -> str:
    """The save's path with names in place of what only a run knows; equal paths are equal in every run."""
    said = save.says("format")
    origin = "|".join(sorted(trail.origins))

    def spelt(piece: str | Placeholder) -> str:
        if isinstance(piece, str):
            return piece
        if piece.name == "node":
            return source
        if piece.name == "format":
            return f"<{said or '|'.join(sorted(trail.formats))}>"
        if piece.name in ("width", "height"):
            return f"<{piece.name} of {source}>"
        if piece.name.startswith(("file.", "metadata.")):
            return f"<{piece.name} of {origin}>"
        return f"<{piece.name}>"

    return "".join(spelt(piece) for piece in pieces(_template(save)))
