"""Check the markup of a text and spell it as Pango markup, of which only a harmless part is let through."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

Colours = Callable[[str], Sequence[int]]

TAGS = frozenset({"b", "i", "u", "s"})
ATTRIBUTES = ("colour", "size", "weight")
WEIGHTS = {"regular": 400, "semibold": 600, "bold": 700}
SMALLEST, LARGEST = 4, 1000
DEEPEST = 16
UNITS = 1024
"""Pango's units in a point, which is a pixel here."""
ROOT = "text"
LOOSE = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9a-fA-F]{1,6});)")
"""An ampersand that begins no character reference, so that `Tom & Jerry` is no fault."""


def pango(text: str, size: int, colours: Colours) -> str:
    """The text as Pango markup; a span's `size` in percent is one of `size` pixels, its `colour` read by `colours`.

    Knows `<b> <i> <u> <s>` and `<span colour size weight>`. Raises ValueError with what is wrong.
    """
    try:
        # Within an element there can be no document type, and so no entities of the text's own.
        root = ElementTree.fromstring(f"<{ROOT}>{LOOSE.sub('&amp;', text)}</{ROOT}>")  # noqa: S314
    except ElementTree.ParseError as error:
        reason = str(error).partition(":")[0]
        raise ValueError(f"its markup is not well-formed ({reason}); write a plain `<` as `&lt;`") from error
    return "".join(_Speller(size, colours).inside(root, 1))


def inked(colour: Sequence[int]) -> str:
    """The attributes of a span that is written in this colour."""
    red, green, blue, alpha = [*colour, 255][:4]
    # Pango counts opacity from 1 to 65535; it is heeded only where text is drawn in colour.
    return f' foreground="#{red:02x}{green:02x}{blue:02x}" fgalpha="{max(1, alpha * 257)}"'


def plain(text: str) -> str:
    """The text as Pango markup that means nothing but itself."""
    return html.escape(text, quote=False)


@dataclass(frozen=True)
class _Speller:
    size: int
    colours: Colours

    def inside(self, element: ElementTree.Element, depth: int) -> Iterator[str]:
        if depth > DEEPEST:
            raise ValueError(f"its tags are nested more than {DEEPEST} deep")
        yield plain(element.text or "")
        for child in element:
            yield from self._spelt(child, depth)
            yield plain(child.tail or "")

    def _spelt(self, element: ElementTree.Element, depth: int) -> Iterator[str]:
        if element.tag in TAGS and not element.attrib:
            yield f"<{element.tag}>"
        elif element.tag == "span":
            yield f"<span{''.join(self._attribute(name, value) for name, value in element.attrib.items())}>"
        elif element.tag in TAGS:
            raise ValueError(f"the tag <{element.tag}> takes no attributes; use <span>")
        else:
            raise ValueError(f"there is no tag <{element.tag[:40]}>; known: <b> <i> <u> <s> <span>")
        yield from self.inside(element, depth + 1)
        yield f"</{element.tag}>"

    def _attribute(self, name: str, value: str) -> str:
        if name == "colour":
            return inked(self.colours(value))
        if name == "size":
            return f' size="{self._size(value) * UNITS}"'
        if name == "weight" and value in WEIGHTS:
            return f' weight="{WEIGHTS[value]}"'
        if name == "weight":
            raise ValueError(f"the weight of a span is one of {', '.join(WEIGHTS)}")
        raise ValueError(f"a span has no `{name[:40]}`; known: {', '.join(ATTRIBUTES)}")

    def _size(self, value: str) -> int:
        found = re.fullmatch(r"([0-9]{1,4})(%?)", value)
        if found is None:
            raise ValueError("the size of a span is a number of pixels, or a percentage such as `150%`")
        pixels = round(int(found[1]) * self.size / 100) if found[2] else int(found[1])
        if not SMALLEST <= pixels <= LARGEST:
            raise ValueError(f"the size of a span comes to {pixels} pixels; it is from {SMALLEST} to {LARGEST}")
        return pixels
