"""The nouns: frozen pydantic models that every floor shares, one meaning each.

Times are aware UTC datetimes, sizes bytes, ids UUID strings. A model that reached this form is trusted from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from pipeline.units import Bytes


class Noun(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    return str(uuid4())


# Tenants and entry


class Limits(Noun):
    """What one project may send."""

    max_file_size: Bytes = Field(default=5_000_000_000, description="Largest file, in bytes.")
    direct_upload: Bytes = Field(
        default=100_000_000, description="Largest file in a single vendor-style direct upload."
    )
    requests_per_minute: int = Field(default=6000, ge=1)


class Route(Noun):
    """A named rule of entry."""

    max_size: Bytes | None = None
    types: tuple[str, ...] = ("*/*",)
    storage: str | None = None
    flow: str | None = None
    webhook: str | None = None


class WebhookTarget(Noun):
    """An address that wants to hear of events."""

    url: str
    secret: str | None = None
    events: tuple[str, ...] = ()


SecretName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]


class Project(Noun):
    """A tenant: owns keys, limits, routes, files and webhooks."""

    id: str
    public_key: str | None = None
    secret_key: str | None = None
    api_keys: tuple[str, ...] = ()
    storage: str = "default"
    auto_store: bool = True
    require_signed_uploads: bool = False
    allow_private_urls: bool = False
    limits: Limits = Limits()
    allowed_types: tuple[str, ...] = ("*/*",)
    routes: Mapping[str, Route] = {}
    workflows: Mapping[str, str] = {}
    on_upload: tuple[str, ...] = ()
    webhooks: tuple[WebhookTarget, ...] = ()
    cors_origins: tuple[str, ...] = ("*",)
    secrets: Mapping[SecretName, str] = Field(
        default={}, repr=False, description="What `{secrets.<name>}` stands for where a flow calls other servers."
    )


class Grant(Noun):
    """What one request may do, after key, signature and expiry were checked."""

    project: Project


class Intake(Noun):
    """What a request claims about a file before a byte is read."""

    name: str = "file"
    declared_type: str | None = None
    declared_size: int | None = Field(default=None, ge=0)
    metadata: Mapping[str, str] = {}
    store: bool | None = Field(default=None, description="None follows the project's auto_store.")
    private: bool = False
    types: tuple[str, ...] = Field(default=("*/*",), description="What a route or a flow accepts, beside the project.")
    max_size: int | None = Field(default=None, description="A route's or a flow's own limit, bytes.")
    max_pixels: int | None = Field(default=None, description="A flow's own limit, width x height x frames.")
    storage: str | None = None


# Bytes


class Upload(Noun):
    """Bytes still arriving; becomes the File of the same id, or nothing."""

    id: str = Field(default_factory=new_id)
    project: str
    storage: str
    key: str = Field(description="Where the finished bytes will lie in the storage.")
    intake: Intake
    offset: int = Field(default=0, ge=0)
    created_at: datetime = Field(default_factory=now)
    expires_at: datetime


class Place(Noun):
    """Where and how high a photograph was taken, WGS 84 degrees."""

    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)


class ImageFacts(Noun):
    """What the header of an image says; width and height are as shown, EXIF orientation applied."""

    format: str = Field(description="jpeg, png, webp, avif, gif, tiff, svg, heic, jxl or pdf.")
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    orientation: int = Field(default=1, ge=1, le=8, description="EXIF orientation of the stored pixels.")
    frames: int = Field(default=1, ge=1)
    pages: int | None = Field(default=None, ge=1, description="Of a PDF; its size is that of the first at 150 dpi.")
    alpha: bool = False
    colour_space: str = Field(default="srgb", description="srgb, grey, cmyk, rgb16, ...")
    dpi: float | None = None
    taken_at: str | None = Field(default=None, description="EXIF DateTimeOriginal, ISO 8601, local to the camera.")
    place: Place | None = None


class File(Noun):
    """Finished, immutable bytes in a Storage with measured facts."""

    id: str
    project: str
    storage: str
    key: str
    name: str
    mime: str
    size: int
    sha256: str
    image: ImageFacts | None = None
    metadata: Mapping[str, str] = {}
    private: bool = False
    created_at: datetime = Field(default_factory=now)
    stored_at: datetime | None = Field(default=None, description="None until kept; such a file expires.")
    expires_at: datetime | None = None
    run: str | None = Field(default=None, description="The run that made it, for outputs.")
    path: str | None = Field(default=None, description="The path its save node gave it.")
    facts: Mapping[str, Any] = Field(default={}, description="What flows found out about it, by type of node.")


class Group(Noun):
    """A fixed ordered list of Files."""

    id: str
    project: str
    files: tuple[str, ...]
    created_at: datetime = Field(default_factory=now)


# Flows and runs


class FlowVersion(Noun):
    """One content hash of a flow, with the text that has it."""

    flow: str
    version: str = Field(description="The first 16 hex digits of the sha256 of the canonical document.")
    text: str
    created_at: datetime = Field(default_factory=now)


class FlowPointer(Noun):
    """Which version of a flow is triggered now, and whether it may be."""

    id: str
    active: str | None
    paused: bool = False
    title: str = ""
    description: str = ""
    versions: tuple[str, ...] = Field(default=(), description="Newest last.")
    updated_at: datetime = Field(default_factory=now)


RunStatus = Literal["queued", "running", "waiting", "completed", "failed", "cancelled"]
NodeStatus = Literal["queued", "running", "waiting", "completed", "failed", "skipped", "cancelled"]
ENDED: frozenset[str] = frozenset({"completed", "failed", "cancelled"})
Queue = Literal["interactive", "default", "bulk"]
QUEUES: tuple[Queue, ...] = ("interactive", "default", "bulk")


class Problem(Noun):
    """Why a run or a node failed, told to a stranger."""

    code: str
    message: str
    node: str | None = None


class NodeState(Noun):
    """How far one node of a run has come; `ms` is its wall time in milliseconds."""

    type: str
    status: NodeStatus = "queued"
    ms: float | None = None
    error: Problem | None = None
    reused: bool = Field(default=False, description="Whether what it made was taken from an earlier try.")


class Output(Noun):
    """A File made by a run, and the node that saved it."""

    node: str
    source: str
    id: str
    path: str
    mime: str
    size: int
    width: int | None = None
    height: int | None = None
    sha256: str


class Try(Noun):
    """One time that a worker began a run, and how that ended; no end while it goes on, no error without a fault."""

    attempt: int
    worker: str = Field(default="", description="Id of the worker process.")
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: Problem | None = None


class Run(Noun):
    """One execution of one flow version on given inputs."""

    id: str = Field(default_factory=new_id)
    project: str
    flow: str
    version: str
    queue: Queue = "default"
    status: RunStatus = "queued"
    trace: str | None = Field(default=None, description="The traceparent of the request that started it.")
    created_at: datetime = Field(default_factory=now)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempt: int = Field(default=1, ge=1)
    inputs: Mapping[str, tuple[str, ...]] = Field(description="Input node -> ids of its files.")
    params: Mapping[str, Any] = {}
    metadata: Mapping[str, str] = {}
    nodes: Mapping[str, NodeState] = {}
    outputs: tuple[Output, ...] = ()
    facts: Mapping[str, Any] = Field(default={}, description="What its fact nodes found, by node.")
    error: Problem | None = None
    tries: tuple[Try, ...] = Field(default=(), description="The last twenty times it was begun, the oldest first.")


class KeptFile(Noun):
    """A file that a step had made, as its bytes lie in a storage until the run completes."""

    storage: str
    key: str
    node: str
    name: str
    mime: str
    size: int
    sha256: str
    image: ImageFacts | None = None
    origin: str | None = Field(default=None, description="The id of the input it was made of, when that was one.")
    encoded: bool = False


class Checkpoint(Noun):
    """What a step on whole files came to before its run failed; `files` is None when it passed on what it got."""

    node: str
    files: tuple[KeptFile, ...] | None = None
    found: tuple[Mapping[str, Any], ...] = ()


LetterReason = Literal["exhausted", "internal", "poisoned"]


class Letter(Noun):
    """A dead letter: a run that was given up although its input may be sound."""

    run: Run
    reason: LetterReason = Field(description="Tried as often as allowed, a fault of ours, or the death of its workers.")
    added_at: datetime


class Event(Noun):
    """A fact in the past tense about one subject."""

    id: str = Field(default="", description="The log's own id, `<ms>-<n>`; empty until appended.")
    type: str = Field(description="file.stored, run.started, node.completed, run.failed, ...")
    project: str
    subject: str = Field(description="The id of the file, upload or run it is about.")
    at: datetime = Field(default_factory=now)
    facts: Mapping[str, Any] = {}


class WorkerBeat(Noun):
    """One worker process as its last heartbeat tells."""

    id: str
    host: str
    pid: int
    version: str
    queues: tuple[str, ...]
    slots: int
    running: tuple[str, ...] = Field(default=(), description="Ids of the runs it executes.")
    load: float = Field(default=0.0, description="Of its host, averaged over a minute.")
    memory: int = Field(default=0, description="Held by it and its sandbox children, bytes.")
    draining: bool = Field(default=False, description="Whether it takes nothing more and leaves when it has finished.")
    started_at: datetime
    beat_at: datetime = Field(default_factory=now)


class Answer(Noun):
    """An HTTP answer kept to be given again."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


# Lists

T = TypeVar("T")


class Page(Noun, Generic[T]):
    """One page of a list; `next` continues it, None ends it."""

    items: tuple[T, ...]
    next: str | None = None
