"""Files, versions and folders as the vendor's clients read them: of an upload, in details and in lists.

Times are ISO 8601 in UTC with milliseconds; sizes in bytes; a picture's size is that after EXIF rotation. An upload
calls `thumbnailUrl` what details call `thumbnail`. Some clients read `versionInfo` and `AITags` unguarded: the one is
always an object, the other a list or null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import orjson

from pipeline.model import File, Region, Sheet
from pipeline.records.lineages import lineage_of, version_id

FIELD_KIND = "imagekit.field"
"""The kind of the sheets that define fields of custom metadata; their bodies are `{name, label, schema}`."""
EXTENSION = "imagekit.extension"
"""Under which mark a run says which extension it is."""
THUMBNAIL = "ik_ml_thumbnail"
"""The named transformation that makes thumbnails; it opens private files too, as every named one does."""
ALWAYS = ("tags", "isPrivateFile", "customCoordinates")
"""What an upload tells of a file asked or not."""
ASKED = ("isPublished", "customMetadata", "embeddedMetadata")
"""What it tells of it when asked."""
ORIENTATIONS = (
    "Horizontal (normal)",
    "Mirror horizontal",
    "Rotate 180",
    "Mirror vertical",
    "Mirror horizontal and rotate 270 CW",
    "Rotate 90 CW",
    "Mirror horizontal and rotate 90 CW",
    "Rotate 270 CW",
)
"""EXIF orientations 1 to 8 in the words of embedded metadata."""
FORMATS: Mapping[str, str] = {"jpeg": "jpg"}

Document = dict[str, Any]
Fields = Mapping[str, Mapping[str, Any]]
"""The schemas of a project's fields of custom metadata, by their names."""


def moment(at: datetime) -> str:
    """A time as the vendor writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


# Where it is


def endpoint(base: str, project: str) -> str:
    """The `urlEndpoint` of a project, without a slash at its end; `base` is where this server is reached."""
    return f"{base}/imagekit/ik/{quote(project)}"


def path_of(file: File) -> str:
    """Its place in the media library, from the root `/`."""
    return f"/{file.folder}/{file.name}" if file.folder else f"/{file.name}"


def url_of(base: str, file: File) -> str:
    """Where it is delivered, as far as it is public."""
    return endpoint(base, file.project) + quote(path_of(file))


def transformed(base: str, file: File, transformation: str) -> str:
    """Where a transformation of it is delivered."""
    return f"{endpoint(base, file.project)}/{address_of(file, transformation)}"


def address_of(file: File, transformation: str, suffix: str = "") -> str:
    """What stands behind the `urlEndpoint`: the transformation, if there is one, the path, and the suffix."""
    text = quote(transformation.removeprefix("tr:"), safe=":,-_.~@")
    path = quote(path_of(file)) + (f"/{suffix}" if suffix else "")
    return f"tr:{text}{path}" if text else path.lstrip("/")


# What it is


def is_image(file: File) -> bool:
    """Whether it is a picture to the vendor; an SVG is one, a PDF is not."""
    return file.mime.startswith("image/")


def version_info(file: File) -> Document:
    return {"id": version_id(file), "name": f"Version {file.version}"}


def tags_of(file: File) -> list[str] | None:
    return list(file.tags) or None


def ai_tags_of(file: File) -> list[Document] | None:
    """What extensions found the file to show: `{name, confidence, source}` each."""
    found = file.facts.get("ai_tags")
    told = [tag for tag in found if isinstance(tag, Mapping)] if isinstance(found, list | tuple) else []
    return [{key: tag.get(key) for key in ("name", "confidence", "source")} for tag in told] or None


def description_of(file: File) -> str | None:
    """What it was described as, else what an extension found it to show."""
    found = file.facts.get("description")
    return file.description or (found if isinstance(found, str) else None)


def coordinates(region: Region | None) -> str | None:
    """A region as `x,y,width,height`."""
    return f"{region.x},{region.y},{region.width},{region.height}" if region else None


def custom_metadata(file: File, fields: Fields) -> Document:
    """What of its metadata is defined as custom metadata, each value in the type of its field."""
    return {name: value_of(fields[name], text) for name, text in file.metadata.items() if name in fields}


def schemas(sheets: Sequence[Sheet]) -> Fields:
    """The schemas that sheets of `FIELD_KIND` define."""
    return {sheet.body["name"]: sheet.body["schema"] for sheet in sheets}


def value_of(schema: Mapping[str, Any], text: str) -> Any:
    """A value of custom metadata as it is shown, of the text it is kept as; one that does not fit stays text."""
    kind, options = schema["type"], schema.get("selectOptions", ())
    if kind in ("Number", "Boolean"):
        return _plain(text)
    if kind == "SingleSelect":
        return next((option for option in options if text_of(option) == text), text)
    if kind == "MultiSelect":
        found = _plain(text)
        return found if isinstance(found, list) else [text]
    return text


def text_of(value: Any) -> str:
    """A value of custom metadata as it is kept."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _plain(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        return text


