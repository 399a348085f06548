"""Uploadista's words for what is here: upload records, flows, jobs, typed outputs and the events of its sockets.

What is optional is left out where there is none: the vendor's clients refuse null. Flow and node ids, those of jobs
(our runs) and of uploads (our uploads and the files they become) are the house's own.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from pipeline import labels
from pipeline.errors import MetadataInvalid
from pipeline.graph.flow import Flow, NodeSpec
from pipeline.model import File, NodeStatus, Output, Run, Upload
from pipeline.nodes.base import GatherNode

DIALECT = "uploadista"
GIVEN = "uploadista"
"""The mark under which an upload keeps what its client said, as JSON."""
STORAGE, AWAITED = "uploadista.storage", "uploadista.awaited"
"""The marks of a run: the storage its client named, and the input nodes that were announced, set apart by blanks."""
TYPE = "application/octet-stream"
STREAMING_INPUT, STORAGE_OUTPUT = "streaming-input-v1", "storage-output-v1"
KINDS: Mapping[str, str] = {"convert": "optimize", "optimize": "optimize", "scan": "scan-virus", "first": "passthrough"}
"""The vendor's kinds of node where ours are called otherwise."""
PORTS: Mapping[str, str] = {"then": "true", "else": "false"}

_KEY = re.compile(r"[\w.:-]+")

Document = dict[str, Any]


def moment(at: datetime) -> str:
    """A time as the vendor writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _told(**fields: Any) -> Document:
    return {name: value for name, value in fields.items() if value is not None}


# Uploads


@dataclass(frozen=True)
class Said:
    """What a client said of an upload, as it is answered with; `flow` is the flow, node and job it belongs to."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    storage: str = "default"
    type: str = ""
    checksum: str | None = None
    flow: Mapping[str, str] | None = None
    segment: Mapping[str, Any] | None = None
    """Its place in a parallel upload: `name`, `index` and `total`."""
    until: float = 0
    """Unix seconds until which requests for it need no credentials."""
    granted: Sequence[str] = ()
    """What these may do."""

    @property
    def mark(self) -> Mapping[str, str]:
        """It as marks of the upload."""
        return {GIVEN: orjson.dumps({name: getattr(self, name) for name in self.__dataclass_fields__}).decode()}


def said_of(upload: Upload) -> Said:
    """What was said of an upload, also of one that came by another API."""
    intake = upload.intake
    if (text := intake.marks.get(GIVEN)) is not None:
        return Said(**orjson.loads(text))
    declared = intake.declared_type or TYPE
    return Said(with_facts(intake.metadata, declared, intake.name), upload.storage, declared)


def with_facts(metadata: Mapping[str, Any], media_type: str, name: str, last_modified: float | None = None) -> Document:
    """A client's metadata with what the vendor puts into it: `type`, `fileName`, and `lastModified` if known."""
    modified = None if last_modified is None else str(int(last_modified))
    return {**metadata, **_told(type=media_type, fileName=name, lastModified=modified)}


def upload_record(upload: Upload, offset: int, url: str | None = None) -> Document:
    """An upload as it stands, or as it came to its end; `url` is where its file is fetched."""
    said, size = said_of(upload), upload.intake.declared_size
    return _told(
        id=upload.id,
        offset=offset,
        size=size,
        sizeIsDeferred=True if size is None else None,
        storage={"id": said.storage, "type": said.type, "path": upload.key if url else ""},
        metadata=dict(said.metadata),
        creationDate=moment(upload.created_at),
        url=url,
        checksum=said.checksum,
        checksumAlgorithm="sha256" if said.checksum else None,
        flow=said.flow,
    )


def file_record(file: File, url: str, flow: Mapping[str, str] | None = None, storage: str | None = None) -> Document:
    """A file that no client of this protocol uploaded, such as an output, as a complete upload."""
    return _told(
        id=file.id,
        offset=file.size,
        size=file.size,
        storage={"id": storage or file.storage, "type": file.mime, "path": file.path or file.key},
        metadata=with_facts(file.metadata, file.mime, file.name) | _facts(file),
        creationDate=moment(file.created_at),
        url=url,
        flow=flow,
    )


def output_record(output: Output, run: Run, url: str, storage: str) -> Document:
    """An output of a run as a complete upload."""
    name = output.path.rsplit("/", 1)[-1]
    return _told(
        id=output.id,
        offset=output.size,
        size=output.size,
        storage={"id": storage, "type": output.mime, "path": output.path},
        metadata=with_facts({"mimeType": output.mime}, output.mime, name)
        | _told(width=output.width, height=output.height),
        creationDate=moment(run.finished_at or run.created_at),
        url=url,
        flow={"flowId": run.flow, "nodeId": output.node, "jobId": run.id},
    )


def _facts(file: File) -> Document:
    return _told(width=file.image.width, height=file.image.height) if file.image else {}


# Metadata


def metadata_of(text: str | None) -> Document:
    """A client's `metadata`, whichever way it wrote it: JSON, that in base64, or tus pairs; else nothing."""
    text = (text or "").strip()
    if not text:
        return {}
    for read in (_json, _json64, _pairs):
        if (found := read(text)) is not None:
            return found
    return {}


def _json(text: str | bytes) -> Document | None:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _json64(text: str) -> Document | None:
    decoded = _decoded(text)
    return None if decoded is None else _json(decoded)


