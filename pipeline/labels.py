"""What a file is filed under: metadata, tags and a folder, as the house keeps them or refused with the limit.

Each act takes what was given and returns what is kept; given that again, it returns the same. The limits of metadata
and of `PLAIN` tags are Uploadcare's, those of folders ImageKit's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.errors import (
    FolderInvalid,
    MetadataKeyEmpty,
    MetadataKeyForbidden,
    MetadataKeyTooLong,
    MetadataTooMany,
    MetadataValueEmpty,
    MetadataValueForbidden,
    MetadataValueTooLong,
    TagInvalid,
    TagsTooMany,
    TagTooLong,
)

KEYS = 50
KEY_LENGTH = 64
VALUE_LENGTH = 512
TAGS = 50
TAG_LENGTH = 100
FOLDER_DEPTH = 50
FOLDER_BYTES = 700
FOLDER_NAME_BYTES = 255
SHOWN = 80
"""How much of what was given an error repeats."""

_KEY = re.compile(r"[A-Za-z0-9_.:-]+")
_UNSPELT = re.compile("[\ud800-\udfff]")
_UNPRINTED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"
"""Without these some scripts, and emoji, are not spelt right."""


@dataclass(frozen=True)
class TagRule:
    """Which characters a tag may have, told in words when it has others, and whether case is of no account."""

    pattern: re.Pattern[str]
    words: str
    folded: bool


PLAIN = TagRule(re.compile(r"[-_.a-z0-9]+"), "letters, digits and `- _ .` are allowed", folded=True)
PRINTED = TagRule(re.compile(r"[^,%\x00-\x1f\x7f\ud800-\udfff]+"), "`,` and `%` are not allowed", folded=False)
"""For vendors whose tags are words of any language."""


def metadata(given: Mapping[str, str]) -> dict[str, str]:
    """Metadata within its limits; raises the kind of `MetadataInvalid` that says which one is passed."""
    if len(given) > KEYS:
        raise MetadataTooMany(most=KEYS)
    for key, value in given.items():
        check_key(key)
        check_value(key, value)
    return dict(given)


def check_key(key: str) -> None:
    """Raise `MetadataKeyEmpty`, `MetadataKeyTooLong` or `MetadataKeyForbidden` for a key that cannot be kept."""
    if not key:
        raise MetadataKeyEmpty
    if len(key) > KEY_LENGTH:
        raise MetadataKeyTooLong(key=_shown(key), most=KEY_LENGTH)
    if not _KEY.fullmatch(key):
        raise MetadataKeyForbidden(key=_shown(key))


def check_value(key: str, value: str) -> None:
    """Raise `MetadataValueEmpty`, `MetadataValueTooLong` or `MetadataValueForbidden`."""
    if not value:
        raise MetadataValueEmpty(key=key)
    if len(value) > VALUE_LENGTH:
        raise MetadataValueTooLong(key=key, most=VALUE_LENGTH)
    if "\0" in value or _UNSPELT.search(value):
        raise MetadataValueForbidden(key=key)


def tags(given: Iterable[str], rule: TagRule = PLAIN) -> tuple[str, ...]:
    """Tags without blanks around them, empty ones and repeats, in their order; limits count what is left.

    Raises `TagInvalid`, `TagTooLong` or `TagsTooMany`.
    """
    kept = tuple(dict.fromkeys(filter(None, (_tag(tag, rule) for tag in given))))
    for tag in kept:
        _check_tag(tag, rule)
    if len(kept) > TAGS:
        raise TagsTooMany(most=TAGS)
    return kept


def folder(given: str) -> str:
    """A folder as its parts with `/` between them, empty for the root `/`; raises `FolderInvalid`."""
    path = unicodedata.normalize("NFC", given)
    parts = [part for part in (part.strip() for part in path.split("/")) if part]
    if fault := _fault_of(parts):
        raise FolderInvalid(folder=_shown(given), reason=fault)
    return "/".join(parts)


def above(folder: str) -> tuple[str, ...]:
    """The folder itself and every one it lies in, the deepest last; none for the root."""
    parts = folder.split("/") if folder else []
    return tuple("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))


def folded(text: str) -> str:
    """`text` as it is sorted and searched for, without regard to case."""
    return unicodedata.normalize("NFC", text.casefold())


def _tag(given: str, rule: TagRule) -> str:
    tag = unicodedata.normalize("NFC", given).strip()
    return tag.lower() if rule.folded else tag


def _check_tag(tag: str, rule: TagRule) -> None:
    if len(tag) > TAG_LENGTH:
        raise TagTooLong(tag=_shown(tag), most=TAG_LENGTH)
    if not rule.pattern.fullmatch(tag):
        raise TagInvalid(tag=_shown(tag), reason=rule.words)


def _fault_of(parts: list[str]) -> str | None:
    if len(parts) > FOLDER_DEPTH:
        return f"it is more than {FOLDER_DEPTH} folders deep"
    if any(part in (".", "..") for part in parts):
        return "`.` and `..` are no folders"
    if any("\\" in part or any(map(_is_unprinted, part)) for part in parts):
        return "it has a backslash or an unprintable character"
    if any(len(part.encode()) > FOLDER_NAME_BYTES for part in parts) or len("/".join(parts).encode()) > FOLDER_BYTES:
        return f"it is longer than {FOLDER_BYTES} bytes, or one of its parts than {FOLDER_NAME_BYTES}"
    return None


def _shown(text: str) -> str:
    return _UNSPELT.sub("\ufffd", text[:SHOWN])


def _is_unprinted(character: str) -> bool:
    return character not in _JOINERS and unicodedata.category(character) in _UNPRINTED
