"""What every node type is: a frozen pydantic model whose fields are its parameters, and one act.

Three kinds of act. An `ImageNode` turns a picture into a picture and runs fused with its neighbours in the sandbox.
A `ChoiceNode` (conditional, first) only decides which way artifacts go. A `FileNode` works on whole files in the
worker. The class variables declare how a type can be wired; the flow loader checks every edge against them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from pipeline.imaging.encode import Format
from pipeline.imaging.picture import Gravity
from pipeline.model import ImageFacts
from pipeline.units import Seconds

if TYPE_CHECKING:
    from pipeline.artifacts import Artifact, Tools
    from pipeline.imaging.picture import Outline, Picture, Wish


@dataclass(frozen=True)
class Piece:
    """One file of several: where it lies, its name (may lead through folders), what it is, and its image facts."""

    path: Path
    name: str
    mime: str
    image: ImageFacts | None = None


Wiring = str | tuple[str, ...] | Mapping[str, str]
Kind = Literal["image", "any"]
Given = Literal["image", "file", "other", "same", "nothing"]
Facts = Mapping[str, Any]
"""What placeholders and conditions can ask of an artifact: `file.name`, `width`, `params.x`, ..."""


class Node(BaseModel):
    """What every node may say beside its own parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    type: str
    from_: Wiring | None = Field(
        default=None, alias="from", description="Where it takes its input from; left out, the node above."
    )
    timeout: Seconds | None = Field(default=None, description="Longest time this node may take.")
    retries: int = Field(default=0, ge=0, le=10, description="How often it is tried again after a passing fault.")
    keep: bool = Field(default=False, description="Publish what this node made as an output of the run.")
    on_error: Literal["fail", "skip"] = Field(
        default="fail", description="`fail` ends the run; `skip` goes on without this node and what hangs on it."
    )

    inputs: ClassVar[tuple[str, ...]] = ("image",)
    """Names of its input ports; the first is where a plain `from` leads."""
    optional_inputs: ClassVar[tuple[str, ...]] = ()
    """Input ports that may stay unconnected."""
    gathers: ClassVar[bool] = False
    """Whether its one input takes any number of sources."""
    outputs: ClassVar[tuple[str, ...]] = ()
    """Names of its output ports; empty for the single unnamed one."""
    takes: ClassVar[Kind] = "image"
    """Whether it needs decoded pictures or takes any artifact."""
    gives: ClassVar[Given] = "image"
    """What leaves it: pictures, files that may be pictures, files that are none; `same` hands on what came in."""
    suffices: ClassVar[bool] = False
    """Whether it is of use where nothing takes what leaves it."""
    confides: ClassVar[tuple[str, ...]] = ()
    """Parameters that may hold `{secrets.<name>}`; their braces stay doubled until `Call.revealed`."""

    def equipped(self, face_model: Path | None) -> Self:
        """The node with what the server is set up with; it is given pixels only then."""
        return self


class FaceNode(Node):
    """A step that can look for faces."""

    _face_model: Path | None = PrivateAttr(default=None)

    def equipped(self, face_model: Path | None) -> Self:
        made = self.model_copy()
        made._face_model = face_model
        return made


class InputNode(Node):
    """Where files enter."""

    inputs: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[Kind] = "any"
    gives: ClassVar[Given] = "file"


class ImageNode(Node):
    """A pure step on a picture."""

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        """The picture this step makes of `image`; lazy, nothing is decoded or encoded here.

        `beside` holds what arrived at the other connected input ports.
        """
        raise NotImplementedError

    def reach(self, outline: Outline) -> Outline:
        """The exact outline of what `apply` makes of a picture with this outline."""
        return outline

    def demand(self, outline: Outline, wanted: float) -> float:
        """Which scale of an input with this outline is needed when the output is wanted at scale `wanted`."""
        return 1.0

    def scales_only(self, outline: Outline) -> bool:
        """Whether the output is the whole input, only smaller: then smaller siblings can be derived from it."""
        return False

    surveys: ClassVar[bool] = False
    """Whether only the pixels can tell its reach: `survey` is asked before."""

    def survey(self, image: Picture) -> Self:
        """The node with what had to be seen in the whole picture filled in; `reach` and `apply` are asked of it."""
        return self

    def needs_frames(self, wanted: bool) -> bool:
        """Whether every frame of its input is needed when every frame of its output is `wanted`, or only the first."""
        return wanted

    def needs_ports(self) -> Sequence[str]:
        """The input ports that something must arrive at, by an edge or by `assets`."""
        return self.inputs

    def assets(self) -> Mapping[str, str]:
        """What `beside` gets from an `asset:` reference instead of an edge: the name it has there -> the reference."""
        return {}


