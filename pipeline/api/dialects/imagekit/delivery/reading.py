"""What has to be looked up before a draft can grow: names, the pictures of layers, and what a video is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from unicodedata import normalize

from pipeline.api.dialects.imagekit.delivery import films, layers, making, named, writing
from pipeline.api.dialects.imagekit.delivery.addresses import THUMBNAIL, placed
from pipeline.api.dialects.imagekit.delivery.draft import Draft, Ground
from pipeline.api.dialects.imagekit.delivery.making import Making
from pipeline.api.dialects.imagekit.delivery.operations import perform
from pipeline.api.dialects.imagekit.delivery.steps import Layer, Step, layers_in, steps_in, steps_of
from pipeline.core import Core
from pipeline.errors import FileNotFound, RequestInvalid
from pipeline.model import File, Project
from pipeline.records.changes import path_word


@dataclass
class Plan:
    """The steps of an address, every name unfolded, and what they need."""

    core: Core
    project: Project
    steps: tuple[Step, ...] = ()
    is_named: bool = False
    """Whether nothing but names was written."""
    words: list[str] = field(default_factory=list)
    """What is called out when something that was looked up becomes another."""

    async def at(self, folder: str, name: str) -> File | None:
        """The file at a path, which is noted; None where there is none, or none that anybody may see.

        Letters that Unicode writes in two ways may be written in the other one.
        """
        for path in dict.fromkeys(((folder, name), *(_composed(form, folder, name) for form in ("NFC", "NFD")))):
            self.words.append(path_word(self.project.id, "/".join(filter(None, path))))
            found = await self.core.records.lineages.at(self.project.id, *path, heeded=True)
            if found is not None:
                return found if found.published else None
        return None

    @property
    def default(self) -> str | None:
        """The path of the picture that is shown where there is none."""
        return next((step.said["di"] for step in self.steps if step.said.get("di")), None)

    @property
    def is_original(self) -> bool:
        """Whether the bytes are wanted as they are stored."""
        return any(writing.is_original(step) for step in self.steps)

    @property
    def page(self) -> int | None:
        return next((found for step in self.steps if (found := writing.page(step))), None)


def _composed(form: Literal["NFC", "NFD"], folder: str, name: str) -> tuple[str, str]:
    return normalize(form, folder), normalize(form, name)


async def plan_of(core: Core, project: Project, texts: Sequence[str]) -> Plan:
    """What the transformations of an address ask for; raises `RequestInvalid`."""
    written = tuple(step for text in texts for step in steps_of(text))
    plan = Plan(core, project, is_named=named.is_named_only(written))
    plan.steps = await named.unfolded(core, project, written, plan.words)
    return plan


async def laid_over(plan: Plan, opens_private: bool) -> Mapping[str, File]:
    """By their paths, the pictures of the layers; raises `RequestInvalid` for one that is not there."""
    found: dict[str, File] = {}
    for path in sorted({path for layer in _layers(plan.steps) if (path := layers.path_of(layer))}):
        file = await plan.at(*placed(path))
        if file is None or (file.private and not opens_private):
            raise RequestInvalid(reason=f"`l-image`: there is no picture at `{path[:100]}`.")
        making.outline_of(file)
        found[path] = file
    return found


def _layers(steps: Sequence[Step]) -> list[Layer]:
    flat = [layer for step in steps_in(steps) if (layer := layers.flat(step))]
    return [*layers_in(steps), *flat]


@dataclass(frozen=True)
class Wish:
    """Of which file something is made, and what the suffix of the address and the client say."""

    file: File
    suffix: str = ""
    accept: str = ""
    hints: Mapping[str, float] = field(default_factory=dict)
    format: str | None = None
    """The format where the steps say none; None chooses by `accept`."""


@dataclass(frozen=True)
class Made:
    """How something is made, the files it is made of, and what of the client had a say; None is the file itself."""

    making: Making | None
    files: Sequence[File]
    heeded: frozenset[str] = frozenset()


async def made_of(plan: Plan, wish: Wish, opens_private: bool = False) -> Made:
    """How what is asked for is made; raises `RequestInvalid`, `ImageTooLarge`, and what looking at a video does."""
    if wish.file.mime.startswith("video/"):
        return await _of_video(plan, wish, opens_private)
    ground = await _ground(plan, wish, opens_private)
    draft = Draft(ground, making.outline_of(wish.file), wish.file)
    if wish.suffix == THUMBNAIL and wish.file.image and wish.file.image.format == "pdf":
        draft.add("pdf", page=plan.page or 1)
    elif wish.suffix or films.asks_film(plan.steps):
        return _filmed(draft, plan, wish)
    return _pictured(draft, plan, wish)


async def _of_video(plan: Plan, wish: Wish, opens_private: bool) -> Made:
    facts = await _facts(plan.core, wish.file)
    ground = await _ground(plan, wish, opens_private)
    ground.duration = float(facts["duration"])
    draft = Draft(ground, films.outline_of(facts), wish.file)
    if wish.suffix != THUMBNAIL:
        return _filmed(draft, plan, wish)
    films.frame(draft, plan.steps)
    return _pictured(draft, plan, wish)


async def _ground(plan: Plan, wish: Wish, opens_private: bool) -> Ground:
    pictures = await laid_over(plan, opens_private)
    has_faces = plan.core.settings.face_model is not None
    return Ground(pictures, has_faces=has_faces, hints=wish.hints, extensions=plan.project.extensions)


async def _facts(core: Core, file: File) -> Mapping[str, Any]:
    found = await core.delivering.derivative(films.about(file))
    facts: Mapping[str, Any] = found.facts[films.FACT]
    return facts


def _filmed(draft: Draft, plan: Plan, wish: Wish) -> Made:
    if wish.file.mime != "image/gif" and not wish.file.mime.startswith("video/"):
        raise RequestInvalid(reason="Videos are made of videos and of GIF files.")
    recipe = films.film(draft, wish.file, plan.steps)
    return Made(Making(recipe) if recipe else None, [wish.file])


def _pictured(draft: Draft, plan: Plan, wish: Wish) -> Made:
    draft.writing.format = wish.format
    perform(draft, plan.steps)
    found = making.picture(draft, wish.file, wish.accept)
    beside = draft.ground.beside.values()
    return Made(found, [wish.file, *beside], frozenset(draft.ground.heeded))


def missing(path: str) -> FileNotFound:
    return FileNotFound(id=path[:200])
