"""Named transformations: `n-<name>` stands for the steps that the settings or the management API keep by that name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.api.dialects.imagekit.delivery.steps import SHOWN, Choice, Layer, Param, Part, Step, steps_in, steps_of
from pipeline.core import Core
from pipeline.errors import RequestInvalid
from pipeline.model import Project
from pipeline.records.changes import sheet_word

KIND = "imagekit.transformation"
"""The documents of a project that hold them: by name, `transformation` is the text, unless `enabled` is false."""
BUILT_IN: Mapping[str, str] = {"ik_ml_thumbnail": "h-300,w-400,c-at_max"}
"""Those of every project; the thumbnails of uploads have this one."""
DEEPEST = 3
"""How deep names may stand for names."""

Known = Mapping[str, tuple[Step, ...]]


def is_named_only(steps: Sequence[Step]) -> bool:
    """Whether nothing but names is asked for, which is open to all for private files too."""
    parts = [part for step in steps for part in step.parts]
    return bool(parts) and all(isinstance(part, Param) and part.key == "n" for part in parts)


async def unfolded(core: Core, project: Project, steps: tuple[Step, ...], words: list[str]) -> tuple[Step, ...]:
    """The steps with every name replaced by what it stands for; raises `RequestInvalid` for one that is not known.

    Added to `words` is what is called out when one of the names comes to stand for something else.
    """
    for _ in range(DEEPEST):
        names = sorted(set(_names(steps)))
        if not names:
            return steps
        words += [sheet_word(project.id, KIND, name) for name in names]
        known = {name: await _found(core, project, name) for name in names}
        steps = _replaced(steps, known)
    raise RequestInvalid(reason=f"Named transformations stand for each other more than {DEEPEST} deep.")


async def _found(core: Core, project: Project, name: str) -> tuple[Step, ...]:
    text = project.transformations.get(name) or BUILT_IN.get(name)
    sheet = None if text else await core.records.sheets.named(project.id, KIND, name, heeded=True)
    if sheet and sheet.body.get("enabled") is not False:
        text = str(sheet.body.get("transformation", ""))
    if text is None:
        raise RequestInvalid(reason=f"There is no named transformation `{name[:SHOWN]}`.")
    return steps_of(text.removeprefix("tr:"))


def _names(steps: Sequence[Step]) -> list[str]:
    return [param.value for step in steps_in(steps) for param in step.params if param.key == "n"]


def _replaced(steps: Sequence[Step], known: Known) -> tuple[Step, ...]:
    made: list[Step] = []
    for step in steps:
        rest: list[Part] = []
        for part in step.parts:
            if isinstance(part, Param) and part.key == "n":
                made += known[part.value]
            else:
                rest.append(_inside(part, known))
        if rest:
            made.append(Step(tuple(rest)))
    return tuple(made)


def _inside(part: Part, known: Known) -> Part:
    if isinstance(part, Layer):
        return Layer(part.kind, _replaced(part.steps, known))
    if isinstance(part, Choice):
        return Choice(part.condition, _replaced(part.then, known), _replaced(part.otherwise, known))
    return part
