"""What the native API asks for and answers with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator

from pipeline.dialing import LONGEST_URL
from pipeline.documents import Complaint
from pipeline.model import (
    Event,
    FlowPointer,
    ImageFacts,
    Letter,
    LetterReason,
    NodeState,
    Problem,
    Queue,
    Region,
    Run,
    RunStatus,
    Upload,
    WorkerBeat,
)
from pipeline.units import Seconds

T = TypeVar("T")
NAME_LENGTH = 1000
LABEL_LENGTH = 2000
Metadata = Mapping[str, str]


class Shape(BaseModel):
    """Something answered with; every field is always there."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_mode="serialization",  # type: ignore[typeddict-unknown-key]
        json_schema_serialization_defaults_required=True,
    )


class Ask(BaseModel):
    """Something asked for; an unknown field is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Listing(Shape, Generic[T]):
    """One page of a list; send `next` back as `cursor` to go on."""

    items: tuple[T, ...]
    next: str | None


class Paging(Ask):
    limit: int = Field(default=50, ge=1, le=500, description="Rows on one page.")
    cursor: str | None = Field(default=None, description="`next` of the page before.")


class Nothing(Ask):
    """A query without parameters."""


# Files and uploads


class FileShape(Shape):
    """Finished, immutable bytes with measured facts."""

    id: str
    name: str
    mime: str = Field(description="The type its bytes have, whatever was declared.")
    size: int
    sha256: str
    image: ImageFacts | None
    metadata: Metadata
    tags: tuple[str, ...]
    folder: str = Field(description="`/` is the root.")
    region: Region | None = Field(description="The part of the picture that matters, pixels.")
    source: str | None = Field(description="The URL it was fetched from.")
    private: bool
    published: bool = Field(description="False, it is delivered to those with an API key only.")
    description: str
    lineage: str | None = Field(description="What it shares with the files it replaced under the same path.")
    version: int = Field(description="Which of its lineage it is.")
    headed_at: datetime | None = Field(description="When it was made the current one of its lineage again.")
    created_at: datetime
    updated_at: datetime | None = Field(description="When something beside its bytes was changed last.")
    stored_at: datetime | None = Field(description="None until it is kept for good.")
    expires_at: datetime | None = Field(description="When a file that was not stored is removed.")
    run: str | None = Field(description="The run that made it.")
    path: str | None = Field(description="The path its save node gave it.")
    node: str | None = Field(description="The node that made it.")
    root: str | None = Field(description="The file it was made of, or what it is put with.")
    follow: str | None = Field(description="The run that was started with it.")
    facts: Mapping[str, Any] = Field(description="What flows found out about it, by type of node.")
    url: str = Field(description="Fetchable without a key; of a private file it is signed and expires.")


class SendQuery(Ask):
    name: str | None = Field(default=None, max_length=NAME_LENGTH, description="Name of a file sent as the body.")
    store: bool | None = Field(default=None, description="Keep it for good; left out, as the project says.")
    private: bool = Field(default=False, description="Give it signed addresses only.")
    route: str | None = Field(default=None, max_length=100, description="The route of the project it comes in by.")
    folder: str = Field(default="/", max_length=LABEL_LENGTH, description="Where it is filed.")
    tag: tuple[str, ...] = Field(default=(), description="Given again for each tag.")
    flow: str | None = Field(default=None, max_length=64, description="A flow to run on it.")
    params: str | None = Field(default=None, max_length=8000, description="Of the flow: a JSON object.")


class ContentQuery(Ask):
    expires: str | None = Field(default=None, description="Of a signed address.")
    signature: str | None = Field(default=None, description="Of a signed address.")
    download: bool = Field(default=False, description="Ask the browser to save it.")


class UploadAsk(Ask):
    """What is about to be sent."""

    name: str = Field(default="file", max_length=NAME_LENGTH)
    size: int | None = Field(default=None, ge=0, description="Bytes, when known.")
    type: str | None = Field(default=None, max_length=200)
    way: Literal["append", "parts", "put"] = Field(
        default="append", description="How the bytes come: at offsets, as numbered parts, or by one PUT."
    )
    part_size: int | None = Field(default=None, ge=1, description="Of `parts`: bytes of every part but the last.")
    route: str | None = Field(default=None, max_length=100, description="The route of the project it comes in by.")
    flow: str | None = Field(default=None, max_length=64, description="The flow to run when it is a file.")
    params: Mapping[str, Any] = Field(default={}, description="Of the flow.")
    input: str | None = Field(default=None, max_length=64, description="Its input for the file; left out, the first.")
    metadata: Metadata = {}
    tags: tuple[str, ...] = ()
    folder: str = Field(default="/", max_length=LABEL_LENGTH)
    region: Region | None = None
    store: bool | None = None
    private: bool = False


class SentTag(Ask):
    number: int = Field(ge=1)
    etag: str = Field(max_length=200, description="What the PUT of the part was answered with.")


class FinishAsk(Ask):
    """May be left out."""

    parts: tuple[SentTag, ...] = Field(
        default=(), max_length=10_000, description="Which bytes count of parts that were sent again."
    )

    @field_validator("parts")
    @classmethod
    def _each_once(cls, parts: tuple[SentTag, ...]) -> tuple[SentTag, ...]:
        if len({part.number for part in parts}) < len(parts):
            raise ValueError("each part may be named once")
        return parts


class TicketAsk(Ask):
    """What somebody without a key may send, once."""

    expires_in: Seconds = Field(default=600, ge=1, le=3600, description="How long the address takes the file.")
    name: str | None = Field(default=None, max_length=NAME_LENGTH, description="Left out, as its sender calls it.")
    max_size: int | None = Field(default=None, ge=1, description="Bytes; the project's limit holds beside it.")
    types: tuple[str, ...] = Field(default=("*/*",), max_length=50, description="Media types, such as `image/*`.")
    route: str | None = Field(default=None, max_length=100, description="The route of the project it comes in by.")
    metadata: Metadata = {}
    store: bool | None = None
    private: bool = False


class TicketShape(Shape):
    """An address that takes one file from whoever knows it."""

    url: str
    expires_at: datetime


class PartShape(Shape):
    """One part: where it is to be put and how much of it is there."""

    number: int
    size: int = Field(description="Bytes it must have.")
    received: int = Field(description="Bytes of it that are there.")
    url: str


class PartsShape(Shape):
    """Every part of an upload."""

    items: tuple[PartShape, ...]


class PutAddress(Shape):
    """Where the file is to be put, and what the request must say."""

    url: str
    headers: Mapping[str, str] = Field(description="To be sent exactly so.")
    size: int | None
    expires_at: datetime


class UploadShape(Shape):
    """Bytes still arriving."""

    id: str
    name: str
    size: int | None
    type: str | None
    offset: int = Field(description="Bytes that are safe; send the next ones from here.")
    run: str | None = Field(description="The run that its flow gets when all bytes are there; null without a flow.")
    metadata: Metadata
    created_at: datetime
    expires_at: datetime


class UploadPartsShape(UploadShape):
    """An upload in parts."""

    part_size: int | None
    parts: tuple[PartShape, ...]
    urls_expire_at: datetime


class UploadPutShape(UploadShape):
    """An upload by one PUT."""

    put: PutAddress


# Flows


class FlowShape(Shape):
    """A flow, and which version of it is triggered now."""

    id: str
    title: str
    description: str
    active: str | None
    paused: bool
    versions: tuple[str, ...] = Field(description="Newest last.")
    updated_at: datetime


class FlowNode(Shape):
    """One node of a flow as it was written."""

    type: str
    sources: tuple[str, ...] = Field(description="`node` or `node.port`, in order.")
    parameters: Mapping[str, Any]


class TickShape(Shape):
    """A tick of a schedule, and what became of it: a run, a refusal, or neither when there was nothing to run on."""

    tick: datetime
    run: str | None
    refusal: str | None = Field(description="The code of the error for which no run was started.")


class ScheduleShape(Shape):
    """When a flow runs by itself."""

    cron: str
    timezone: str
    project: str | None = Field(description="Whose runs they are; null is the first of the settings.")
    next: datetime | None = Field(description="The next tick; null for a flow that is paused or a version not active.")
    last: TickShape | None


class FlowDetail(FlowShape):
    """A flow with one version of its graph."""

    version: str
    inputs: tuple[str, ...]
    accept: Mapping[str, Any]
    params: Mapping[str, Any]
    nodes: Mapping[str, FlowNode]
    queue: str
    schedule: ScheduleShape | None = Field(description="When it runs by itself, null when it does not.")
    text: str = Field(description="The YAML it was read from.")


class VersionShape(Shape):
    """One content hash of a flow."""

    flow: str
    version: str
    active: bool
    created_at: datetime


class PutShape(VersionShape):
    """The version that a document became, and what it will lack when it runs as things stand on this host."""

    warnings: tuple[Complaint, ...] = Field(
        default=(), description="Files that it names as `asset:` and that are not there, each where it is named."
    )


class PutQuery(Ask):
    activate: bool = Field(default=True, description="Trigger this version from now on.")


class VersionQuery(Ask):
    version: str | None = Field(default=None, description="A content hash; left out, the active one.")


class ActivateAsk(Ask):
    version: str = Field(max_length=64)


class NodeShape(Shape):
    """A node type: what it takes, gives and can be told."""

    type: str
    summary: str
    inputs: tuple[str, ...]
    optional_inputs: tuple[str, ...]
    gathers: bool = Field(description="Whether its one input takes any number of sources.")
    outputs: tuple[str, ...] = Field(description="Output ports; empty for the single unnamed one.")
    takes: str
    gives: str
    parameters: Mapping[str, Any] = Field(description="JSON Schema of its parameters.")


# Runs


class InputAsk(Ask):
    """A file for an input: the id of one, an address that it is fetched from first, or the promise of one."""

    file: str | None = Field(default=None, max_length=64)
    url: str | None = Field(default=None, max_length=LONGEST_URL)
    name: str | None = Field(default=None, max_length=NAME_LENGTH, description="Of a URL; left out, as it is there.")
    later: Literal[True] | None = Field(default=None, description="The run waits until the input is given its files.")


class FeedAsk(RootModel[InputAsk | tuple[InputAsk, ...]]):
    """The files of an input that a run waits for: one, or a list where the input takes many."""


class RunAsk(Ask):
    """What a run is given."""

    inputs: Mapping[str, InputAsk | tuple[InputAsk, ...]] = {}
    params: Mapping[str, Any] = {}
    metadata: Metadata = {}
    version: str | None = Field(default=None, max_length=64, description="A content hash instead of the active one.")
    queue: Queue | None = Field(default=None, description="How urgent; left out, as the flow says.")


class WaitQuery(Ask):
    wait: float = Field(default=0, ge=0, description="Seconds to hold the answer until the run ends, 60 at most.")


class RunsQuery(Paging):
    status: RunStatus | None = None
    flow: str | None = Field(default=None, max_length=200)


class EventsQuery(Ask):
    from_: str | None = Field(default=None, alias="from", description="Go on after this event id; `0` is the start.")


class OutputShape(Shape):
    """A file made by a run."""

    node: str
    source: str
    id: str
    url: str
    path: str
    mime: str
    size: int
    width: int | None
    height: int | None
    sha256: str


class TryShape(Shape):
    """One time that a worker began a run; without an end it goes on, without an error nothing was at fault."""

    attempt: int
    worker: str
    started_at: datetime | None
    ended_at: datetime | None
    error: Problem | None


class RunShape(Shape):
    """One execution of one flow version."""

    id: str
    flow: str
    version: str
    status: RunStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int = Field(description="Counts from 1.")
    inputs: Mapping[str, tuple[str, ...]] = Field(description="Input node to ids of files, or of fetches under way.")
    fetches: tuple[str, ...] = Field(description="Ids of the fetches that get its inputs.")
    awaits: tuple[str, ...] = Field(description="Inputs that somebody is still to give their files.")
    paused_at: datetime | None = Field(
        description="When it was asked to pause; while it is `running` its step is being finished."
    )
    params: Mapping[str, Any]
    nodes: Mapping[str, NodeState]
    outputs: tuple[OutputShape, ...]
    facts: Mapping[str, Any] = Field(description="What its fact nodes found, by node.")
    error: Problem | None
    tries: tuple[TryShape, ...] = Field(description="The last twenty times a worker began it, the oldest first.")


class RetryAsk(Ask):
    """From where an ended run goes on: `failed` takes what steps on whole files had made and is still there."""

    from_: Literal["start", "failed"] = Field(default="start", alias="from")


# Dead letters


class LetterShape(Shape):
    """A run that was given up although its input may be sound."""

    run: str
    flow: str
    version: str
    queue: str
    attempt: int
    reason: LetterReason = Field(description="Tried as often as allowed, a fault of ours, or the death of its workers.")
    error: Problem | None
    added_at: datetime
    tries: tuple[TryShape, ...]


class LettersQuery(Paging):
    flow: str | None = Field(default=None, max_length=200)
    code: str | None = Field(default=None, max_length=100, description="The code of the error.")


class LettersAsk(Ask):
    """Which dead letters: just these runs', or all that the filters let through."""

    runs: tuple[str, ...] | None = Field(default=None, max_length=1000)
    flow: str | None = Field(default=None, max_length=200)
    code: str | None = Field(default=None, max_length=100)


