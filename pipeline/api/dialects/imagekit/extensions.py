"""Extensions of an upload or an update: flows of the project that its settings name for them.

A flow gets the file, and those of the extension's options that it declares as params. What it finds out the file
keeps, and its end is told to the webhook that the request named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from pipeline.api.dialects.imagekit.errors import invalid
from pipeline.core import Core
from pipeline.errors import SafelightError
from pipeline.model import File, Grant, Hook, Project
from pipeline.vendors.imagekit import EXTENSION

EXTENSIONS = ("remove-bg", "google-auto-tagging", "aws-auto-tagging", "ai-auto-description", "ai-tasks")
"""Those the vendor has."""

log = structlog.stdlib.get_logger(__name__)


def check_extensions(project: Project, asked: Sequence[Mapping[str, Any]]) -> None:
    """Refuse extensions that there are not, or that the project has no flow for."""
    for one in asked:
        name = one["name"]
        if name not in EXTENSIONS and name not in project.extensions:
            raise invalid("extensions", f"There is no extension {name[:64]}.")
        if name not in project.extensions:
            raise invalid("extensions", f"The extension {name} is not enabled for your account.")


async def start_extensions(
    core: Core, grant: Grant, file: File, asked: Sequence[Mapping[str, Any]], webhook: str | None
) -> Mapping[str, str]:
    """Begin the extensions, which were checked before, and return the status of each by its name."""
    hooks = [Hook(url=webhook, dialect="imagekit", events=("run.completed", "run.failed"))] if webhook else []
    return {one["name"]: await _started(core, grant, file, one, hooks) for one in asked}


async def _started(core: Core, grant: Grant, file: File, asked: Mapping[str, Any], hooks: Sequence[Hook]) -> str:
    name = asked["name"]
    whole = Grant(project=grant.project)  # the project's own settings name the flow
    try:
        flow = await core.runs.flow(grant.project.extensions[name])
        params = {key: value for key, value in options_of(asked).items() if key in flow.params}
        inputs = {next(iter(flow.inputs)): [file.id]}
        await core.runs.start(
            whole, flow.id, inputs, params, version=flow.version, hooks=hooks, marks={EXTENSION: name}
        )
    except SafelightError as error:
        log.warning("extension_refused", extension=name, file=file.id, code=error.code, reason=error.message)
        return "failed"
    return "pending"


def options_of(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an extension is told, whether beside its name or among its options."""
    options = asked.get("options")
    beside = {key: value for key, value in asked.items() if key not in ("name", "options")}
    return {**beside, **(options if isinstance(options, Mapping) else {})}
