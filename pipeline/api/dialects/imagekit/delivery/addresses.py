"""What an address says: which file, what is made of it, and how it is shown.

`/imagekit/ik/<project>/<folders>/tr:<transformation>/<name>?tr=<transformation>&...`, the target as it was sent: the
path is split at its slashes before anything in it is decoded, for values of `ie-` may hold encoded ones, and a `+` in
the query is a plus. The transformation of the path is done before that of the query.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.api.spelling import check_open, decoded
from pipeline.errors import FileNotFound, RequestInvalid

LONGEST = 8000
"""Characters of a target."""
THUMBNAIL = "ik-thumbnail.jpg"
"""Behind the path of a video or a document: a picture of it."""
FILM = "ik-gif-video.mp4"
"""Behind the path of an animation: a video of it."""
UNSPOKEN_SUFFIXES = {
    "ik-master.m3u8": "videos are not delivered in pieces",
    "ik-master.mpd": "videos are not delivered in pieces",
    "ik-video.mp4": "videos are not made of documents",
}

_STEP = re.compile(r"tr(?::|%3A)(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Address:
    """A file's path, the transformations in their order, and what else the query says, in the order of arrival."""

    folder: str
    name: str
    texts: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    tail: str
    """What stands behind the project, as it was sent."""

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}" if self.folder else self.name

    def asks(self, key: str) -> str | None:
        """What the query says of `key`, at first."""
        return next((value for known, value in self.query if known == key), None)

    @property
    def inner(self) -> Address | None:
        """The address of what this one is a picture or a video of, None for one without such a suffix."""
        if self.name not in (THUMBNAIL, FILM, *UNSPOKEN_SUFFIXES) or not self.folder:
            return None
        folder, _, name = self.folder.rpartition("/")
        return Address(folder, name, self.texts, self.query, self.tail)


def address_of(tail: str) -> Address:
    """What a target says behind the project; raises `RequestInvalid`, or `FileNotFound` for a path no file can have."""
    if len(tail) > LONGEST:
        raise RequestInvalid(reason=f"The address is longer than {LONGEST} characters.")
    path, _, query = tail.partition("?")
    places, texts = _parted(path)
    pairs = tuple(_pair(part) for part in query.split("&") if part)
    texts += [value for key, value in pairs if key == "tr"]
    *folders, name = places or [""]
    if not name or any(part in (".", "..") for part in places):
        raise FileNotFound(id=_shown(path))
    asked = tuple(text.removeprefix("tr:") for text in texts)
    return Address("/".join(folders), name, asked, tuple(pair for pair in pairs if pair[0] != "tr"), tail)


def _parted(path: str) -> tuple[list[str], list[str]]:
    """Folders and name, and what follows each `tr:`."""
    places: list[str] = []
    texts: list[str] = []
    for part in path.split("/"):
        if match := _STEP.fullmatch(part):
            texts.append(decoded(match.group(1)))
        elif part:
            check_open(part)
            places.append(decoded(part))
    return places, texts


def _pair(part: str) -> tuple[str, str]:
    key, _, value = part.partition("=")
    return decoded(key), decoded(value)


def _shown(path: str) -> str:
    return decoded(path)[:200]


def placed(path: str) -> tuple[str, str]:
    """Folder and name of a path as parameters write it: `@@` or `/` between folders, one in front or none."""
    parts: Sequence[str] = [part for part in path.replace("@@", "/").split("/") if part]
    return "/".join(parts[:-1]), parts[-1] if parts else ""
