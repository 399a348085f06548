"""What can be set: one YAML file, `SAFELIGHT_*` environment variables over it, and nothing else reads either.

A string that is `env:NAME` stands for that variable. Sizes and times are words (`25MB`, `30s`). Whatever is wrong is
told at once, with `file:line:column` and the nearest right name.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from pydantic import AfterValidator, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from pipeline.documents import Complaint, Document, Fault, faults_of, hint_for, nearest, read_document, shown
from pipeline.documents import Path as Place
from pipeline.errors import SettingsInvalid
from pipeline.model import QUEUES, Project, Queue
from pipeline.units import Bytes, Pixels, Seconds

PREFIX = "SAFELIGHT_"
COMMON_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""The variable by which every OpenTelemetry program knows its collector."""
OTHER_VARIABLES = {"SAFELIGHT_CONFIG", "SAFELIGHT_URL", "SAFELIGHT_API_KEY"}
"""Variables that are no settings: the path of the file, and what the command line speaks to."""
CONFIG_NAME = "safelight.yaml"
SCANNER = r"^(tcp://[^/\s:@?#]+:\d{1,5}|tcp://\[[0-9a-fA-F:.]+\]:\d{1,5}|unix:///\S+)$"
STORAGE_SCHEMES = ("file", "s3", "memory")
FACE_MODELS = (".onnx", ".xml")

Format = Literal["jpeg", "png", "webp", "avif", "gif", "tiff", "svg", "heic", "jxl", "pdf"]
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
MEDIA_RANGE = re.compile(r"(\*|[A-Za-z0-9.+-]+)/(\*|[A-Za-z0-9.+-]+)")


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _face_model(path: Path) -> Path:
    if path.suffix.lower() not in FACE_MODELS:
        raise ValueError("a face model is a YuNet .onnx or a cascade .xml file")
    return _absolute(path)


def _absolute_urls(storages: Mapping[str, str]) -> Mapping[str, str]:
    return {name: _absolute_url(url) for name, url in storages.items()}


def _absolute_url(url: str) -> str:
    return f"file://{_absolute(Path(url.removeprefix('file://')))}" if url.startswith("file://") else url


def _own_storage(given: dict[str, Any]) -> dict[str, str]:
    return {"default": f"file://{given.get('data_dir', 'data')}/files"}


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Folder = Annotated[Path, AfterValidator(_absolute)]
FaceModel = Annotated[Path, AfterValidator(_face_model)]
Storages = Annotated[Mapping[str, str], AfterValidator(_absolute_urls)]


HostName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
HostPlace = Annotated[
    str, Field(pattern=r"^(uploadcare|(tus|imagekit|uploadkit|ittybit|uploadista)(/[A-Za-z0-9._-]{1,64}){0,4})$")
]


