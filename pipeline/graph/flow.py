"""From a flow's YAML document to a sound graph, or to a list of everything that is wrong with it."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, ValidationError

from pipeline import sniff
from pipeline.artifacts import Artifact
from pipeline.documents import Complaint, Document, Fault, Path, faults_of, hint_for, read_document, shown
from pipeline.errors import FileTooLarge, FlowInvalid, ImageTooLarge, NodeInvalid, TypeNotAllowed
from pipeline.graph.belongings import SCHEME, Belongings, references
from pipeline.graph.params import ParamSpec, check_params
from pipeline.graph.placeholders import SAMPLES, Placeholder, fill, fill_all, placeholders, unknown
from pipeline.graph.schedule import MediaRange, Schedule, Scheduled
from pipeline.graph.wiring import Draft, Edge, check, order, wire
from pipeline.model import File, Noun, Queue
from pipeline.nodes import INDEX
from pipeline.nodes.base import Node
from pipeline.nodes.input import Input
from pipeline.units import Bytes, Pixels, Seconds

NodeType = type[Node]
__all__ = [
    "Accept",
    "Edge",
    "Flow",
    "FlowDocument",
    "NodeSpec",
    "ParamSpec",
    "Retry",
    "lacking",
    "load_flow",
    "version_of",
]

MAX_NODES = 500
TYPES_HINT = "`safelight nodes` lists all there are."
MAX_PARAMS = 100
BOUND_AT_LOAD = ("timeout", "retries", "keep", "on_error")
"""Parameters that plan a run rather than take part in it, so that they cannot depend on it."""
NAME = re.compile(r"[a-z][A-Za-z0-9_-]{0,63}")
NAME_RULE = "Begin with a small letter; then letters, digits, `_` and `-`, 64 at most."


class Accept(Noun):
    """Which files a flow takes."""

    types: tuple[MediaRange, ...] = Field(default=("*/*",), min_length=1, description="Types such as image/*.")
    max_size: Bytes | None = Field(default=None, description="Largest file, such as 25MB.")
    max_pixels: Pixels | None = Field(default=None, description="Most pixels (width x height x frames), such as 100MP.")

    def check(self, file: File | Artifact) -> None:
        """Raise `TypeNotAllowed`, `FileTooLarge` or `ImageTooLarge` for a file that the flow does not take."""
        if not sniff.allowed(file.mime, self.types):
            raise TypeNotAllowed(found=file.mime, allowed=", ".join(self.types))
        if self.max_size is not None and file.size > self.max_size:
            raise FileTooLarge(limit=self.max_size)
        if file.image and self.max_pixels is not None:
            pixels = file.image.width * file.image.height * file.image.frames
            if pixels > self.max_pixels:
                raise ImageTooLarge(pixels=pixels, limit=self.max_pixels)


class Retry(Noun):
    """How often a run is tried when what it stands on fails, and how long it waits in between.

    Before the second try it waits up to `first`, before each later one up to twice as long as before the last.
    """

    times: int = Field(default=3, ge=1, le=20, description="Tries in all, such as 3.")
    first: Seconds = Field(default=2, ge=0, le=3600, description="Longest wait before the second try, such as 1s.")
    longest: Seconds = Field(default=30, ge=0, le=86400, description="Longest wait before any try, such as 5m.")

    def wait(self, tries: int) -> float:
        """Seconds until the next try after so many, drawn anew each time so that runs do not come back together."""
        return backed_off(tries, self.first, self.longest)


def backed_off(tries: int, first: float, longest: float) -> float:
    """Some seconds between none and `first`, doubled with every try after the first up to `longest`."""
    return random.uniform(0, min(longest, first * 2.0 ** (tries - 1)))  # noqa: S311


class FlowDocument(Noun):
    """What a flow file says; its name is the flow's id."""

    title: str = Field(default="", max_length=200, description="What people call it.")
    description: str = Field(default="", max_length=5000, description="What it makes of what.")
    accept: Accept = Field(default=Accept(), description="Which files it takes.")
    params: Mapping[str, ParamSpec] = Field(
        default={}, description="What the caller may choose, given at trigger time."
    )
    nodes: Mapping[str, Any] = Field(description="Node id -> its type, its inputs (`from`) and its parameters.")
    queue: Queue = Field(default="default", description="How urgent its runs are.")
    timeout: Seconds | None = Field(default=None, gt=0, description="Longest time a run may take, such as 5m.")
    retry: Retry = Field(default=Retry(), description="How often it is tried when what it stands on fails.")
    webhook: str | None = Field(
        default=None, pattern=r"^https?://\S+$", max_length=2000, description="Told of every run that ends."
    )
    schedule: Scheduled | None = Field(default=None, description="When it runs by itself, such as 0 3 * * *.")


