"""Who made a picture and what it shows: read from EXIF and XMP, written as both, everything else dropped."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pyvips
from PIL import Image
from PIL.ExifTags import Base

LONGEST = 2000
"""Characters of one text; all of them together fit the 64 KB an EXIF block may have."""
STRUCTURE = frozenset(
    {"icc-profile-data", "n-pages", "page-height", "delay", "loop", "gif-delay", "gif-loop", "background",
     "palette", "bits-per-sample"}
)  # fmt: skip
"""What describes the pixels and their frames; anything not named here is metadata, whatever it may be."""
DC = "http://purl.org/dc/elements/1.1/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
EXIF_NAMES = {"title": "XPTitle", "description": "ImageDescription", "copyright": "Copyright", "artist": "Artist"}
XMP_NAMES = {"title": "title", "description": "description", "copyright": "rights", "artist": "creator"}


@dataclass(frozen=True)
class Credits:
    """What is written into a picture; None is left out."""

    title: str | None = None
    description: str | None = None
    copyright: str | None = None
    artist: str | None = None

    def texts(self) -> dict[str, str]:
        """The texts there are, without characters that neither EXIF nor XML can hold."""
        cleaned = {name: _clean(getattr(self, name) or "") for name in EXIF_NAMES}
        return {name: text for name, text in cleaned.items() if text}


def credits_of(pixels: pyvips.Image) -> Credits:
    """The copyright and artist that EXIF, or else XMP, names; None where neither does."""
    exif, xmp = _exif_texts(pixels), _xmp_texts(pixels)
    return Credits(
        copyright=exif.get("copyright") or xmp.get("copyright"), artist=exif.get("artist") or xmp.get("artist")
    )


def bare(pixels: pyvips.Image) -> pyvips.Image:
    """The pixels without any metadata; frames, their times and the colour profile stay."""
    copy = pixels.copy()
    for field in copy.get_fields():
        if field not in STRUCTURE and not field.startswith("vips-"):
            copy.remove(field)
    return copy


def credited(pixels: pyvips.Image, credits: Credits) -> pyvips.Image:
    """The pixels with these credits as their only metadata."""
    copy, texts = bare(pixels), credits.texts()
    for name, text in texts.items():
        # libvips cuts a text at its last " (", where its own notes on the type begin; empty ones take their place.
        copy.set_type(pyvips.GValue.gstr_type, f"exif-ifd0-{EXIF_NAMES[name]}", f"{text} ()")
    if texts:
        copy.set_type(pyvips.GValue.blob_type, "xmp-data", _packet(texts).encode())
    if "description" in texts:
        copy.set_type(pyvips.GValue.gstr_type, "image-description", texts["description"])
    return copy


def only_credits(pixels: pyvips.Image) -> pyvips.Image:
    """The pixels with no metadata but their own copyright and artist: thumbnails and previews are gone."""
    return credited(pixels, credits_of(pixels))


def _clean(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:LONGEST].strip()


def _exif_texts(pixels: pyvips.Image) -> dict[str, str]:
    if not pixels.get_typeof("exif-data"):
        return {}
    exif, found = Image.Exif(), {}
    with warnings.catch_warnings(), suppress(Exception):
        # EXIF can be broken in every way there is, and Pillow answers with as many kinds of exception.
        warnings.simplefilter("ignore")
        exif.load(bytes(pixels.get("exif-data")))
        found = {"copyright": exif.get(Base.Copyright), "artist": exif.get(Base.Artist)}
    return {name: _clean(_decoded(text)) for name, text in found.items() if isinstance(text, str)}


def _decoded(text: str) -> str:
    # EXIF says ASCII, Pillow reads latin-1, and most programs write UTF-8.
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _xmp_texts(pixels: pyvips.Image) -> dict[str, str]:
    if not pixels.get_typeof("xmp-data"):
        return {}
    packet = bytes(pixels.get("xmp-data")).decode("utf-8", "replace").strip("\0 ")
    if "<!DOCTYPE" in packet:
        return {}
    try:
        # Without a document type there are no entities to expand.
        root = ElementTree.fromstring(packet)  # noqa: S314
    except (ElementTree.ParseError, ValueError):
        return {}
    return {name: _listed(root, XMP_NAMES[name]) for name in ("copyright", "artist")}


def _listed(root: ElementTree.Element, name: str) -> str:
    entries = root.iterfind(f".//{{{DC}}}{name}//{{{RDF}}}li")
    texts = [_clean(entry.text or "") for entry in entries]
    # Several creators are all named; several languages of one text are one text.
    return "; ".join(texts) if name == "creator" else next(iter(texts), "")


def _packet(texts: dict[str, str]) -> str:
    """An XMP packet (ISO 16684-1) that names the texts as Dublin Core."""
    entries = []
    for name, text in texts.items():
        tag, kind = XMP_NAMES[name], "Seq" if name == "artist" else "Alt"
        language = "" if kind == "Seq" else ' xml:lang="x-default"'
        entries.append(f"<dc:{tag}><rdf:{kind}><rdf:li{language}>{escape(text)}</rdf:li></rdf:{kind}></dc:{tag}>")
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" xmlns:dc="{DC}">{"".join(entries)}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    )
