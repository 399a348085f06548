"""The upload core: arriving bytes become a File, or nothing; every limit and rule lives here once."""

from pipeline.uploads.becoming import Becoming
from pipeline.uploads.cleaning import Cleaning
from pipeline.uploads.fetching import Fetching
from pipeline.uploads.growing import Growing
from pipeline.uploads.holds import Holds
from pipeline.uploads.opening import Opening
from pipeline.uploads.parts import Parts
from pipeline.uploads.progress import Progress
from pipeline.uploads.ranging import Ranging
from pipeline.uploads.segments import Segments
from pipeline.uploads.slicing import Slicing
from pipeline.uploads.tickets import Tickets
from pipeline.uploads.verbs import Uploads
from pipeline.uploads.vetting import Vetting
from pipeline.uploads.writing import Writing

__all__ = [
    "Becoming",
    "Cleaning",
    "Fetching",
    "Growing",
    "Holds",
    "Opening",
    "Parts",
    "Progress",
    "Ranging",
    "Segments",
    "Slicing",
    "Tickets",
    "Uploads",
    "Vetting",
    "Writing",
]
