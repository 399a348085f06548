from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import NodeInvalid
from pipeline.graph.placeholders import NAMES, SAMPLES, fill, fill_all, placeholders, reveal, unknown

FACTS: dict[str, Any] = {
    "file.id": "f1",
    "file.name": "a {params.secret}.jpg",
    "width": 640,
    "params.quality": 82,
    "params.big": True,
    "params.none": None,
    "metadata.album.name": "beach",
    "date": datetime(2026, 3, 9, 7, 5, tzinfo=UTC),
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{file.id}/{width}x.webp", "f1/640x.webp"),
        ("{date:%Y/%m}/{metadata.album.name}", "2026/03/beach"),
        ("{date:%Y}", "2026"),
        ("{{file.id}} {{{width}}}", "{file.id} {640}"),
        ("}", "}"),
        ("{params.big}!", "true!"),
        ("{file.name}", "a {params.secret}.jpg"),
    ],
)
def test_fill(text: str, filled: str) -> None:
    assert fill(text, FACTS) == filled


def test_a_single_placeholder_keeps_its_type() -> None:
    assert fill("{params.quality}", FACTS) == 82
    assert fill("{params.big}", FACTS) is True
    assert fill("{params.none}", FACTS) is None
    assert fill("{params.quality} ", FACTS) == "82 "
    assert fill("{{params.quality}}", FACTS) == "{params.quality}"


def test_every_string_inside_is_filled() -> None:
    assert fill_all({"a": ["{width}", 3], "b": {"c": "w{width}"}, "d": None}, FACTS) == {
        "a": [640, 3],
        "b": {"c": "w640"},
        "d": None,
    }


@pytest.mark.parametrize("text", ["{height}", "x{metadata.none}", "x{params.none}"])
def test_a_missing_fact_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(NodeInvalid, match="there is no value for"):
        fill(text, FACTS)


def test_a_date_needs_a_moment() -> None:
    with pytest.raises(NodeInvalid):
        fill("{date:%Y}", {"date:%Y": "x"})


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("{nod}", "Did you mean `{node}`?"),
        ("{file.nmae}", "Did you mean `{file.name}`?"),
        ("{stem}", "Did you mean `{file.stem}`?"),
        ("{params.qualty}", "Did you mean `{params.quality}`?"),
        ("{params.zzz}", "Declare it under `params`."),
        ("{date}", "Write a date as `{date:%Y-%m-%d}`."),
        ("{date:%x}", "Write a date as `{date:%Y-%m-%d}`."),
        ("{date:%}", "Write a date as `{date:%Y-%m-%d}`."),
        ("{open", "Write `{{` for a brace that is not a placeholder."),
    ],
)
def test_unknown_placeholders_have_hints(text: str, hint: str) -> None:
    [found] = placeholders(text)
    wrong = unknown(found, ["quality"])
    assert wrong is not None
    assert wrong.hint == hint


@pytest.mark.parametrize(
    "text", ["{}", "{ node }", "{file.id.x}", "{width*2}", "{file.__class__}", "{metadata.}", "{0}"]
)
def test_no_expressions(text: str) -> None:
    assert unknown(placeholders(text)[0], []) is not None


def test_every_documented_placeholder_is_known() -> None:
    for name in NAMES:
        spelt = name.replace("<name>", "quality").replace("<key>", "album.name").replace("<format>", "%Y/%m")
        [found] = placeholders(f"{{{spelt}}}")
        assert unknown(found, ["quality"]) is None
    plain = {name for name in NAMES if "<" not in name}
    assert plain == set(SAMPLES) - {"date"}


@given(st.text(alphabet="{}ab%.:", max_size=30))
def test_text_is_never_lost_nor_crashes(text: str) -> None:
    names = placeholders(text)
    escaped = text.replace("{", "{{").replace("}", "}}")
    assert fill(escaped, {}) == text
    assert placeholders(escaped) == []
    assert isinstance(fill(text, {found.name: "v" for found in names if not found.name.startswith("date:")}), str)


def test_a_secret_waits_until_it_is_revealed() -> None:
    sealed = fill("{file.name}: {secrets.api} {{x}}", FACTS, sealed=True)
    assert sealed == "a {{params.secret}}.jpg: {secrets.api} {{x}}"
    assert reveal(sealed, {"api": "{secrets.api}"}) == "a {params.secret}.jpg: {secrets.api} {x}"
    assert fill_all(["{secrets.a}", {"b": "{width}"}], FACTS, sealed=True) == ["{secrets.a}", {"b": "640"}]


def test_a_secret_that_is_not_there_is_named() -> None:
    with pytest.raises(NodeInvalid, match="no secret `api`"):
        reveal("{secrets.api}", {"Api": "x"})
    with pytest.raises(NodeInvalid, match="no value"):
        fill("{secrets.api}", FACTS)


@given(st.text(alphabet="{}secrt.x", max_size=30), st.text(alphabet="{}secrt.x", max_size=30))
def test_nothing_a_stranger_says_becomes_a_secret(name: str, note: str) -> None:
    sealed = fill("{file.name}{secrets.x}{metadata.note}", {"file.name": name, "metadata.note": note}, sealed=True)
    assert reveal(sealed, {"x": "SECRET"}) == f"{name}SECRET{note}"
