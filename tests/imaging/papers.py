"""PDF files written by hand, so that every size and colour in them is known."""

from __future__ import annotations

from collections.abc import Sequence

Colour = tuple[float, float, float]
Rectangle = tuple[Colour, float, float, float, float]
"""A colour, and left, bottom, width and height in points."""


def page_of(*rectangles: Rectangle) -> str:
    return " ".join(f"{r} {g} {b} rg {x} {y} {w} {h} re f" for (r, g, b), x, y, w, h in rectangles)


def pdf(pages: Sequence[tuple[float, float, str]], page: str = "", document: str = "", trailer: str = "") -> bytes:
    """A PDF whose pages have these sizes in points and these contents; the rest is put into the dictionaries."""
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(len(pages)))
    parts = [
        f"<< /Type /Catalog /Pages 2 0 R {document} >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
    ]
    for number, (width, height, content) in enumerate(pages):
        box = f"/MediaBox [0 0 {width} {height}]"
        parts.append(f"<< /Type /Page /Parent 2 0 R {box} /Contents {4 + 2 * number} 0 R {page} >>")
        parts.append(f"<< /Length {len(content)} >> stream\n{content}\nendstream")
    body, places = b"%PDF-1.7\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(body))
        body += f"{number} 0 obj {part} endobj\n".encode()
    table = f"xref\n0 {len(parts) + 1}\n0000000000 65535 f \n" + "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"trailer << /Size {len(parts) + 1} /Root 1 0 R {trailer} >>\nstartxref\n{len(body)}\n%%EOF\n"
    return body + table.encode() + end.encode()


def quartered(width: float, height: float) -> tuple[float, float, str]:
    """A page whose quarters are red, green, blue and white, row by row."""
    x, y = width / 2, height / 2
    return width, height, page_of(((1, 0, 0), 0, y, x, y), ((0, 1, 0), x, y, x, y), ((0, 0, 1), 0, 0, x, y))


def encrypted() -> bytes:
    """A PDF that no empty password opens: the hashes of the standard handler are of nothing at all."""
    secret = "00" * 32
    handler = f"/Encrypt << /Filter /Standard /V 1 /R 2 /O <{secret}> /U <{secret}> /P -4 >> /ID [<00> <00>]"
    return pdf([quartered(100, 100)], trailer=handler)
