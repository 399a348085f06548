"""Style sheets that name nothing outside of their file; the parser is tinycss2, which reads escapes as browsers do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import tinycss2

from pipeline.imaging.purify.words import listed
from pipeline.imaging.svg import FONT, is_own

FUNCTIONS = listed(
    "rgb rgba hsl hsla hwb lab lch oklab oklch color color-mix light-dark device-cmyk icc-color "
    "var env calc min max clamp round mod rem sin cos tan abs sign "
    "matrix matrix3d perspective rotate rotate3d rotatex rotatey rotatez scale scale3d scalex scaley scalez skew skewx "
    "skewy translate translate3d translatex translatey translatez "
    "cubic-bezier steps linear "
    "path circle ellipse inset polygon rect xywh ray "
    "blur brightness contrast drop-shadow grayscale hue-rotate invert opacity saturate sepia "
    "linear-gradient radial-gradient conic-gradient repeating-linear-gradient repeating-radial-gradient "
    "local format tech"
)
"""None of them can name a URL."""
GROUPS = frozenset({"media", "supports", "keyframes", "-webkit-keyframes"})
"""At-rules that hold other rules."""
FACE = "font-face"
REFUSED = frozenset({"behavior", "-moz-binding"})
"""Properties by which old browsers run scripts."""
DEEPEST = 16
PLAIN = re.compile(r"[^()\\@/]*|(?:rgba?|hsla?)\([\d\s,.%-]*\)|url\(\s*#[\w.:-]+\s*\)(?:\s+[\w#]+)?", re.ASCII)
"""Most values: nothing that could name anything, a colour, or a part of the file."""


def is_safe(value: str) -> bool:
    """Whether a value of a presentation attribute names nothing outside of its file."""
    return PLAIN.fullmatch(value) is not None or _is_tame(tinycss2.parse_component_value_list(value))


def declarations(text: str) -> str:
    """What may stay of a `style` attribute."""
    return _serialised(_contents(text, DEEPEST, face=False))


def sheet(text: str) -> str:
    """What may stay of a style sheet."""
    rules = tinycss2.parse_stylesheet(text, skip_comments=True, skip_whitespace=True)
    return _serialised(_rules(rules, DEEPEST))


def _serialised(nodes: Sequence[Any]) -> str:
    text: str = tinycss2.serialize(nodes)
    return text


def _rules(nodes: Iterable[Any], depth: int) -> list[Any]:
    return [kept for node in nodes if (kept := _rule(node, depth)) is not None]


def _rule(node: Any, depth: int) -> Any:
    """The rule without what it may not say, None when nothing of it may stay."""
    if depth and node.type == "qualified-rule" and not any(part.type == "error" for part in node.prelude):
        node.content = _parsed(_contents(node.content, depth - 1, face=False))
        return node
    if depth and node.type == "at-rule" and node.content is not None and _is_tame(node.prelude):
        return _at_rule(node, depth - 1)
    return None


def _at_rule(node: Any, depth: int) -> Any:
    if node.lower_at_keyword in GROUPS:
        inner = tinycss2.parse_rule_list(node.content, skip_comments=True, skip_whitespace=True)
        node.content = _parsed(_rules(inner, depth))
        return node
    if node.lower_at_keyword == FACE:
        node.content = _parsed(_contents(node.content, depth, face=True))
        return node
    return None


def _contents(content: Any, depth: int, *, face: bool) -> list[Any]:
    kept = []
    for node in tinycss2.parse_blocks_contents(content, skip_comments=True, skip_whitespace=True):
        if node.type == "declaration":
            if node.lower_name not in REFUSED and _is_tame(node.value, face=face and node.lower_name == "src"):
                kept.append(node)
        elif (rule := _rule(node, depth)) is not None:
            kept.append(rule)
    return kept


def _parsed(nodes: Sequence[Any]) -> Any:
    """As the content of a block."""
    return tinycss2.parse_component_value_list(_serialised(nodes))


def _is_tame(nodes: Iterable[Any], *, face: bool = False) -> bool:
    """Whether no component value names anything but parts of the file and, in a font face, fonts inside it."""
    return all(_is_tame_one(node, face) for node in nodes)


def _is_tame_one(node: Any, face: bool) -> bool:
    if node.type == "url":
        return _is_inside(node.value, face)
    if node.type == "function" and node.lower_name == "url":
        named = [part for part in node.arguments if part.type not in ("whitespace", "comment")]
        return len(named) == 1 and named[0].type == "string" and _is_inside(named[0].value, face)
    if node.type == "function":
        return node.lower_name in FUNCTIONS and _is_tame(node.arguments, face=face)
    if node.type in ("() block", "[] block", "{} block"):
        return _is_tame(node.content, face=face)
    return node.type not in ("error", "at-keyword")


def _is_inside(target: str, face: bool) -> bool:
    return is_own(target) or (face and FONT.match(target) is not None)
