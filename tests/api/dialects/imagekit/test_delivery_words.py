"""How transformations are read: steps, expressions, conditions, signatures; and that no text makes more than a 400."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.api.dialects.imagekit.delivery import expressions, making, signing, words
from pipeline.api.dialects.imagekit.delivery.addresses import address_of
from pipeline.api.dialects.imagekit.delivery.draft import Draft, Ground
from pipeline.api.dialects.imagekit.delivery.operations import ACTS, ELSEWHERE, perform
from pipeline.api.dialects.imagekit.delivery.steps import Choice, Layer, Param, Step, Unclear, steps_of
from pipeline.errors import FileNotFound, RequestInvalid, SafelightError, SignatureExpired, SignatureInvalid
from pipeline.imaging.picture import Outline
from pipeline.model import File, ImageFacts, Project

PHOTO = File(
    id="0" * 8,
    project="demo",
    storage="default",
    key="k",
    name="a.png",
    mime="image/png",
    size=1,
    sha256="0",
    image=ImageFacts(format="png", width=640, height=480),
)
INSIDE = re.compile(r"\bn\d+\b|\bover\d|pydantic|Traceback|<[\w.]+ object|validation error|pipeline\.|None")
"""What only this house knows."""


def draft(now: tuple[int, int] = (320, 100), base: tuple[int, int] | None = None) -> Draft:
    ground = Ground({"logo.png": PHOTO})
    under = Draft(ground, Outline(*base)) if base else None
    return Draft(ground, Outline(*now), PHOTO, base=under, first=Outline(640, 480))


def said(text: str) -> Sequence[Any]:
    return [step.parts for step in steps_of(text)]


def test_steps() -> None:
    w, h = Param("w", "300"), Param("h", "200")
    assert said("w-300,h-200:w-300") == [(w, h), (w,)]
    assert said("") == said(":") == said(",:,") == []
    assert said("foo") == [(Param("foo", ""),)]
    inner = (Step((Param("i", "a@@b.png"), w)), Step((Param("rt", "90"), Param("lx", "N10"))))
    assert said("w-300,l-image,i-a@@b.png,w-300:rt-90,lx-N10,l-end,h-200:w-300") == [
        (w, Layer("image", inner), h),
        (w,),
    ]
    deep = Layer("text", (Step((Param("i", "x"),)),))
    assert said("l-image,i-a,l-text,i-x,l-end,l-end") == [(Layer("image", (Step((Param("i", "a"), deep)),)),)]
    then, other = (Step((w,)), Step((h,))), (Step((h,)),)
    assert said("if-ar_gt_1,w-300:h-200,if-else,h-200,if-end:w-300") == [(Choice("ar_gt_1", then, other),), (w,)]
    assert said("if-w_gt_1,w-300,if-end") == [(Choice("w_gt_1", (Step((w,)),)),)]
    (step,) = steps_of("e-sharpen-10,e-grayscale,w-1,w-2,l-text,i-a,l-end")
    assert (step.effects, step.said["w"], len(step.layers)) == (("sharpen-10", "grayscale"), "2", 1)


@pytest.mark.parametrize(
    "text",
    [
        "l-image",
        "l-end",
        "l-image,l-text,l-end",
        "if-w_gt_1",
        "if-else",
        "if-end",
        "l-x,l-end",
        "l-image," * 4 + "l-end," * 4,
        "if-a," * 6 + "if-end," * 6,
        "w-1," * 401,
    ],
)
def test_steps_that_do_not_add_up(text: str) -> None:
    with pytest.raises(RequestInvalid):
        steps_of(text)


EXPRESSIONS = [
    ("12", 12),
    ("0.5", 0.5),
    ("N7", -7),
    ("iw", 640),
    ("ih", 480),
    ("iar", 640 / 480),
    ("cw", 320),
    ("ch", 100),
    ("car", 3.2),
    ("bw", 1000),
    ("bh", 500),
    ("bar", 2),
    ("iw_div_2", 320),
    ("bw_sub_cw", 680),
    ("ih_mul_0.8_add_iw_mul_0.4", 640),
    ("10_sub_2_sub_3", 5),
    ("100_div_10_div_2", 5),
    ("2_add_3_mul_4", 14),
    ("2_mul_3_add_4_mul_5", 26),
    ("7_add_1_mod_5", 3),
    ("10_mod_4_add_3", 3),
    ("2_pow_1_add_2", 8),
    ("2_pow_3_pow_2", 64),
    ("2_mul_3_pow_2_mod_2", 1),
    ("cw_mod_5", 0),
    ("N3_add_iw", 637),
]


@pytest.mark.parametrize(("text", "value"), EXPRESSIONS)
def test_expressions(text: str, value: float) -> None:
    assert expressions.number(text, draft(base=(1000, 500))) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "_",
        "w",
        "iw_",
        "_div_2",
        "iw_div",
        "iw_foo_2",
        "1_div_0",
        "1_mod_0",
        "99_pow_99",
        "N2_pow_0.5",
        "9999999_mul_9999999",
        "bw",
        "idu",
        "idn",
        "1e5",
        "١",
        "iw_div_2_",
        "1_add_" * 21 + "1",
    ],
)
def test_expressions_that_are_none(text: str) -> None:
    with pytest.raises(Unclear):
        expressions.number(text, draft())


CONDITIONS = [
    ("w_eq_320", True),
    ("w_ne_320", False),
    ("h_gt_100", False),
    ("h_gte_100", True),
    ("h_lt_101", True),
    ("h_lte_99.5", False),
    ("ar_gt_1", True),
    ("ar_gt_4-3", True),
    ("iar_eq_4-3", True),
    ("iw_eq_640", True),
    ("ih_lt_100", False),
    ("w_eq_1_and_h_eq_1_or_iw_eq_640", True),
    ("w_eq_320_or_h_eq_1_and_iw_eq_1", True),
    ("w_eq_1_or_h_eq_100_and_iw_eq_1", False),
    ("h_gte_100_and_h_lte_400_or_ar_lt_4-3", True),
    ("cw_eq_320", True),
    ("w_gt_ih", False),
    ("w_eq_1_or_w_eq_320_or_w_eq_3", True),
]


@pytest.mark.parametrize(("text", "met"), CONDITIONS)
def test_conditions(text: str, met: bool) -> None:
    assert expressions.holds(text, draft()) is met


@pytest.mark.parametrize(
    "text", ["", "w", "w_gt", "w_gt_1_and", "w_gt_1_xor_h_gt_1", "q_gt_1", "w_is_1", "w_gt_x", "w_gt_1-0"]
)
def test_conditions_that_are_none(text: str) -> None:
    with pytest.raises(RequestInvalid):
        expressions.holds(text, draft())


def test_colours() -> None:
    known = {
        "FF8800": "#ff8800",
        "ff880050": "#ff880080",
        "FF880000": "#ff880000",
        "FF880099": "#ff8800fc",
        "red": "#ff0000",
        "LightGreen": "#90ee90",
    }
    assert {text: words.colour(text) for text in known} == known
    for text in ("", "FF", "FF8800AA", "GG8800", "nocolour", "#FF8800"):
        with pytest.raises(Unclear):
            words.colour(text)


def test_signatures_of_the_protocol_page() -> None:
    project = Project(id="demo", secret_key="private_test_key")
    tail = "/tr:w-300,h-400/products/a%20b.jpg?v=123"
    plain, dated = "fce0f845f827c812046fd10becec5376227d7f87", "76f5cff66d14a8ad86ddb720d10149961f4f4a52"
    assert signing.until(project, f"{tail}&ik-s={plain}", plain, None) == float("inf")
    assert signing.until(project, f"{tail}&ik-t=1893456000&ik-s={dated}", dated, "1893456000") == 1893456000
    assert signing.until(project, tail, None, None) is None
    for wrong in (plain[:-1] + "0", plain[:-1], "ü", dated):
        with pytest.raises(SignatureInvalid):
            signing.until(project, tail, wrong, None)
    with pytest.raises(SignatureInvalid):
        signing.until(Project(id="demo"), tail, plain, None)
    past = "a4d3fce6ed2b47b2a9b0a2f66ad2e0ba8c7bd35f"
    with pytest.raises((SignatureInvalid, SignatureExpired)):
        signing.until(project, tail, past, "1")


@given(st.text(max_size=60))
@example("/a/../b")
@example("/%ff")
@example("/tr:w-1/a?tr=%")
def test_no_address_is_more_than_refused(tail: str) -> None:
    try:
        address = address_of(f"/{tail}")
    except (RequestInvalid, FileNotFound):
        return
    assert address.name and "/" not in address.name
    assert not {".", ".."} & {*address.folder.split("/"), address.name}


KEYS = sorted(
    {key for act in ACTS for key in act.written} | set(ELSEWHERE) | {"e", "i", "ie", "lx", "ly", "fs", "co", "foo", ""}
)
VALUES = st.one_of(
    st.sampled_from(
        ["true", "false", "auto", "max", "N5", "0.5", "2", "300", "iw_div_2", "4-3", "FF0000", "red", "blurred_10_N20"]
    ),
    st.sampled_from(
        [
            "5_FF0000",
            "10_20_30_40",
            "dominant",
            "gradient_dominant_4",
            "pad_resize",
            "extract",
            "force",
            "face",
            "custom",
        ]
    ),
    st.sampled_from(
        ["logo.png", "ik_canvas", "aGVsbG8=", "sharpen-3", "shadow-bl-3_st-4", "usm-1-2-3-0.1", "distort-a-20", "png"]
    ),
    st.text(max_size=12),
)
PARTS = st.one_of(
    st.builds("{}-{}".format, st.sampled_from(KEYS), VALUES),
    st.sampled_from(
        ["l-image", "l-text", "l-end", "if-w_gt_3", "if-else", "if-end", "l-video", "i-logo.png", "i-hello"]
    ),
    st.text(max_size=8),
)
TEXTS = st.builds(
    lambda parts, signs: "".join(f"{part}{sign}" for part, sign in zip(parts, signs, strict=False)),
    st.lists(PARTS, max_size=8),
    st.lists(st.sampled_from([",", ",", ":", ""]), min_size=8, max_size=8),
)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
@example("w-300,h-200,cm-pad_resize,bg-blurred_10_N20,b-5_red,r-max,rt-40,o-50,bl-3")
@example("l-image,i-logo.png,w-bw_div_2,l-text,i-hello,fs-30,l-end,l-end")
@example("rt-1e999")
@example("w-９")
@example("ar-n0,")
def test_no_transformation_is_more_than_refused(text: str) -> None:
    made = Draft(Ground({"logo.png": PHOTO}), making.outline_of(PHOTO), PHOTO)
    try:
        perform(made, steps_of(text))
        recipe = making.picture(made, PHOTO, "").recipe
    except SafelightError as error:
        assert error.status < 500, error
        own = error.message
        for part in sorted(re.split("[,:]", text), key=len, reverse=True):  # what was sent may be told again
            own = own.replace(part, "") if part else own
        assert not INSIDE.search(own), error.message
        return
    recipe.flow()
    assert made.outline.width >= 1 and made.outline.height >= 1


def test_faces_are_looked_for_where_a_model_is_set() -> None:
    def nodes(text: str, has_faces: bool = True) -> list[dict[str, Any]]:
        made = Draft(Ground(has_faces=has_faces), making.outline_of(PHOTO), PHOTO)
        perform(made, steps_of(text))
        return list(made.ground.nodes.values())

    (cover,) = nodes("w-100,h-100,fo-face,z-2")
    assert (cover["fit"], cover["gravity"], cover["zoom"]) == ("cover", "face", 2)
    assert nodes("w-100,h-100,fo-face")[0]["zoom"] == 1
    cut, grown = nodes("w-100,h-50,cm-extract,fo-face,z-2")
    assert (cut["type"], cut["gravity"], cut["width"], cut["height"]) == ("crop", "face", 50, 25)
    assert (grown["width"], grown["height"]) == (100, 50)
    (plain,) = nodes("w-100,h-100,fo-face,z-2", has_faces=False)
    assert plain["gravity"] == "attention" and "zoom" not in plain
