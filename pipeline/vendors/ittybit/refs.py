"""The `ref` of a step and the node that does it: each is told from the other, so that an output knows its ref.

A ref that can be the id of a node is that id; any other one is spelled in base 32 behind `ref-`. `--<number>` at the
end tells apart what would have the same id, and a step without a ref is `step`.
"""

from __future__ import annotations

import re
from base64 import b32decode, b32encode
from binascii import Error as NotBase32

PLAIN = re.compile(r"[a-z](?:[A-Za-z0-9_]|-(?!-)){0,47}")
OWN = re.compile(r"(?:s\d+|ref)-.*|step|input|layer\d+", re.DOTALL)
"""What nodes are called that are no step's own."""
NAMELESS = "step"
LONGEST = 30
"""Bytes of a ref that cannot be the id of a node."""

_SPELLED = re.compile(r"ref-([a-z2-7]+)")
_COUNTED = re.compile(r"--\d+")


def node_of(ref: str | None, number: int, taken: set[str]) -> str:
    """The id of the node that makes what has this ref; raises ValueError for a ref that is too long."""
    base = NAMELESS if ref is None else ref if PLAIN.fullmatch(ref) and not OWN.fullmatch(ref) else _spelled(ref)
    return f"{base}--{number}" if ref is None or base in taken else base


def ref_of(node: str | None) -> str | None:
    """The ref that a node stands for."""
    base = _COUNTED.sub("", node or "")
    if match := _SPELLED.fullmatch(base):
        text = match.group(1).upper()
        try:
            return b32decode(text + "=" * (-len(text) % 8)).decode()
        except (NotBase32, ValueError):
            return base
    return None if base in ("", NAMELESS) else base


def _spelled(ref: str) -> str:
    if not 0 < len(ref.encode()) <= LONGEST:
        raise ValueError(f"`ref` is longer than {LONGEST} bytes")
    return "ref-" + b32encode(ref.encode()).decode().rstrip("=").lower()
