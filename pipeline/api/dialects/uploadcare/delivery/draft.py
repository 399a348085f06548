"""What grows while the operations of an address are read from left to right: nodes in a chain, and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.delivery import SOURCE

Kind = Literal["picture", "json", "jsonp", "faces", "colours", "video"]
SMALLER = 3000
LARGER = 5000
"""Pixels a side of a result may have, and where the address says `format/jpeg`."""


@dataclass
class Font:
    """How the texts that follow are written."""

    size: int = 30
    colour: str = "#000000"
    weight: str = "regular"
    style: str = "normal"
    typeface: str = "sans"
    align: str = "center"
    valign: str = "center"
    box: str = "none"
    plate: str = "#ffffff"
    padding: int = 10


@dataclass
class Draft:
    """Nodes that follow each other, and how their result is to be written."""

    most: int = SMALLER
    """Pixels of the longest side an operation may ask for."""
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    last: str = SOURCE
    overlays: dict[str, str] = field(default_factory=dict)
    """By the name of their input, the ids of the files laid over."""
    kind: Kind = "picture"
    count: int = 5
    """How many main colours are asked for."""
    fill: str = "#ffffff"
    stretch: str = "on"
    font: Font = field(default_factory=Font)
    format: str | None = None
    quality: str = "normal"
    progressive: bool = False
    strip: str = "all"
    profile: Mapping[str, Any] = field(default_factory=lambda: {"to": "srgb"})
    orient: bool = True
    inline: bool | None = None
    is_sized: bool = False
    """Whether an operation has set its size."""
    rasterize: bool = False
    video: dict[str, Any] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        """Whether a picture is to be made at all."""
        return bool(self.nodes) or self.format is not None or self.is_sized or self.rasterize or self.alters

    alters: bool = False
    """Whether something was said of how it is written."""

    def forgo_faces(self) -> None:
        """Have smart crops keep what catches the eye: faces cannot be looked for."""
        for node in self.nodes.values():
            if node["type"] == "resize" and node.get("gravity") == "face":
                node["gravity"] = "attention"

    def add(self, type: str, **said: Any) -> None:
        """Put a node behind the last one."""
        name = f"n{len(self.nodes)}"
        self.nodes[name] = {"type": type, **said} if "from" in said else {"type": type, "from": self.last, **said}
        self.last = name

    def overlay(self, id: str) -> str:
        """The input of a file that is laid over."""
        for name, known in self.overlays.items():
            if known == id:
                return name
        name = f"over{len(self.overlays)}"
        self.overlays[name] = id
        return name
