"""The addresses of the Upload API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.api.dialects.imagekit import pages, upload
from pipeline.api.dialects.imagekit.errors import VOICE
from pipeline.api.endpoint import Act, Endpoint
from pipeline.describe import Raw

TAG = "imagekit upload"
JSON = Raw("application/json", {"type": "object"})
FORM_BODY = Raw("multipart/form-data", {"type": "object"})


def _endpoint(method: str, path: str, summary: str, act: Act, *also: str) -> Endpoint:
    return Endpoint(
        method,
        path,
        summary,
        act=act,
        tag=TAG,
        api="imagekit",
        body=FORM_BODY if method == "POST" else None,
        answers={200: JSON},
        public=True,
        voice=VOICE,
        also=also,
    )


UPLOAD: Sequence[Endpoint] = (
    _endpoint("POST", "/imagekit/api/v1/files/upload", "Send a file in a form.", upload.version_1),
    _endpoint(
        "POST", "/imagekit/api/v2/files/upload", "Send a file in a form that a JWT vouches for.", upload.version_2
    ),
    _endpoint("GET", "/imagekit/auth/{project}", "Get what a page needs to send one file.", pages.authentication),
)

ENDPOINTS: Sequence[Endpoint] = UPLOAD

UNSPOKEN: Mapping[str, str] = {
    "`202` for a pre-transformation of a video": "Videos are stored as they come; `pre` is done to pictures, while "
    "the client waits.",
    "`post` of type `abs`": "Refused: videos are not delivered in pieces here.",
    "`selectedFieldsSchema`": "There are no path policies, so all fields of custom metadata apply everywhere.",
    "`extensions` that the settings name no flow for": "Refused; `extensions` of a project names them, "
    "`remove-bg: <flow>`. What a flow saves is a file of its own, told as `fileObject`; what its `ask` node is to "
    "`remember` as `ai_tags` or `description` is shown with the file.",
    "`video.transformation.*`": "Told once for each making that a delivery asks for; `ready` is without "
    "`video_metadata` and `timings`.",
}
"""What of these APIs is not spoken, and what happens instead."""