class NoteAsk(Ask):
    note: str = Field(default="", max_length=2000, description="Kept with the event `letter.resolved`.")


class ResolveAsk(LettersAsk, NoteAsk):
    """Which dead letters, and why they need nobody any more."""


class CountShape(Shape):
    count: int


# What happens


class EventShape(Shape):
    """A fact in the past tense."""

    id: str
    type: str
    subject: str
    at: datetime
    facts: Mapping[str, Any]


class DrainQuery(Ask):
    wait: float = Field(default=0, ge=0, description="Seconds to wait until nothing of it runs, 60 at most.")


class ControlShape(Shape):
    """A queue after it was told something; the numbers are of all projects."""

    name: str
    paused: bool
    running: int
    cancelled: int = Field(description="Queued runs that were cancelled just now.")


class WorkerShape(Shape):
    """A worker process as its last heartbeat tells."""

    id: str
    host: str
    pid: int
    version: str
    queues: tuple[str, ...]
    slots: int
    running: tuple[str, ...]
    load: float = Field(description="Of its host, averaged over a minute.")
    memory: int = Field(description="Held by it and its sandbox children, bytes.")
    draining: bool = Field(description="Whether it takes nothing more and leaves when it has finished.")
    started_at: datetime
    beat_at: datetime


def try_shapes(run: Run) -> tuple[TryShape, ...]:
    return tuple(TryShape(**one.model_dump(exclude={"error"}), error=one.error) for one in run.tries)


def letter_shape(letter: Letter) -> LetterShape:
    run = letter.run
    kept = run.model_dump(include={"flow", "version", "queue", "attempt"})
    told = {"reason": letter.reason, "error": run.error, "added_at": letter.added_at}
    return LetterShape(run=run.id, **kept, **told, tries=try_shapes(run))


def upload_shape(upload: Upload) -> UploadShape:
    intake = upload.intake
    return UploadShape(
        id=upload.id,
        name=intake.name,
        size=intake.declared_size,
        type=intake.declared_type,
        offset=upload.offset,
        run=upload.run,
        metadata=intake.metadata,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
    )


def flow_shape(pointer: FlowPointer) -> FlowShape:
    return FlowShape(**pointer.model_dump())


def worker_shape(beat: WorkerBeat) -> WorkerShape:
    return WorkerShape(**beat.model_dump())


def event_shape(event: Event) -> EventShape:
    return EventShape(**event.model_dump(exclude={"project"}))
