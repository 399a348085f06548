"""Whose words a webhook is told in."""

from collections.abc import Mapping

from pipeline.model import HookDialect
from pipeline.webhooks.dialects.native import Native
from pipeline.webhooks.dialects.uploadcare import Uploadcare
from pipeline.webhooks.message import Dialect

DIALECTS: Mapping[HookDialect, Dialect] = {
    "native": Native(),
    "uploadcare": Uploadcare(),
}