def embedded_metadata(file: File) -> Document:
    """What is embedded in the file, as far as its header told when it came."""
    found: Document = {}
    if (image := file.image) is None:
        return found
    if image.dpi:
        found |= {"XResolution": round(image.dpi), "YResolution": round(image.dpi), "ResolutionUnit": "inches"}
    if image.orientation > 1:
        found["Orientation"] = ORIENTATIONS[image.orientation - 1]
    if image.taken_at:
        found["DateTimeOriginal"] = f"{image.taken_at[:19]}.000Z"
    if image.place:
        found |= {"GPSLatitude": image.place.latitude, "GPSLongitude": image.place.longitude}
    return found


def film(file: File) -> Document:
    """What a flow with `video_probe` found out: `bitRate` in kbit/s, `duration` in seconds."""
    probe = file.facts.get("video_probe")
    if not isinstance(probe, Mapping):
        return {}
    rate, duration = probe.get("bit_rate"), probe.get("duration")
    told = {
        "height": probe.get("height"),
        "width": probe.get("width"),
        "bitRate": round(rate / 1000) if isinstance(rate, int | float) else None,
        "duration": round(duration) if isinstance(duration, int | float) else None,
        "audioCodec": probe.get("audio_codec"),
        "videoCodec": probe.get("video_codec"),
    }
    return {name: value for name, value in told.items() if value is not None}


def _measures(file: File) -> Document:
    """Width and height of whatever has them."""
    if file.image is not None and is_image(file):
        return {"height": file.image.height, "width": file.image.width}
    return film(file)


# A file


def file_document(base: str, file: File, fields: Fields, *, type: str = "file") -> Document:
    """A file in details and lists; of type `file-version` where it is one of several versions."""
    told: Document = {
        "type": type,
        "name": file.name,
        "createdAt": moment(file.created_at),
        "updatedAt": moment(file.updated_at or file.created_at),
        "fileId": lineage_of(file),
        "tags": tags_of(file),
        "AITags": ai_tags_of(file),
        "versionInfo": version_info(file),
        "embeddedMetadata": embedded_metadata(file),
        "isPublished": file.published,
        "customCoordinates": coordinates(file.region),
        "customMetadata": custom_metadata(file, fields),
        "isPrivateFile": file.private,
        "url": url_of(base, file),
        "thumbnail": transformed(base, file, f"n-{THUMBNAIL}") if is_image(file) else None,
        "fileType": "image" if is_image(file) else "non-image",
        "filePath": path_of(file),
        "size": file.size,
        "mime": file.mime,
        "description": description_of(file),
        **_measures(file),
    }
    return told | ({"hasAlpha": file.image.alpha} if file.image is not None and is_image(file) else {})