@dataclass(frozen=True)
class NodeSpec:
    """One node of a flow; its parameters may hold placeholders until `build`."""

    id: str
    type: str
    parameters: Mapping[str, Any]
    """As written; strings may hold placeholders."""
    cls: NodeType
    timeout: float | None = None
    retries: int = 0
    keep: bool = False
    on_error: Literal["fail", "skip"] = "fail"
    fixed: Node | None = field(default=None, compare=False)
    """The node itself, when no parameter holds a placeholder."""

    def build(self, facts: Mapping[str, Any]) -> Node:
        """The node with every placeholder filled from `facts` (`file.id`, `params.x`, ... and `date`, a datetime).

        Raises `NodeInvalid` with the node and the parameter when a value is missing or is not allowed.
        """
        if self.fixed:
            return self.fixed
        values = {name: self._filled(name, value, facts) for name, value in self.parameters.items()}
        try:
            return _made(self.cls, self.type, values, self.parameters)
        except ValidationError as error:
            fault = faults_of(error, self.cls, values)[0]
            raise NodeInvalid(node=self.id, reason=_reason(fault)) from error

    def _filled(self, name: str, value: Any, facts: Mapping[str, Any]) -> Any:
        try:
            return fill_all(value, facts, name in self.cls.confides)
        except NodeInvalid as error:
            raise NodeInvalid(node=self.id, reason=f"{name}: {error.message}") from error