class Settings(BaseSettings):
    """Everything that can be set, with its default."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=True, env_prefix=PREFIX)

    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        pattern=r"^(redis|rediss|unix)://",
        description="Redis or Valkey: redis://, rediss:// (TLS) or unix://<socket>.",
    )
    key_prefix: str = Field(
        default="safelight:", pattern=r"^\S{1,64}$", description="What every key in Redis begins with."
    )
    data_dir: Folder = Field(default=Path("data"), description="Folder for files, temporary files and the demo's keys.")
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/?#\s]+[^?#\s]*$",
        description="Address under which the world reaches this server; left out, http://<host>:<port>.",
    )
    hosts: Mapping[HostName, HostPlace] = Field(
        default={},
        description="Host name -> the dialect at its root, such as `up.example.com: imagekit`; `imagekit/ik` is a part "
        "of it.",
    )
    demo_widget: Folder | None = Field(
        default=None,
        description="Folder with the files of @uploadcare/file-uploader for the page `/demo`; left out, there is none.",
    )
    flows_dir: Folder = Field(default=Path("flows"), description="Folder whose *.yaml files are the flows.")
    host: str = Field(default="127.0.0.1", min_length=1, description="Address the web server listens on.")
    port: int = Field(default=8080, ge=0, le=65535, description="Its port; 0 takes a free one.")
    log_format: Literal["console", "json"] = Field(default="console", description="For people or for programs.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is logged."
    )
    storages: Storages = Field(
        default_factory=_own_storage,
        min_length=1,
        description="Name -> URL: file:///folder or s3://bucket/prefix?endpoint=...&region=...",
    )
    projects: Mapping[str, Project] = Field(default={}, description="Project id -> its keys, limits, routes, ...")
    upload_expiry: Seconds = Field(default=86_400, gt=0, description="How long an unfinished upload is kept.")
    upload_url_expiry: Seconds = Field(
        default=3600, gt=0, le=604_800, description="How long presigned addresses of parts and files take bytes."
    )
    resumable_draft: bool = Field(
        default=False,
        description="Whether `/tus` speaks the IETF's draft of resumable uploads too, without Tus-Resumable.",
    )
    unstored_expiry: Seconds = Field(default=86_400, gt=0, description="How long a file that nobody stored is kept.")
    output_retention: Seconds | None = Field(
        default=None, gt=0, description="How long outputs of runs are kept; left out, for good."
    )
    admin_keys: tuple[str, ...] = Field(
        default=(),
        description="Those of the projects' API keys that may pause, drain and purge queues and drain workers; "
        "without any, every key may.",
    )
    letter_ttl: Seconds = Field(default=2_592_000, gt=0, description="How long dead letters are kept.")
    run_retention: Seconds = Field(default=2_592_000, gt=0, description="How long a run that ended is remembered.")
    event_retention: Seconds = Field(default=604_800, gt=0, description="How long events are kept in a project's log.")
    webhook_retries: tuple[Seconds, ...] = Field(
        default=(5, 30, 120, 600, 3600, 10_800, 28_800, 57_600),
        description="Pauses between the tries of a delivery, each made up to a fifth longer or shorter.",
    )
    webhook_timeout: Seconds = Field(default=10, gt=0, le=60, description="How long a webhook may take to answer.")
    webhook_patience: Seconds = Field(
        default=259_200, gt=0, description="Without any success for so long, a webhook is disabled when it fails again."
    )
    delivery_retention: Seconds = Field(default=604_800, gt=0, description="How long deliveries are kept to look at.")
    orphan_grace: Seconds = Field(
        default=86_400, gt=0, description="Age from which bytes that belong to nothing are removed."
    )
    scanner: str | None = Field(
        default=None,
        pattern=SCANNER,
        description="Where the ClamAV daemon listens that looks at files of projects with `scan: true`: "
        "tcp://host:port or unix:///path.",
    )
    scanner_limit: Bytes | None = Field(
        default=None,
        gt=0,
        description="Its StreamMaxLength: larger files that are to be scanned are refused before they are sent.",
    )
    breaker_failures: int = Field(
        default=5,
        ge=0,
        le=1000,
        description="Failures within `breaker_window` after which `http`, `ask`, `notify` and `scan` no longer call "
        "that host or scanner; 0: they always do.",
    )
    breaker_window: Seconds = Field(default=60, gt=0, le=86_400, description="How long a failure counts.")
    breaker_reset: Seconds = Field(
        default=30, gt=0, le=86_400, description="How long nobody calls it then, before some try."
    )
    breaker_probes: int = Field(default=3, ge=1, le=100, description="How many of those tries must pass.")
    body_timeout: Seconds = Field(default=60, gt=0, description="Longest silence while a body arrives.")
    header_timeout: Seconds = Field(
        default=75, gt=0, description="How long a connection may idle, or take to send a whole header."
    )
    allowed_formats: tuple[Format, ...] = Field(
        default=("jpeg", "png", "webp", "avif", "gif", "tiff", "svg", "heic", "jxl", "pdf"),
        description="Formats that are read as pictures; jxl also needs the extra `jxl`.",
    )
    max_pixels: Pixels = Field(default=100_000_000, gt=0, description="Most pixels (width x height x frames).")
    max_frames: int = Field(default=1000, ge=1, description="Most frames of an animation.")
    sandbox_children: int = Field(
        default_factory=_cpus, ge=1, le=1024, description="Processes per worker that decode and encode images."
    )
    sandbox_memory: Bytes = Field(default=2**31, ge=2**27, description="Most memory each of them may take.")
    sandbox_calls: int = Field(default=1000, ge=1, description="Calls after which each of them is renewed.")
    sandbox_recycle_memory: Bytes = Field(
        default=2**29, ge=2**26, description="Memory left over from its calls with which each of them is renewed."
    )
    face_model: FaceModel | None = Field(
        default=None,
        description="Model file that faces are found with: YuNet .onnx or an OpenCV cascade .xml; needs the extra "
        "`faces`.",
    )
    otlp_endpoint: str | None = Field(
        default=None,
        description="OpenTelemetry collector that traces go to, OTLP over HTTP; needs the extra `otel`. Left out, "
        "`OTEL_EXPORTER_OTLP_ENDPOINT`.",
    )
    header_children: int = Field(
        default=1, ge=1, le=64, description="Processes beside the web that read image headers."
    )
    flow_timeout: Seconds = Field(default=300, gt=0, description="Longest time a run may take.")
    run_wait: Seconds = Field(
        default=86_400, gt=0, description="How long a run waits for a file that somebody is to give it."
    )
    node_timeout: Seconds = Field(default=120, gt=0, description="Longest time one node may take.")
    worker_slots: int = Field(
        default_factory=lambda: max(2, _cpus()), ge=1, le=1024, description="Runs a worker works on at once."
    )
    fetch_timeout: Seconds = Field(default=600, gt=0, description="Longest time a file may take to come from its URL.")
    fetch_retention: Seconds = Field(default=86_400, gt=0, description="How long a fetch that ended is remembered.")
    errand_slots: int = Field(
        default=32,
        ge=1,
        le=1024,
        description="Fetches, deliveries and folders a worker is at, at once, beside its runs.",
    )
    worker_queues: tuple[Queue, ...] = Field(
        default=QUEUES, min_length=1, description="Queues a worker serves, in order of preference."
    )
    event_cap: int = Field(default=100_000, ge=1000, description="Events kept in each project's log.")
    delivery_wait: Seconds = Field(
        default=30, gt=0, le=300, description="How long a request waits for what is made of a file on the fly."
    )
    delivery_cache: Bytes = Field(
        default=64 * 2**20, ge=0, description="Memory of each web process for small files that are asked for often."
    )
    derivative_retention: Seconds | None = Field(
        default=2_592_000,
        gt=0,
        description="How long what was made of a file on the fly is kept when nobody asks for it; null keeps it.",
    )
    accel_redirect: str | None = Field(
        default=None,
        pattern=r"^(x-sendfile|/[\w./-]*/)$",
        description="Who sends files that lie on this machine: `x-sendfile`, or nginx from an internal location such "
        "as `/internal/`, where `/internal/<storage>/` is the folder of that storage; left out, this server.",
    )
    idempotency_ttl: Seconds = Field(default=86_400, gt=0, description="How long answers to Idempotency-Keys are kept.")
    grace: Seconds = Field(default=25, description="How long running work may go on after a signal to stop.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # Only `load_settings` merges the environment in: it can say which file or variable is at fault.
        return (init_settings,)

    @field_validator("projects", mode="before")
    @classmethod
    def _named(cls, projects: Any) -> Any:
        if not isinstance(projects, Mapping):
            return projects
        return {
            name: value | {"id": name} if isinstance(value, dict) else {"id": name} if value is None else value
            for name, value in projects.items()
        }

    @property
    def base_url(self) -> str:
        """The address clients are told, without a slash at its end."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def shown(self) -> dict[str, Any]:
        """Every setting as plain values; of secrets only the first four characters."""
        plain: dict[str, Any] = self.model_dump(mode="json")
        for project in plain["projects"].values():
            del project["id"]
        hidden = _hidden("", plain)
        assert isinstance(hidden, dict)
        return hidden


