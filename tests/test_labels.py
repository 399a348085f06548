"""Metadata, tags and folders: what is kept of anything, and that nothing beyond the limits is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import labels
from pipeline.errors import (
    FolderInvalid,
    MetadataInvalid,
    MetadataKeyEmpty,
    MetadataKeyForbidden,
    MetadataKeyTooLong,
    MetadataTooMany,
    MetadataValueEmpty,
    MetadataValueForbidden,
    MetadataValueTooLong,
    TagInvalid,
    TagsTooMany,
    TagTooLong,
)
from pipeline.labels import PLAIN, PRINTED, TagRule

KEYS = st.text(st.sampled_from("aZ09_-.:"), min_size=1, max_size=64)
ANYTHING = st.text(st.characters(), max_size=80)


@given(st.dictionaries(KEYS, st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1,
                                     max_size=512), max_size=50))  # fmt: skip
def test_metadata_within_the_limits_is_kept_as_it_is(told: dict[str, str]) -> None:
    assert labels.metadata(told) == told


@given(st.dictionaries(ANYTHING, ANYTHING, max_size=3))
def test_other_metadata_is_refused_with_its_own_error_and_never_altered(told: dict[str, str]) -> None:
    try:
        assert labels.metadata(told) == told
    except MetadataInvalid as refused:
        assert type(refused) is not MetadataInvalid and refused.status == 400
        refused.message.encode()


@pytest.mark.parametrize(
    ("told", "refused"),
    [
        ({"": "x"}, MetadataKeyEmpty),
        ({"k" * 65: "x"}, MetadataKeyTooLong),
        ({"a b": "x"}, MetadataKeyForbidden),
        ({"ä": "x"}, MetadataKeyForbidden),
        ({"a\n": "x"}, MetadataKeyForbidden),
        ({"a": ""}, MetadataValueEmpty),
        ({"a": "x" * 513}, MetadataValueTooLong),
        ({"a": "x\0y"}, MetadataValueForbidden),
        ({"a": "x\ud800"}, MetadataValueForbidden),
        ({str(number): "x" for number in range(51)}, MetadataTooMany),
    ],
)
def test_each_limit_of_metadata_has_its_error(told: dict[str, str], refused: type[MetadataInvalid]) -> None:
    with pytest.raises(MetadataInvalid) as fault:
        labels.metadata(told)
    assert type(fault.value) is refused


@pytest.mark.parametrize("told", [{"k" * 64: "x" * 512}, {"a": "😀" * 512}, {"a": "x\ny"},
                                  {str(number): "x" for number in range(50)}])  # fmt: skip
def test_the_limits_themselves_are_within(told: dict[str, str]) -> None:
    assert labels.metadata(told) == told


@pytest.mark.parametrize("rule", [PLAIN, PRINTED])
@given(given_tags=st.lists(st.text(st.characters(), max_size=12), max_size=8))
def test_tags_are_kept_once_in_order_and_given_again_stay(rule: TagRule, given_tags: list[str]) -> None:
    try:
        kept = labels.tags(given_tags, rule)
    except TagInvalid:
        return
    assert labels.tags(kept, rule) == kept == tuple(dict.fromkeys(kept))
    assert all(tag and tag == tag.strip() and len(tag) <= 100 for tag in kept)


@given(st.lists(st.text(st.sampled_from("abAB-_. 12"), max_size=6), max_size=8))
def test_plain_tags_are_lower_case_and_keep_their_order(given_tags: list[str]) -> None:
    try:
        kept = labels.tags(given_tags)
    except TagInvalid:
        assert any(" " in tag.strip() for tag in given_tags)
        return
    wanted = [tag.strip().lower() for tag in given_tags if tag.strip()]
    assert list(kept) == list(dict.fromkeys(wanted))


def test_limits_of_tags_count_what_is_left() -> None:
    assert len(labels.tags([*map(str, range(50)), "0", " 1 ", ""])) == 50
    assert labels.tags(["t" * 100]) == ("t" * 100,)
    with pytest.raises(TagsTooMany):
        labels.tags(map(str, range(51)))
    with pytest.raises(TagTooLong):
        labels.tags(["t" * 101])
    for tag in ("a b", "ä", "a,b", "a/b", "a\0"):
        with pytest.raises(TagInvalid):
            labels.tags([tag])
    assert labels.tags(["Rote Schuhe", "größe"], PRINTED) == ("Rote Schuhe", "größe")
    for tag in ("50%", "a,b", "a\nb"):
        with pytest.raises(TagInvalid):
            labels.tags([tag], PRINTED)


@given(st.one_of(st.text(max_size=60), st.text(st.sampled_from("ab/. \\é\u0301"), max_size=40)))
def test_a_folder_is_put_one_way_and_stays_so(text: str) -> None:
    try:
        folder = labels.folder(text)
    except FolderInvalid as refused:
        refused.message.encode()
        return
    assert labels.folder(folder) == folder == labels.folder(f"/{folder}/")
    assert not folder.startswith("/") and not folder.endswith("/") and "//" not in folder
    assert not {".", ".."} & set(folder.split("/"))
    assert labels.above(folder)[-1:] == ((folder,) if folder else ())


@pytest.mark.parametrize(("text", "folder"), [("/", ""), ("", ""), ("//a// b /", "a/b"), ("/ä/日本", "ä/日本"),
                                              ("a\u0308", "ä"), ("/".join("x" * 50), "/".join("x" * 50))])  # fmt: skip
def test_folders_as_they_are_kept(text: str, folder: str) -> None:
    assert labels.folder(text) == folder


@pytest.mark.parametrize("text", ["../x", "a/./b", "a/..", "a\\b", "a\nb", "a\u202eb", "/".join("x" * 51), "x" * 256,
                                  "/".join(["long"] * 45 + ["x" * 500]), "a/\ud800"])  # fmt: skip
def test_what_is_no_folder_is_refused(text: str) -> None:
    with pytest.raises(FolderInvalid) as refused:
        labels.folder(text)
    refused.value.message.encode()
