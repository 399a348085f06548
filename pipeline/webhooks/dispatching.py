"""From an event that waits to the deliveries it becomes, all in one step of the records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import uuid5

import structlog

from pipeline.errors import RunNotFound
from pipeline.jobs import ERRANDS, slip
from pipeline.model import Delivery, File, HookStanding, Run, Sheet, Webhook
from pipeline.records import Records
from pipeline.records.outgoing import Leaving, Made
from pipeline.records.queue import Slip
from pipeline.settings import Settings
from pipeline.webhooks.dialects import DIALECTS, READS
from pipeline.webhooks.message import Message
from pipeline.webhooks.rewinding import rewound
from pipeline.webhooks.targets import NAMESPACE, Targets

DELIVER = "deliver_webhook"

log = structlog.stdlib.get_logger(__name__)


def delivery_slip(prefix: str, id: str, round: int, project: str) -> Slip:
    """The job of this round of a delivery."""
    return slip(prefix, ERRANDS, DELIVER, f"webhook:{id}:{round}", (id, round), project)


class Dispatching:
    """Turns events into deliveries; the same event gives deliveries of the same ids, whoever turns it."""

    def __init__(self, settings: Settings, records: Records, targets: Targets) -> None:
        self._settings = settings
        self._records = records
        self._targets = targets

    async def dispatch(self, batch: Sequence[Leaving]) -> int:
        """Dispatch these events and let them go; returns how many deliveries they gave."""
        messages = await self._messages(batch)
        wanted = await self._wanted(messages)
        standings = await self._standings(wanted)
        sheets = await self._sheets(wanted)
        made = {
            place: self._made(
                replace(message, sheets=sheets.get(message.project, ())),
                [one for one in wanted.get(place, ()) if not standings[one.id].disabled_at],
            )
            for place, message in messages.items()
        }
        return await self._records.outgoing.dispatch(made, self._settings.delivery_retention)

    def delivery(self, message: Message, webhook: Webhook) -> tuple[Delivery, bytes, Slip] | None:
        """What a webhook is sent of a message; None when its dialect does not tell of it."""
        body = DIALECTS[webhook.dialect].body(message, webhook)
        if body is None:
            return None
        id = str(uuid5(NAMESPACE, f"{webhook.id} {message.project} {message.event}"))
        delivery = Delivery(
            id=id,
            project=message.project,
            webhook=webhook.id,
            url=webhook.url,
            dialect=webhook.dialect,
            origin=webhook.origin,
            event=message.event,
            type=message.type,
            subject=message.subject,
        )
        return delivery, body, delivery_slip(self._settings.key_prefix, id, 1, message.project)

    def _made(self, message: Message, webhooks: Sequence[Webhook]) -> Made:
        made = []
        for webhook in webhooks:
            try:
                made.append(self.delivery(message, webhook))
            except Exception:  # what cannot be told to one must not keep the others waiting
                log.exception("webhook_message_lost", webhook=webhook.id, event_id=message.event)
        return [one for one in made if one]

    # Who is to be told

    async def _wanted(self, messages: Mapping[str, Message]) -> Mapping[str, Sequence[Webhook]]:
        projects = self._settings.projects
        known = {message.project for message in messages.values()} & projects.keys()
        of_project = {name: await self._targets.of_project(projects[name]) for name in known}
        return {
            place: await self._targets.of(message, of_project[message.project])
            for place, message in messages.items()
            if message.project in known
        }

    async def _standings(self, wanted: Mapping[str, Sequence[Webhook]]) -> Mapping[str, HookStanding]:
        ids = list({webhook.id: None for webhooks in wanted.values() for webhook in webhooks})
        return dict(zip(ids, await self._records.webhooks.standings(ids), strict=True))

    # What they are told

    async def _sheets(self, wanted: Mapping[str, Sequence[Webhook]]) -> Mapping[str, Sequence[Sheet]]:
        """By project, the documents that the dialects of those who are to be told look into."""
        told = {(webhook.project, READS.get(webhook.dialect)) for webhooks in wanted.values() for webhook in webhooks}
        found: defaultdict[str, list[Sheet]] = defaultdict(list)
        for project, kind in told:
            if kind:
                found[project] += await self._records.sheets.every(project, kind)
        return found

    async def _messages(self, batch: Sequence[Leaving]) -> Mapping[str, Message]:
        about = [one.subject for one in batch if one.type.startswith(("file.", "derivative.")) and not one.noun]
        runs = await self._runs([one.subject for one in batch if one.type.startswith("run.")])
        used = [id for run in runs.values() for id in (*_inputs(run), *(output.id for output in run.outputs))]
        files = await self._files([*about, *used])
        return {leaving.place: self._message(leaving, files, runs) for leaving in batch}

    def _message(self, leaving: Leaving, files: Mapping[str, File], runs: Mapping[str, Run]) -> Message:
        gone = File.model_validate(leaving.noun) if leaving.noun and leaving.type.startswith("file.") else None
        run = runs.get(leaving.subject) if leaving.type.startswith("run.") else None
        run = rewound(run, leaving.type, leaving.at, leaving.facts) if run else None
        return Message(
            leaving.event,
            leaving.type,
            leaving.project,
            leaving.subject,
            leaving.at,
            self._settings.base_url,
            leaving.facts,
            gone or files.get(leaving.subject),
            run,
            {output.id: files[output.id] for output in run.outputs if output.id in files} if run else {},
            {id: files[id] for id in _inputs(run) if id in files} if run else {},
            project.public_key if (project := self._settings.projects.get(leaving.project)) else None,
        )

    async def _files(self, ids: Sequence[str]) -> Mapping[str, File]:
        found = await self._records.files.get_many(list(dict.fromkeys(ids)))
        return {file.id: file for file in found if file is not None}

    async def _runs(self, ids: Sequence[str]) -> Mapping[str, Run]:
        found: dict[str, Run] = {}
        for id in dict.fromkeys(ids):
            with suppress(RunNotFound):
                found[id] = await self._records.runs.get(id)
        return found


def _inputs(run: Run) -> Sequence[str]:
    """What it was given; some of them may be fetches that never became files."""
    return [id for ids in run.inputs.values() for id in ids]
