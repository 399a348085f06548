"""What lies around or behind a picture: `bg` as a colour, or made of the picture where it is padded."""

from __future__ import annotations

from typing import Any

from pipeline.api.dialects.imagekit.delivery import words
from pipeline.api.dialects.imagekit.delivery.draft import Draft
from pipeline.api.dialects.imagekit.delivery.models import by_flow, flow_for, prompt_of
from pipeline.api.dialects.imagekit.delivery.steps import Step, Unclear

BLACK = "#000000"
"""What is padded with where no background is said."""
STRONGEST = 100
"""Of the intensities of a blur."""
SIGMA = 0.5
"""Deviation of the blur for each step of its intensity, pixels."""
USUAL = 24.0
"""Deviation of the blur that `auto` means, pixels."""
BRIGHTEST = 255
GENFILL = "genfill"
"""The background that a model makes up."""


def padded(draft: Draft, step: Step, width: int, height: int, gravity: str) -> None:
    """Make the picture this large around what it shows; one that is larger stays so. Raises `RequestInvalid`."""
    now = draft.outline
    if now.width >= width and now.height >= height:
        return
    behind = step.read("bg", lambda text: _behind(text, draft)) or {"background": BLACK}
    if GENFILL in behind:
        place = None if gravity == "center" else gravity
        by_flow(draft, behind[GENFILL], width=width, height=height, gravity=place, prompt=behind.get("prompt"))
        draft.add("resize", fit="cover", enlarge=True, width=width, height=height)
        return
    draft.add("pad", width=width, height=height, gravity=gravity, **behind)


def colour_of(draft: Draft, step: Step) -> str | None:
    """The plain colour of a background, None where there is none or where it is another one."""
    return (step.read("bg", lambda text: _behind(text, draft)) or {}).get("background")


def underlaid(draft: Draft, step: Step) -> None:
    """Lay a plain background behind what is transparent."""
    colour = colour_of(draft, step)
    if colour is None:
        return
    draft.writing.background = colour[: len(BLACK)]
    # Twice behind the same place it would show more than it is said to.
    is_used = "rt" in step.said or any(step.said.get(key, "").startswith("pad") for key in ("c", "cm"))
    if draft.outline.alpha and not (is_used and len(colour) > len(BLACK)):
        draft.add("rectangle", colour=colour, behind=True)


def _behind(text: str, draft: Draft) -> dict[str, Any]:
    """A background as the node that pads is told of it."""
    kind, *more = text.split("_")
    if kind == "blurred":
        return _blurred(more)
    if text == "dominant":
        return {"extend": "dominant"}
    if text.startswith("gradient_dominant"):
        return _gradient(text.removeprefix("gradient_dominant").removeprefix("_"))
    if text.partition("-")[0] == GENFILL:
        return _made_up(text.partition("-")[2], draft)
    return {"background": words.colour(text)}


def _made_up(rest: str, draft: Draft) -> dict[str, Any]:
    """`genfill[-prompt-<text>]`: the flow that makes it up, and what it is told."""
    flow = flow_for(draft, f"bg-{GENFILL}")
    if flow is None:
        wanted = "a colour, `dominant`, `blurred` or `gradient_dominant`; what is not there is made up by a flow"
        raise Unclear(f"{wanted} that the project's `extensions` name for `bg-{GENFILL}`")
    return {GENFILL: flow, "prompt": prompt_of(rest)}


def _blurred(more: list[str]) -> dict[str, Any]:
    """`blurred[_<intensity>|_auto][_<brightness>]`: 1 to 100, and N255 (black) to 255 (white)."""
    if len(more) > 2:
        raise Unclear("`blurred`, `blurred_25` or `blurred_25_N40`")
    intensity, brightness = [*more, "auto", "0"][:2] if len(more) != 1 else [more[0], "0"]
    sigma = USUAL if intensity == "auto" else max(SIGMA, words.number(intensity, 0, STRONGEST) * SIGMA)
    return {"extend": "blur", "sigma": sigma, "light": words.number(brightness, -BRIGHTEST, BRIGHTEST) / BRIGHTEST}


def _gradient(count: str) -> dict[str, Any]:
    return {"extend": "gradient", "colours": words.choice(count or "2", {"2": 2, "4": 4})}
