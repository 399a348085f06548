"""Write an SVG anew with what may stay of it.

An own writer over expat and not a library: py-svg-hush keeps links to other files of the same host, lets `image-set` of
a style name any host, takes `href` from `textPath` and does not come to an end with deeply nested groups; svg-sanitize
calls itself a prototype (docs/decisions/0011-svg-is-written-anew.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from pipeline.errors import ImageUnreadable, SvgInvalid
from pipeline.imaging.purify import styles, words
from pipeline.imaging.svg import MOST_BYTES, MOST_DEPTH, MOST_ELEMENTS, checked, is_own, plain_text

SVG, XLINK, XML = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "http://www.w3.org/XML/1998/namespace"
ROOT = f' xmlns="{SVG}" xmlns:xlink="{XLINK}"'
PREFIXES = {f"{XLINK} href": "xlink:href", f"{XML} space": "xml:space", f"{XML} lang": "xml:lang"}
LINKS = frozenset({"href", "xlink:href"})
LONGEST_ENTITY, MOST_ENTITIES, MOST_REFERENCES = 200, 200, 20_000
"""Characters of an entity and how many there may be of them and of references; old drawing programs use a few."""


MOST_STYLE = 1_000_000


def purified(data: bytes) -> bytes:
    """The SVG without scripts, event handlers, foreign content and links out of the file; it looks as before.

    As UTF-8, without DOCTYPE, comments and metadata; what it gives it would give again. Raises `SvgInvalid` for what
    is no SVG, too large or too deep, and for pictures inside it that are damaged.
    """
    try:
        if len(data) > MOST_BYTES:
            raise SvgInvalid(reason=f"it has more than {MOST_BYTES} bytes")
        made = _Rewriting().read(plain_text(data))
        return checked(made.encode())  # a second look, by other means
    except ImageUnreadable as fault:
        raise SvgInvalid(reason=fault.facts["reason"]) from fault
    except RecursionError as fault:
        raise SvgInvalid(reason="its styles are nested too deep") from fault


class _Rewriting:
    """One walk over the elements, from outside in."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.open: list[str] = []
        """Elements that were written and not yet closed."""
        self.dropped = 0
        """How deep we are in something that goes."""
        self.elements = self.entities = self.references = 0
        self.spaces = frozenset({SVG})
        """Namespaces of SVG elements: without one, a file that was cut out of a page means SVG."""
        self.style: list[str] | None = None
        self.styled = 0
        self.parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.EntityDeclHandler = self._entity
        self.parser.AttlistDeclHandler = self._default
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def read(self, text: str) -> str:
        self.references = text.count("&")
        try:
            self.parser.Parse(text.encode(), True)
        except expat.ExpatError as cause:
            raise SvgInvalid(reason=f"it is not well-formed XML, line {cause.lineno}") from cause
        return "".join(self.made)

    def _entity(self, name: str, is_parameter: bool, value: str | None, *_: object) -> None:
        self.entities += 1
        plain = value is None or (len(value) <= LONGEST_ENTITY and not set("&<%") & set(value))
        if is_parameter or not plain or self.entities > MOST_ENTITIES or self.references > MOST_REFERENCES:
            raise SvgInvalid(reason=f"its entity `{name[:40]}` is more than a short text")

    def _default(self, element: str, name: str, kind: str, value: str | None, required: bool) -> None:
        if value is not None and len(value) > LONGEST_ENTITY:
            raise SvgInvalid(reason=f"the default of its attribute `{name[:40]}` is more than a short text")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self.elements += 1
        if self.elements > MOST_ELEMENTS or len(self.open) + self.dropped >= MOST_DEPTH:
            raise SvgInvalid(reason=f"its elements are more than {MOST_ELEMENTS}, or more than {MOST_DEPTH} deep")
        space, _, local = name.rpartition(" ")
        if not self.open and not self.dropped:
            self._check_root(space, local)
        if self.dropped or not self._stays(space, local, attributes):
            self.dropped += 1
            return
        kept = "".join(f" {key}={quoteattr(value)}" for key, value in self._attributes(local, attributes).items())
        self.made.append(f"<{local}{'' if self.open else ROOT}{kept}>")
        self.open.append(local)
        if local == "style":
            self.style = []

    def _check_root(self, space: str, local: str) -> None:
        if space not in (SVG, "") or local != "svg":
            raise SvgInvalid(reason="it is no svg")
        self.spaces |= {space}

    def _stays(self, space: str, local: str, attributes: Mapping[str, str]) -> bool:
        if space not in self.spaces or local not in words.ELEMENTS or self.style is not None:
            return False
        if local == "style" and attributes.get("type", "text/css").partition(";")[0].strip().lower() != "text/css":
            return False
        return local not in words.ANIMATIONS or attributes.get("attributeName", "transform") in words.ANIMATED

    def _attributes(self, element: str, given: Mapping[str, str]) -> dict[str, str]:
        kept = {}
        for name, value in given.items():
            spelt = PREFIXES.get(name, name)
            if spelt == "style":
                value = styles.declarations(value)
            if value and _may_stay(element, spelt, value):
                kept[spelt] = value
        return kept

    def _text(self, text: str) -> None:
        if self.style is not None and not self.dropped:
            self.style.append(text)
            self.styled += len(text)
            if self.styled > MOST_STYLE:
                raise SvgInvalid(reason=f"its style sheets have more than {MOST_STYLE} characters")
        elif self.open and not self.dropped:
            self.made.append(_spelt(text))

    def _end(self, name: str) -> None:
        if self.dropped:
            self.dropped -= 1
            return
        if self.style is not None:
            self.made.append(_spelt(styles.sheet("".join(self.style))))
            self.style = None
        local, last = self.open.pop(), self.made[-1]
        if last.startswith("<") and not last.startswith("</") and not last.endswith("/>"):
            self.made[-1] = f"{last[:-1]}/>"  # nothing has come since it was opened
        else:
            self.made.append(f"</{local}>")


def _may_stay(element: str, name: str, value: str) -> bool:
    if name in LINKS:
        return is_own(value) if element in words.PICTURES else value.strip().startswith("#")
    if name in words.PAINTED:
        return styles.is_safe(value)
    return name in words.PLAIN or name == "style" or name in PREFIXES.values() or name.startswith(words.ARIA)


def _spelt(text: str) -> str:
    return escape(text, {"\r": "&#13;"})
