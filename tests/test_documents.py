from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.documents import Complaint, faults_of, hint_for, known_keys, nearest, read_document
from pipeline.units import Bytes


def value(text: str) -> Any:
    document = read_document(text, "f.yaml")
    assert document.complaints == []
    return document.value


def only(text: str) -> tuple[int, int, str]:
    document = read_document(text, "f.yaml")
    assert len(document.complaints) == 1, document.complaints
    complaint = document.complaints[0]
    return complaint.line, complaint.column, complaint.code


def test_words_of_yaml_1_1_stay_text() -> None:
    assert value("aspect: 16:9\non: yes\nday: 2026-01-01\nversion: 1_000\n") == {
        "aspect": "16:9",
        "on": "yes",
        "day": "2026-01-01",
        "version": "1_000",
    }


def test_core_schema() -> None:
    text = "[1, -2, 012, 0o17, 0x1F, 1.5, .5, 1e3, true, FALSE, ~, null, '1', \"true\", !!str 5, ~x, |2]"
    assert value(text.replace(", |2", "")) == [
        1, -2, 12, 15, 31, 1.5, 0.5, 1000.0, True, False, None, None, "1", "true", "5", "~x",
    ]  # fmt: skip
    assert value("a: |\n  x\n  y\nb: >-\n  x\n  y\nc:") == {"a": "x\ny\n", "b": "x y", "c": None}
    assert [type(one) for one in value("[1, 1.0, '1']")] == [int, float, str]


def test_positions_of_keys_and_values() -> None:
    document = read_document("a:\n  bb: [1, {c: d}]\n  'e': x\n", "f.yaml")
    assert document.keys == {("a",): (1, 1), ("a", "bb"): (2, 3), ("a", "bb", 1, "c"): (2, 12), ("a", "e"): (3, 3)}
    assert document.values[("a", "bb", 0)] == (2, 8)
    assert document.values[("a", "bb", 1, "c")] == (2, 15)
    assert document.at(("a", "e")) == (3, 8)
    assert document.at(("a", "e"), key=True) == (3, 3)
    assert document.at(("a", "missing")) == (1, 1)
    assert document.at(("a", "bb", 7)) == (2, 3)


def test_empty_document() -> None:
    assert value("") is None
    assert value("# nothing\n") is None
    assert value("---\n") is None


def test_doubled_keys_are_all_told_where_they_are() -> None:
    document = read_document("a: 1\nb: {c: 1, c: 2}\na: 3\n", "f.yaml")
    assert [str(complaint) for complaint in document.sorted_complaints()] == [
        "f.yaml:2:11 KEY_DOUBLED The key `c` was already given in line 2. Remove one of them.",
        "f.yaml:3:1 KEY_DOUBLED The key `a` was already given in line 1. Remove one of them.",
    ]
    assert document.value == {"a": 1, "b": {"c": 1}}


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a: [1,\n", 2, 1),
        ("a: b: c", 1, 5),
        ("a\tb: 1\n\tc: 2", 1, 2),
        ("a: 1\n---\nb: 2\n", 2, 1),
        ("%YAML 1.1\n---\na: yes\n", 2, 1),
        ("a: !python/object x", 1, 4),
        ("a: !!timestamp 2026-01-01", 1, 4),
        ("? [a]\n: 1", 1, 3),
        ("a: *b", 1, 4),
        ("a: &a [*a]", 1, 8),
        ("a: .inf", 1, 4),
        ("a: 1e999", 1, 4),
        ('a: "\\ud800"', 1, 4),
        ("x: 1\na: \x00", 2, 4),
        ("a: {<<: [1]}", 1, 9),
    ],
)
def test_what_cannot_be_read_is_told_with_its_position(text: str, line: int, column: int) -> None:
    assert only(text) == (line, column, "YAML_INVALID")
    assert read_document(text, "f.yaml").readable is False


def test_aliases_and_merges() -> None:
    document = read_document("a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: {<<: [*a, {z: 1}]}\n", "f.yaml")
    assert document.value == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 2},
        "c": {"y": 3, "x": 1},
        "d": {"x": 1, "y": 2, "z": 1},
    }
    assert document.values[("b", "y")] == (1, 17)
    assert document.values[("c", "y")] == (3, 16)


