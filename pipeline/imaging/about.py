"""Which image library there is here and what it can read and write."""

from __future__ import annotations

OPERATIONS = {
    "jpeg": ("jpegload", "jpegsave"),
    "png": ("pngload", "pngsave"),
    "webp": ("webpload", "webpsave"),
    "avif": ("heifload", "heifsave"),
    "gif": ("gifload", "gifsave"),
    "tiff": ("tiffload", "tiffsave"),
}


def libvips() -> str | None:
    """The version of libvips, None when it cannot be loaded."""
    try:
        import pyvips
    except (ImportError, OSError):
        return None
    return ".".join(str(pyvips.version(part)) for part in range(3))


def formats() -> dict[str, bool]:
    """Each format that flows use, and whether libvips both reads and writes it."""
    import pyvips

    return {
        name: all(pyvips.type_find("VipsOperation", operation) for operation in operations)
        for name, operations in OPERATIONS.items()
    }
