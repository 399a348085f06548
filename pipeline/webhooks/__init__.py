"""Telling servers outside what happened: who wants to hear of it, in whose words, and trying until it is heard."""

from pipeline.webhooks.dispatching import Dispatching
from pipeline.webhooks.sending import DELIVER, Sending
from pipeline.webhooks.targets import Targets
from pipeline.webhooks.verbs import Webhooks

__all__ = ["DELIVER", "Dispatching", "Sending", "Targets", "Webhooks"]
