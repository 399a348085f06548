"""What the package brings along for a first minute: starter flows and a photo to send through them."""

from __future__ import annotations

import shutil
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
STARTER_FLOWS = (PACKAGE / "starter_flows", PACKAGE.parent / "flows")
"""Inside an installed package, and in a checkout."""
DEMO_PHOTOS = (
    Path("docs/demo/photo.jpg"),
    PACKAGE / "starter_flows" / "photo.jpg",
    PACKAGE.parent / "docs" / "demo" / "photo.jpg",
)
DEMO_FLOW = "profile-picture"


def demo_photo() -> Path | None:
    """The photo to send, by the shortest path that works in the current folder."""
    return next((photo for photo in DEMO_PHOTOS if photo.is_file()), None)


def flows_folder(configured: Path, data: Path) -> Path:
    """The folder of flows to serve: the configured one, else the starter flows copied once into the data folder."""
    if configured.is_dir():
        return configured
    folder = data / "flows"
    shipped = next((each for each in STARTER_FLOWS if each.is_dir()), None)
    if not folder.is_dir() and shipped is not None:
        draft = data / ".flows"  # so that a copy that was cut short is not taken for the whole
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(shipped, draft).rename(folder)
    folder.mkdir(exist_ok=True)
    return folder
