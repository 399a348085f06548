"""What sockets tell of a job or of an upload, made of our events: in their order, each once, nothing behind an end.

A socket is a new beginning to its client, so each tells from the beginning; what it told is remembered with it alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.api.dialects.uploadista.flows import OPENED
from pipeline.api.dialects.uploadista.uploads import REFUSED
from pipeline.graph.flow import Flow
from pipeline.model import ENDED, Event, Run
from pipeline.records.trails import Bytes
from pipeline.vendors.uploadista import Document, category, flow_event, named, upload_event

GIVEN_UP = "The upload was given up."

Outputs = Callable[[], Awaitable[Sequence[Document]]]
Record = Callable[[str], Awaitable[Document | None]]


class FlowTale:
    """What one socket tells of one job; `outputs` are those of the run once it is completed, `record` an upload's."""

    def __init__(self, run: Run, flow: Flow | None, outputs: Outputs, record: Record) -> None:
        self._run = run
        self._nodes = flow.nodes if flow else {}
        self._outputs = outputs
        self._record = record
        self._attempt = 0
        self._begun = False
        self._started: set[str] = set()
        self._ended: set[str] = set()
        self._paused: set[str] = set()
        self.over = False

    async def of(self, event: Event) -> AsyncGenerator[Document, None]:
        """The payloads that tell of `event`; none of what belongs to tries before the one that is known."""
        self._attempt = int(event.facts.get("attempt", self._attempt))
        if self.over or self._attempt < self._run.attempt:
            return
        kind, _, what = event.type.partition(".")
        if kind == "run" and not self._begun:
            self._begun = True
            yield self._flow("flow-start")
        if kind == "node":
            for told in self._of_node(what, str(event.facts.get("node"))):
                yield told
        elif event.type == OPENED:
            async for told in self._opened(event.facts):
                yield told
        elif kind == "run":
            for told in await self._of_run(what, event.facts):
                yield told

    async def ended(self, run: Run) -> Sequence[Document]:
        """How a run ended whose log is gone."""
        facts = {"error": run.error.model_dump()} if run.error else {}
        return [self._flow("flow-start"), *await self._of_run(run.status, facts)]

    async def _of_run(self, what: str, facts: Mapping[str, Any]) -> Sequence[Document]:
        self.over = what in ENDED
        if what == "completed":
            return [self._flow("flow-end", outputs=list(await self._outputs()))]
        if what == "failed":
            return [self._flow("flow-error", error=(facts.get("error") or {}).get("message", "The flow failed."))]
        if what == "cancelled":
            return [self._flow("flow-cancel")]
        if what == "paused":
            return [self._flow("flow-pause")]
        if what == "fed" and (node := str(facts.get("input"))) in self._paused:
            self._paused.discard(node)
            return [self._node("node-resume", node, typed=True)]
        return []

    async def _opened(self, facts: Mapping[str, Any]) -> AsyncGenerator[Document, None]:
        node = str(facts["node"])
        if node in self._nodes:
            self._paused.add(node)
            yield self._node("node-start", node, typed=True)
            yield self._node("node-pause", node, partialData=await self._record(str(facts["upload"])))

    def _of_node(self, what: str, node: str) -> Iterator[Document]:
        """Each once, however many workers begin it.

        A node that fails ends the run, which tells of it; one of a flow inside this one is unknown to clients.
        """
        if node not in self._nodes or what == "failed":
            return
        if node not in self._started:
            self._started.add(node)
            yield self._node("node-start", node, typed=True)
        if what in ("completed", "skipped") and node not in self._ended:
            self._ended.add(node)
            yield self._node("node-end", node)

    def _node(self, event_type: str, node: str, *, typed: bool = False, **more: Any) -> Document:
        kind = category(self._nodes[node]) if typed else None
        return self._flow(event_type, nodeId=node, nodeName=named(node), nodeType=kind, **more)

    def _flow(self, event_type: str, **more: Any) -> Document:
        return flow_event(event_type, self._run.id, flowId=self._run.flow, **more)


class UploadTale:
    """What one socket tells of one upload, as it was when the socket came; `record` as it is at its end."""

    def __init__(self, begun: Document, record: Record) -> None:
        self._begun = begun
        self._record = record
        self._offset = int(begun["offset"])
        self.over = False

    async def start(self, *, complete: bool) -> Sequence[Document]:
        """Where it stands."""
        started = [self._told("upload-started", self._begun)]
        if complete:
            return [*started, *self._completed(self._begun)]
        return [*started, self._progress()] if self._offset else started

    async def of(self, told: Event | Bytes) -> Sequence[Document]:
        """The payloads that tell of it."""
        if self.over:
            return []
        if isinstance(told, Bytes):
            return self._came(told.offset) if told.offset is not None else await self._gone()
        if told.type in ("file.uploaded", "file.stored"):
            return self._completed(await self._record(self._id) or self._begun)
        if told.type == REFUSED:
            return self._failed(self._told("upload-validation-failed", {"id": self._id, **told.facts}))
        return self._failed() if told.type == "file.infected" else []

    @property
    def _id(self) -> str:
        return str(self._begun["id"])

    def _came(self, offset: int) -> Sequence[Document]:
        """Bytes that a cut took away again are not told."""
        if offset <= self._offset:
            return []
        self._offset = offset
        return [self._progress()]

    async def _gone(self) -> Sequence[Document]:
        """A segment that became a part of the whole is complete."""
        record = await self._record(self._id)
        return self._completed(record) if record and "url" in record else self._failed()

    def _completed(self, record: Document) -> Sequence[Document]:
        self.over = True
        known = record.get("checksumAlgorithm")
        checked = {"id": self._id, "validationType": "checksum", "algorithm": known}
        self._offset, came = int(record["offset"]), self._offset
        return [
            *([self._progress()] if self._offset > came else []),
            *([self._told("upload-validation-success", checked)] if known else []),
            self._told("upload-complete", record),
        ]

    def _failed(self, *before: Document) -> Sequence[Document]:
        self.over = True
        return [*before, self._told("upload-failed", {"id": self._id, "error": GIVEN_UP})]

    def _progress(self) -> Document:
        total = self._begun.get("size") or (self._offset if self.over else 0)
        return self._told("upload-progress", {"id": self._id, "progress": self._offset, "total": total})

    def _told(self, event_type: str, data: Document) -> Document:
        return upload_event(event_type, data, self._begun.get("flow"))
