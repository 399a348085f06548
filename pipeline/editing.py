"""What an edit makes of a file, and whether a file may be so; bytes and key stay what they are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pipeline import labels, names
from pipeline.errors import NameInvalid, RegionInvalid
from pipeline.labels import PLAIN, TagRule
from pipeline.model import Edit, File, Region

PLAINLY = ("private", "published", "description")
"""What becomes what the edit says, whatever that is."""


def edited(edit: Edit, at: datetime, rule: TagRule = PLAIN) -> Callable[[File], File]:
    """The act that does all of `edit` to a file, which stays untouched when nothing is different.

    It raises `NameInvalid`, `FolderInvalid`, `TagInvalid`, `MetadataInvalid` or `RegionInvalid`.
    """
    fixed = _fixed(edit)

    def act(file: File) -> File:
        fields = fixed | {"tags": _tags(edit, file, rule), "metadata": _metadata(edit, file)}
        if edit.facts:
            fields["facts"] = {**file.facts, **edit.facts}
        if "region" in edit.model_fields_set:
            fields["region"] = fitting(edit.region, file)
        changed = file.model_copy(update=fields)
        return file if changed == file else changed.model_copy(update={"updated_at": at})

    return act


def fitting(region: Region | None, file: File) -> Region | None:
    """The region, when it lies within the picture; raises `RegionInvalid`."""
    if region is None or file.image is None:
        return region
    width, height = file.image.width, file.image.height
    if region.x + region.width > width or region.y + region.height > height:
        raise RegionInvalid(width=width, height=height)
    return region


def _fixed(edit: Edit) -> dict[str, object]:
    """What does not depend on what the file was."""
    fields: dict[str, object] = {}
    if edit.name is not None:
        fields["name"] = _name(edit.name)
    if edit.folder is not None:
        fields["folder"] = labels.folder(edit.folder)
    fields |= {name: getattr(edit, name) for name in PLAINLY if getattr(edit, name) is not None}
    return fields


def _name(given: str) -> str:
    if not given.strip(" ./\\"):
        raise NameInvalid(name=given[:80], reason="nothing of it is left")
    return names.native(given)


def _tags(edit: Edit, file: File, rule: TagRule) -> tuple[str, ...]:
    if edit.tags is None and not edit.add_tags and not edit.remove_tags:
        return file.tags
    kept = file.tags if edit.tags is None else edit.tags
    removed = set(labels.tags(edit.remove_tags, rule))
    return labels.tags([*(tag for tag in kept if tag not in removed), *edit.add_tags], rule)


def _metadata(edit: Edit, file: File) -> dict[str, str]:
    if edit.metadata is None and not edit.merge_metadata:
        return dict(file.metadata)
    merged: dict[str, str | None] = {**(file.metadata if edit.metadata is None else edit.metadata)}
    merged |= edit.merge_metadata
    return labels.metadata({key: value for key, value in merged.items() if value is not None})
