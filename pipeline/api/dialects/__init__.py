"""The dialects spoken here; each translates one API to the house's verbs."""

from collections.abc import Mapping

from pipeline.api.dialects import imagekit, ittybit, native, tus, uploadcare, uploadista, uploadkit
from pipeline.api.dialects.imagekit.errors import VOICE as IMAGEKIT
from pipeline.api.dialects.ittybit.errors import VOICE as ITTYBIT
from pipeline.api.dialects.uploadista.errors import VOICE as UPLOADISTA
from pipeline.api.dialects.uploadkit.errors import VOICE as UPLOADKIT
from pipeline.api.endpoint import Endpoint
from pipeline.api.voices import Voice

ENDPOINTS: tuple[Endpoint, ...] = (
    *native.ENDPOINTS,
    *tus.ENDPOINTS,
    *uploadcare.ENDPOINTS,
    *imagekit.ENDPOINTS,
    *uploadkit.ENDPOINTS,
    *ittybit.ENDPOINTS,
    *uploadista.ENDPOINTS,
)

VOICES: Mapping[str, Voice] = {
    "/imagekit/": IMAGEKIT,
    "/uploadkit/": UPLOADKIT,
    "/ittybit/": ITTYBIT,
    "/uploadista/": UPLOADISTA,
}
"""Whose words tell, by how an address begins, that nothing is served there."""
