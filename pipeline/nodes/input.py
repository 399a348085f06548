"""The door of a flow."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.nodes.base import InputNode


class Input(InputNode):
    """Takes a file into the flow; its name is the field under which the file is sent."""

    type: Literal["input"]
    orient: bool = Field(default=True, description="Turn a photograph the way its EXIF orientation says.")
    many: bool = Field(default=False, description="Take several files; every following step is done for each.")
    required: bool = Field(default=True, description="When false it may be left out; what hangs on it is skipped.")