def upload_document(base: str, file: File, fields: Fields, asked: Sequence[str] = ()) -> Document:
    """A file as the upload that made it is answered; `asked` are its `responseFields`."""
    whole = file_document(base, file, fields)
    told = {
        name: whole[name]
        for name in ("fileId", "name", "size", "versionInfo", "filePath", "url", "fileType", "AITags", "description")
    }
    told |= _measures(file) | {name: whole[name] for name in (*ALWAYS, *(one for one in ASKED if one in asked))}
    if file.image is not None and is_image(file):
        told["orientation"] = file.image.orientation
    return told | ({"thumbnailUrl": whole["thumbnail"]} if is_image(file) else {})


# What is found out about it


def metadata_document(file: File, found: Mapping[str, Any]) -> Document:
    """Its metadata; `found` is what the nodes `exif` and `hash` found out, by their names, where it is a picture."""
    told: Document = {"size": file.size, **film(file)}
    if (image := file.image) is None:
        return told
    exif: Mapping[str, Any] = found.get("exif", {})
    return told | {
        "height": image.height,
        "width": image.width,
        "format": FORMATS.get(image.format, image.format),
        "hasColorProfile": image.profile,
        "quality": image.quality or 0,
        "density": round(image.dpi) if image.dpi else 72,
        "hasTransparency": image.alpha,
        "exif": _exif_groups(exif),
        "pHash": found.get("hash", {}).get("phash", ""),
    }


IMAGE_TAGS = frozenset(
    {
        "Artist",
        "Copyright",
        "ExifOffset",
        "GPSInfo",
        "ImageDescription",
        "Make",
        "Model",
        "ModifyDate",
        "Orientation",
        "ResolutionUnit",
        "Software",
        "XResolution",
        "YResolution",
        "YCbCrPositioning",
    }
)
"""EXIF tags that the vendor groups as `image`."""
RENAMED: Mapping[str, str] = {
    "DateTime": "ModifyDate",
    "DateTimeDigitized": "CreateDate",
    "ISOSpeedRatings": "ISO",
    "PhotographicSensitivity": "ISO",
    "ExposureBiasValue": "ExposureCompensation",
    "FocalLengthIn35mmFilm": "FocalLengthIn35mmFormat",
}
"""The vendor's names for tags whose names are not those of the standard."""


def _exif_groups(tags: Mapping[str, Any]) -> Document:
    groups: dict[str, Document] = {"image": {}, "thumbnail": {}, "exif": {}, "gps": {}, "interoperability": {}}
    for given, value in tags.items():
        name = RENAMED.get(given, given)
        if name.startswith("GPS") and name != "GPSInfo":
            groups["gps"][name] = _degrees(value) if name in ("GPSLatitude", "GPSLongitude") else value
        elif name.startswith("Interop"):
            groups["interoperability"][name] = value
        else:
            groups["image" if name in IMAGE_TAGS else "exif"][name] = value
    return {**groups, "makernote": {}}


def _degrees(value: Any) -> Any:
    """Degrees, minutes and seconds, without the half of the globe."""
    if not isinstance(value, int | float):
        return value
    degrees, rest = divmod(abs(value), 1)
    minutes, rest = divmod(rest * 60, 1)
    return [int(degrees), int(minutes), round(rest * 60, 3)]


# A folder


def folder_id(project: str, folder: str) -> str:
    """The 24 hex digits by which a folder is known that nobody made on purpose."""
    return sha256(f"{project}\n{folder}".encode()).hexdigest()[:24]


def folder_document(folder: str, id: str, created_at: datetime, updated_at: datetime | None = None) -> Document:
    """A folder in lists; `folder` is `a/b`."""
    return {
        "type": "folder",
        "name": folder.rpartition("/")[2],
        "createdAt": moment(created_at),
        "updatedAt": moment(updated_at or created_at),
        "folderId": id,
        "folderPath": f"/{folder}",
        "customMetadata": {},
    }