@dataclass(frozen=True)
class Flow:
    """A sound graph, ready to be planned and run."""

    id: str
    version: str
    title: str
    description: str
    accept: Accept
    params: Mapping[str, ParamSpec]
    nodes: Mapping[str, NodeSpec]
    edges: tuple[Edge, ...]
    order: tuple[str, ...]
    queue: Queue
    timeout: float | None
    webhook: str | None
    text: str
    schedule: Schedule | None = None
    retry: Retry = field(default_factory=Retry)

    @cached_property
    def inputs(self) -> Mapping[str, Input]:
        """The input nodes by their ids, as written."""
        return {name: spec.fixed for name, spec in self.nodes.items() if isinstance(spec.fixed, Input)}

    @cached_property
    def into(self) -> Mapping[str, tuple[Edge, ...]]:
        """Every node's incoming edges, in the order its `from` gives."""
        return {name: tuple(edge for edge in self.edges if edge.target == name) for name in self.nodes}

    @cached_property
    def out_of(self) -> Mapping[str, tuple[Edge, ...]]:
        """Every node's outgoing edges."""
        return {name: tuple(edge for edge in self.edges if edge.source == name) for name in self.nodes}

    def check_params(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The params of a run: those given, in their types, and the defaults; raises `ParamsInvalid`."""
        return check_params(self.params, given)


def load_flow(flow_id: str, text: str, file: str | None = None, belongings: Belongings | None = None) -> Flow:
    """The flow written in `text`; raises `FlowInvalid` with a Complaint (`file:line:col`) for every fault.

    With `belongings`, what it names as `asset:` has to be among them, except where a placeholder decides.
    """
    document = read_document(text, file or f"{shown(flow_id)}.yaml")
    flow = _Loader(flow_id, text, document, belongings).load() if document.readable else None
    complaints = document.sorted_complaints()
    if flow is None or complaints:
        raise FlowInvalid(summary=_summary(flow_id, complaints), complaints=complaints)
    return flow


def made_flow(flow_id: str, value: Mapping[str, Any]) -> Flow:
    """The flow that plain values make, as YAML of them would; raises `FlowInvalid` as `load_flow` does."""
    document = Document(f"{shown(flow_id)}.yaml", value=value)
    flow = _Loader(flow_id, "", document, None).load()
    complaints = document.sorted_complaints()
    if flow is None or complaints:
        raise FlowInvalid(summary=_summary(flow_id, complaints), complaints=complaints)
    return flow


def lacking(flow: Flow, belongings: Belongings) -> Sequence[Complaint]:
    """What a sound flow names that is not among the belongings."""
    try:
        load_flow(flow.id, flow.text, belongings=belongings)
    except FlowInvalid as error:
        complaints: Sequence[Complaint] = error.facts["complaints"]
        return complaints
    return ()


def _summary(flow_id: str, complaints: list[Complaint]) -> str:
    count = "a fault" if len(complaints) == 1 else f"{len(complaints)} faults"
    return f"The flow `{shown(flow_id)}` has {count}: {complaints[0]}"


def version_of(value: Any) -> str:
    """The first 16 hex digits of the sha256 of a document; comments and the order of keys do not count.

    The order of `nodes` does: a node without `from` takes from the one above.
    """
    if isinstance(value, dict) and isinstance(value.get("nodes"), dict):
        value = value | {"nodes": list(value["nodes"].items())}
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


class _Loader:
    """Reads one document section by section; every fault goes to the document."""

    def __init__(self, flow_id: str, text: str, document: Document, belongings: Belongings | None) -> None:
        self._id = flow_id
        self._belongings = belongings
        self._text = text
        self._document = document
        self._params: dict[str, ParamSpec] = {}
        self._declared: list[str] = []

    def load(self) -> Flow | None:
        document, value = self._document, self._document.value
        if not NAME.fullmatch(self._id):
            document.complain((), "NAME_INVALID", f"`{shown(self._id)}` cannot be the id of a flow.", NAME_RULE)
        if value is not None and not isinstance(value, dict):
            document.complain((), "VALUE_INVALID", "A flow is a mapping with the key `nodes`.")
            return None
        written = value or {}
        head = self._head(written)
        self._read_params(written.get("params"))
        drafts = self._drafts(written.get("nodes"))
        if not drafts:
            return None
        net = wire(document, drafts)
        check(net)
        self._check_schedule(head, drafts)
        if document.complaints or head is None:
            return None
        return Flow(
            id=self._id,
            version=version_of(value),
            title=head.title,
            description=head.description,
            accept=head.accept,
            params=self._params,
            nodes={name: _spec(draft) for name, draft in drafts.items()},
            edges=tuple(net.edges),
            order=order(net),
            queue=head.queue,
            timeout=head.timeout,
            webhook=head.webhook,
            text=self._text,
            schedule=head.schedule,
            retry=head.retry,
        )

    # What stands above the nodes

    def _head(self, written: dict[str, Any]) -> FlowDocument | None:
        shell = {key: {} if key in ("params", "nodes") else value for key, value in written.items()}
        try:
            return FlowDocument.model_validate({"nodes": {}} | shell)
        except ValidationError as error:
            self._document.complain_all(faults_of(error, FlowDocument, written))
            return None

    def _read_params(self, written: Any) -> None:
        if written is None:
            return
        if not isinstance(written, dict) or len(written) > MAX_PARAMS:
            message = f"`params` is a mapping of at most {MAX_PARAMS} names to what each may be."
            self._document.complain(("params",), "VALUE_INVALID", message)
            return
        self._declared = list(written)
        for name, value in written.items():
            self._read_param(name, value)

    def _read_param(self, name: str, value: Any) -> None:
        path: Path = ("params", name)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", name):
            hint = "Begin with a letter; then letters, digits, `_` and `-`, 64 at most."
            self._document.complain(
                path, "NAME_INVALID", f"`{shown(name)}` cannot be the name of a param.", hint, key=True
            )
        try:
            spec = ParamSpec.model_validate(value)
        except ValidationError as error:
            self._complain_of(error, ParamSpec, value, path)
            return
        for key, message in spec.faults():
            self._document.complain((*path, key), "VALUE_INVALID", message)
            return
        self._params[name] = spec

    def _complain_of(self, error: ValidationError, shape: Any, value: Any, path: Path) -> None:
        for fault in faults_of(error, shape, value):
            self._document.complain((*path, *fault.path), fault.code, fault.message, fault.hint, key=fault.key)

    def _check_schedule(self, head: FlowDocument | None, drafts: Mapping[str, Draft]) -> None:
        # Which inputs and params there are is known of a sound flow only.
        if head is None or head.schedule is None or self._document.complaints:
            return
        inputs = {name: draft.sample for name, draft in drafts.items() if isinstance(draft.sample, Input)}
        for fault in head.schedule.faults(inputs, self._params):
            path = ("schedule", *fault.path)
            self._document.complain(path, fault.code, fault.message, fault.hint, key=fault.key)

    # The nodes

    def _drafts(self, written: Any) -> dict[str, Draft]:
        if not isinstance(written, dict) or not written:
            hint = "Write `nodes:` with at least an input and a save."
            self._document.complain(("nodes",), "NODES_MISSING", "The flow has no nodes.", hint)
            return {}
        if len(written) > MAX_NODES:
            message = f"The flow has {len(written)} nodes; {MAX_NODES} is the most."
            self._document.complain(("nodes",), "VALUE_INVALID", message, key=True)
            return {}
        drafts: dict[str, Draft] = {}
        above: str | None = None
        for name, value in written.items():
            drafts[name] = self._draft(name, value, above)
            above = name
        return drafts

    def _draft(self, name: str, value: Any, above: str | None) -> Draft:
        path: Path = ("nodes", name)
        if not NAME.fullmatch(name):
            message = f"`{shown(name)}` cannot be the id of a node."
            self._document.complain(path, "NAME_INVALID", message, NAME_RULE, key=True)
        if not isinstance(value, dict):
            self._document.complain(path, "VALUE_INVALID", f"`{shown(name)}` is not a mapping with a `type`.", key=True)
            return Draft(name, None, above, {}, None)
        cls = self._class(path, value)
        if cls is None or not self._placeholders_known(path, cls, value):
            return Draft(name, cls, above, value, None)
        self._check_belongings(path, value)
        return Draft(name, cls, above, value, self._sample(path, cls, value))

    def _class(self, path: Path, value: dict[str, Any]) -> type[Node] | None:
        if "type" not in value:
            hint = TYPES_HINT
            self._document.complain(path, "VALUE_INVALID", "The key `type` is required.", hint, key=True)
            return None
        kind = value["type"]
        if isinstance(kind, str) and kind in INDEX:
            return INDEX[kind]
        message = f"There is no node type `{shown(kind)}`."
        hint = hint_for(str(kind), list(INDEX)) or TYPES_HINT
        self._document.complain((*path, "type"), "NODE_TYPE_UNKNOWN", message, hint)
        return None

    def _placeholders_known(self, path: Path, cls: type[Node], value: dict[str, Any]) -> bool:
        known = True
        for inner, text in _texts(_parameters(value), ()):
            for placeholder in placeholders(text):
                wrong = unknown(placeholder, self._declared)
                misplaced = None if wrong else _misplaced(placeholder, cls, str(inner[0]))
                if wrong:
                    self._document.complain((*path, *inner), "PLACEHOLDER_UNKNOWN", wrong.message, wrong.hint)
                elif misplaced:
                    self._document.complain((*path, *inner), "VALUE_INVALID", misplaced)
                known = known and not wrong and not misplaced
        return known

    def _sample(self, path: Path, cls: type[Node], value: dict[str, Any]) -> Node | None:
        """The node as some legal run would have it, None and complaints when no run could."""
        parameters = _parameters(value)
        if "from_" in parameters:
            self._document.complain(
                (*path, "from_"), "KEY_UNKNOWN", "There is no key `from_` here.", "Did you mean `from`?", key=True
            )
            return None
        self._check_field(path, cls, parameters)
        holes = {inner: placeholders(text) for inner, text in _texts(parameters, ()) if placeholders(text)}
        last: list[Any] = []
        for number, facts in enumerate(self._facts(holes)):
            filled = {key: fill_all(member, facts, key in cls.confides) for key, member in parameters.items()}
            try:
                return _made(cls, value["type"], filled, parameters)
            except ValidationError as error:
                faults = faults_of(error, cls, filled)
                last = faults if number == 0 else [fault for fault in last if fault.path in {f.path for f in faults}]
        for fault in last:
            if not _left_to_the_run(fault.path, holes):
                self._document.complain((*path, *fault.path), fault.code, fault.message, fault.hint, key=fault.key)
        return None

    def _check_belongings(self, path: Path, value: dict[str, Any]) -> None:
        for inner, written in references(_parameters(value)) if self._belongings else ():
            if self._belongings and not placeholders(written):
                fault = self._belongings.fault(fill(written, {}).removeprefix(SCHEME))
                if fault:
                    self._document.complain((*path, *inner), *fault)

    def _facts(self, holes: Mapping[Path, list[Placeholder]]) -> Iterator[dict[str, Any]]:
        names = {placeholder.name for found in holes.values() for placeholder in found}
        samples = {
            name: spec.samples() if (spec := self._params.get(name.removeprefix("params."))) else [None]
            for name in names
            if name.startswith("params.")
        }
        metadata = dict.fromkeys((name for name in names if name.startswith("metadata.")), "1")
        for number in range(max((len(found) for found in samples.values()), default=1)):
            chosen = {name: found[min(number, len(found) - 1)] for name, found in samples.items()}
            yield SAMPLES | metadata | chosen

    def _check_field(self, path: Path, cls: type[Node], parameters: Mapping[str, Any]) -> None:
        asked = parameters.get("field")
        if cls.outputs and isinstance(asked, str) and asked.startswith("params."):
            name = asked.removeprefix("params.")
            if name not in self._declared:
                message = f"The flow has no param `{shown(name)}`."
                self._document.complain((*path, "field"), "VALUE_INVALID", message, hint_for(name, self._declared))


def _reason(fault: Fault) -> str:
    """What is wrong as a run tells it: the parameter first, where it is one that is at fault."""
    message = re.sub(r"^`[^`]*`:? ", "", fault.message).removesuffix(".")
    if not fault.path:
        return message[:1].lower() + message[1:]
    return f"{'.'.join(map(str, fault.path))}: {message}"


def _misplaced(placeholder: Placeholder, cls: type[Node], parameter: str) -> str | None:
    if placeholder.is_secret and parameter not in cls.confides:
        return f"`{parameter}` takes no secrets; only what is sent to other servers does."
    if issubclass(cls, Input) or parameter in BOUND_AT_LOAD:
        return f"`{parameter}` is settled before any run; it takes no placeholders."
    return None


def _spec(draft: Draft) -> NodeSpec:
    parameters, node = _parameters(draft.written), draft.sample
    open_ended = any(placeholders(text) for _, text in _texts(parameters, ()))
    return NodeSpec(
        id=draft.id,
        type=draft.written["type"],
        parameters=parameters,
        cls=INDEX[draft.written["type"]],
        **{name: getattr(node, name) for name in BOUND_AT_LOAD if node},
        fixed=None if open_ended else node,
    )


def _parameters(written: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in written.items() if name not in ("type", "from")}


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from _texts(member, (*path, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _texts(member, (*path, index))


def _left_to_the_run(path: Path, holes: Mapping[Path, list[Placeholder]]) -> bool:
    """Whether the value at `path` depends on facts of the run, so that a sample proves nothing against it."""
    return any(
        (hole[: len(path)] == path or path[: len(hole)] == hole) and not all(found.at_load for found in inside)
        for hole, inside in holes.items()
    )


def _made(cls: type[Node], kind: str, filled: dict[str, Any], written: Mapping[str, Any]) -> Node:
    """The validated node; a number that stands for a whole placeholder in a text parameter becomes text."""
    try:
        return cls.model_validate({"type": kind} | filled)
    except ValidationError as error:
        texts = {
            str(detail["loc"][0])
            for detail in error.errors(include_url=False)
            if detail["type"] == "string_type" and len(detail["loc"]) == 1
        }
        spelt = {
            name: str(filled[name])
            for name in texts
            if isinstance(written.get(name), str) and isinstance(filled.get(name), int | float)
        }
        if not spelt:
            raise
        return cls.model_validate({"type": kind} | filled | spelt)
