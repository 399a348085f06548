"""ICC profiles: what a picture carries, and bringing its pixels into another."""

from __future__ import annotations

import pyvips

FIELD = "icc-profile-data"
DISPLAY_P3: bytes = pyvips.Image.profile_load("p3")
"""The profile of wide-gamut screens."""
RENDERING = {"intent": "relative", "black_point_compensation": True}
HOLDERS = {
    b"RGB ": frozenset({"jpeg", "png", "webp", "avif", "tiff"}),
    b"GRAY": frozenset({"jpeg", "png", "tiff"}),
    b"CMYK": frozenset({"jpeg", "tiff"}),
}
"""Which formats hold a profile, by the colour space its pixels are in."""


def carried(pixels: pyvips.Image) -> bytes | None:
    """The profile of the pixels, None when there is none or it is not one of RGB, grey or CMYK."""
    if not pixels.get_typeof(FIELD):
        return None
    profile = bytes(pixels.get(FIELD))
    # The signature and the colour space, ICC.1:2022 section 7.2.
    return profile if profile[36:40] == b"acsp" and _space(profile) in HOLDERS else None


def fits(profile: bytes, pixels: pyvips.Image, format: str) -> bool:
    """Whether a file of this format can hold these pixels in this profile; grey ones hold no colour."""
    grey = _space(profile) == b"GRAY"
    return format in HOLDERS[_space(profile)] and (not grey or carried(pixels) == profile)


def in_profile(pixels: pyvips.Image, profile: bytes) -> pyvips.Image:
    """The pixels in 8 bits of the profile, which they carry; as they are where they are so already."""
    if carried(pixels) == profile and pixels.format == "uchar":
        return pixels
    if carried(pixels) is None and pixels.interpretation != "cmyk":
        pixels = pixels.colourspace("srgb").copy()
        pixels.remove(FIELD)
    assumed = "cmyk" if pixels.interpretation == "cmyk" else "srgb"
    if profile == DISPLAY_P3:
        return pixels.icc_transform("p3", embedded=True, input_profile=assumed, **RENDERING)
    # libvips takes a profile by name, by path, or from the pixels it exports; ten times slower than in one step.
    known = pixels.icc_import(embedded=True, input_profile=assumed, **RENDERING).copy()
    known.set_type(pyvips.GValue.blob_type, FIELD, profile)
    return known.icc_export(depth=8, **RENDERING)


def _space(profile: bytes) -> bytes:
    return profile[16:20]
