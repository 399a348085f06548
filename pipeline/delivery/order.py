"""What a worker is told of a derivative it is to make; all of it travels in the job, so that nothing is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.delivery.recipe import Recipe
from pipeline.jobs import slip
from pipeline.model import File, Noun
from pipeline.records.queue import Slip

DERIVE = "derive"
"""The job that makes one derivative."""
QUEUE = "interactive"


class Order(Noun):
    """The derivative of the file `source` that is kept under `key`, and how it is made."""

    key: str
    document: Mapping[str, Any]
    files: Mapping[str, File]

    @classmethod
    def of(cls, recipe: Recipe) -> Order:
        return cls(key=recipe.key, document=recipe.document, files=recipe.files)


def order_slip(prefix: str, recipe: Recipe) -> Slip:
    """The job that makes it; who asks for the same has the same job."""
    told = Order.of(recipe).model_dump(mode="json")
    return slip(prefix, QUEUE, DERIVE, f"derive:{recipe.key}", (told,), recipe.file.project)
