"""`/transforms/image`: addresses of pictures made of a file, which end after some time or last.

`/t/<expires>/<signature>/<spec>/<key>` and `/p/<signature>/<spec>/<key>`: the signature is the base64url of the
HMAC-SHA256 of `<expires>\\n<spec>\\n<key>`, or of `public\\n<spec>\\n<key>` under another secret.
"""

from __future__ import annotations

import hmac
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from pipeline.api.dialects.uploadkit import auth, rows
from pipeline.api.dialects.uploadkit.errors import refused
from pipeline.api.dialects.uploadkit.params import LARGEST_SIDE, TransformAsk, body
from pipeline.api.dialects.uploadkit.storage import derived
from pipeline.api.endpoint import Call, plain
from pipeline.errors import SignatureInvalid
from pipeline.model import File, Project
from pipeline.vendors.uploadkit import escaped, key_of, moment

HOUR = 3600
LASTS = 25
"""Hours after the full one for which a signed address opens, so that all of an hour are the same."""
PUBLIC = "public"
SIGNED, FOR_EVER = "transform", "public transform"
"""What secrets are derived for."""

_SPEC = re.compile(
    r"(?:w_(?P<width>[1-9]\d{0,3}))?,?(?:h_(?P<height>[1-9]\d{0,3}))?,"
    r"fit_(?P<fit>scale-down|contain|cover|crop|pad),q_(?P<quality>[1-9]\d{0,2}),f_(?P<format>auto|avif|webp|jpeg|png)",
    re.ASCII,
)


@dataclass(frozen=True)
class Spec:
    """What is to be made: sides in pixels, how the picture fits them, and how it is written."""

    width: int | None
    height: int | None
    fit: str
    quality: int
    format: str

    def __str__(self) -> str:
        sides = [f"{name}_{side}" for name, side in (("w", self.width), ("h", self.height)) if side]
        return ",".join([*sides, f"fit_{self.fit}", f"q_{self.quality}", f"f_{self.format}"])


def spec_of(text: str) -> Spec:
    """The spec in an address; refused when it is none that was given out."""
    match = _SPEC.fullmatch(text)
    if match is None:
        raise refused("transform", "Invalid transform URL")
    width, height = (int(match[side]) if match[side] else None for side in ("width", "height"))
    spec = Spec(width, height, match["fit"], int(match["quality"]), match["format"])
    if str(spec) != text or max(width or 0, height or 0) > LARGEST_SIDE or spec.quality > 100:
        raise refused("transform", "Invalid transform URL")
    return spec


def signature(secret: bytes, first: int | str, spec: str, key: str) -> str:
    """What an address has in it; `first` is the Unix second it ends at, or `public`."""
    told = f"{first}\n{spec}\n{key}".encode(errors="surrogateescape")
    return urlsafe_b64encode(hmac.digest(secret, told, "sha256")).rstrip(b"=").decode()


def check(secrets: Sequence[bytes], given: str, first: int | str, spec: str, key: str) -> None:
    """Return when one of the secrets signed it; each is tried, so that time tells nothing."""
    told, fits = given.encode(errors="replace"), False
    for secret in secrets:
        fits |= hmac.compare_digest(signature(secret, first, spec, key).encode(), told)
    if not fits:
        raise refused("transform signature", "Invalid image transform signature")


async def image(call: Call) -> web.Response:
    grant = await auth.server(call)
    ask = await body(call, TransformAsk)
    kept = await rows.named(call, grant, ask.key)
    if not isinstance(kept, File) or kept.private or not kept.published:
        raise rows.missing_key(ask.key)
    if not is_picture(kept):
        raise refused("no picture", "Only image files can be transformed")
    spec = Spec(ask.width, ask.height, ask.fit, ask.quality, ask.format)
    expires = None if ask.delivery == PUBLIC else _expiry()
    told = {name: value for name, value in vars(spec).items() if value is not None}
    ends = moment(datetime.fromtimestamp(expires, UTC)) if expires else None
    url = call.base_url + path(grant.project, key_of(kept), spec, expires)
    return plain({"url": url, "expiresAt": ends, "delivery": ask.delivery, "transform": told, "usage": _usage()})


def is_picture(file: File) -> bool:
    return file.image is not None and file.mime.startswith("image/")


def path(project: Project, key: str, spec: Spec, expires: int | None) -> str:
    """The address of a picture, one that lasts where `expires` is None; raises `SignatureInvalid` without secrets."""
    secret = next(iter(derived(project, FOR_EVER if expires is None else SIGNED)), None)
    if secret is None:
        raise SignatureInvalid
    if expires is None:
        return f"/uploadkit/p/{signature(secret, PUBLIC, str(spec), key)}/{spec}/{escaped(key)}"
    return f"/uploadkit/t/{expires}/{signature(secret, expires, str(spec), key)}/{spec}/{escaped(key)}"


def _expiry() -> int:
    return (int(time.time()) // HOUR + LASTS) * HOUR


def _usage() -> dict[str, Any]:
    """Transforms are neither counted nor limited here."""
    period = datetime.now(UTC).strftime("%Y-%m")
    return {"period": period, "used": 0, "limit": None, "units": 0, "counted": False}
