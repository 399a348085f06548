"""Why a derivative cannot be made, as the worker tells it to those who wait in other processes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pipeline.errors import Internal, SafelightError, every_error

FINAL, PASSING = 60.0, 3.0
"""Seconds for which a fault is remembered: one that comes again whenever it is tried, and one that may not."""
POISON = 600.0
"""Seconds for which it is remembered that workers died over it."""


def spelt(error: SafelightError) -> Mapping[str, Any]:
    """The error as plain values; what cannot be written so is left to the log."""
    facts = {name: fact for name, fact in error.facts.items() if isinstance(fact, str | int | float)}
    return {"code": error.code, "node": error.node, "retry_after": error.retry_after, "facts": facts}


def read(told: Mapping[str, Any]) -> SafelightError:
    """The error that was told of; one this version does not know is `Internal`."""
    found = _classes().get(told["code"], Internal)
    try:
        return found(node=told["node"], retry_after=told["retry_after"], **told["facts"])
    except (KeyError, TypeError):  # its sentence has other blanks by now
        return Internal()


@cache
def _classes() -> Mapping[str, type[SafelightError]]:
    """By their codes; of several with one code the first."""
    return {error.code: error for error in reversed(every_error())}
