"""A run as the task it is, with its files."""

from __future__ import annotations

from contextlib import suppress

from pipeline.api.dialects.ittybit.ask import Ask
from pipeline.api.dialects.ittybit.errors import Missing
from pipeline.errors import RunNotFound
from pipeline.model import Run
from pipeline.vendors.ittybit.tasks import task_object
from pipeline.vendors.ittybit.words import Document


async def known(ask: Ask, id: str) -> Run:
    """The run of this id; raises `Missing`."""
    with suppress(RunNotFound):
        return await ask.call.core.runs.get(ask.grant, id)
    raise Missing(what="Task")


async def shown(ask: Ask, run: Run, step: int | None = None) -> Document:
    """A run as a task, with its files."""
    first = next(iter(run.inputs.values()), ())
    wanted = [*first, *(output.id for output in run.outputs)]
    found = await ask.call.core.records.files.get_many(wanted)
    outputs = {file.id: file for file in found[len(first) :] if file}
    return task_object(ask.view, run, found[: len(first)], outputs, step)
