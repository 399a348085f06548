"""What placeholders and conditions can ask: one flat mapping per artifact, the same in worker and sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from pipeline.artifacts import Artifact
from pipeline.imaging.encode import EXTENSIONS
from pipeline.imaging.open import ANIMATED, VECTORS
from pipeline.imaging.picture import Outline
from pipeline.sniff import FORMAT_TYPES


def run_facts(
    flow_id: str, run_id: str, date: datetime, params: Mapping[str, Any], metadata: Mapping[str, str]
) -> dict[str, Any]:
    """What is the same for every artifact of one run."""
    facts: dict[str, Any] = {"flow.id": flow_id, "run.id": run_id, "date": date}
    facts |= {f"params.{name}": value for name, value in params.items()}
    return facts | {f"metadata.{name}": value for name, value in metadata.items()}


def artifact_facts(artifact: Artifact, outline: Outline | None, common: Mapping[str, Any]) -> dict[str, Any]:
    """What can be asked of a file, or of the picture with this outline made from it; metadata of the run wins."""
    origin = artifact.origin
    name = origin.name if origin else artifact.name
    facts: dict[str, Any] = {f"metadata.{key}": value for key, value in (origin.metadata if origin else {}).items()}
    facts |= common
    facts |= {"file.id": origin.id if origin else "", "file.name": name, "node": artifact.node}
    facts |= {"file.stem": PurePosixPath(name).stem, "file.ext": extension(name), "extension": extension(name)}
    facts |= {"mime": artifact.mime, "size": artifact.size, "format": artifact.mime.rpartition("/")[2]}
    return facts | (outline_facts(outline) if outline else {})


def outline_facts(outline: Outline) -> dict[str, Any]:
    return {
        "width": outline.width,
        "height": outline.height,
        "ratio": outline.width / outline.height,
        "frames": outline.frames,
        "alpha": outline.alpha,
        "format": outline.format,
        "mime": FORMAT_TYPES.get(outline.format, f"image/{outline.format}"),
    }


def artifact_outline(artifact: Artifact) -> Outline | None:
    """The outline of an image file as it is shown, None when the file is no image."""
    facts = artifact.image
    if facts is None:
        return None
    vector = facts.format in VECTORS
    # The pages of a TIFF and the pictures of an AVIF are no frames that a flow could show: it takes the first.
    frames = facts.frames if facts.format in ANIMATED else 1
    return Outline(facts.width, facts.height, frames, facts.alpha, facts.format, vector=vector)


def stored_outline(artifact: Artifact) -> Outline | None:
    """The outline of an image file as its pixels lie in it, before its EXIF orientation is applied."""
    facts, shown = artifact.image, artifact_outline(artifact)
    if facts is None or shown is None:
        return None
    width, height = (shown.height, shown.width) if facts.orientation >= 5 else (shown.width, shown.height)
    return replace(shown, width=width, height=height, orientation=facts.orientation)


def extension(name: str) -> str:
    return PurePosixPath(name).suffix.lower().removeprefix(".")


def suggested_name(origin_name: str, node: str, format_name: str) -> str:
    """The name of a picture made by a node from a file, `<stem>-<node>.<extension>`."""
    return f"{PurePosixPath(origin_name).stem}-{node}.{EXTENSIONS[format_name]}"
