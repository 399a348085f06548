"""What is found out about a picture when its metadata is asked for; made once, like everything made of a file."""

from __future__ import annotations

from pipeline.core import Core
from pipeline.delivery import SOURCE, Recipe
from pipeline.model import File
from pipeline.vendors.imagekit import Document, is_image, metadata_document

NODES = {
    "exif": {"type": "exif", "from": SOURCE},
    "hash": {"type": "hash", "from": SOURCE, "perceptual": ["phash"]},
}


async def metadata_of(core: Core, file: File) -> Document:
    """The metadata of a file; raises what `Delivering.derivative` does."""
    if file.image is None or not is_image(file):
        return metadata_document(file, {})
    found = await core.delivering.derivative(Recipe(file, NODES))
    return metadata_document(file, found.facts)
