"""What is made of a file before anybody asks for it: the same derivative under the same key, and an event of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.delivery.order import Order
from pipeline.delivery.recipe import Recipe
from pipeline.jobs import slip
from pipeline.model import Derivative, Event, File
from pipeline.records.queue import Slip

AHEAD = "derive_ahead"
"""The job that makes one derivative and tells of it."""
QUEUE = "default"


def ahead_slip(prefix: str, recipe: Recipe, telling: Mapping[str, Any]) -> Slip:
    """The job; `telling` are facts of the event, plain values. The same derivative is told of as often as asked for."""
    told = Order.of(recipe).model_dump(mode="json")
    name = f"ahead:{recipe.key}:{telling.get('number', 0)}"
    return slip(prefix, QUEUE, AHEAD, name, (told, dict(telling)), recipe.file.project)


def made(file: File, derivative: Derivative, telling: Mapping[str, Any]) -> Event:
    """That it is there."""
    facts = {**telling, "mime": derivative.mime, "size": derivative.size}
    return Event(type="derivative.made", project=file.project, subject=file.id, facts=facts)


def failed(file: File, code: str, message: str, telling: Mapping[str, Any]) -> Event:
    """That it cannot be."""
    facts = {**telling, "code": code, "message": message}
    return Event(type="derivative.failed", project=file.project, subject=file.id, facts=facts)
