"""The node types, one file each; this list is all there is."""

from typing import Annotated

from pydantic import Field

from pipeline.nodes.base import Node
from pipeline.nodes.conditional import Conditional
from pipeline.nodes.convert import Convert
from pipeline.nodes.crop import Crop
from pipeline.nodes.first import First
from pipeline.nodes.input import Input
from pipeline.nodes.orient import Orient
from pipeline.nodes.resize import Resize
from pipeline.nodes.save import Save
from pipeline.nodes.text import Text
from pipeline.nodes.watermark import Watermark
from pipeline.nodes.zip import Zip

INDEX: dict[str, type[Node]] = {
    "input": Input,
    "orient": Orient,
    "resize": Resize,
    "crop": Crop,
    "convert": Convert,
    "watermark": Watermark,
    "text": Text,
    "conditional": Conditional,
    "first": First,
    "zip": Zip,
    "save": Save,
}

AnyNode = Annotated[
    Input | Orient | Resize | Crop | Convert | Watermark | Text | Conditional | First | Zip | Save,
    Field(discriminator="type"),
]
