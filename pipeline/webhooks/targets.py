"""Who is to be told: webhooks of the settings, of the API, and those that a route, a flow or a request names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID, uuid5

from pipeline.errors import FlowNotFound, FlowVersionNotFound, WebhookNotFound
from pipeline.flows import FlowRegistry
from pipeline.model import Delivery, Hook, HookSecret, Project, Run, Webhook, WebhookTarget
from pipeline.records import Records
from pipeline.settings import Settings
from pipeline.webhooks.message import Message

NAMESPACE = UUID("5b2f1c34-7f0e-5d0c-9a51-6f6a3f0f2d11")
"""In which webhooks that nobody numbered, and deliveries, have their ids."""


class Targets:
    """Finds the webhooks of an event, and the webhook of a delivery."""

    def __init__(self, settings: Settings, records: Records, flows: FlowRegistry) -> None:
        self._settings = settings
        self._records = records
        self._flows = flows

    def fixed(self, project: Project) -> list[Webhook]:
        """Those that the settings list for a project."""
        return [_listed(project, target) for target in project.webhooks]

    async def of_project(self, project: Project) -> list[Webhook]:
        """Those that want to hear of the whole project."""
        return [*self.fixed(project), *await self._records.webhooks.of(project.id)]

    async def of(self, message: Message, of_project: Sequence[Webhook]) -> list[Webhook]:
        """Those that this message is for, each address once in the words of one dialect."""
        project = self._settings.projects[message.project]
        found = [*of_project, *await self._named(project, message)]
        wanting = [webhook for webhook in found if webhook.wants(message.type)]
        return list({(webhook.url, webhook.dialect): webhook for webhook in reversed(wanting)}.values())

    async def find(self, delivery: Delivery) -> Webhook:
        """The webhook of a delivery as it is now; raises `WebhookNotFound`."""
        project = self._settings.projects.get(delivery.project)
        if project is None:
            raise WebhookNotFound(id=delivery.webhook)
        if delivery.origin == "api":
            return await self._records.webhooks.get(project.id, delivery.webhook)
        if delivery.origin == "settings":
            return self.fixed_one(project, delivery.webhook)
        return _named(project, Hook(url=delivery.url, dialect=delivery.dialect), delivery.origin)

    def fixed_one(self, project: Project, id: str) -> Webhook:
        """The one of this id that the settings list; raises `WebhookNotFound`."""
        for webhook in self.fixed(project):
            if webhook.id == id:
                return webhook
        raise WebhookNotFound(id=id)

    async def _named(self, project: Project, message: Message) -> list[Webhook]:
        found: list[Webhook] = []
        if message.file is not None:
            found += _asked(project, message.file.hook)
            route = project.routes.get(message.file.route or "")
            # A dialect whose routes have webhooks names them with the file, so that they hear its own words.
            named = message.file.hook.url if message.file.hook else None
            if route is not None and route.webhook and route.webhook != named:
                found.append(_named(project, Hook(url=route.webhook), "route"))
        if message.run is not None:
            for hook in (message.run.hook, *message.run.hooks):
                found += _asked(project, hook)
            if url := await self._of_flow(message.run):
                found.append(_named(project, Hook(url=url), "flow"))
        return found

    async def _of_flow(self, run: Run) -> str | None:
        try:
            return (await self._flows.of(run)).webhook
        except (FlowNotFound, FlowVersionNotFound):
            return None


def secrets_of(spelt: str | Sequence[str] | None) -> tuple[HookSecret, ...]:
    """The secrets of a setting that takes none, one or several."""
    several: Iterable[str] = (spelt,) if isinstance(spelt, str) else spelt or ()
    return tuple(HookSecret(value=value) for value in several)


def _listed(project: Project, target: WebhookTarget) -> Webhook:
    words = ("settings", project.id, target.dialect, target.url, *sorted(target.events))
    return Webhook(
        id=str(uuid5(NAMESPACE, " ".join(words))),
        project=project.id,
        url=target.url,
        events=target.events,
        dialect=target.dialect,
        secrets=secrets_of(target.secret),
        origin="settings",
    )


def _asked(project: Project, hook: Hook | None) -> list[Webhook]:
    return [_named(project, hook, "request")] if hook else []


def _named(project: Project, hook: Hook, origin: str) -> Webhook:
    return Webhook.model_validate(
        {
            "id": str(uuid5(NAMESPACE, f"{origin} {project.id} {hook.dialect} {hook.url}")),
            "project": project.id,
            "url": hook.url,
            "events": hook.events,
            "dialect": hook.dialect,
            "secrets": secrets_of(project.webhook_secret),
            "origin": origin,
        }
    )
