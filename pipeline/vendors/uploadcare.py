"""Files and groups as the vendor's clients read them: the Upload API's file information and the REST API's file.

Times are ISO 8601 in UTC with microseconds; sizes in bytes; a picture's size is that after EXIF rotation.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline import names
from pipeline.model import File, Group, ImageFacts

VENDOR_TYPE = "application/vnd.uploadcare-v0.7+json"
VIRUS_SCAN = "uc_clamav_virus_scan"

FORMATS: Mapping[str, str] = {"heic": "HEIF", "jxl": "JXL"}
"""Formats whose name is not ours in capitals."""
COLOURS: Mapping[str, tuple[str, str]] = {
    "grey": ("L", "LA"),
    "grey16": ("L", "LA"),
    "cmyk": ("CMYK", "CMYK"),
    "lab": ("LAB", "LAB"),
    "hsv": ("HSV", "HSV"),
}
"""Pillow's name of a colour space, without and with alpha; what is not here is RGB."""

Document = dict[str, Any]


def moment(at: datetime | None) -> str | None:
    """A time as the vendor writes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if at else None


def filename(file: File) -> str:
    """Its name with nothing but letters, digits, `.` and `_`."""
    return names.RULES["uploadcare"](file.name, file.mime)


def image_info(image: ImageFacts) -> Document:
    """What is known of a picture."""
    plain, clear = COLOURS.get(image.colour_space, ("RGB", "RGBA"))
    place = image.place
    return {
        "color_mode": clear if image.alpha else plain,
        "format": FORMATS.get(image.format, image.format.upper()),
        "width": image.width,
        "height": image.height,
        "orientation": image.orientation if image.orientation > 1 else None,
        "dpi": [round(image.dpi), round(image.dpi)] if image.dpi else None,
        "geo_location": {"latitude": place.latitude, "longitude": place.longitude} if place else None,
        "datetime_original": image.taken_at,
        "sequence": image.frames > 1,
    }


def is_image(file: File) -> bool:
    """Whether it is a picture; a PDF, which has a size too, is a document to the vendor."""
    return file.image is not None and file.image.format != "pdf"


def content_info(file: File) -> Document:
    """What its bytes were found to be."""
    kind, _, subtype = file.mime.partition("/")
    found: Document = {"mime": {"mime": file.mime, "type": kind, "subtype": subtype}}
    if file.image is not None and is_image(file):
        found["image"] = image_info(file.image)
    if video := _video(file):
        found["video"] = video | {"audio": video["audio"], "video": video["video"]}
    return found


def _video(file: File) -> Document | None:
    """What a flow with `video_probe` found out; bit rates in kbit/s, durations in milliseconds."""
    probe = file.facts.get("video_probe")
    if not isinstance(probe, Mapping):
        return None
    rate = _whole(probe.get("bit_rate"), 1 / 1000)
    picture = {
        "height": probe.get("height"),
        "width": probe.get("width"),
        "frame_rate": probe.get("fps") or 0,
        "bitrate": None,
        "codec": probe.get("video_codec"),
    }
    sound = {"bitrate": None, "codec": probe.get("audio_codec"), "sample_rate": None, "channels": None}
    return {
        "duration": _whole(probe.get("duration"), 1000),
        "format": file.mime.partition("/")[2],
        "bitrate": rate,
        "audio": [sound] if probe.get("has_audio") else [],
        "video": [picture],
    }


def _whole(value: Any, times: float) -> int | None:
    return round(value * times) if isinstance(value, int | float) else None


def _legacy_video(file: File) -> Document | None:
    video = _video(file)
    if video is None:
        return None
    return video | {"audio": next(iter(video["audio"]), None), "video": video["video"][0]}


def file_info(file: File) -> Document:
    """The Upload API's view of a file."""
    return {
        "uuid": file.id,
        "file_id": file.id,
        "size": file.size,
        "total": file.size,
        "done": file.size,
        "original_filename": file.name,
        "filename": filename(file),
        "mime_type": file.mime,
        "is_image": is_image(file),
        "is_stored": file.stored_at is not None,
        "is_ready": True,
        "image_info": image_info(file.image) if file.image is not None and is_image(file) else None,
        "video_info": _legacy_video(file),
        "content_info": content_info(file),
        "metadata": dict(file.metadata),
        "tags": list(file.tags),
    }


def rest_file(base: str, file: File, removed_at: datetime | None = None, *, appdata: bool = False) -> Document:
    """The REST API's view of a file, also of one that was removed; `base` is where this server is reached."""
    there = removed_at is None
    told = {
        "uuid": file.id,
        "url": f"{base}/files/{file.id}/",
        "size": file.size,
        "mime_type": file.mime,
        "is_image": is_image(file),
        "is_ready": True,
        "original_filename": file.name,
        "original_file_url": f"{base}/{file.id}/{filename(file)}" if there else None,
        "datetime_uploaded": moment(file.created_at),
        "datetime_stored": moment(file.stored_at) if there else None,
        "datetime_removed": moment(removed_at),
        "variations": None,
        "content_info": content_info(file),
        "metadata": dict(file.metadata),
        "tags": list(file.tags),
        "source": file.source,
    }
    return told | ({"appdata": app_data(file)} if appdata else {})


def app_data(file: File) -> Document:
    """What add-ons found out about a file, by the add-on's name."""
    scan = file.facts.get("scan")
    if not isinstance(scan, Mapping) or "clean" not in scan:
        return {}
    at = moment(file.updated_at or file.created_at)
    found = {"infected": not scan["clean"], "infected_with": scan.get("signature")}
    told = {"data": found, "version": str(scan.get("engine", "")), "datetime_created": at, "datetime_updated": at}
    return {VIRUS_SCAN: told}


def group_info(base: str, group: Group, files: Sequence[File | None]) -> Document:
    """The Upload API's view of a group; null in the place of a file that was removed."""
    effects = group.effects or ("",) * len(files)
    members = [
        file_info(file) | {"default_effects": effect} if file else None
        for file, effect in zip(files, effects, strict=True)
    ]
    return group_head(base, group) | {"files": members}


def rest_group(base: str, group: Group, files: Sequence[File | None]) -> Document:
    """The REST API's view of a group."""
    effects = group.effects or ("",) * len(files)
    members = [
        rest_file(base, file) | {"default_effects": effect} if file else None
        for file, effect in zip(files, effects, strict=True)
    ]
    return group_head(base, group) | {"files": members}


def group_head(base: str, group: Group) -> Document:
    """What is told of a group without its files."""
    return {
        "id": group.id,
        "datetime_created": moment(group.created_at),
        "datetime_stored": None,
        "files_count": len(group.files),
        "cdn_url": f"{base}/{group.id}/",
        "url": f"{base}/groups/{group.id}/",
    }


def project_number(id: str) -> int:
    """What stands for a project where the vendor has numbers."""
    return zlib.crc32(id.encode())
