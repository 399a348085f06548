"""What of an SVG file may be drawn: a strict scan that refuses everything that reaches out of the file or runs away.

An own walk over expat events and not defusedxml, which refuses entities but knows nothing of links, style sheets and
depth; expat shows all of them in one pass. The renderer has defences of its own (librsvg 2.5x loads nothing without
a base address, counts elements and references); this comes before them and says what is wrong.
"""

from __future__ import annotations

import base64
import codecs
import io
import re
import warnings
from collections.abc import Mapping
from xml.parsers import expat

from PIL import Image

from pipeline.errors import ImageUnreadable

MOST_BYTES = 10_000_000
MOST_DEPTH = 128
MOST_ELEMENTS = 200_000
MOST_EMBEDDED = 50_000_000
"""Pixels of all raster pictures inside the file together."""

ENCODINGS = frozenset({"utf-8", "utf-16", "ascii", "iso8859-1"})
LONGEST_DECLARATION = 500
DECLARATION = re.compile(r"<\?xml\s[^>]*?\?>")
DECLARED = re.compile(rb"<\?xml\s[^>]*?encoding\s*=\s*[\"']([\w.:-]+)[\"']")
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

REFUSED_ELEMENTS = frozenset(
    {"script", "foreignobject", "handler", "listener", "iframe", "embed", "object", "audio", "video", "canvas"}
)
XINCLUDE = "http://www.w3.org/2001/XInclude"
XML_BASE = "http://www.w3.org/XML/1998/namespace base"
LINKS = frozenset({"href", "src"})
# Not SVG: a picture inside a picture would escape this scan.
EMBEDDED = re.compile(r"data:image/(?:png|jpeg|jpg|gif|webp);base64,", re.I)
FONT = re.compile(
    r"data:(?:font/|application/(?:x-)?(?:font-)?)(?:woff2?|ttf|otf|truetype|opentype)(?:;charset=utf-8)?;base64,", re.I
)
CSS_ESCAPE = re.compile(r"\\(?:([0-9a-f]{1,6})\s?|(.))", re.I | re.S)
CSS_URL = re.compile(r"url\(\s*(?:\"([^\"]*)|'([^']*)|([^)]*))", re.I)
CSS_IMPORT = re.compile(r"@\s*import", re.I)


def is_own(target: str) -> bool:
    """Whether a link leads to a part of its own file or to a raster picture inside it."""
    target = target.strip()
    return target.startswith("#") or EMBEDDED.match(target) is not None


def checked(data: bytes) -> bytes:
    """The SVG in `data` as UTF-8 without an XML declaration, once it is sure that it stands for itself alone.

    Raises `ImageUnreadable` for more than 10 MB, a DOCTYPE or entities, scripts and event handlers, foreign content,
    links to anything but its own parts and raster pictures inside it, too much depth, and XML that is not well-formed.
    """
    if len(data) > MOST_BYTES:
        raise ImageUnreadable(reason=f"an SVG has at most {MOST_BYTES} bytes here, not {len(data)}")
    # The renderer gets the very bytes that were checked: two parsers may differ on encodings, not on plain UTF-8.
    plain = plain_text(data).encode()
    _Scan().read(plain)
    return plain


def plain_text(data: bytes) -> str:
    """The text of an XML file without its declaration; raises `ImageUnreadable` for an encoding not read here."""
    text = _decoded(data)
    declaration = DECLARATION.match(text, 0, LONGEST_DECLARATION)
    return text[declaration.end() if declaration else 0 :].lstrip()


def _decoded(data: bytes) -> str:
    found = DECLARED.match(data[:LONGEST_DECLARATION].removeprefix(codecs.BOM_UTF8))
    name = "utf-16" if data[:2] in UTF_16 else found[1].decode("ascii") if found else "utf-8"
    try:
        name = codecs.lookup(name).name
        if name not in ENCODINGS:
            raise LookupError
        return data.decode("utf-8-sig" if name == "utf-8" else name)
    except (LookupError, UnicodeError) as cause:
        raise ImageUnreadable(reason=f"it is not text in {name}, or {name} is not read here") from cause