# Reading


def load_settings(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of `config`, else of the file `SAFELIGHT_CONFIG` names, else of ./safelight.yaml if it is there.

    `SAFELIGHT_*` variables win over the file. Raises `SettingsInvalid` with `complaints`, one for every fault.
    """
    settings, complaints = _read(config, environ)
    if settings is None or complaints:
        raise SettingsInvalid(reason="\n".join(str(complaint) for complaint in complaints), complaints=complaints)
    return settings


def check_settings(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> list[Complaint]:
    """Everything that is wrong with what `load_settings` would read."""
    return _read(config, environ)[1]


def _read(config: Path | None, environ: Mapping[str, str]) -> tuple[Settings | None, list[Complaint]]:
    document = _document(config, environ)
    if not document.readable:
        return None, document.complaints
    if not isinstance(document.value, dict | None):
        document.complain((), "VALUE_INVALID", "The settings are a mapping of names to values.")
        return None, document.complaints
    return _Reading(document, environ).result()


def _document(config: Path | None, environ: Mapping[str, str]) -> Document:
    named = config or (Path(environ["SAFELIGHT_CONFIG"]) if environ.get("SAFELIGHT_CONFIG") else None)
    path = named or Path(CONFIG_NAME)
    if named is None and not path.exists():
        return Document(CONFIG_NAME)
    try:
        return read_document(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError:
        fault = Complaint(str(path), 0, 0, "YAML_INVALID", "The file is not UTF-8 text.")
    except OSError as error:
        fault = Complaint(str(path), 0, 0, "FILE_UNREADABLE", f"{error.strerror or 'It cannot be read'}.")
    return Document(str(path), complaints=[fault], readable=False)


class _Environment(EnvSettingsSource):
    """The variables of one given environment; lists may be written `a,b`, mappings as JSON or by `__`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(Settings, env_nested_delimiter="__", env_ignore_empty=True)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        common = {"safelight_otlp_endpoint": self._environ.get(COMMON_ENDPOINT)}
        return common | {name.lower(): value for name, value in self._environ.items() if value}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        if str(value).lstrip().startswith(("[", "{")):
            document = read_document(str(value), field_name)
            if document.complaints:
                raise ValueError(document.complaints[0].message)
            return document.value
        return [part.strip() for part in str(value).split(",") if part.strip()]


@dataclass
class _Reading:
    """One reading of a document and an environment: what they say together, and what is wrong with it."""

    document: Document
    environ: Mapping[str, str]

    def result(self) -> tuple[Settings | None, list[Complaint]]:
        self._missing: set[Place] = set()
        self._check_variables()
        self._variables = self._from_environment()
        merged = self._resolved(_merged(self.document.value or {}, self._variables), ())
        settings = self._validated(merged)
        for fault in _disagreements(merged):
            self._complain(fault)
        return settings, self.document.sorted_complaints()

    def _check_variables(self) -> None:
        fields = Settings.model_fields
        for name in self.environ:
            if not name.upper().startswith(PREFIX) or name in OTHER_VARIABLES:
                continue
            field, _, inner = name.upper().removeprefix(PREFIX).lower().partition("__")
            if field not in fields or (inner and field not in ("storages", "projects")):
                known = [*(PREFIX + known.upper() for known in fields), *OTHER_VARIABLES]
                hint = hint_for(name.upper(), known)
                message = "There is no setting of this name."
                self.document.complaints.append(Complaint(shown(name), 0, 0, "KEY_UNKNOWN", message, hint))

    def _from_environment(self) -> dict[str, Any]:
        try:
            return _Environment(self.environ)()
        except SettingsError as error:
            message = f"{error.__cause__ or error}"
            found = re.search(r'field "(\w+)"', str(error))
            name = PREFIX + found.group(1).upper() if found else "environment"
            self.document.complaints.append(Complaint(name, 0, 0, "VALUE_INVALID", message))
            return {}

    def _resolved(self, value: Any, path: Place) -> Any:
        if isinstance(value, dict):
            return {key: self._resolved(member, (*path, key)) for key, member in value.items()}
        if isinstance(value, list):
            return [self._resolved(member, (*path, index)) for index, member in enumerate(value)]
        if not isinstance(value, str) or not value.startswith("env:"):
            return value
        name = value.removeprefix("env:").strip()
        if name in self.environ:
            return self.environ[name]
        self._missing.add(path)
        message = f"The environment variable `{shown(name)}` is not set."
        near = nearest(name, self.environ)
        self._complain(Fault(path, "VARIABLE_MISSING", message, f"Did you mean `{near}`?" if near else ""))
        return value

    def _validated(self, merged: dict[str, Any]) -> Settings | None:
        try:
            return Settings(**merged)
        except ValidationError as error:
            faults = faults_of(error, Settings, merged)
        for fault in faults:
            if fault.path not in self._missing:
                self._complain(_without_id(fault))
        return None

    def _complain(self, fault: Fault) -> None:
        variable = self._variable(fault.path)
        if variable:
            self.document.complaints.append(Complaint(variable, 0, 0, fault.code, fault.message, fault.hint))
        else:
            self.document.complain_all([fault])

    def _variable(self, path: Place) -> str | None:
        """The variable that said what is at `path`, None when the file did or nobody."""
        inner: Any = self._variables
        for step in path:
            if not isinstance(inner, dict):
                break
            if step not in inner:
                return None
            inner = inner[step]
        if not path or (isinstance(inner, dict) and path in self.document.keys):
            return None
        names = {name.upper(): name for name in self.environ}
        for end in range(len(path), 0, -1):
            spelt = PREFIX + "__".join(str(step) for step in path[:end]).upper()
            if spelt in names:
                return names[spelt]
        return None


def _merged(under: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(under)
    for key, value in over.items():
        below = made.get(key)
        made[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return made


def _without_id(fault: Fault) -> Fault:
    return replace(fault, hint=fault.hint.replace("id, ", "", 1)) if fault.hint.startswith("Known: id, ") else fault


# What no single value can show


def _disagreements(merged: Mapping[str, Any]) -> Iterator[Fault]:
    written = merged.get("storages")
    storages = list(written) if isinstance(written, dict) else ["default"]
    if isinstance(written, dict):
        yield from _wrong_storages(written)
    projects = merged.get("projects")
    if not isinstance(projects, dict):
        return
    for name, project in projects.items():
        place: Place = ("projects", name)
        if not ID.fullmatch(name):
            hint = "Letters, digits, `_` and `-`, 64 at most."
            yield Fault(place, "NAME_INVALID", f"`{shown(name)}` cannot be the id of a project.", hint, key=True)
        yield from _wrong_project(place, project if isinstance(project, dict) else {}, storages)
        if isinstance(project, dict) and project.get("scan") is True and not merged.get("scanner"):
            hint = "Set `scanner` to where clamd listens, such as unix:///run/clamav/clamd.ctl."
            yield Fault((*place, "scan"), "SCANNER_MISSING", "There is no virus scanner to scan files.", hint)
    yield from _shared_keys(projects)


def _wrong_storages(storages: Mapping[str, Any]) -> Iterator[Fault]:
    for name, url in storages.items():
        scheme = str(url).partition("://")[0]
        if isinstance(url, str) and not url.startswith("env:") and ("://" not in url or scheme not in STORAGE_SCHEMES):
            hint = "Write file:///folder or s3://bucket/prefix?endpoint=..."
            yield Fault(("storages", name), "VALUE_INVALID", "This is not the URL of a storage.", hint)


def _wrong_project(place: Place, project: dict[str, Any], storages: list[str]) -> Iterator[Fault]:
    if "id" in project:
        message = "There is no key `id` here; the key above is the project's id."
        yield Fault((*place, "id"), "KEY_UNKNOWN", message, key=True)
    yield from _unknown_storage(place, project.get("storage", "default"), storages)
    yield from _wrong_types((*place, "allowed_types"), project.get("allowed_types"))
    routes = project.get("routes")
    for name, route in routes.items() if isinstance(routes, dict) else ():
        if isinstance(route, dict):
            if route.get("storage") is not None:
                yield from _unknown_storage((*place, "routes", name), route["storage"], storages)
            yield from _wrong_types((*place, "routes", name, "types"), route.get("types"))


def _unknown_storage(place: Place, name: Any, storages: list[str]) -> Iterator[Fault]:
    if isinstance(name, str) and name not in storages and not name.startswith("env:"):
        hint = hint_for(name, storages)
        yield Fault((*place, "storage"), "STORAGE_UNKNOWN", f"There is no storage `{shown(name)}`.", hint)


def _wrong_types(place: Place, types: Any) -> Iterator[Fault]:
    for index, name in enumerate(types if isinstance(types, list) else ()):
        if isinstance(name, str) and not name.startswith("env:") and not MEDIA_RANGE.fullmatch(name):
            yield Fault(
                (*place, index), "VALUE_INVALID", f"`{shown(name)}` is not a media type.", "Write image/* or image/png."
            )


def _shared_keys(projects: Mapping[str, Any]) -> Iterator[Fault]:
    owners: dict[str, str] = {}
    for name, project in projects.items():
        for place, key in _keys(name, project if isinstance(project, dict) else {}):
            if owners.setdefault(key, name) != name:
                message = f"The project `{owners[key]}` has the same key; a key belongs to one project."
                yield Fault(place, "KEY_NOT_UNIQUE", message)


def _keys(name: str, project: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    if isinstance(project.get("public_key"), str):
        yield ("projects", name, "public_key"), project["public_key"]
    listed = project.get("api_keys")
    for index, key in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(key, str):
            yield ("projects", name, "api_keys", index), key


# Showing


SECRETS = {"secret_key", "delivery_secret", "api_keys", "admin_keys", "secret", "secrets", "webhook_secret"}
_SECRET_WORD = re.compile(r"secret|password|token|key", re.IGNORECASE)


def _hidden(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _hidden(name if name in SECRETS else key, member) for key, member in value.items()}
    if isinstance(value, list):
        return [_hidden(name, member) for member in value]
    if isinstance(value, str) and name in SECRETS:
        return _mask(value)
    return _hidden_url(value) if isinstance(value, str) and "://" in value else value


def _mask(secret: str) -> str:
    return f"{secret[:4]}****" if len(secret) > 4 else "****"


def _hidden_url(url: str) -> str:
    parts = urlsplit(url)
    user, sign, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    query = "&".join(
        f"{key}={_mask(value) if _SECRET_WORD.search(key) else quote(value, safe=':/')}"
        for key, value in parse_qsl(parts.query, keep_blank_values=True)
    )
    return urlunsplit(parts._replace(netloc=f"{name}{colon}{'****' if colon else ''}{sign}{host}", query=query))


# The demo


def demo_settings(data_dir: Path) -> Path:
    """The config file with a `demo` project and keys of its own, made in `data_dir` on the first call and kept."""
    path = _absolute(data_dir) / CONFIG_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f".{CONFIG_NAME}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(_demo_text())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    return path


def _demo_text() -> str:
    return (
        "# Made by `safelight up` with fresh keys; change it as you like, it is not written again.\n"
        "projects:\n"
        "  demo:\n"
        f'    public_key: "{secrets.token_hex(10)}"\n'
        f'    secret_key: "{secrets.token_hex(20)}"\n'
        f"    api_keys: [uk_live_{secrets.token_hex(16)}]\n"
    )