class OpenNode(ImageNode):
    """A step that makes a picture of a file itself, in its own way, instead of the picture it would be opened as."""

    foreseen: ClassVar[bool] = True
    """Whether the memory it takes is foreseen; no program of its own runs that takes what it likes."""

    def outline_in(self, file: Path) -> Outline:
        """The exact outline of the picture that `open` makes of this file."""
        raise NotImplementedError

    def open(self, file: Path, scale: float) -> Picture:
        """The picture, at no less than `scale` of its outline."""
        raise NotImplementedError


class GatherNode(ImageNode):
    """A pure step that makes one still picture of any number of pictures; `demand` is asked for each of them."""

    gathers: ClassVar[bool] = True

    def gather(self, images: Iterable[Picture | None], names: Sequence[str]) -> Picture:
        """The picture made of these, named after the files they come from; None for one that was lost on the way.

        One after the other, so that no more than one of them need be in memory.
        """
        raise NotImplementedError

    def reach_all(self, outlines: Sequence[Outline]) -> Outline:
        """The exact outline of what `gather` makes of pictures with these outlines."""
        raise NotImplementedError


class ChoiceNode(Node):
    """A step that looks at facts and hands artifacts on unchanged."""

    takes: ClassVar[Kind] = "any"
    gives: ClassVar[Given] = "same"

    def choose(self, sources: Sequence[Facts | None]) -> tuple[int, str | None]:
        """Which source goes on, and out of which port; a None among the facts is a source that was skipped."""
        raise NotImplementedError


class FactNode(Node):
    """A step that finds something out about what comes in, and hands it on unchanged."""

    takes: ClassVar[Kind] = "any"
    gives: ClassVar[Given] = "same"
    suffices: ClassVar[bool] = True
    pixels: ClassVar[bool] = True
    """Whether it looks at pixels; otherwise at the file alone, and nothing is decoded for it."""
    side: ClassVar[Literal["sandbox", "worker"]] = "sandbox"
    """Where it works: `observe` in the sandbox, or `inquire` in the worker, which may use the network."""

    def demand_of(self, outline: Outline) -> float:
        """Which scale of a picture with this outline is enough for it."""
        return 1.0

    def observe(self, file: Artifact, image: Picture | None) -> Facts:
        """What it found, as JSON values; `image` is None for a file that is no image and when `pixels` is false.

        `file` is the input that came in or that the picture was made of.
        """
        raise NotImplementedError

    async def inquire(self, tools: Tools, file: Artifact) -> Facts:
        """The same for a node whose side is the worker."""
        raise NotImplementedError

    def remembered(self, found: Facts) -> Mapping[str, Any]:
        """What a file that came in keeps of this, by name; of a node whose side is the worker."""
        return {self.type: found}


class SpreadNode(Node):
    """A step that writes several files of one picture, in the sandbox."""

    gives: ClassVar[Given] = "other"

    def demand(self, outline: Outline, wanted: float) -> float:
        """Which scale of a picture with this outline is enough for it."""
        return 1.0

    def animates(self, outline: Outline) -> bool:
        """Whether it can do with every frame of an animation; otherwise it is given the first."""
        return False

    def spread(self, image: Picture, folder: Path, stem: str) -> Sequence[Piece]:
        """The files it made in `folder`, named after `stem`, the picture's own name without its extension."""
        raise NotImplementedError


class FileNode(Node):
    """A step on whole files, run in the worker."""

    each: ClassVar[bool] = False
    """Whether it is run once for every artifact, its placeholders filled in from that one."""
    takes: ClassVar[Kind] = "any"
    gives: ClassVar[Given] = "other"

    async def run(self, tools: Tools, node: str, sources: Sequence[Artifact]) -> Sequence[Artifact]:
        """What this step makes of whole files under the name `node`; blocking work is done in a thread."""
        raise NotImplementedError


