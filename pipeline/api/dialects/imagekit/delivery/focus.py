"""What a crop keeps in view: a side or a corner, what catches the eye, faces, or the part that the file names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import floor
from typing import Any

from pipeline.api.dialects.imagekit.delivery import words
from pipeline.api.dialects.imagekit.delivery.draft import Draft
from pipeline.api.dialects.imagekit.delivery.models import flow_for
from pipeline.api.dialects.imagekit.delivery.steps import Step, Unclear
from pipeline.model import Region

SIDES: Mapping[str, str] = {
    name: name.replace("_", "-")
    for name in (
        "center", "top", "left", "bottom", "right", "top_left", "top_right", "bottom_left", "bottom_right",
        "top-left", "top-right", "bottom-left", "bottom-right",
    )
}  # fmt: skip
FOUND = frozenset({"auto", "face", "custom"})
THING = re.compile(r"[A-Za-z]{2,30}")
"""How the vendor writes kinds of things, `person` or `trafficLight`."""
ANY_THING = "fo-object"
"""The extension that looks for things of any kind."""
UNZOOMED = 1.0
"""What `z` is where it is not said."""


@dataclass(frozen=True)
class Spot:
    """A part of a picture, pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def region(self) -> dict[str, int]:
        return {"left": self.left, "top": self.top, "width": self.width, "height": self.height}


@dataclass(frozen=True)
class Focus:
    """One of `SIDES` or of `FOUND`, or a kind of thing that a flow looks for."""

    word: str = "center"
    flow: str | None = None
    """What shows the part of a picture where the thing is."""

    @property
    def compass(self) -> str:
        """The side or corner it names, or else the middle."""
        return SIDES.get(self.word, "center")

    @property
    def is_face(self) -> bool:
        return self.word == "face"

    def said(self, draft: Draft, step: Step | None = None, zooms: bool = False) -> dict[str, Any]:
        """What a node is told that cuts; faces that cannot be looked for are what catches the eye."""
        if self.word == "auto" or (self.is_face and not draft.ground.has_faces):
            return {"gravity": "attention"}
        if not self.is_face:
            return {"gravity": self.compass}
        zoom = step.read("z", zoom_of) if step else None
        return {"gravity": "face", **({"zoom": zoom or UNZOOMED} if zooms else {})}

    def window(self, draft: Draft, ratio: float) -> Spot | None:
        """The smallest part of this ratio around what the file names; None where it does not, or is not asked for."""
        region = self._region(draft)
        if region is None:
            return None
        now = draft.outline
        across = max(region.width, region.height * ratio)
        across = min(across, now.width, now.height * ratio)
        return _around(draft, region, _pixels(across), _pixels(across / ratio))

    def spot(self, draft: Draft, width: int, height: int) -> Spot | None:
        """The part of this size in the middle of what the file names; None as `window`."""
        region = self._region(draft)
        return None if region is None else _around(draft, region, width, height)

    def _region(self, draft: Draft) -> Region | None:
        """What the file names, at the size the picture has by now."""
        if self.word != "custom" or draft.file is None or draft.file.region is None:
            return None
        found, now, first = draft.file.region, draft.outline, draft.initial
        across, down = now.width / first.width, now.height / first.height
        left, top = min(floor(found.x * across), now.width - 1), min(floor(found.y * down), now.height - 1)
        width = min(_pixels(found.width * across), now.width - left)
        return Region(x=left, y=top, width=width, height=min(_pixels(found.height * down), now.height - top))


def focus_of(text: str, draft: Draft) -> Focus:
    """The focus a word names; raises `Unclear` also for kinds of things that the project names no flow for."""
    if text in SIDES or text in FOUND:
        return Focus(text)
    if THING.fullmatch(text) and (flow := flow_for(draft, f"fo-{text}", ANY_THING)):
        return Focus(text, flow)
    wanted = ", ".join(f"`{word}`" for word in (*list(SIDES)[:9], *sorted(FOUND)))
    other = f"other things are looked for by a flow that the project's `extensions` name for `{ANY_THING}`"
    raise Unclear(f"{wanted}; {other}")


def _around(draft: Draft, region: Region, width: int, height: int) -> Spot:
    now = draft.outline
    width, height = min(width, now.width), min(height, now.height)
    left = floor(region.x + region.width / 2 - width / 2 + 0.5)
    top = floor(region.y + region.height / 2 - height / 2 + 0.5)
    return Spot(min(max(0, left), now.width - width), min(max(0, top), now.height - height), width, height)


def _pixels(found: float) -> int:
    return max(1, floor(found + 0.5))


def zoom_of(text: str) -> float:
    """How much closer what is in view is shown, 1 as it is."""
    return words.number(text, 0.01, 100)
