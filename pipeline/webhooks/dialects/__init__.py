"""Whose words a webhook is told in."""

from collections.abc import Mapping

from pipeline.model import HookDialect
from pipeline.vendors.imagekit import FIELD_KIND
from pipeline.webhooks.dialects.imagekit import Imagekit
from pipeline.webhooks.dialects.ittybit import Ittybit
from pipeline.webhooks.dialects.native import Native
from pipeline.webhooks.dialects.uploadcare import Uploadcare
from pipeline.webhooks.dialects.uploadkit import Uploadkit
from pipeline.webhooks.message import Dialect

DIALECTS: Mapping[HookDialect, Dialect] = {
    "ittybit": Ittybit(),
    "native": Native(),
    "uploadcare": Uploadcare(),
    "imagekit": Imagekit(),
    "uploadkit": Uploadkit(),
}

READS: Mapping[HookDialect, str] = {
    "imagekit": FIELD_KIND,
}
"""The kind of documents of a project that a dialect has to look into to tell of its files."""
