"""The operations on colours, light and sharpness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.api.dialects.uploadcare.delivery import words
from pipeline.api.dialects.uploadcare.delivery.draft import Draft

Params = Sequence[str]

WIDEST = 250.0
"""Standard deviation of the widest blur, pixels; a stronger one is made like it."""
NARROWEST = 0.4
LEAST_GAMMA = 0.1


def grayscale(draft: Draft, params: Params) -> None:
    draft.add("grayscale")


def invert(draft: Draft, params: Params) -> None:
    draft.add("invert")


def brightness(draft: Draft, params: Params) -> None:
    draft.add("adjust", brightness=1 + words.number(params[0], -100, 100) / 100)


def exposure(draft: Draft, params: Params) -> None:
    draft.add("adjust", exposure=words.number(params[0], -500, 500) / 100)


def gamma(draft: Draft, params: Params) -> None:
    draft.add("adjust", gamma=max(LEAST_GAMMA, words.number(params[0], 0, 1000) / 100))


def contrast(draft: Draft, params: Params) -> None:
    draft.add("adjust", contrast=1 + words.number(params[0], -100, 500) / 100)


def saturation(draft: Draft, params: Params) -> None:
    draft.add("adjust", saturation=1 + words.number(params[0], -100, 500) / 100)


def vibrance(draft: Draft, params: Params) -> None:
    draft.add("adjust", vibrance=words.number(params[0], -100, 500) / 100)


def warmth(draft: Draft, params: Params) -> None:
    draft.add("adjust", warmth=words.number(params[0], -100, 100) / 100)


def enhance(draft: Draft, params: Params) -> None:
    draft.add("enhance", strength=(words.number(params[0], 0, 100) if params else 50) / 100)


def sharp(draft: Draft, params: Params) -> None:
    strength = words.number(params[0], 0, 20) if params else 5.0
    draft.add("sharpen", amount=strength / 4)


def blur(draft: Draft, params: Params) -> None:
    sigma = _sigma(words.number(params[0], 0, 5000) if params else 10.0)
    amount = words.number(params[1], -200, 100) / 100 if len(params) > 1 else 1.0
    if sigma and amount:
        draft.add("blur", sigma=sigma, amount=amount)


def blur_region(draft: Draft, params: Params) -> None:
    said: dict[str, Any]
    if params[0] == "faces":
        strength, said = params[1:], {"faces": True}
    else:
        width, height = words.lengths(params[0])
        place = words.offset(params[1]) if len(params) > 1 else {"x": 0, "y": 0}
        region = {"left": place["x"], "top": place["y"], "width": width, "height": height}
        strength, said = params[2:], {"regions": [region]}
    sigma = _sigma(words.number(strength[0], 0, 5000) if strength else 100.0)
    if sigma:
        draft.add("redact", mode="blur", sigma=max(1.0, sigma), **said)


def _sigma(strength: float) -> float | None:
    """The standard deviation that a strength stands for, None where nothing would be seen of it."""
    sigma = strength / 10
    return min(WIDEST, sigma) if sigma >= NARROWEST else None
