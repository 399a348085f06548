"""Folders and names as the vendor has them: what may stand in them."""

from __future__ import annotations

import unicodedata

from pipeline import labels, names
from pipeline.api.dialects.imagekit.errors import refused
from pipeline.errors import FolderInvalid

BAD_FOLDER = "Invalid folder path."
REASON = "INVALID_FOLDER_PATH"


def folder_of(path: str) -> str:
    """A folder as it is kept, `a/b`, of a path that was sent for it: every sign it may not have becomes `_`.

    Refused for `.` and `..` as parts of it, and for one that is too deep or too long.
    """
    parts = [part for part in unicodedata.normalize("NFC", path).split("/") if part.strip()]
    if any(part.strip() in (".", "..") for part in parts):
        raise refused(f"{BAD_FOLDER} It cannot have `.` or `..` in it.", reason=REASON)
    try:
        return labels.folder("/".join("".join(map(_sign, part)) for part in parts))
    except FolderInvalid as cause:
        raise refused(f"{BAD_FOLDER} {cause.message}", reason=REASON) from cause


def _sign(character: str) -> str:
    kept = character.isalnum() or character in "_-" or unicodedata.category(character)[0] == "M"
    return character if kept else "_"


def name_of(name: str) -> str:
    """A file's name as it is kept."""
    return names.RULES["imagekit"](name, None)


def split(path: str) -> tuple[str, str]:
    """Folder and name of a path to a file that is there, neither of them changed but for slashes."""
    folder, _, name = path.strip("/").rpartition("/")
    return "/".join(part for part in folder.split("/") if part), name
