"""From what is asked for to a run: the steps become a flow that the run carries, so that nothing is left behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.api.dialects.ittybit import files
from pipeline.api.dialects.ittybit.ask import Ask, text_of
from pipeline.api.dialects.ittybit.collecting import named
from pipeline.api.dialects.ittybit.errors import BadRequest, Missing
from pipeline.api.dialects.ittybit.tasks.drafting import drafted, hook_of
from pipeline.api.dialects.ittybit.tasks.steps import SAME, Step, kinds_in
from pipeline.errors import FlowInvalid, FlowNotFound, FlowPaused
from pipeline.graph.flow import Flow, load_flow
from pipeline.model import Fetch, File, Hook, Remote, Run
from pipeline.uploads.fetching import OPEN
from pipeline.vendors.ittybit.tasks import Mark
from pipeline.vendors.ittybit.words import id_of

WAIT = 30.0
"""Seconds that a file is waited for that is being fetched."""


@dataclass(frozen=True)
class Plan:
    """A flow that can be run: what its further inputs get, who is told of its end, what is kept with its runs."""

    flow: str | Flow
    """By its id, or itself when it is in no registry."""
    version: str
    main: str
    """The input that gets the file."""
    inputs: Mapping[str, tuple[str | Remote, ...]]
    hooks: tuple[Hook, ...]
    mark: Mark

    @property
    def id(self) -> str:
        """What its flow is called."""
        return self.flow if isinstance(self.flow, str) else self.flow.id

    @property
    def graph(self) -> str | None:
        """The document of a flow that is in no registry."""
        return None if isinstance(self.flow, str) else self.flow.text

    async def run(self, ask: Ask, given: str | Remote, metadata: Mapping[str, str] | None = None) -> Run:
        """Run it; raises what `Runs.start` does."""
        return await ask.call.core.runs.start(
            ask.grant,
            self.flow,
            {self.main: [given], **self.inputs},
            metadata=metadata,
            version=self.version,
            hooks=self.hooks,
            marks=self.mark.kept(),
        )


async def planned(ask: Ask, steps: Sequence[Step], mark: Mark, webhook: str | None = None) -> Plan:
    """The plan of steps; raises `BadRequest`."""
    draft = drafted(steps, await _flows(ask, kinds_in(steps)), webhook)
    try:
        flow = load_flow(f"ittybit-{mark.kind.replace('_', '-')}", draft.text)
    except FlowInvalid as cause:
        raise BadRequest(reason=_complaint(cause)) from cause
    inputs = {port: (await _laid(ask, given),) for port, given in draft.layers.items()}
    kept = Mark(mark.kind, mark.options, draft.steps, mark.workflow, mark.automation, mark.object)
    return Plan(flow, flow.version, "input", inputs, tuple(draft.hooks), kept)


async def mapped(ask: Ask, workflow: str, mark: Mark, webhook: str | None = None) -> Plan:
    """The plan of a workflow that the settings map to a flow; raises `BadRequest`."""
    flow = await flow_of(ask, workflow)
    hooks = (hook_of(webhook),) if webhook else ()
    return Plan(flow.id, flow.version, next(iter(flow.inputs)), {}, hooks, mark)


async def flow_of(ask: Ask, workflow: str) -> Flow:
    """The flow that a `workflow_id` means; raises `BadRequest` for one that the settings map to no flow."""
    name = ask.grant.project.workflows.get(workflow)
    try:
        if name is not None:
            return await ask.call.core.runs.flow(name)
    except (FlowNotFound, FlowPaused) as cause:
        raise BadRequest(reason=f"The workflow `{workflow[:64]}` cannot be run: {cause.message}") from cause
    raise BadRequest(reason=f"Workflow `{workflow[:64]}` not found.")


async def _flows(ask: Ask, kinds: set[str]) -> Mapping[str, Flow]:
    """The flows that the settings name for kinds of task; raises `BadRequest` for one that is not there."""
    named = ask.grant.project.kinds
    wanted = {name for kind in kinds for name in (kind, *SAME.get(kind, ())) if name in named}
    try:
        return {kind: await ask.call.core.runs.flow(named[kind]) for kind in sorted(wanted)}
    except (FlowNotFound, FlowPaused) as cause:
        raise BadRequest(reason=cause.message) from cause


async def _laid(ask: Ask, given: Mapping[str, Any]) -> str | Remote:
    if "file_id" in given:
        return (await file_of(ask, given["file_id"])).id
    return Remote(url=str(given.get("url") or given.get("src")))


def _complaint(fault: FlowInvalid) -> str:
    complaint = fault.facts["complaints"][0]
    return str(complaint.message)


# What it is run on


async def given_of(ask: Ask, fields: Mapping[str, Any], step: Step | None = None) -> tuple[str | Remote, File | None]:
    """The file that a request names, or where it lies: `file_id`, `media_id`, `url` or `input`.

    Raises `BadRequest` or `Missing`.
    """
    told = {name: text_of(fields, name, 8000) for name in ("file_id", "media_id", "url")}
    if isinstance(fields.get("input"), str):
        told |= _read(fields["input"])
    if told["file_id"]:
        file = await file_of(ask, told["file_id"])
        return file.id, file
    if told["media_id"]:
        file = await _first(ask, told["media_id"])
        return file.id, file
    if told["url"]:
        claims = {"folder": step.folder} if step and step.kind == "ingest" and step.folder else {}
        return Remote(url=told["url"], name=step.name if step and step.kind == "ingest" else None, claims=claims), None
    raise BadRequest(reason="Either `file_id` or `url` is required.")


def _read(text: str) -> dict[str, str]:
    """An `input`, which may be an id of either kind or an address."""
    name = "file_id" if text.startswith("file_") else "media_id" if text.startswith("med_") else "url"
    return {name: text}


async def file_of(ask: Ask, text: str) -> File:
    """The file that an id means, waited for while it is being fetched; raises `Missing` or `BadRequest`."""
    id = id_of(text, "file")
    if id is None:
        raise Missing(what="File")
    found = await files.known(ask, id)
    if isinstance(found, Fetch) and found.status in OPEN:
        await ask.call.core.fetching.wait(ask.grant, found.id, WAIT)
        found = await files.known(ask, id)
    if isinstance(found, Fetch):
        raise BadRequest(reason="The file has not been fetched yet." if not found.error else found.error.message)
    return found


async def _first(ask: Ask, text: str) -> File:
    media = await named(ask, text)
    if media.first is None:
        raise BadRequest(reason="The media has no file.")
    return media.first
