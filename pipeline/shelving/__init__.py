"""Where files lie: folders, paths, and work on all that is in a folder, which a worker does."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.shelving.carrying import Carrying
from pipeline.shelving.folders import Folders, is_within
from pipeline.shelving.hauling import HAUL, Hauling
from pipeline.shelving.places import MOST_VERSIONS, Places

__all__ = ["HAUL", "MOST_VERSIONS", "Carrying", "Folders", "Hauling", "Places", "Shelving", "is_within"]


@dataclass(frozen=True)
class Shelving:
    """The verbs on folders and paths; `hauling` asks for work on many files, `carrying` does it."""

    folders: Folders
    places: Places
    hauling: Hauling
    carrying: Carrying
