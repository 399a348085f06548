"""Make a picture of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.imaging.pages import outline_of, picture_of
from pipeline.nodes.base import OpenNode

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.imaging.picture import Outline, Picture


class Pdf(OpenNode):
    """Makes a picture of one page of a PDF file, on white; without this node the first page is taken, at 150 dpi."""

    type: Literal["pdf"]
    page: int = Field(default=1, ge=1, le=1_000_000, description="Which page, counted from 1.")
    dpi: int = Field(default=150, ge=10, le=1200, description="Pixels an inch of the page has across and down.")

    def outline_in(self, file: Path) -> Outline:
        return outline_of(file, self.page, self.dpi)

    def open(self, file: Path, scale: float) -> Picture:
        return picture_of(file, self.page, self.dpi, scale)
