"""What holds before a byte is taken: limits and rules of a project, and whose upload it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from pipeline import labels, names
from pipeline.arrival import Rules
from pipeline.errors import UploadExpired, UploadNotFound
from pipeline.model import Follow, Grant, Intake, Upload, new_id, now
from pipeline.records import Records
from pipeline.settings import Settings
from pipeline.uploads.entry import route_of, rules_of

Narrow = Callable[[Grant, Intake], Awaitable[Intake]]


class Opening:
    """Opens uploads under the rules of their project, and finds those that are open."""

    def __init__(self, settings: Settings, records: Records, narrow: Narrow) -> None:
        self._settings = settings
        self._records = records
        self._narrow = narrow

    async def narrowed(self, grant: Grant, intake: Intake) -> Intake:
        """What the flow that is to follow makes of the claims: the one they name, else that of their route.

        Raises `RouteUnknown`, `FlowNotFound`, `ParamsInvalid`, ...
        """
        if intake.follow is None and (flow := route_of(grant, intake).flow):
            intake = intake.model_copy(update={"follow": Follow(flow=flow, metadata=intake.metadata)})
        return await self._narrow(grant, intake)

    async def judged(self, grant: Grant, intake: Intake) -> Intake:
        """The claims for bytes that come later; raises what `narrowed` and `upload` do."""
        intake = await self.narrowed(grant, intake)
        self.upload(grant, intake)
        return intake

    def upload(self, grant: Grant, intake: Intake, media_type: str | None = None, *, piece: bool = False) -> Upload:
        """A new upload, not yet on record; raises what `rules` does.

        Metadata, tags and folder are put as they are kept, or refused with what `labels` raises.
        """
        self.rules(grant, intake, piece=piece)
        return self.made(grant, intake, media_type)

    def made(self, grant: Grant, intake: Intake, media_type: str | None = None, id: str | None = None) -> Upload:
        """A new upload under claims that keep to the rules; raises what `labels` does."""
        id, route = id or new_id(), route_of(grant, intake)
        filed = {
            "metadata": labels.metadata(intake.metadata),
            "tags": labels.tags(intake.tags, labels.PRINTED),
            "folder": labels.folder(intake.folder),
        }
        name = names.native(intake.name, media_type or intake.declared_type)
        intake = intake.model_copy(update={"name": name, **filed})
        return Upload(
            id=id,
            project=grant.project.id,
            storage=intake.storage or route.storage or grant.project.storage,
            key=f"{grant.project.id}/files/{id[:2]}/{id}/{intake.name}",
            intake=intake,
            run=new_id() if intake.follow else None,
            expires_at=now() + timedelta(seconds=self._settings.upload_expiry),
        )

    def rules(self, grant: Grant, intake: Intake, *, piece: bool = False) -> Rules:
        """What the bytes of an intake, or of a piece of its file, must keep to, if they may come at all.

        Raises `RouteUnknown` and, for what it declares, `FileTooLarge`, `FileTooSmall`, `TypeNotAllowed`, `SvgRefused`
        or `ScanTooLarge`.
        """
        rules = rules_of(self._settings, grant, intake)
        if piece:  # its first bytes may lie anywhere in the file
            rules = replace(rules, allowed=(), declared_type=None, may_be_empty=True, least=0, takes_svg=True)
        rules.check_claims()
        return rules

    async def begin(self, grant: Grant, upload: Upload) -> None:
        """Put a new upload on record; raises `QuotaExceeded` when the project has no room for it."""
        await self._records.uploads.create(upload, grant.project.limits)

    async def owned(self, grant: Grant, id: str) -> Upload:
        """The project's upload, expired or not; raises `UploadNotFound`."""
        upload = await self._records.uploads.get(id)
        if upload.project != grant.project.id:
            raise UploadNotFound(id=id)
        return upload

    async def found(self, grant: Grant, id: str) -> Upload:
        """The project's upload that still takes bytes; raises `UploadNotFound` or `UploadExpired`."""
        upload = await self.owned(grant, id)
        if upload.expires_at <= now():
            raise UploadExpired(id=id)
        return upload
