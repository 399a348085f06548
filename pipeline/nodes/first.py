"""Join branches again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pipeline.nodes.base import ChoiceNode, Facts


class First(ChoiceNode):
    """Hands on the first of its sources that was not skipped."""

    type: Literal["first"]

    gathers: ClassVar[bool] = True

    def choose(self, sources: Sequence[Facts | None]) -> tuple[int, str | None]:
        return next(number for number, facts in enumerate(sources) if facts is not None), None