def _colour(value: Any) -> Any:
    return parse_colour(value) if isinstance(value, str) else value


def parse_colour(text: str) -> tuple[int, ...]:
    """`#rgb`, `#rrggbb` or `#rrggbbaa` as bands 0-255; raises ValueError with what is accepted."""
    digits = text.removeprefix("#")
    if len(digits) in (3, 4):
        digits = "".join(digit * 2 for digit in digits)
    if len(digits) not in (6, 8) or not all(d in "0123456789abcdefABCDEF" for d in digits):
        raise ValueError("write a colour as #rgb, #rrggbb or #rrggbbaa")
    return tuple(bytes.fromhex(digits))


Colour = Annotated[tuple[int, ...], BeforeValidator(_colour, json_schema_input_type=str)]
"""A colour, written `#rrggbb` or `#rrggbbaa`."""
Pixel = Annotated[int, Field(ge=1, le=65_535)]
"""A side in pixels."""
Fraction = Annotated[float, Field(ge=0, le=1)]
FaceGravity = Literal[Gravity, "face"]
Compass = Literal[
    "center", "top", "bottom", "left", "right", "top-left", "top-right", "bottom-left", "bottom-right"
]  # fmt: skip


LOSSY = frozenset({"jpeg"})


class Encoding(Node):
    """Encoder settings; each one left out follows the earlier wish of the picture, then the default of its format."""

    format: Format | None = Field(
        default=None,
        description="Left out, the format the picture has already; one that came as svg or pdf becomes png, as heic or "
        "jxl jpeg (webp with alpha).",
    )
    quality: int | None = Field(default=None, ge=1, le=100, description="For jpeg, webp and avif.")
    lossless: bool | None = Field(default=None, description="For webp and avif.")
    progressive: bool | None = Field(default=None, description="For jpeg, png and gif: shows coarse first.")
    effort: int | None = Field(default=None, ge=0, le=9, description="CPU spent on fewer bytes: webp 0-6, others 0-9.")
    strip: bool | None = Field(default=None, description="Leave EXIF, XMP and profiles out (the default).")
    background: Colour | None = Field(default=None, description="What shows through where the format has no alpha.")
    dpi: int | None = Field(
        default=None, ge=1, le=10_000, description="Pixels an inch that jpeg, png and tiff files say they have."
    )

    @model_validator(mode="after")
    def _can_be_encoded(self) -> Self:
        format = self.said().get("format")
        if self.lossless and format in LOSSY:
            raise ValueError(f"lossless: {format} always loses something")
        return self

    def over(self, wish: Wish) -> Wish:
        """The earlier wish with everything said here put in its place."""
        return replace(wish, **self.said())

    def said(self) -> dict[str, Any]:
        """The settings that were not left out."""
        settings = {name: getattr(self, name) for name in Encoding.model_fields if name not in Node.model_fields}
        return {name: value for name, value in settings.items() if value is not None}


Offset = Annotated[int, Field(ge=-65_535, le=65_535)] | Annotated[str, Field(pattern=r"^-?\d{1,3}(\.\d+)?%$")]
Share = Annotated[str, Field(pattern=r"^\d{1,3}(\.\d+)?%$")]


def length_of(length: int | str, side: int) -> int:
    """Pixels, or a percentage of a side, in pixels."""
    return length if isinstance(length, int) else round(float(length.rstrip("%")) / 100 * side)


class Place(BaseModel):
    """Where something lies in something else: pixels from its left and top, or a percentage of the room left over.

    As `background-position` of CSS: at `100%` the right edges, or the lower ones, are one above the other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: Offset
    y: Offset

    def spot(self, width: int, height: int, around: Outline) -> tuple[int, int]:
        """Left and top of what has this size, in pixels of what is around it."""
        return length_of(self.x, around.width - width), length_of(self.y, around.height - height)


class Focus(BaseModel):
    """A point of the picture, as fractions of its width and height from the top left."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: Fraction
    y: Fraction

    @property
    def point(self) -> tuple[float, float]:
        return self.x, self.y
