"""Errors as plain values, for those who are told of them later or in another process."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pipeline.errors import Internal, SafelightError, every_error


def spelt(error: SafelightError) -> Mapping[str, Any]:
    """The error as plain values; what cannot be written so is left to the log."""
    facts = {name: fact for name, fact in error.facts.items() if fact is None or isinstance(fact, str | int | float)}
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
