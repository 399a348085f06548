"""What `json`, `detect_faces` and `main_colors` tell of a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.model import File
from pipeline.vendors.uploadcare import Document, image_info


def about(file: File, facts: Mapping[str, Any]) -> Document:
    """The picture as it was sent: `hash` are the 64 bits of a perceptual hash, hex."""
    assert file.image is not None
    return {"id": file.id, **image_info(file.image), "hash": facts["phash"]}


def with_faces(file: File, facts: Mapping[str, Any]) -> Document:
    """The picture and its faces: left, top, width and height in pixels."""
    assert file.image is not None
    width, height = file.image.width, file.image.height
    return {**_plain(file), "faces": [_box(face, width, height) for face in facts["faces"]]}


def with_colours(file: File, facts: Mapping[str, Any]) -> Document:
    """The picture and its main colours: red, green and blue."""
    return {**_plain(file), "main_colors": [_bands(colour["hex"]) for colour in facts["colours"]]}


def _plain(file: File) -> Document:
    assert file.image is not None
    return {"id": file.id, **image_info(file.image)}


def _box(face: Mapping[str, float], width: int, height: int) -> Sequence[int]:
    left, top = round(face["left"] * width), round(face["top"] * height)
    return [left, top, round(face["width"] * width), round(face["height"] * height)]


def _bands(colour: str) -> Sequence[int]:
    return list(bytes.fromhex(colour.removeprefix("#")))