def bomb(inner: str) -> str:
    return f"a0: &a0 {inner}\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))


def merge_bomb() -> str:
    return "a0: &a0 {x: 1}\n" + "".join(
        f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}], k{i}: 1}}\n" for i in range(1, 10)
    )


@pytest.mark.parametrize(
    "text",
    [
        bomb("[x, x]"),
        merge_bomb(),
        "[" * 1_000_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "[" + "1, " * 20_000 + "1]",
        "a: " + "x" * 2**20,
    ],
    ids=["aliases", "merges", "brackets", "braces", "dashes", "long", "large"],
)
def test_bombs_are_refused_quickly(text: str) -> None:
    started = time.process_time()
    line, column, code = only(text)
    assert code == "YAML_INVALID"
    assert line >= 1 and column >= 1
    assert time.process_time() - started < 5


def test_depth_bound_counts_what_aliases_bring() -> None:
    chain = "a0: &a0 1\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 60))
    assert only(chain)[2] == "YAML_INVALID"
    assert value("[" * 50 + "]" * 50) is not None
    assert only("[" * 52 + "]" * 52) == (1, 52, "YAML_INVALID")


def test_ten_thousand_values_are_allowed() -> None:
    assert len(value("[" + "1, " * 9_998 + "1]")) == 9_999


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab1:-[]{},&*!|>'\"%#?@`\n\t \\~.<\x85\ufeffé😀"), max_size=60))
def test_any_text_is_read_or_complained_of(text: str) -> None:
    document = read_document(text, "f")
    if not document.readable:
        assert [complaint.code for complaint in document.complaints] == ["YAML_INVALID"]
    assert all(complaint.line >= 1 and complaint.column >= 1 for complaint in document.complaints)


@given(st.text(max_size=100))
def test_unicode_never_crashes(text: str) -> None:
    read_document(text, "f")


def test_lone_surrogates() -> None:
    assert only("a: \ud800")[2] == "YAML_INVALID"


def test_complaint_prints_as_one_line() -> None:
    assert str(Complaint("f.yaml", 3, 5, "KEY_UNKNOWN", "There is no key `x`.", "Did you mean `y`?")) == (
        "f.yaml:3:5 KEY_UNKNOWN There is no key `x`. Did you mean `y`?"
    )
    assert str(Complaint("SAFELIGHT_PROT", 0, 0, "KEY_UNKNOWN", "No.")) == "SAFELIGHT_PROT KEY_UNKNOWN No."


def test_hints() -> None:
    assert nearest("widht", ["height", "width"]) == "width"
    assert nearest("maxSize", ["max_pixels", "max_size"]) == "max_size"
    assert nearest("zzz", ["height", "width"]) is None
    assert nearest("w" * 10_000, ["width"]) is None
    assert hint_for("widht", ["height", "width"]) == "Did you mean `width`?"
    assert hint_for("zzz", ["height", "width"]) == "Known: height, width."


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: Bytes = 0
    side: int | str = 0


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inners: dict[str, Inner] = {}
    listed: tuple[Inner, ...] = ()
    needed: int


def test_validation_errors_become_faults_at_their_paths() -> None:
    written = {"inners": {"inners": {"sise": 1, "size": "5kg"}}, "listed": [{"side": [1]}], "x": 1}
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(written)
    found = {fault.path: (fault.code, fault.hint, fault.key) for fault in faults_of(caught.value, Outer, written)}
    assert found == {
        ("inners", "inners", "size"): ("VALUE_INVALID", "", False),
        ("inners", "inners", "sise"): ("KEY_UNKNOWN", "Did you mean `size`?", True),
        ("listed", 0, "side"): ("VALUE_INVALID", "", False),
        ("x",): ("KEY_UNKNOWN", "Known: inners, listed, needed.", True),
        (): ("VALUE_INVALID", "", True),
    }


def test_known_keys_follow_the_shape() -> None:
    assert known_keys(Outer, ()) == ["inners", "listed", "needed"]
    assert known_keys(Outer, ("inners", "needed")) == ["size", "side"]
    assert known_keys(Outer, ("listed", 3)) == ["size", "side"]
    assert known_keys(Outer, ("needed",)) == []
