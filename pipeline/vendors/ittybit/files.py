"""A file, and a media: what belongs together, which is a file that was sent in and all that was made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson

from pipeline import labels
from pipeline.errors import MetadataInvalid
from pipeline.model import Fetch, File
from pipeline.vendors.ittybit.refs import ref_of
from pipeline.vendors.ittybit.words import (
    FETCHED,
    ITTYBIT,
    Document,
    View,
    file_id,
    media_id,
    org_id,
    project_id,
    times,
)

DOMAINS = "/ittybit/d/"
"""Below which the delivery domains of all projects are."""
KINDS = ("video", "image", "audio")
TRACKS = frozenset({"text/vtt", "application/x-subrip"})
DOCUMENTS = ("text/", "application/pdf", "application/json")


@dataclass(frozen=True)
class Media:
    """What belongs together under one id, the file that was there first in front; `props` is what was said of it."""

    id: str
    created: datetime
    updated: datetime | None = None
    files: Sequence[File] = ()
    waits: Fetch | None = None
    """What is being fetched for it."""
    props: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> File | None:
        """The file that says what the media is."""
        return self.files[0] if self.files else None


def kind_of(mime: str) -> str:
    """The vendor's word for a type of file."""
    kind = mime.partition("/")[0]
    return kind if kind in KINDS else "document" if mime.startswith(DOCUMENTS) else "unknown"


def own(file: File) -> Mapping[str, Any]:
    """What the vendor's clients said of a file that no other dialect has a word for."""
    told = file.facts.get(ITTYBIT)
    return told if isinstance(told, Mapping) else {}


def ref(file: File) -> str | None:
    """Under which name its media shows it."""
    return own(file).get("ref") or (ref_of(file.node) if file.run else None)


def path_of(project: str) -> str:
    """The path of a project's delivery domain here, without a slash at its end."""
    return f"{DOMAINS}{quote(project)}"


def lasting_path(file: File) -> str:
    """Where a file is for ever, below its project's delivery domain."""
    return f"{file_id(file.id)}/{file.name}"


def plain_url(base: str, file: File) -> str | None:
    """Where anybody may fetch a file, None for what is not open to all."""
    if file.private or not file.published:
        return None
    return f"{base}{path_of(file.project)}/{quote(lasting_path(file))}"


def media_of(file: File) -> str:
    """The id of the media it belongs to."""
    return file.root or file.id


# Metadata


