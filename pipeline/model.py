"""The nouns: frozen pydantic models that every floor shares, one meaning each.

Times are aware UTC datetimes, sizes bytes, ids UUID strings. A model that reached this form is trusted from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, Self, TypeVar, get_args
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.units import Bytes, Pixels


class Noun(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


N = TypeVar("N", bound=Noun)


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
    fetches: int = Field(default=16, ge=1, description="Files that are got from URLs at the same time.")
    min_file_size: Bytes = Field(default=0, ge=0, description="Smallest file, in bytes.")
    max_storage: Bytes | None = Field(
        default=None, ge=0, description="Most bytes its files may have together; left out, no limit."
    )
    max_files: int | None = Field(default=None, ge=0, description="Most files it may have; left out, no limit.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        return _in_order(self, ("min_file_size", "max_file_size"))


def _in_order(noun: N, *pairs: tuple[str, str]) -> N:
    """The noun, unless a limit from below lies above its limit from above."""
    for lower, upper in pairs:
        least, most = getattr(noun, lower), getattr(noun, upper)
        if least is not None and most is not None and least > most:
            raise ValueError(f"`{lower}` is more than `{upper}`, so that nothing can come in")
    return noun


class PictureLimits(Noun):
    """How large a picture may be, as it is shown; what is left out is no limit, and other files keep to none."""

    min_width: int | None = Field(default=None, ge=1)
    max_width: int | None = Field(default=None, ge=1)
    min_height: int | None = Field(default=None, ge=1)
    max_height: int | None = Field(default=None, ge=1)
    min_pixels: Pixels | None = Field(default=None, ge=1, description="Width x height.")
    max_pixels: Pixels | None = Field(default=None, ge=1, description="Width x height x frames.")


class Route(PictureLimits):
    """A named rule of entry."""

    max_size: Bytes | None = None
    min_size: Bytes | None = Field(default=None, ge=0)
    types: tuple[str, ...] = ("*/*",)
    storage: str | None = None
    flow: str | None = None
    webhook: str | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        sides = ("size", "width", "height", "pixels")
        return _in_order(self, *((f"min_{side}", f"max_{side}") for side in sides))


HookEvent = Literal[
    "file.uploaded",
    "file.stored",
    "file.updated",
    "file.deleted",
    "file.infected",
    "derivative.ordered",
    "derivative.made",
    "derivative.failed",
    "folder.created",
    "folder.updated",
    "folder.deleted",
    "run.completed",
    "run.failed",
    "run.queued",
    "run.waiting",
    "run.started",
    "run.paused",
    "run.resumed",
    "run.cancelled",
]
HOOK_EVENTS: tuple[HookEvent, ...] = get_args(HookEvent)
"""What webhooks tell of."""
STEP_EVENTS: tuple[HookEvent, ...] = HOOK_EVENTS[HOOK_EVENTS.index("run.queued") :]
"""Those of them that are told only to who names them: a run has several."""
COMMON_EVENTS: tuple[HookEvent, ...] = tuple(event for event in HOOK_EVENTS if event not in STEP_EVENTS)
"""What those are told of who name no events."""


HookDialect = Literal["native", "uploadcare", "imagekit", "uploadkit", "ittybit"]
"""Whose words webhooks are told in."""
Base64Secret = Annotated[str, Field(pattern=r"^(whsec_)?[A-Za-z0-9+/]{4,}={0,2}$")]


class WebhookTarget(Noun):
    """An address that wants to hear of events."""

    url: str
    secret: Base64Secret | tuple[Base64Secret, ...] | None = Field(
        default=None, repr=False, description="Signs; several while rotating."
    )
    events: tuple[HookEvent, ...] = Field(default=(), description="Left out, all but the steps of runs.")
    dialect: HookDialect = Field(default="native", description="Whose shape and signature its messages have.")


def has_steps(events: Iterable[HookEvent]) -> bool:
    """Whether one of these is told only to who names it."""
    return any(event in STEP_EVENTS for event in events)


class Hook(Noun):
    """An address that a request names to hear what becomes of its own file or run."""

    url: str
    events: tuple[HookEvent, ...] = ()
    dialect: HookDialect = "native"


SecretName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]


Svg = Literal["attachment", "sanitise", "refuse"]


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
    svg: Svg = Field(
        default="attachment",
        description="What becomes of SVG files: kept as they are, freed of all that acts or reaches out, or refused.",
    )
    scan: bool = Field(default=False, description="Let nothing in that the virus scanner has not found clean.")
    routes: Mapping[str, Route] = {}
    workflows: Mapping[str, str] = {}
    on_upload: tuple[str, ...] = ()
    conversions: Mapping[str, str] = Field(
        default={}, description="Uploadcare's conversions, `document/pdf` or all of `video` -> the flow that does them."
    )
    addons: Mapping[str, str] = Field(default={}, description="Uploadcare's add-ons, `remove_bg` -> flow.")
    transformations: Mapping[str, str] = Field(
        default={}, description="ImageKit's named transformations, `thumb` -> `w-200,h-200`."
    )
    kinds: Mapping[str, str] = Field(
        default={}, description="Ittybit's kinds of task that are done by flows of yours, `description` -> flow."
    )
    extensions: Mapping[str, str] = Field(default={}, description="ImageKit's extensions, `remove-bg` -> flow.")
    token_check: str | None = Field(
        default=None,
        pattern=r"^(open|https?://\S+)$",
        description="Where it is asked, with the cookies of a page, whether that gets an Uploadista token; "
        "`open` gives one to anybody.",
    )
    webhooks: tuple[WebhookTarget, ...] = ()
    webhook_secret: Base64Secret | tuple[Base64Secret, ...] | None = Field(
        default=None, repr=False, description="Signs what goes to webhooks of routes, flows and requests."
    )
    cors_origins: tuple[str, ...] = ("*",)
    delivery_secret: Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2}){16,64}$")] | None = Field(
        default=None, repr=False, description="Hex; set, files are delivered with a token signed by it only."
    )
    secrets: Mapping[SecretName, str] = Field(
        default={}, repr=False, description="What `{secrets.<name>}` stands for where a flow calls other servers."
    )

    def names_webhook(self, file: File) -> bool:
        """Whether the settings or the file itself name an address that may hear of it; webhooks of the API aside."""
        route = self.routes.get(file.route or "")
        return bool(self.webhooks or file.hook or (route and route.webhook))

    def names_steps(self, *hooks: Hook | None) -> bool:
        """Whether the settings or these name an address that wants the steps of a run; webhooks of the API aside."""
        return any(has_steps(named.events) for named in (*self.webhooks, *hooks) if named)


class Grant(Noun):
    """What one request may do, after key, signature and expiry were checked."""

    project: Project
    public: bool = Field(default=False, description="Given to whoever knows the project's public key.")

    def may_name(self, flow: str) -> bool:
        """Whether it may ask for this flow: with a secret for any, else for those that the project speaks of."""
        project = self.project
        spoken_of = {*project.on_upload, *project.workflows.values(), *(r.flow for r in project.routes.values())}
        return not self.public or flow in spoken_of


class Region(Noun):
    """The part of a picture that matters, in pixels of what is shown, from its upper left corner."""

    x: int = Field(ge=0)
    y: int = Field(ge=0)
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class Follow(Noun):
    """The flow to run when an upload has become a file."""

    flow: str
    version: str | None = Field(default=None, description="The one that was active when the upload was begun.")
    input: str | None = Field(default=None, description="The input node that gets the file; None for the first.")
    params: Mapping[str, Any] = {}
    metadata: Mapping[str, str] = {}
    hook: Hook | None = None


class Intake(PictureLimits):
    """What a request claims about a file before a byte is read."""

    name: str = "file"
    declared_type: str | None = None
    declared_size: int | None = Field(default=None, ge=0)
    sha256: str | None = Field(default=None, description="What the bytes have to come to, hex.")
    metadata: Mapping[str, str] = Field(default_factory=dict)  # a default would be copied deeply each time
    tags: tuple[str, ...] = ()
    folder: str = Field(default="", description="Where it is filed, `a/b`; empty for the root.")
    region: Region | None = None
    follow: Follow | None = None
    route: str | None = Field(default=None, description="The route it comes in by.")
    hook: Hook | None = None
    store: bool | None = Field(default=None, description="None follows the project's auto_store.")
    private: bool = False
    published: bool = True
    description: str = ""
    lineage: str | None = Field(default=None, description="The lineage it is to be the newest version of.")
    root: str | None = Field(default=None, description="What it is put with.")
    facts: Mapping[str, Any] = Field(default_factory=dict, description="What is known of it beforehand.")
    version: int = Field(default=1, ge=1)
    types: tuple[str, ...] = Field(default=("*/*",), description="What a route or a flow accepts, beside the project.")
    max_size: int | None = Field(default=None, description="A route's or a flow's own limit, bytes.")
    min_size: int | None = Field(default=None, ge=0, description="Fewest bytes.")
    storage: str | None = None
    source: str | None = Field(default=None, description="The URL it is fetched from.")
    may_be_empty: bool = Field(default=False, description="Whether a file without bytes is one.")
    closes: bool = Field(
        default=False, description="Whether it is complete with what has come when its time is over, not given up."
    )
    dialect: str = Field(default="native", description="Whose API it came by.")
    marks: Mapping[str, str] = Field(
        default_factory=dict,
        description="What its dialect answers with later; an upload that has any is known until it expires.",
    )


# Bytes


class Upload(Noun):
    """Bytes still arriving; becomes the File of the same id, or nothing."""

    id: str = Field(default_factory=new_id)
    project: str
    storage: str
    key: str = Field(description="Where the finished bytes will lie in the storage.")
    intake: Intake
    way: Literal["append", "parts", "put"] = Field(default="append", description="How its bytes come.")
    part_size: int | None = Field(default=None, description="Of every part but the last, bytes.")
    run: str | None = Field(default=None, description="The id of the run that follows it, fixed from the beginning.")
    piece: bool = Field(
        default=False, description="Whether it is only to be joined with others and never a file itself."
    )
    offset: int = Field(default=0, ge=0)
    created_at: datetime = Field(default_factory=now)
    expires_at: datetime


FetchStatus = Literal["waiting", "progress", "success", "error", "cancelled"]


class Fetch(Noun):
    """A file that is got from a URL; it becomes a File, or nothing."""

    id: str = Field(default_factory=new_id)
    project: str
    url: str
    name: str | None = Field(default=None, description="None for what its server or its address calls it.")
    intake: Intake
    save: bool = Field(default=False, description="Whether its URL is remembered, so that it need not be got again.")
    reuse: bool = Field(default=False, description="Whether a stored file with the same bytes is taken in its place.")
    run: str | None = Field(default=None, description="The run that waits for it.")
    promise: str | None = Field(
        default=None, description="The id that its file has unless a try broke off, told before there is one."
    )
    status: FetchStatus = "waiting"
    done: int = Field(default=0, description="Bytes that have come.")
    total: int | None = Field(default=None, description="Bytes that are to come, when that is known.")
    upload: str | None = Field(default=None, description="The upload that the latest try fills.")
    file: str | None = Field(default=None, description="The file it became.")
    error: Problem | None = None
    tries: int = Field(default=0, description="How often it was begun.")
    created_at: datetime = Field(default_factory=now)
    ended_at: datetime | None = None


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
    quality: int | None = Field(
        default=None, ge=1, le=100, description="Of a JPEG: what its quantisation table tells of how it was written."
    )
    profile: bool = Field(default=False, description="Whether a colour profile is embedded.")
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
    tags: tuple[str, ...] = ()
    folder: str = Field(default="", description="Where it is filed, `a/b`; empty for the root.")
    region: Region | None = None
    source: str | None = Field(default=None, description="The URL it was fetched from.")
    private: bool = False
    published: bool = Field(default=True, description="False, it is delivered to nobody, however private.")
    description: str = Field(default="", description="Free text.")
    lineage: str | None = Field(
        default=None, description="24 hex digits that it shares with what it replaced; None for one that replaced none."
    )
    version: int = Field(default=1, ge=1, description="Which of its lineage it is, from 1.")
    root: str | None = Field(
        default=None, description="The id of the file it was made of, at the very beginning, or of what it is put with."
    )
    node: str | None = Field(default=None, description="The node of its run that made it, for outputs.")
    headed_at: datetime | None = Field(
        default=None, description="When it became the current one of its lineage again, if it did."
    )
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime | None = Field(default=None, description="When something beside its bytes was changed last.")
    stored_at: datetime | None = Field(default=None, description="None until kept; such a file expires.")
    expires_at: datetime | None = None
    run: str | None = Field(default=None, description="The run that made it, for outputs.")
    path: str | None = Field(default=None, description="The path its save node gave it.")
    follow: str | None = Field(default=None, description="The run that was started with it.")
    route: str | None = Field(default=None, description="The route it came in by.")
    hook: Hook | None = None
    facts: Mapping[str, Any] = Field(
        default_factory=dict, description="What flows found out about it, by type of node."
    )


class Edit(Noun):
    """What is to be changed of a file; what is not given stays as it is."""

    name: str | None = None
    folder: str | None = Field(default=None, description="Empty, or `/`, is the root.")
    tags: tuple[str, ...] | None = Field(default=None, description="These and no others.")
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = Field(default=(), description="Before others are added.")
    metadata: Mapping[str, str] | None = Field(default=None, description="This and nothing else.")
    merge_metadata: Mapping[str, str | None] = Field(default={}, description="Key by key; None removes one.")
    private: bool | None = None
    published: bool | None = None
    description: str | None = None
    region: Region | None = Field(default=None, description="Given as None it is removed.")
    facts: Mapping[str, Any] = Field(default={}, description="Over those of the same names.")


class Sheet(Noun):
    """A small document that a dialect keeps for a project, such as the definition of a field or of a transformation."""

    id: str
    project: str
    kind: str = Field(description="`<dialect>.<what>`, or a word of the house.")
    name: str | None = Field(default=None, description="One among those of its kind.")
    body: Mapping[str, Any] = {}
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)


class FolderCopy(Noun):
    """A folder is to be copied, as it was when that was asked for."""

    act: Literal["copy"] = "copy"
    source: str
    target: str = Field(description="What the copy is called, `a/b`.")
    versions: bool = Field(default=False, description="Whether older versions are copied too.")


class FolderMove(Noun):
    """A folder is to be moved, or renamed, with all that is in it."""

    act: Literal["move"] = "move"
    source: str
    target: str = Field(description="What it is called then, `a/b`.")


class FolderDelete(Noun):
    """A folder is to be deleted with all that was in it when that was asked for."""

    act: Literal["delete"] = "delete"
    source: str


class Redraw(Noun):
    """What was made of files is to be made anew when it is asked for next."""

    act: Literal["redraw"] = "redraw"
    path: str = Field(description="Of the file, `/folder/name`.")
    every: bool = Field(default=False, description="Whether of all files whose paths begin so.")
    lineage: str | None = Field(default=None, description="A further file that was there before.")


class HaulFault(Noun):
    """What kept a haul from doing its work to a file, or to a folder that no file is in."""

    file: str | None = Field(default=None, description="The id of the file.")
    path: str
    error: Problem


class Reached(Noun):
    """How far a haul is, as much as whoever takes it over has to know."""

    place: str | None = Field(default=None, description="Behind which it goes on; None for the beginning.")
    hand: tuple[str, ...] = Field(default=(), description="The files it has taken in hand from there on.")
    faults: tuple[HaulFault, ...] = Field(default=(), description="The first hundred.")
    failed: int = Field(default=0, description="Files, and folders, that it could not do its work to.")
    passing: bool = Field(default=False, description="Whether one of the faults may be gone in a moment.")


class Haul(Noun):
    """Work on many files, done by a worker beside the request that asked for it."""

    id: str = Field(default_factory=new_id)
    project: str
    wish: FolderCopy | FolderMove | FolderDelete | Redraw = Field(discriminator="act")
    marks: Mapping[str, str] = Field(default={}, description="What its dialect answers with later.")
    status: Literal["pending", "completed", "failed"] = Field(
        default="pending", description="Completed, it was done to all files but the `failed` of `reached`."
    )
    reached: Reached = Field(default_factory=Reached)
    tries: int = Field(default=0, description="Times that it was done and is to be done again for faults that pass.")
    error: Problem | None = Field(default=None, description="What it failed for as a whole.")
    created_at: datetime = Field(default_factory=now)
    ended_at: datetime | None = None


class Group(Noun):
    """A fixed ordered list of Files, in which a File may come more than once."""

    id: str = Field(description="A UUID, `~` and how many files it has.")
    project: str
    files: tuple[str, ...]
    effects: tuple[str, ...] = Field(
        default=(), description="What a dialect does to each when it is delivered; empty when to none."
    )
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


class Remote(Noun):
    """A file that lies elsewhere, and what it is to be called here; None for what its server calls it."""

    url: str
    name: str | None = None
    claims: Mapping[str, Any] = Field(default={}, description="What else is claimed of it, as an `Intake` has it.")


class StandingOrder(Noun):
    """A flow that is started for every file that is stored from now on, as `on_upload` of the settings is."""

    flow: str
    version: str
    graph: str | None = Field(default=None, description="The document of a flow that no registry has.")
    active: bool = True
    inputs: Mapping[str, tuple[str | Remote, ...]] = Field(
        default={}, description="What its other inputs get; the first gets the file."
    )
    hooks: tuple[Hook, ...] = ()
    marks: Mapping[str, str] = {}


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
    inputs: Mapping[str, tuple[str, ...]] = Field(
        description="Input node -> ids of its files; in the place of one that is being fetched, the id of its fetch."
    )
    fetches: Mapping[str, Remote] = Field(default={}, description="What was to be fetched for it, by fetch.")
    awaits: tuple[str, ...] = Field(default=(), description="The input nodes whose files somebody is still to give.")
    paused_at: datetime | None = Field(
        default=None, description="When it was asked to pause; while it is `running` its step is being finished."
    )
    params: Mapping[str, Any] = {}
    metadata: Mapping[str, str] = {}
    hook: Hook | None = None
    hooks: tuple[Hook, ...] = Field(default=(), description="Further ones.")
    marks: Mapping[str, str] = Field(default={}, description="What its dialect answers with later.")
    graph: str | None = Field(default=None, description="The document of its flow, when no registry has it.")
    heard: bool = Field(default=False, description="Whether the settings or its hooks name who wants its steps.")
    promise: str | None = Field(default=None, description="The id that its first output has, told before there is one.")
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
    """What a step came to before its run failed or was paused; `files` is None when it passed on what it got."""

    node: str
    files: tuple[KeptFile, ...] | None = None
    found: tuple[Mapping[str, Any], ...] = ()
    saved: tuple[File, ...] = Field(default=(), description="What the run had saved, which nobody sees yet.")


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
    subject: str = Field(description="The id of the file, upload or run it is about, or the path of the folder.")
    at: datetime = Field(default_factory=now)
    facts: Mapping[str, Any] = {}


HookOrigin = Literal["api", "settings", "route", "flow", "request"]


class HookSecret(Noun):
    """What signs messages, for ever or until it was rotated away."""

    value: str = Field(repr=False)
    until: datetime | None = None


class Webhook(Noun):
    """An address that is told of events, wherever that was said."""

    id: str = Field(default_factory=new_id)
    project: str
    url: str
    events: tuple[HookEvent, ...] = Field(default=(), description="Empty for all but the steps of runs.")
    dialect: HookDialect = "native"
    secrets: tuple[HookSecret, ...] = Field(default=(), repr=False, description="The newest first; none: unsigned.")
    description: str = ""
    origin: HookOrigin = "api"
    number: int = Field(default=0, description="Of those made over the API, for vendors whose ids are numbers.")
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)

    def wants(self, type: str) -> bool:
        return type in (self.events or COMMON_EVENTS)


class HookStanding(Noun):
    """How a webhook fares."""

    disabled_at: datetime | None = None
    reason: Literal["asked", "gone", "failing"] | None = Field(default=None, description="Why it is told nothing.")
    failing_since: datetime | None = Field(default=None, description="The first failure since the last success.")
    failures: int = Field(default=0, description="Tries that failed since the last success.")
    delivered_at: datetime | None = None


class DeliveryTry(Noun):
    """One time that a message was sent."""

    at: datetime
    ms: float
    status: int | None = Field(default=None, description="What the receiver answered.")
    error: Problem | None = None


DeliveryStatus = Literal["waiting", "delivered", "failed"]


class Delivery(Noun):
    """One message on its way to one webhook."""

    id: str
    project: str
    webhook: str
    url: str = Field(description="Where it was meant to go when it came to be.")
    dialect: HookDialect = "native"
    origin: HookOrigin = "api"
    event: str = Field(description="Id of the event in its project's log.")
    type: str
    subject: str
    created_at: datetime = Field(default_factory=now)
    status: DeliveryStatus = "waiting"
    round: int = Field(default=1, description="Counts replays, from 1.")
    tries: int = Field(default=0, description="Of this round.")
    next_at: datetime | None = Field(default=None, description="When it is tried again.")
    history: tuple[DeliveryTry, ...] = Field(default=(), description="The last tries, the oldest first.")


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
FileSort = Literal["created", "name", "size"]


class FileQuery(Noun):
    """Which files are looked for: those that fulfil all of it; a field left out asks for nothing."""

    tags: tuple[str, ...] = Field(default=(), description="Every one of them.")
    any_tags: tuple[str, ...] = Field(default=(), description="At least one of them.")
    any_words: tuple[str, ...] = Field(default=(), description="At least one of them, as a tag or found by a flow.")
    folder: str | None = Field(default=None, description="Just this folder, empty for the root.")
    below: str | None = Field(default=None, description="This folder and all in it.")
    types: tuple[str, ...] = Field(default=(), description="One of them; `image/*` is every picture.")
    name: str | None = Field(default=None, description="The whole name, without regard to case.")
    prefix: str | None = Field(default=None, description="How the name begins.")
    part: str | None = Field(default=None, description="What the name has in it.")
    min_size: int | None = None
    max_size: int | None = None
    since: datetime | None = Field(default=None, description="Created then or later.")
    before: datetime | None = Field(default=None, description="Created earlier.")
    stored: bool | None = None
    private: bool | None = None
    made: bool | None = Field(default=None, description="Whether a run made it.")
    root: str | None = Field(default=None, description="What it was made of or is put with.")
    rooted: bool | None = Field(default=None, description="Whether it was made of another file or is put with one.")
    metadata: Mapping[str, str] = {}
    sha256: str | None = None


class Sum(Noun):
    """How many files there are, and their bytes."""

    files: int = 0
    bytes: int = 0


class Usage(Sum):
    """What a project has in its storages; a double is a file of whose bytes there is another one."""

    doubles: Sum = Sum()
    storages: Mapping[str, Sum] = {}


class Double(Noun):
    """Files of the same bytes."""

    sha256: str
    size: int = Field(description="Of each, bytes.")
    count: int
    files: tuple[str, ...] = Field(description="Ids of the first of them.")


class Derivative(Noun):
    """Bytes that were made of a file, can be made again, and go with it; or what was only found out about it."""

    storage: str
    key: str
    size: int = 0
    mime: str = Field(default="", description="Empty where nothing was made and only `facts` were found.")
    sha256: str = ""
    image: ImageFacts | None = None
    facts: Mapping[str, Any] = Field(default={}, description="What its nodes found out, by their names.")


class Page(Noun, Generic[T]):
    """One page of a list; `next` continues it, None ends it."""

    items: tuple[T, ...]
    next: str | None = None
