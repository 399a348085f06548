"""What grows while the steps of an address are read: nodes in a chain, and what is known of the picture on the way.

The size of the file is known, so that what each node makes of it is too: expressions and conditionals are worked out
while the steps are read, and the recipe has none. Only behind `trim` the size is not known before the pixels are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from pipeline.api.dialects.imagekit.delivery.steps import Unclear as Unclear
from pipeline.delivery import SOURCE
from pipeline.errors import RequestInvalid
from pipeline.imaging.picture import Outline
from pipeline.model import File
from pipeline.nodes import INDEX
from pipeline.nodes.base import ImageNode

MOST_PIXELS = 100_000_000
"""Pixels of a picture on the way."""
MOST_NODES = 200


@dataclass
class Ground:
    """What a draft and the drafts of its layers have together."""

    files: Mapping[str, File] = field(default_factory=dict)
    """By their paths (`folder/name`), the pictures that layers lay over."""
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    beside: dict[str, File] = field(default_factory=dict)
    """By the name of their input, the files that are used."""
    has_faces: bool = False
    """Whether faces can be looked for."""
    hints: Mapping[str, float] = field(default_factory=dict)
    """What the client says of itself, by `width` and `dpr`."""
    heeded: set[str] = field(default_factory=set)
    """Which of them were asked for."""
    duration: float | None = None
    """Of a video, seconds."""
    extensions: Mapping[str, str] = field(default_factory=dict)
    """Flows that do what takes a model, by `e-bgremove` and the like."""


@dataclass
class Writing:
    """How the result is written; what is None follows from the file and from who asks."""

    format: str | None = None
    quality: int | None = None
    lossless: bool = False
    progressive: bool = False
    keep_metadata: bool = False
    keep_profile: bool = False
    dpi: int | None = None
    background: str | None = None
    """What shows where the format has no alpha."""
    default: str | None = None
    """The path of the picture that is shown where there is none."""
    page: int | None = None
    original: bool = False
    """Whether the bytes are wanted as they are stored."""


@dataclass
class Draft:
    """Nodes that follow each other, and the outline of what the last of them gives."""

    ground: Ground
    outline: Outline
    """Of what `last` gives."""
    file: File | None = None
    """The file it began with; None for what was drawn."""
    last: str = SOURCE
    base: Draft | None = None
    """What it is going to lie on, as that is when the layer is read; None for the picture itself."""
    first: Outline | None = None
    """What it began with."""
    writing: Writing = field(default_factory=Writing)
    orient: bool = True

    def __post_init__(self) -> None:
        self.first = self.first or self.outline

    @property
    def initial(self) -> Outline:
        """What it began with."""
        assert self.first is not None
        return self.first

    def add(self, type: str, **said: Any) -> None:
        """Put a node behind the last one; raises `RequestInvalid` when it refuses its parameters or grows too large."""
        nodes = self.ground.nodes
        if len(nodes) >= MOST_NODES:
            raise RequestInvalid(reason="There are too many transformations in one address.")
        name = f"n{len(nodes)}"
        nodes[name] = {"type": type, **said} if "from" in said else {"type": type, "from": self.last, **said}
        self.last = name
        self._reach(nodes[name])

    def _reach(self, node: Mapping[str, Any]) -> None:
        try:
            model = INDEX[node["type"]].model_validate(node)
        except ValidationError as cause:
            raise RequestInvalid(reason=str(cause.errors()[0]["msg"])) from cause
        if isinstance(model, ImageNode):
            self.outline = model.reach(self.outline)
        self.check()

    def check(self) -> None:
        """Raise `RequestInvalid` when the picture has grown too large."""
        across, down = self.outline.width, self.outline.height
        if across * down * self.outline.frames > MOST_PIXELS:
            raise RequestInvalid(reason=f"A picture on the way has {across} x {down} pixels.")

    def upon(self, file: File, outline: Outline) -> Draft:
        """A draft of another file that is going to lie on this one: its nodes are its own, all are in one recipe."""
        beside = self.ground.beside
        name = next((name for name, known in beside.items() if known.id == file.id), f"over{len(beside)}")
        beside[name] = file
        return Draft(self.ground, outline, file, name, self)

    def drawn(self, outline: Outline, type: str, **said: Any) -> Draft:
        """A draft of what a node draws by itself, without a file, that is going to lie on this one."""
        made = Draft(self.ground, outline, None, "", self)
        made.add(type, **said)
        made.first = made.outline
        return made
