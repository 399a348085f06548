"""The upload core: arriving bytes become a File, or nothing; every limit and rule lives here once."""

from pipeline.uploads.becoming import Becoming
from pipeline.uploads.cleaning import Cleaning
from pipeline.uploads.holds import Holds
from pipeline.uploads.opening import Opening
from pipeline.uploads.verbs import Uploads

__all__ = ["Becoming", "Cleaning", "Holds", "Opening", "Uploads"]
