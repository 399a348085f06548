"""What a file may be called, by the rule of each API that files come in by; every rule is here and nowhere else.

Whatever a rule is given, even nothing, it gives a name that is one part of a path, printable (no control characters,
none that turn the direction of writing), at most 200 bytes of UTF-8, and that it would leave as it is. What another
rule than `native` made, `native` leaves as it is too.
"""

from __future__ import annotations

import re
import secrets
import string
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from pipeline import sniff

NAME_BYTES = 200
EXTENSION_BYTES = 20
JOINERS = "\u200c\u200d"  # spelling in Persian and Indic scripts, and emoji, needs them
DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
EDGES = ". " + JOINERS
"""What no name begins or ends with: dots hide it, the rest is not seen."""
NAMELESS = "file"
UNIQUE_LENGTH = 9
UNIQUE_SIGNS = string.ascii_letters + string.digits

Rule = Callable[[str, str | None], str]
"""Makes a name of what was given and, for want of one, of the media type."""


def native(name: str, media_type: str | None = None) -> str:
    """`name` as a file may bear it on any disk and in any header; what is left empty becomes `file.<extension>`."""
    cleaned = _printed(name.replace("\\", "/").rsplit("/", 1)[-1])
    return _shortened(cleaned) or _nameless(media_type)


def uploadcare(name: str, media_type: str | None = None) -> str:
    """The `filename` beside the `original_filename`: Latin letters, digits, `.` and `_` stay, all else goes."""
    return _respelt(native(name, media_type), lambda part: re.sub(r"[^A-Za-z0-9._]", "", part))


def imagekit(name: str, media_type: str | None = None) -> str:
    """Letters with their marks and digits of any script, `.`, `_` and `-`; every other character becomes `_`."""
    return _respelt(native(name, media_type), lambda part: "".join(map(_imagekit_sign, part)))


def uploadkit(name: str, media_type: str | None = None) -> str:
    """The last part of a key: without `../`, whatever is not a Latin letter, a digit, `.`, `_` or `-` becomes `_`."""
    return native(re.sub(r"[^A-Za-z0-9._-]", "_", name.replace("../", "")), media_type)


def ittybit(name: str, media_type: str | None = None) -> str:
    """The last part of a `filename`, which may be a path."""
    return native(name, media_type)


RULES: Mapping[str, Rule] = {
    "native": native,
    "uploadcare": uploadcare,
    "imagekit": imagekit,
    "uploadkit": uploadkit,
    "ittybit": ittybit,
}


def unique(name: str) -> str:
    """`name` with `_` and nine random letters and digits before its extension, as ImageKit makes names unique."""
    number, sign = secrets.randbelow(len(UNIQUE_SIGNS) ** UNIQUE_LENGTH), "_"  # asked for once: that is dear
    for _ in range(UNIQUE_LENGTH):
        number, place = divmod(number, len(UNIQUE_SIGNS))
        sign += UNIQUE_SIGNS[place]
    stem, extension = _parted(name)
    return _cut(stem, NAME_BYTES - len(sign) - len(extension.encode())) + sign + extension


def _printed(part: str) -> str:
    if part.isascii() and part.isprintable():  # of these none is dropped or put together
        return " ".join(part.split()).strip(EDGES)
    shown = "".join(c for c in part if c in JOINERS or unicodedata.category(c) not in DROPPED)
    # What was dropped may have kept a letter and its mark apart.
    return " ".join(unicodedata.normalize("NFC", shown).split()).strip(EDGES)


def _respelt(name: str, spelt: Callable[[str], str]) -> str:
    stem, extension = _parted(name)
    return native(spelt(name) if spelt(stem).strip(EDGES) else NAMELESS + spelt(extension))


def _imagekit_sign(character: str) -> str:
    kept = character.isalnum() or character in "._-" or unicodedata.category(character)[0] == "M"
    return character if kept else "_"


def _nameless(media_type: str | None) -> str:
    extension = sniff.extension(media_type) if media_type else ""
    return f"{NAMELESS}.{extension}" if extension else NAMELESS


def _shortened(name: str) -> str:
    if len(name.encode()) <= NAME_BYTES:
        return name
    stem, extension = _parted(name)
    return _cut(stem, NAME_BYTES - len(extension.encode())).rstrip(EDGES) + extension


def _parted(name: str) -> tuple[str, str]:
    """What comes before the extension, and the extension with its dot, empty when it is too long to be one."""
    extension = PurePosixPath(name).suffix
    if len(extension.encode()) > EXTENSION_BYTES:
        extension = ""
    return name[: len(name) - len(extension)], extension


def _cut(stem: str, size: int) -> str:
    return stem.encode()[:size].decode(errors="ignore")
