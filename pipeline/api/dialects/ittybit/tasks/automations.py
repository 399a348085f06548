"""`/automations`: workflows that run on every file that begins a media, or when they are told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.ittybit.ask import Ask, text_of
from pipeline.api.dialects.ittybit.errors import BadRequest, Missing
from pipeline.api.dialects.ittybit.tasks.running import Plan, given_of, planned
from pipeline.api.dialects.ittybit.tasks.showing import shown
from pipeline.api.dialects.ittybit.tasks.steps import Step, steps_of
from pipeline.errors import SheetNotFound
from pipeline.model import Sheet, StandingOrder, new_id
from pipeline.runs import ORDERS
from pipeline.vendors.ittybit.tasks import WORKFLOW, Mark
from pipeline.vendors.ittybit.words import REDESIGNED, Document, id_of, spelled, times

AUTOMATION = "automation"
TRIGGERED = ("media.created", "media.ready")
"""Events that start a workflow; the second was an earlier name of the first."""
STATUSES = ("active", "paused")
CHANGEABLE = ("name", "description", "trigger", "workflow", "status", "tasks")


async def listed(ask: Ask) -> web.Response:
    every = await _every(ask)
    shown = every[ask.page.skipped : ask.page.wanted]
    return ask.listed([automation_object(ask, sheet) for sheet in shown], len(every))


async def _every(ask: Ask) -> list[Sheet]:
    sheets = await ask.call.core.records.sheets.every(ask.project, ORDERS)
    mine = [sheet for sheet in reversed(sheets) if AUTOMATION in sheet.body]
    status = ask.query("status")
    return [sheet for sheet in mine if not status or sheet.body[AUTOMATION]["status"] == status]


async def create(ask: Ask) -> web.Response:
    id = new_id()
    body = await _body(ask, id, _checked(ask, ask.fields()))
    sheet = await settled(ask.call.core.records.sheets.add(ask.project, ORDERS, id, body))
    return ask.told(automation_object(ask, sheet), 201)


async def get(ask: Ask) -> web.Response:
    return ask.told(automation_object(ask, await _known(ask, ask.call.place("id"))))


async def change(ask: Ask) -> web.Response:
    """Other fields; those that are not given stay as they are."""
    sheet, fields = await _known(ask, ask.call.place("id")), ask.fields()
    before = sheet.body[AUTOMATION]
    given = {name: fields[name] for name in CHANGEABLE if name in fields}
    body = await _body(ask, sheet.id, _checked(ask, {**before, **given}))
    try:
        sheet = await settled(ask.call.core.records.sheets.change(ask.project, ORDERS, sheet.id, lambda _: body))
    except SheetNotFound as cause:
        raise Missing(what="Automation") from cause
    return ask.told(automation_object(ask, sheet))


async def delete(ask: Ask) -> web.Response:
    sheet = await _known(ask, ask.call.place("id"))
    await settled(ask.call.core.records.sheets.delete(ask.project, ORDERS, sheet.id))
    return ask.told({"message": "Automation deleted."}, 202)


async def run(ask: Ask) -> web.Response:
    """Run it on a file, or on what lies at a URL."""
    given, file = await given_of(ask, ask.fields())
    plan = await plan_of(ask, ask.call.place("id"))
    started = await settled(plan.run(ask, given, file.metadata if file else None))
    return ask.told(await shown(ask, started), 201)


async def plan_of(ask: Ask, text: str) -> Plan:
    """What an automation does; raises `Missing`."""
    sheet = await _known(ask, text)
    order = StandingOrder.model_validate(sheet.body["order"])
    flow = await ask.call.core.runs.ordered(order) if order.graph else order.flow
    return Plan(flow, order.version, "input", order.inputs, order.hooks, Mark.read(order.marks))


async def is_triggered(ask: Ask, text: str) -> bool:
    """Whether an automation runs by itself on every new file; raises `Missing`."""
    return StandingOrder.model_validate((await _known(ask, text)).body["order"]).active


async def _known(ask: Ask, text: str) -> Sheet:
    id = id_of(text, "auto")
    if id is None:
        raise Missing(what="Automation")
    try:
        sheet = await ask.call.core.records.sheets.get(ask.project, ORDERS, id)
    except SheetNotFound as cause:
        raise Missing(what="Automation") from cause
    if AUTOMATION not in sheet.body:
        raise Missing(what="Automation")
    return sheet


# What is kept of it


def _checked(ask: Ask, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What an automation says, in the shape of the later versions; raises `BadRequest`."""
    status = fields.get("status") or "active"
    if status not in STATUSES:
        raise BadRequest(reason=f"`status` must be one of {', '.join(STATUSES)}.")
    trigger, workflow = fields.get("trigger"), fields.get("workflow") or fields.get("tasks")
    if not isinstance(workflow, list) or not workflow:
        raise BadRequest(reason="`workflow` must be a list of at least one step.")
    return {
        "name": text_of(fields, "name"),
        "description": text_of(fields, "description", 5000),
        "trigger": _trigger(trigger),
        "workflow": workflow,
        "status": status,
    }


def _trigger(given: Any) -> dict[str, Any] | None:
    """What starts it; nothing does where none is named, as since 2025-11-10."""
    if given is None:
        return None
    if isinstance(given, list) and len(given) == 1:  # as a client of early 2025 has it
        (given,) = given
    if not isinstance(given, dict):
        raise BadRequest(reason="`trigger` must be an object with `kind` and `event`.")
    kind, event = given.get("kind", "event"), given.get("event")
    if kind != "event" or event not in TRIGGERED:
        raise BadRequest(reason="`trigger` must be {kind: event, event: media.created}.")
    return {**given, "kind": "event", "event": event}


async def _body(ask: Ask, id: str, told: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document of an automation: what was said of it, and what is to be started for it."""
    plan = await planned(ask, _steps(told), _mark(id, told["workflow"]))
    active = told["status"] == "active" and told["trigger"] is not None
    order = StandingOrder(
        flow=plan.id,
        version=plan.version,
        graph=plan.graph,
        active=active,
        inputs=plan.inputs,
        hooks=plan.hooks,
        marks=plan.mark.kept(),
    )
    return {"order": order.model_dump(mode="json"), AUTOMATION: dict(told)}


def _steps(told: Mapping[str, Any]) -> Sequence[Step]:
    """Its steps; conditions of the trigger, as there were early in 2025, stand before all of them."""
    steps, trigger = steps_of(told["workflow"]), told["trigger"]
    if trigger and trigger.get("conditions"):
        return [Step("conditions", conditions=trigger["conditions"], next=steps)]
    return steps


def _mark(id: str, workflow: Any) -> Mark:
    return Mark(WORKFLOW, workflow=workflow, automation=id)


def automation_object(ask: Ask, sheet: Sheet) -> Document:
    """An automation as clients read it."""
    told = dict(sheet.body[AUTOMATION])
    if ask.version >= REDESIGNED and told["trigger"] is None:
        del told["trigger"]
    head = {"id": spelled("auto", sheet.id), "object": "automation"}
    return {**head, **told, **times(ask.view, sheet.created_at, sheet.updated_at)}
