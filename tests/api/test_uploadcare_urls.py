"""Whatever stands in an address of delivery is read, or refused with a sentence; nothing else comes of it."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.api.dialects.uploadcare.delivery import making, operations
from pipeline.api.dialects.uploadcare.delivery.urls import Step, Target, target_of
from pipeline.errors import RequestInvalid, SafelightError
from pipeline.model import File, ImageFacts

ID = "0b5f1c62-0000-4000-8000-000000000000"
FILE = File(
    id=ID, project="demo", storage="default", key="k", name="a.png", mime="image/png", size=1, sha256="0",
    image=ImageFacts(format="png", width=640, height=480, frames=3, alpha=True),
)  # fmt: skip
NUMBERS = st.one_of(st.integers(-10, 10**7).map(str), st.floats(-1e3, 1e9).map(str), st.sampled_from(["", "0", "50p"]))
PARAMS = st.one_of(
    NUMBERS,
    st.tuples(NUMBERS, st.sampled_from("x:,"), NUMBERS).map("".join),
    st.sampled_from(
        [
            "center",
            "top,left",
            "on",
            "off",
            "fill",
            "yes",
            "no",
            "jpeg",
            "webp",
            "auto",
            "self",
            "faces",
            "face",
            "image",
            "smart",
            "smart_faces",
            "f00",
            "ff000080",
            "bold",
            "italic",
            "50%x50%",
            "10px10p",
            "-",
        ]
    ),
    st.text(max_size=8),
)
NAMES = st.sampled_from([*operations.TABLE, *operations.NOT_SPOKEN, "", "-", "@clib", "nothing"])
STEPS = st.lists(st.tuples(NAMES, st.lists(PARAMS, max_size=4)), max_size=5)


@settings(max_examples=400, deadline=None)
@example(steps=[("crop", ["100%x100%", "100p,100p"])], tail="")
@example(steps=[("text", ["10x10", "0,0", "{file.name} {{"])], tail="x.png")
@given(steps=STEPS, tail=st.text(max_size=6))
def test_every_address_is_read_or_refused(steps: list[tuple[str, list[str]]], tail: str) -> None:
    path = "".join(f"/-/{'/'.join(quote(part, safe='%') for part in (name, *params))}" for name, params in steps)
    made = None
    with suppress(SafelightError):
        draft = operations.read(target_of(f"{path}/{quote(tail, safe='')}", operations.WANTING).steps)
        beside = dict.fromkeys(draft.overlays, FILE)
        made = making.film(draft, FILE) if draft.kind == "video" else making.picture(draft, FILE, beside, "image/webp")
    if made is not None:
        made.recipe.flow()


@settings(max_examples=300, deadline=None)
@given(path=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=80))
def test_every_path_is_read_or_refused(path: str) -> None:
    with suppress(RequestInvalid):
        operations.read(target_of(f"/{path}", operations.WANTING).steps)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", Target()),
        ("/", Target()),
        ("/photo.jpg", Target((), "photo.jpg")),
        ("/-/preview/", Target((Step("preview"),))),
        ("/-/preview", Target((Step("preview"),))),
        ("/-/resize/320x", Target((Step("resize", ("320x",)),))),
        ("/-/resize/320x/a.jpg", Target((Step("resize", ("320x",)),), "a.jpg")),
        ("/-/preview/a.jpg", Target((Step("preview"),), "a.jpg")),
        ("/-/crop/50%x50%/50%25,0p/", Target((Step("crop", ("50%x50%", "50%,0p")),))),
        ("/-/stretch/off//-//flip/", Target((Step("stretch", ("off",)), Step("flip")))),
        ("/-/preview/-/@clib/blocks/1.2/uc-cloud-image-editor/", Target((Step("preview"),))),
        ("/gif2video/-/format/webm/", Target((Step("gif2video"), Step("format", ("webm",))))),
        ("/detect_faces/", Target((Step("detect_faces"),))),
    ],
)
def test_a_path_is_operations_and_a_name(path: str, target: Target) -> None:
    assert target_of(path, operations.WANTING) == target