def split(given: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Metadata as a file has it, which every dialect reads, and what of it is no short text, as it was given.

    Raises `MetadataTooMany`.
    """
    texts = {key: text for key, value in given.items() if fits(key, text := _text(value))}
    rest = {key: value for key, value in given.items() if key not in texts or not isinstance(value, str)}
    return labels.metadata(texts), rest


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def fits(key: str, text: str) -> bool:
    """Whether it can be metadata of a file."""
    try:
        labels.metadata({key: text})
    except MetadataInvalid:
        return False
    return True


def metadata_of(file: File) -> Document:
    """The metadata of a file, each value as it was given unless it was changed by another dialect."""
    given: Mapping[str, Any] = own(file).get("metadata", {})
    told: Document = dict(file.metadata)
    for key, value in given.items():
        text = _text(value)
        if file.metadata.get(key) == text or not fits(key, text):
            told[key] = value
    return told


# Files


def file_object(view: View, file: File, *, inside: bool = False) -> Document:
    """A file; `inside` its media it does not say whose it is."""
    said, image, film = own(file), file.image, _film(file)
    width = image.width if image else film.get("width")
    height = image.height if image else film.get("height")
    told: Document = {
        "id": file_id(file.id),
        "media_id": media_id(media_of(file)),
        "object": _object(file),
        "kind": said.get("kind") or kind_of(file.mime),
        "type": file.mime,
        "format": file.mime.partition("/")[2],
        "codec": film.get("video_codec") or film.get("audio_codec") or (image.format if image else None),
        "container": file.mime.partition("/")[2],
        "width": width,
        "height": height,
        "orientation": _orientation(width, height),
        "rotation": film.get("rotation") or 0 if width else None,
        "transparency": image.alpha if image else None,
        "animated": image.frames > 1 if image else None,
        "frames": image.frames if image else None,
        "duration": film.get("duration"),
        "fps": film.get("fps"),
        "filesize": file.size,
        "bitrate": film.get("bit_rate"),
        "language": said.get("language"),
        "label": said.get("label"),
        "ref": ref(file),
        "folder": file.folder or None,
        "filename": file.name,
        "url": view.url(file),
        "placeholder": said.get("placeholder"),
        "background": said.get("background"),
        "metadata": metadata_of(file),
        "original": file.root is None,
        "created_by": None,
        **times(view, file.created_at, file.updated_at),
        "status": "ready",
    }
    if inside:
        del told["media_id"]
    return told


def waiting_object(view: View, fetch: Fetch) -> Document:
    """A file that is being fetched, or that could not be; the same as any other one as far as it is known."""
    intake = fetch.intake
    said = intake.facts.get(ITTYBIT, {})
    return {
        "id": file_id(fetch.promise or fetch.id),
        "media_id": media_id(intake.root or fetch.promise or fetch.id),
        "object": "source",
        "kind": "unknown",
        "type": "application/octet-stream",
        "filesize": fetch.total or 0,
        "label": said.get("label"),
        "ref": said.get("ref"),
        "folder": intake.folder or None,
        "filename": fetch.name,
        "url": fetch.url,
        "metadata": dict(intake.metadata),
        "original": intake.root is None,
        **times(view, fetch.created_at, fetch.ended_at),
        "status": FETCHED.get(fetch.status, "failed"),
        "error": fetch.error.message if fetch.error else None,
    }


def _object(file: File) -> str:
    if file.mime in TRACKS:
        return "track"
    return "intelligence" if file.run and file.mime == "application/json" else "source"


def _film(file: File) -> Mapping[str, Any]:
    found = file.facts.get("video_probe")
    return found if isinstance(found, Mapping) else {}


def _orientation(width: int | None, height: int | None) -> str | None:
    if not width or not height:
        return None
    return "square" if width == height else "landscape" if width > height else "portrait"


# Media


def media_object(view: View, media: Media, *, union: bool = False) -> Document:
    """A media; as a `union`, or before there were none of the other shape, with what the first version had too."""
    first = media.first
    files = [file_object(view, file, inside=True) for file in media.files]
    if media.waits:
        files.append({name: value for name, value in waiting_object(view, media.waits).items() if name != "media_id"})
    shown = file_object(view, first) if first else {}
    told: Document = {
        **media.props,
        "id": media_id(media.id),
        "object": "media",
        "kind": shown.get("kind"),
        "title": media.props.get("title"),
        "alt": media.props.get("alt"),
        **{name: shown.get(name) for name in ("width", "height", "duration")},
        "files": files,
        "urls": _urls(files),
        "background": shown.get("background"),
        "metadata": dict(media.metadata),
        **times(view, media.created, media.updated),
    }
    return told | _earlier(view, media, files, shown) if union or view.enveloped else told


def _urls(files: Sequence[Document]) -> Document:
    """By ref where the bytes are; what was sent in is the `original` too."""
    first = {"original": files[0]["url"]} if files else {}
    return first | {file["ref"]: file["url"] for file in files if file.get("ref")}


def _earlier(view: View, media: Media, files: Sequence[Document], shown: Document) -> Document:
    """What the versions of 2024 say of a media."""
    of = {name: [file for file in files if file["object"] == name] for name in ("source", "track", "intelligence")}
    return {
        "org_id": org_id(view.project),
        "project_id": project_id(view.project),
        "live_mode": True,
        "type": shown.get("type"),
        "label": media.props.get("label"),
        "folder": shown.get("folder"),
        "filename": shown.get("filename"),
        "original": files[0] if files else None,
        "sources": of["source"],
        "tracks": of["track"],
        "intelligence": of["intelligence"],
        "status": files[0]["status"] if files else "ready",
    }
