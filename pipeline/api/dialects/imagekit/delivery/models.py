"""What takes a model: a flow does it where the project's `extensions` name one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipeline.api.dialects.imagekit.delivery.draft import Draft
from pipeline.api.dialects.imagekit.delivery.text import legible, unfolded


def flow_for(draft: Draft, *names: str) -> str | None:
    """The flow of the first of these extensions that the project names."""
    return next((flow for name in names if (flow := draft.ground.extensions.get(name))), None)


def prompt_of(rest: str) -> str:
    """`prompt-<text>`, or `prompte-<base64>`."""
    if rest.startswith("prompt-"):
        return rest.removeprefix("prompt-")
    return unfolded(rest.removeprefix("prompte-")) if rest.startswith("prompte-") else ""


def by_flow(draft: Draft, flow: str, **said: Any) -> None:
    """Have a flow do it to the picture; what is None or empty it is not told."""
    params = {name: legible(value) if isinstance(value, str) else value for name, value in said.items() if value}
    draft.add("subflow", flow=flow, **({"params": params} if params else {}))
    draft.outline = replace(draft.outline, alpha=True, frames=1)
