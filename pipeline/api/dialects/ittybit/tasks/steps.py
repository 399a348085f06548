"""What a step of a workflow says: its kind, its ref, its options whether they lie flat or inside, and what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.api.dialects.ittybit.ask import object_of, text_of
from pipeline.api.dialects.ittybit.claims import place_of
from pipeline.api.dialects.ittybit.errors import BadRequest

OURS = frozenset({"image", "video", "conditions", "http", "webhook", "workflow", "ingest"})
"""Kinds that are done by nodes of ours."""
KINDS = OURS | {
    "audio", "chapters", "subtitles", "thumbnails", "nsfw", "speech", "description", "summary", "outline", "prompt",
    "tags", "adaptive_video", "objects", "faces", "text", "store", "describe",
}  # fmt: skip
"""Every kind that some version of the API knows; what is not ours is done by a flow that the settings name."""
SAME: Mapping[str, tuple[str, ...]] = {
    "description": ("summary", "describe"),
    "summary": ("description", "describe"),
    "describe": ("description", "summary"),
}
"""Other names that a kind has had."""
SHARED = frozenset({
    "kind", "ref", "next", "options", "file_id", "media_id", "input", "output", "webhook_url", "filename", "folder",
    "workflow", "workflow_id", "conditions", "metadata", "automation_id", "id", "object", "label", "tasks", "steps",
})  # fmt: skip
"""What of a step is no option of its kind."""
MOST = 100
DEEPEST = 10


@dataclass(frozen=True)
class Step:
    """One step, checked."""

    kind: str
    ref: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    conditions: Any = None
    url: str | None = None
    """Where a step of the kind `http` posts to."""
    webhook: str | None = None
    folder: str | None = None
    name: str | None = None
    next: Sequence[Step] = ()


def step_of(given: Any, depth: int = 0, *, url_is_input: bool = False) -> Step:
    """A step as it is written; raises `BadRequest`. Where its `url` is its input, it is no option."""
    if not isinstance(given, dict):
        raise BadRequest(reason="A step of a workflow must be an object with a `kind`.")
    kind = text_of(given, "kind", 100)
    if not kind:
        raise BadRequest(reason="`kind` is required.")
    if kind not in KINDS:
        raise BadRequest(reason=f"Unknown task kind `{kind}`.")
    if depth > DEEPEST:
        raise BadRequest(reason=f"Steps follow each other at most {DEEPEST} deep.")
    left_out = SHARED | ({"url"} if url_is_input or kind in ("http", "webhook") else set())
    options = {name: value for name, value in given.items() if name not in left_out} | object_of(given, "options")
    place = place_of(given)
    return Step(
        kind,
        text_of(given, "ref", 100),
        {name: value for name, value in options.items() if value is not None},
        given.get("conditions"),
        None if url_is_input else text_of(given, "url", 2000) or text_of(options, "url", 2000),
        text_of(given, "webhook_url", 2000),
        place.folder,
        place.name,
        steps_of(given.get("next"), depth + 1),
    )


def steps_of(given: Any, depth: int = 0) -> Sequence[Step]:
    """Steps as they are written, in their order; raises `BadRequest`."""
    if given is None:
        return ()
    rows = given if isinstance(given, list) else [given]
    return [step_of(row, depth) for row in rows]


def count(steps: Sequence[Step]) -> int:
    """How many steps there are in all."""
    return sum(1 + count(step.next) for step in steps)


def kinds_in(steps: Sequence[Step]) -> set[str]:
    """Every kind of step that there is."""
    return {kind for step in steps for kind in (step.kind, *kinds_in(step.next))}
