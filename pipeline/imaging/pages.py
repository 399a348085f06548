"""Draw pages of PDF files at the size that is needed, by PDFium: no scripts, no network, one page at a time."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyvips

from pipeline.errors import ImageTooLarge, ImageUnreadable, NodeInvalid
from pipeline.imaging.picture import Outline, Picture, Wish
from pipeline.imaging.vector import MOST_DRAWN, bounded

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

DPI = 150
"""Dots per inch at which a page has the size that a PDF file is said to have."""
POINTS_PER_INCH = 72
WHITE = 0xFFFFFFFF
BANDS = 3
MAGIC = b"%PDF-"


def size_of(path: Path, number: int = 1, dpi: float = DPI) -> tuple[int, int]:
    """Width and height of page `number`, counted from 1, in pixels, as it is shown.

    Raises `ImageUnreadable`, `ImageTooLarge`, and `NodeInvalid` when there is no such page.
    """
    _check_is_pdf(path)
    with _opened(path) as document, _page(document, number) as page:
        width, height = (max(1, round(side * dpi / POINTS_PER_INCH)) for side in page.get_size())
    if width * height > MOST_DRAWN:
        raise ImageTooLarge(pixels=width * height, limit=MOST_DRAWN)
    return width, height


def count(path: Path) -> int:
    """How many pages the file has; no page is read for it. Raises `ImageUnreadable`."""
    with _opened(path) as document:
        return len(document)


def drawn(path: Path, number: int, width: int, height: int, scale: float) -> pyvips.Image:
    """Page `number`, which is `width` x `height` at full scale, drawn on white at `scale`; RGB in memory.

    Raises what `size_of` raises.
    """
    scale = bounded(width, height, scale)
    with _opened(path) as document, _page(document, number) as page:
        return _painted(document, page, max(1, round(width * scale)), max(1, round(height * scale)))


def first_drawn(path: Path, width: int, height: int, scale: float) -> pyvips.Image:
    """The same of the first page, which stands for a file that nobody chose a page of."""
    return drawn(path, 1, width, height, scale)


def outline_of(path: Path, number: int, dpi: float) -> Outline:
    """The outline of page `number` as a picture of its own; raises what `size_of` raises."""
    return Outline(*size_of(path, number, dpi), vector=True)


def picture_of(path: Path, number: int, dpi: float, scale: float) -> Picture:
    """Page `number` at `scale` of its outline, to be saved as PNG; raises what `size_of` raises."""
    outline = outline_of(path, number, dpi)
    pixels = drawn(path, number, outline.width, outline.height, scale)
    return Picture(pixels, outline, wish=Wish(format=outline.format))


def _painted(document: PdfDocument, page: PdfPage, width: int, height: int) -> pyvips.Image:
    import pypdfium2.raw as pdfium

    stride = -(-width * BANDS // 4) * 4
    # The page is painted into memory of ours, which libvips then reads where it is.
    canvas = (ctypes.c_ubyte * (stride * height))()
    bitmap = pdfium.FPDFBitmap_CreateEx(width, height, pdfium.FPDFBitmap_BGR, canvas, stride)
    if not bitmap:
        raise MemoryError
    try:
        flags = pdfium.FPDF_ANNOT | pdfium.FPDF_REVERSE_BYTE_ORDER
        pdfium.FPDFBitmap_FillRect(bitmap, 0, 0, width, height, WHITE)
        pdfium.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, flags)
        if document.formenv:
            pdfium.FPDF_FFLDraw(document.formenv, bitmap, page, 0, 0, width, height, 0, flags)
    finally:
        pdfium.FPDFBitmap_Destroy(bitmap)
    rows = pyvips.Image.new_from_memory(canvas, stride, height, 1, "uchar")
    return rows.crop(0, 0, width * BANDS, height).bandfold(factor=BANDS).copy(interpretation="srgb")


def _check_is_pdf(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ImageUnreadable(reason="the file is not a PDF")


@contextmanager
def _opened(path: Path) -> Iterator[PdfDocument]:
    # Loaded by the child that meets the first such file: most never do.
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as cause:
        raise ImageUnreadable(reason=_why(cause)) from cause
    try:
        if document.get_formtype():
            document.init_forms()
        yield document
    finally:
        document.close()


def _why(fault: Any) -> str:
    import pypdfium2.raw as pdfium

    if getattr(fault, "err_code", None) in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
        return "the PDF is encrypted and opens only with a password"
    return "the PDF is damaged"


@contextmanager
def _page(document: PdfDocument, number: int) -> Iterator[PdfPage]:
    import pypdfium2

    pages = len(document)
    if not pages:
        raise ImageUnreadable(reason="the PDF has no pages")
    if number > pages:
        raise NodeInvalid(reason=f"page: the PDF has {pages} pages, not {number}")
    try:
        page = document[number - 1]
    except pypdfium2.PdfiumError as cause:
        raise ImageUnreadable(reason=f"page {number} of the PDF is damaged") from cause
    try:
        yield page
    finally:
        page.close()
