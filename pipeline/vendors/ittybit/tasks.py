"""A task: a run in the vendor's words, or one step of a workflow, all of whose steps are one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from pipeline.model import File, NodeStatus, Run, RunStatus
from pipeline.vendors.ittybit.files import file_object
from pipeline.vendors.ittybit.words import (
    ITTYBIT,
    SUCCEEDED,
    Document,
    View,
    file_id,
    moment,
    project_id,
    spelled,
    status_of,
    task_id,
    times,
)

WORKFLOW = "workflow"
DONE = frozenset({"completed", "skipped", "failed", "cancelled"})
HARMS = ("nudity", "sexual", "violence", "gore")


@dataclass(frozen=True)
class Mark:
    """What is kept with a run of what was asked for."""

    kind: str = WORKFLOW
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: Sequence[Mapping[str, Any]] = ()
    """Each with its `kind`, `ref`, `node`, `parent`, `options` and, of conditions, the `probes` of each."""
    workflow: Sequence[Any] | None = None
    automation: str | None = None
    object: str = "task"

    @classmethod
    def of(cls, run: Run) -> Mark:
        """What is kept with a run; of one that was started otherwise, that it is a workflow."""
        return cls.read(run.marks)

    @classmethod
    def read(cls, marks: Mapping[str, str]) -> Mark:
        """What marks say."""
        text = marks.get(ITTYBIT)
        return cls(**orjson.loads(text)) if text else cls()

    def kept(self) -> dict[str, str]:
        """As marks of a run."""
        return {ITTYBIT: orjson.dumps(self).decode()}


def task_object(
    view: View, run: Run, inputs: Sequence[File | None], outputs: Mapping[str, File], step: int | None = None
) -> Document:
    """A task, or the step of this number; `inputs` are the files of its first input, `outputs` by id what it made."""
    mark = Mark.of(run)
    asked = mark.steps[step] if step is not None else {"kind": mark.kind, "options": mark.options}
    status = run.status if step is None else _standing(run, asked)
    made = [outputs[one.id] for one in run.outputs if one.id in outputs]
    if step is not None:
        made = [file for file in made if file.node == asked.get("node")]
    shown = [file_object(view, file) for file in made]
    if mark.kind == "ingest" and run.status == "completed":
        shown = [file_object(view, file) for file in inputs if file]
    told: Document = {
        "id": _id(mark, run, view, step),
        "object": mark.object,
        "kind": asked["kind"],
        "input": _input(view, run, inputs),
        "options": asked.get("options") or {},
        "output": shown[0] if shown else None,
        "outputs": shown,
        "ref": asked.get("ref"),
        "status": status_of(status, view.version),
        "progress": _progress(run) if step is None else 100 if status == "completed" else 0,
        "error": run.error.message if run.error and status == "failed" else None,
        "results": _results(run, mark, step),
        "created_by": spelled("auto", mark.automation) if mark.automation else None,
        "parent_id": None if step is None else _id(mark, run, view),
        "workflow": _workflow(view, run, mark) if step is None and mark.kind == WORKFLOW else None,
        "automation_id": spelled("auto", mark.automation) if mark.automation else None,
        "project_id": project_id(run.project),
        **times(view, run.created_at, run.finished_at or run.started_at),
        "started": moment(run.started_at),
        "completed": moment(run.finished_at),
    }
    if view.version >= SUCCEEDED:
        told["finished_at"] = int(run.finished_at.timestamp()) if run.finished_at else None
    return told


def _id(mark: Mark, run: Run, view: View, step: int | None = None) -> str:
    return spelled("job", run.id) if mark.object == "job" and step is None else task_id(run.id, view.version, step)


def _input(view: View, run: Run, inputs: Sequence[File | None]) -> Document:
    if inputs and inputs[0]:
        return file_object(view, inputs[0])
    id = next((id for group in run.inputs.values() for id in group), "")
    remote = run.fetches.get(id)
    return {"url": remote.url, "filename": remote.name} if remote else {"id": file_id(id)}


def _standing(run: Run, asked: Mapping[str, Any]) -> RunStatus:
    """What has become of a step: what its node has come to, or what its branch has."""
    state = run.nodes.get(asked.get("node") or "")
    if state is None or state.status in ("queued", "running", "waiting"):
        return run.status
    return _node(state.status)


def _progress(run: Run) -> int:
    """Percent of the nodes that have come to an end."""
    if run.status == "completed" or not run.nodes:
        return 100 if run.status == "completed" else 0
    over = sum(state.status in DONE for state in run.nodes.values())
    return min(99, over * 100 // len(run.nodes))


def _workflow(view: View, run: Run, mark: Mark) -> list[Document]:
    """The steps and what has become of each; those that were asked for, where they are not ours to tell apart."""
    if not mark.steps:
        return [
            {"kind": state.type, "ref": node, "status": status_of(_node(state.status), view.version)}
            for node, state in run.nodes.items()
            if state.type != "input"
        ]
    return [
        {
            "id": task_id(run.id, view.version, number),
            "kind": step["kind"],
            "ref": step.get("ref"),
            "status": status_of(_standing(run, step), view.version),
        }
        for number, step in enumerate(mark.steps)
    ]


def _node(status: NodeStatus) -> RunStatus:
    return "cancelled" if status == "skipped" else status


# Results


def _results(run: Run, mark: Mark, step: int | None) -> Document | None:
    number = 0 if step is None and mark.kind != WORKFLOW else step
    asked = mark.steps[number] if number is not None and number < len(mark.steps) else {}
    if asked.get("kind") == "conditions":
        return _verdict(run, asked)
    found = _found(run, asked.get("node"))
    if not found:
        return None
    return _judged(found) if asked.get("kind") == "nsfw" else found


def _verdict(run: Run, asked: Mapping[str, Any]) -> Document | None:
    if run.status != "completed":
        return None
    passed: list[Any] = []
    failed: list[Any] = []
    for condition, probe in zip(asked["conditions"], asked["probes"], strict=True):
        state = run.nodes.get(probe)
        (passed if state and state.status == "completed" else failed).append(condition)
    return {"passed": passed, "failed": failed, "continue": not failed}


def _found(run: Run, node: str | None) -> Document:
    """What a step, or the whole run, found out; of a flow within it, all that its nodes did."""
    told: Document = {}
    for name, facts in run.facts.items():
        if node in (None, name) and isinstance(facts, Mapping):
            inner = [value for value in facts.values() if isinstance(value, Mapping)]
            for one in inner if name == node and len(inner) == len(facts) else [facts]:
                told |= one
    return told


def _judged(found: Document) -> Document:
    """What a flow found of what is not safe for work, in the words of each version."""
    harmful = bool(found.get("is_nsfw", found.get("detected", any(found.get(name) for name in HARMS))))
    blank: Document = {
        "is_nsfw": harmful,
        "detected": harmful,
        "confidence": None,
        **dict.fromkeys(HARMS, None),
        "categories": [name for name in HARMS if found.get(name)],
        "severity": {},
        "description": None,
        "timeline": [],
    }
    return blank | found