def _pairs(text: str) -> Document | None:
    """`key b64value,key2 b64value`, a value left out being an empty text."""
    found: Document = {}
    for pair in text.split(","):
        key, _, value = pair.strip().partition(" ")
        decoded = _decoded(value.strip())
        if not _KEY.fullmatch(key) or decoded is None:
            return None
        found[key] = decoded.decode(errors="replace")
    return found


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def kept_metadata(given: Mapping[str, Any]) -> dict[str, str]:
    """Metadata as the house keeps it with a file: what fits it, any value but a text as JSON; the rest is left out."""
    kept: dict[str, str] = {}
    for key, value in given.items():
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        try:
            kept |= labels.metadata({key: text})
        except MetadataInvalid:
            continue
        if len(kept) == labels.KEYS:
            break
    return kept


# Flows


def flow_record(flow: Flow) -> Document:
    """A flow as its clients see it: what its nodes do, and not how."""
    return {
        "id": flow.id,
        "name": flow.title or flow.id,
        "nodes": [_node(flow, spec) for spec in flow.nodes.values()],
        "edges": [
            _told(
                source=edge.source,
                target=edge.target,
                sourcePort=PORTS.get(edge.source_port or "", edge.source_port),
                targetPort=edge.target_port,
            )
            for edge in flow.edges
        ],
    }


def _node(flow: Flow, spec: NodeSpec) -> Document:
    return {
        "id": spec.id,
        "name": named(spec.id),
        "description": (spec.cls.__doc__ or "").strip().split("\n")[0],
        "type": category(spec),
        "nodeTypeId": kind(spec.type),
        "inputTypeId": STREAMING_INPUT,
        "outputTypeId": STORAGE_OUTPUT,
        "keepOutput": spec.keep,
    }


def named(node_id: str) -> str:
    """What people are shown for a node: its id in words."""
    return re.sub(r"[-_]+", " ", node_id).strip().capitalize() or node_id


def kind(node_type: str) -> str:
    """The vendor's kind of node."""
    return KINDS.get(node_type, node_type.replace("_", "-"))


def category(spec: NodeSpec) -> str:
    """What a node is to the vendor's clients, which look for their entry by it."""
    if spec.type in ("input", "conditional"):
        return spec.type
    return "merge" if spec.type in ("zip", "first") or issubclass(spec.cls, GatherNode) else "process"


# Jobs

TASKS: Mapping[NodeStatus, str] = {
    "queued": "pending",
    "waiting": "pending",
    "running": "running",
    "completed": "completed",
    "skipped": "completed",
    "failed": "failed",
    "cancelled": "failed",
}


def task(node: str, status: str, created: datetime, updated: datetime, result: Any = None, error: str = "") -> Document:
    """One node of a job; while it is paused `result` is the upload that its client is to fill."""
    times = {"createdAt": moment(created), "updatedAt": moment(updated)}
    return _told(nodeId=node, status=status, result=result, error=error or None, **times)


def typed_output(node: str, result: Any, at: datetime, node_type: str | None = STORAGE_OUTPUT) -> Document:
    """What a flow made at one of its ends."""
    return _told(nodeId=node, nodeType=node_type, data=result, timestamp=moment(at))


def output_nodes(outputs: Sequence[Output]) -> Sequence[str]:
    """By output the node that clients know it by: the save node, or, where that saves several, what each came from."""
    counts = [sum(other.node == output.node for other in outputs) for output in outputs]
    return [output.node if count == 1 else output.source for output, count in zip(outputs, counts, strict=True)]


def status_of(run: Run, paused: bool) -> str:
    """A run's status in the vendor's words; `paused` says that it waits for a person or for an announced input."""
    if run.status == "waiting":
        return "paused" if paused else "started"
    if run.status == "queued":
        return "running" if run.marks.get(AWAITED) else "started"
    return run.status


def job_record(
    run: Run,
    status: str,
    tasks: Sequence[Document],
    outputs: Sequence[Document] | None = None,
    paused_at: str | None = None,
) -> Document:
    """A run as a job."""
    ended = run.finished_at
    return _told(
        id=run.id,
        flowId=run.flow,
        storageId=run.marks.get(STORAGE, "default"),
        status=status,
        createdAt=moment(run.created_at),
        updatedAt=moment(ended or run.started_at or run.created_at),
        tasks=list(tasks),
        error=run.error.message if run.error else None,
        endedAt=moment(ended) if ended else None,
        result=list(outputs) if outputs is not None else None,
        pausedAt=paused_at,
    ) | {"clientId": run.project}


def execution_state(order: Sequence[str], node: str, inputs: Mapping[str, Sequence[str]]) -> Document:
    """Where in the `order` of its nodes a job rests, with the ids of its `inputs`, but for those that lack a file."""
    given = {name: list(ids) for name, ids in inputs.items() if ids}
    return {"executionOrder": list(order), "currentIndex": order.index(node), "inputs": given}


# Events of the sockets


def flow_event(event_type: str, job: str, **more: Any) -> Document:
    """The payload of a flow socket's message; what is None is left out."""
    return _told(eventType=event_type, jobId=job, **more)


def upload_event(event_type: str, told: Mapping[str, Any], flow: Mapping[str, str] | None = None) -> Document:
    """The payload of an upload socket's message: `told` is its `data`."""
    return _told(type=event_type, data=dict(told), flow=flow)


def envelope(kind: str, payload: Mapping[str, Any], at: datetime) -> Document:
    """A message of a socket: `kind` is `flow_event` or `upload_event`."""
    return {"type": kind, "payload": dict(payload), "timestamp": moment(at)}
