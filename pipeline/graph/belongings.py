"""The files that flows name as `asset:<name>`: those in `assets` beside the flow, before those that are shipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipeline import sniff
from pipeline.documents import Path as Place
from pipeline.documents import hint_for, shown
from pipeline.errors import NodeInvalid

SHIPPED = Path(__file__).parent.parent / "imaging" / "assets"
FOLDER = "assets"
SCHEME = "asset:"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".tif", ".tiff", ".svg"})
"""What is offered when another name was written."""
MOST_NAMES = 1000
"""How many names a hint is chosen from."""
LACKING = frozenset({"ASSET_UNKNOWN", "ASSET_INVALID"})
"""Codes of complaints that the flow's text is innocent of: they end when the right file is put into the folder."""


@dataclass(frozen=True)
class Belongings:
    """The folders a flow's files are looked for in, the first that has one winning."""

    folders: tuple[Path, ...]

    @classmethod
    def of(cls, flows: Path) -> Belongings:
        """What flows in the folder `flows` can name."""
        return cls((flows / FOLDER, SHIPPED))

    def find(self, name: str) -> Path | None:
        """Where the file lies; None when there is none, or when the name leads out of the folders."""
        for folder in self.folders:
            with suppress(OSError, ValueError):  # names too long, or with a zero
                path = folder / name
                if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
                    return path
        return None

    def get(self, name: str) -> Path:
        """Where the file lies; raises `NodeInvalid` when there is none."""
        found = self.find(name)
        if found is None:
            raise NodeInvalid(reason=f"image: there is no asset `{shown(name)}`")
        return found

    def fault(self, name: str) -> tuple[str, str, str] | None:
        """Code, message and hint of what is wrong with `asset:<name>`, None when it is there and seems an image."""
        found = self.find(name)
        if found is None:
            return "ASSET_UNKNOWN", f"There is no asset `{shown(name)}`.", hint_for(name, self._names())
        with found.open("rb") as opened:
            mime = sniff.media_type(opened.read(sniff.HEAD_SIZE), found.name)
        if mime.startswith("image/") or mime == sniff.UNKNOWN:
            return None
        return "ASSET_INVALID", f"The asset `{shown(name)}` is {mime}, not an image.", ""

    def _names(self) -> list[str]:
        found = ((folder, path) for folder in self.folders for path in folder.rglob("*"))
        named = (path.relative_to(folder).as_posix() for folder, path in found if path.suffix.lower() in SUFFIXES)
        return sorted(set(islice(named, MOST_NAMES)))


def references(value: object, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Every `asset:` reference under a key `image`, also in the layers of a node, and where it stands."""
    if isinstance(value, Mapping):
        written = value.get("image")
        if isinstance(written, str) and written.startswith(SCHEME):
            yield (*place, "image"), written
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for step, member in inner:
        yield from references(member, (*place, step))