class _Scan:
    """One walk over the elements, from outside in."""

    def __init__(self) -> None:
        self.depth = self.elements = self.embedded = 0
        self.style: list[str] | None = None
        self.parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.ProcessingInstructionHandler = self._instruction
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def read(self, text: bytes) -> None:
        try:
            self.parser.Parse(text, True)
        except expat.ExpatError as cause:
            raise ImageUnreadable(reason=f"it is not well-formed XML, line {cause.lineno}") from cause

    def _doctype(self, *_: object) -> None:
        raise ImageUnreadable(reason="it has a DOCTYPE, which can bring entities; save the SVG without it")

    def _instruction(self, target: str, _: str) -> None:
        if target.lower() == "xml-stylesheet":
            raise ImageUnreadable(reason="it names a style sheet outside the file")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self.depth += 1
        self.elements += 1
        if self.depth > MOST_DEPTH or self.elements > MOST_ELEMENTS:
            limit = f"{MOST_DEPTH} deep" if self.depth > MOST_DEPTH else f"{MOST_ELEMENTS} in number"
            raise ImageUnreadable(reason=f"its elements are more than {limit}")
        space, _, local = name.rpartition(" ")
        if local.lower() in REFUSED_ELEMENTS or space == XINCLUDE:
            raise ImageUnreadable(reason=f"it holds a `{local[:40]}` element")
        for key, value in attributes.items():
            self._attribute(key, value)
        if local == "style":
            self.style = []

    def _attribute(self, name: str, value: str) -> None:
        space, _, local = name.rpartition(" ")
        if not space and local.lower().startswith("on"):
            raise ImageUnreadable(reason=f"it holds a script in `{local[:40]}`")
        if name == XML_BASE:
            raise ImageUnreadable(reason="it sets a base address")
        if local.lower() in LINKS:
            self._target(value)
        elif "(" in value or "@" in value or "\\" in value:
            self._css(value)

    def _text(self, text: str) -> None:
        if self.style is not None:
            self.style.append(text)

    def _end(self, name: str) -> None:
        self.depth -= 1
        if self.style is not None and name.rpartition(" ")[2] == "style":
            self._css("".join(self.style))
            self.style = None

    def _css(self, text: str) -> None:
        plain = CSS_ESCAPE.sub(_unescaped, text)
        if CSS_IMPORT.search(plain):
            raise ImageUnreadable(reason="its style imports another style sheet")
        for found in CSS_URL.finditer(plain):
            self._target(next((target for target in found.groups() if target is not None), ""))

    def _target(self, target: str) -> None:
        target = target.strip()
        if target.startswith("#") or FONT.match(target):
            return
        head = EMBEDDED.match(target)
        if head is None:
            raise ImageUnreadable(reason=f"it refers to `{target[:60]}` outside the file")
        self.embedded += _pixels(target[head.end() :])
        if self.embedded > MOST_EMBEDDED:
            raise ImageUnreadable(reason=f"the pictures inside it have more than {MOST_EMBEDDED} pixels")


def _unescaped(escape: re.Match[str]) -> str:
    """CSS Syntax 3, section 4.3.7."""
    number = int(escape[1], 16) if escape[1] else 0
    return (chr(number) if 0 < number < 0x110000 else "\ufffd") if escape[1] else escape[2]


def _pixels(encoded: str) -> int:
    """Pixels of an embedded picture by its header; nothing is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            content = io.BytesIO(base64.b64decode("".join(encoded.split())))
            with Image.open(content, formats=["PNG", "JPEG", "GIF", "WEBP"]) as opened:
                return opened.width * opened.height
    # Whatever a stranger's header does to its reader, it says that the picture is not to be drawn.
    except Exception as cause:
        raise ImageUnreadable(reason="a picture inside it is damaged or too large") from cause
