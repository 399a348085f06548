"""`/tasks`: what is to be done to a file, done by a run whose id, status and progress it has.

Every run of the project is a task, however it was started; one of ours knows what was asked for.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.ittybit.ask import Ask, object_of, text_of
from pipeline.api.dialects.ittybit.errors import BadRequest, Missing
from pipeline.api.dialects.ittybit.tasks import automations
from pipeline.api.dialects.ittybit.tasks.running import Plan, given_of, mapped, planned
from pipeline.api.dialects.ittybit.tasks.showing import known, shown
from pipeline.api.dialects.ittybit.tasks.steps import KINDS, OURS, SAME, Step, step_of, steps_of
from pipeline.model import Run, RunStatus
from pipeline.vendors.ittybit.tasks import WORKFLOW, Mark
from pipeline.vendors.ittybit.words import RENAMED, id_of, status_meant

LOOKED = 2000
"""Runs that are looked through for those of one kind."""
STEP = re.compile(r"(.+)-(\d{1,3})", re.ASCII)


async def create(ask: Ask) -> web.Response:
    return await _created(ask, "task")


async def create_job(ask: Ask) -> web.Response:
    return await _created(ask, "job")


async def _created(ask: Ask, object: str) -> web.Response:
    wish = _wish(ask.fields())
    step = step_of(wish, url_is_input=_url_is_input(wish))
    given, file = await given_of(ask, wish, step)
    plan = await _plan(ask, wish, step, object)
    run = await settled(plan.run(ask, given, file.metadata if file else None))
    return ask.told(await shown(ask, run), 201)


def _wish(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is asked for; in 2024 it was the `output` that said of what kind it should be, early in 2025 an `input`."""
    if isinstance(fields.get("input"), dict):
        fields = {**fields["input"], **fields, "input": None}
    if fields.get("kind") is None and isinstance(fields.get("output"), dict):
        return {**fields, **fields["output"]}
    return fields


def _url_is_input(fields: Mapping[str, Any]) -> bool:
    """Whether `url` is where the file lies; with another input it is where a task of the kind `http` posts to."""
    return not any(fields.get(name) for name in ("file_id", "media_id", "input"))


async def _plan(ask: Ask, wish: Mapping[str, Any], step: Step, object: str) -> Plan:
    mark = Mark(step.kind, step.options, object=object)
    if step.kind != WORKFLOW:
        return await planned(ask, [replace(step, webhook=None)], mark, step.webhook)
    spelt = (wish.get("workflow"), wish.get("steps"), object_of(wish, "options").get("workflow"))
    workflow = next((one for one in spelt if one is not None), None)
    if workflow is not None:
        told = Mark(WORKFLOW, workflow=workflow, object=object)
        return await planned(ask, _steps(workflow), told, step.webhook)
    id = text_of(wish, "workflow_id") or text_of(wish, "automation_id")
    if not id:
        raise BadRequest(reason="`workflow` or `workflow_id` is required for a task of the kind `workflow`.")
    if id.startswith("auto_"):
        return await automations.plan_of(ask, id)
    return await mapped(ask, id, mark, step.webhook)


def _steps(workflow: Any) -> Sequence[Step]:
    steps = steps_of(workflow)
    if not steps:
        raise BadRequest(reason="`workflow` must be a list of at least one step.")
    return steps


async def get(ask: Ask) -> web.Response:
    text, step = ask.call.place("id"), None
    if match := STEP.fullmatch(text):
        text, step = match.group(1), int(match.group(2))
    id = id_of(text, "task", "tsk", "job")
    if id is None:
        raise Missing(what="Task")
    run = await known(ask, id)
    if step is not None and step >= len(Mark.of(run).steps):
        raise Missing(what="Task")
    return ask.told(await shown(ask, run, step))


async def listed(ask: Ask) -> web.Response:
    kind, status = ask.query("kind"), ask.query("status")
    meant = status_meant(status)
    if status and meant is None:
        return ask.listed([], 0)
    runs = await _runs(ask, meant, LOOKED if kind else ask.page.wanted)
    if kind:
        runs = [run for run in runs if Mark.of(run).kind == kind]
    total = len(runs) if kind else await ask.call.core.records.runs.total(ask.project, meant)
    page = runs[ask.page.skipped : ask.page.wanted]
    return ask.listed(await asyncio.gather(*(shown(ask, run) for run in page)), total)


async def _runs(ask: Ask, status: RunStatus | None, wanted: int) -> list[Run]:
    runs: list[Run] = []
    cursor = None
    while len(runs) < wanted:
        page = await ask.call.core.runs.list(ask.grant, cursor, min(wanted - len(runs), 500), status)
        runs += page.items
        cursor = page.next
        if cursor is None:
            break
    return runs


async def config(ask: Ask) -> web.Response:
    """Which kinds of task there are here, and what each is done by."""
    named = ask.grant.project.kinds
    ready = {kind for kind in KINDS if kind in OURS or {kind, *SAME.get(kind, ())} & named.keys()}
    told = {kind: {"kind": kind, "available": kind in ready} for kind in sorted(KINDS)}
    return ask.told({"kinds": sorted(ready), "tasks": told} if ask.version >= RENAMED else told)
