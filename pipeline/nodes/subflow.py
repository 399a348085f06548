"""Run another flow as a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pipeline.errors import NodeInvalid
from pipeline.nodes.base import FileNode, Given

if TYPE_CHECKING:
    from pipeline.artifacts import Artifact


class Subflow(FileNode):
    """Runs another flow on what arrives; what that flow saves leaves this node and is not published by itself."""

    type: Literal["subflow"]
    flow: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
        description="Its id; the version that is active when the run comes to this node.",
    )
    params: Mapping[str, Any] = Field(default={}, description="Its params, checked as when it is triggered.")
    into: Mapping[str, str] = Field(
        default={},
        description="For a flow with several inputs: input -> which of the nodes in `from` feeds it; the input that is "
        "not named here takes the others.",
    )

    gathers: ClassVar[bool] = True
    gives: ClassVar[Given] = "file"

    def rounds(self, arrived: Sequence[Artifact], inputs: Mapping[str, bool]) -> Iterator[dict[str, list[Artifact]]]:
        """What each of the flow's runs is given; `inputs` says which of its inputs there are and take many files.

        One run for every file, unless the input takes many. Raises `NodeInvalid`.
        """
        main = self._main(inputs)
        beside = {input: [one for one in arrived if one.node == source] for input, source in self.into.items()}
        missing = next((self.into[input] for input, files in beside.items() if not files), None)
        if missing:
            raise NodeInvalid(reason=f"into: nothing arrives from `{missing}`")
        fed = set(self.into.values())
        rest = [one for one in arrived if one.node not in fed]
        if main is None:
            yield beside
        elif inputs[main]:
            yield {main: rest, **beside}
        else:
            yield from ({main: [one], **beside} for one in rest)

    def _main(self, inputs: Mapping[str, bool]) -> str | None:
        unknown = sorted(self.into.keys() - inputs.keys())
        if unknown:
            raise NodeInvalid(reason=f"into: the flow `{self.flow}` has no input `{unknown[0]}`")
        free = [input for input in inputs if input not in self.into]
        if len(free) > 1:
            raise NodeInvalid(reason=f"into: say which node feeds which of {', '.join(f'`{one}`' for one in free)}")
        return free[0] if free else None
