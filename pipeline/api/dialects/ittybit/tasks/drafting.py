"""From steps to one flow: each step is a node or a short chain of them, what follows takes what it makes.

Steps that conditions lead to hang on nodes that choose. A step that posts its result is no node: it is told of when
the run has ended, with what became of the step before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urldefrag

import orjson

from pipeline.api.dialects.ittybit.conditions import tests_of
from pipeline.api.dialects.ittybit.errors import BadRequest
from pipeline.api.dialects.ittybit.tasks import films, pictures
from pipeline.api.dialects.ittybit.tasks.steps import MOST, SAME, Step, count
from pipeline.graph.flow import Flow
from pipeline.model import Hook
from pipeline.vendors.ittybit.refs import node_of

INPUT = "input"


@dataclass
class Draft:
    """A flow as it grows: its nodes by their ids, what its inputs get, who is told, and what each step has become."""

    flows: Mapping[str, Flow]
    """The flow that does it, for each kind that is done by one."""
    nodes: dict[str, dict[str, Any]] = field(default_factory=lambda: {INPUT: {"type": "input"}})
    layers: dict[str, Any] = field(default_factory=dict)
    """By input node, what is laid over a picture: `{file_id}` or `{url}`."""
    hooks: list[Hook] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The flow's document."""
        return orjson.dumps({"nodes": self.nodes}).decode()

    def add(self, name: str, source: str, type: str, **parameters: Any) -> str:
        """Add a node that takes from `source`; what is None is left out. Returns its name."""
        told = {key: value for key, value in parameters.items() if value is not None}
        self.nodes[name] = {"type": type, "from": source, **told}
        return name

    def input(self, given: Mapping[str, Any]) -> str:
        """Add an input node for something that is laid over a picture."""
        name = f"layer{len(self.layers) + 1}"
        self.nodes[name] = {"type": "input"}
        self.layers[name] = given
        return name

    def save(self, step: Step, number: int, node: str, format: str | None = None) -> None:
        """Save what a node made, as the step says."""
        ref = step.ref if step.ref != node.partition("--")[0] else None
        path = f"{number}/{_plain(step.name)}" if step.name else None
        if ref and not path:  # what stands for it in the id of its node nobody would read
            path = f"{{file.stem}}-{_cleaned(ref)}.{{format}}"
        self.add(f"s{number}-save", node, "save", path=path, folder=_plain(step.folder or "") or None, format=format)


def drafted(steps: Sequence[Step], flows: Mapping[str, Flow], webhook: str | None = None) -> Draft:
    """The flow that does all of the steps, told of to `webhook` when it has; raises `BadRequest`."""
    draft = Draft(flows)
    if count(steps) > MOST:
        raise BadRequest(reason=f"A workflow has at most {MOST} steps.")
    for step in steps:
        _add(draft, step, INPUT, None)
    if len(draft.nodes) == 1:  # nothing is made: it is looked at, so that there is something that ends
        draft.add("s-look", INPUT, "info")
    if webhook:
        draft.hooks.append(hook_of(webhook))
    return draft


def hook_of(url: str, step: int | None = None) -> Hook:
    """Who is told when a run has ended; the fragment, which is never sent, says of which step."""
    plain, _ = urldefrag(url)
    if not plain.startswith(("http://", "https://")):
        raise BadRequest(reason="A webhook must have an http or https URL.")
    told = plain if step is None else f"{plain}#{step}"
    return Hook(url=told, events=("run.completed", "run.failed"), dialect="ittybit")


Add = Callable[[Draft, Step, int, str, str], str]
"""Adds what a step needs: its number, where it takes from, and the name of what it makes; what follows takes from."""


def _add(draft: Draft, step: Step, source: str, parent: int | None) -> None:
    number = len(draft.steps)
    try:
        node = node_of(step.ref, number, set(draft.nodes))
    except ValueError as cause:
        raise BadRequest(reason=str(cause)) from cause
    about: dict[str, Any] = {"kind": step.kind, "ref": step.ref, "parent": parent, "options": dict(step.options)}
    draft.steps.append(about)
    if step.webhook:
        draft.hooks.append(hook_of(step.webhook, number))
    if step.kind in ("http", "webhook"):
        about["node"] = draft.steps[parent]["node"] if parent is not None else None
        about["options"] = {"url": step.url}
        if not step.url:
            raise BadRequest(reason="`url` is required for a task of the kind `http`.")
        draft.hooks.append(hook_of(step.url, number))
    else:
        source = _act(step.kind)(draft, step, number, source, node)
        about.setdefault("node", node)
    for following in step.next:
        _add(draft, following, source, number)


def _act(kind: str) -> Add:
    return ACTS.get(kind, _by_flow)


def _image(draft: Draft, step: Step, number: int, source: str, node: str) -> str:
    format = pictures.add(draft, step, number, source, node)
    draft.save(step, number, node, format)
    return node


def _video(draft: Draft, step: Step, number: int, source: str, node: str) -> str:
    films.add(draft, step, number, source, node)
    draft.save(step, number, node)
    return node


def _conditions(draft: Draft, step: Step, number: int, source: str, node: str) -> str:
    """A chain of nodes that choose, and for each condition one that is reached when it holds."""
    tests, about = tests_of(step.conditions), draft.steps[number]
    if not tests:
        raise BadRequest(reason="`conditions` is required for a task of the kind `conditions`.")
    about |= {"conditions": [dict(test.told) for test in tests], "probes": []}
    way = source
    for place, test in enumerate(tests):
        port = "then" if test.holds else "else"
        way = f"{draft.add(f's{number}-if{place}', way, **_node(test.node))}.{port}"
        apart = f"s{number}-if{place}"
        if place:
            apart = draft.add(f"s{number}-apart{place}", source, **_node(test.node))
        about["probes"].append(draft.add(f"s{number}-held{place}", f"{apart}.{port}", "info"))
    about["node"] = about["probes"][0] if len(tests) == 1 else draft.add(node, way, "info")
    return way


def _node(node: Mapping[str, Any]) -> dict[str, Any]:
    value = node["value"]
    return {**node, "value": _plain(value) if isinstance(value, str) else value}


def _ingest(draft: Draft, step: Step, number: int, source: str, node: str) -> str:
    """What is got by its input; looked at, so that there is something that ends."""
    draft.add(node, source, "info")
    return source


def _by_flow(draft: Draft, step: Step, number: int, source: str, node: str) -> str:
    """By the flow that the settings name: what it saves has the step's ref, what it finds are its results."""
    flow = next((draft.flows[kind] for kind in (step.kind, *SAME.get(step.kind, ())) if kind in draft.flows), None)
    if flow is None:
        raise BadRequest(
            reason=f"Tasks of the kind `{step.kind}` are not done here; the project's `kinds` can name a flow for them."
        )
    params = {name: _told(value) for name, value in step.options.items() if name in flow.params}
    draft.add(node, source, "subflow", flow=flow.id, params=params or None)
    draft.save(step, number, node)
    return node


ACTS: Mapping[str, Add] = {"image": _image, "video": _video, "conditions": _conditions, "ingest": _ingest}
"""How steps are added that nodes of ours do; others are done by flows."""


def _told(value: Any) -> Any:
    return _plain(value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    """A text as it is, in which nothing is a placeholder."""
    return text.replace("{", "{{").replace("}", "}}")


def _cleaned(ref: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "._-" else "_" for sign in ref)
