"""File names: what each rule makes of them, and what every rule promises whatever it is given."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.names import NAME_BYTES, RULES, imagekit, ittybit, native, unique, uploadcare, uploadkit

ODD = "\u202e\u2066\u200b\u200d\u200c\ufeff\u0301\0\x1f\x7f\x85\u2028\ud800/\\.. _-ẛ̣ḍ̇ｆﬁ①½ééKΩ"
BIDI_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
GIVEN = st.text(max_size=300) | st.text(st.sampled_from(ODD + "aB1"), max_size=40) | st.text("ü🙂.", max_size=300)


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=300)
@given(name=GIVEN, media_type=st.sampled_from([None, "image/png", "nonsense"]))
@example(name="", media_type=None)
@example(name="..", media_type=None)
@example(name="\u200d", media_type=None)
@example(name="e\u200b\u0301.jpg", media_type=None)
@example(name="x" * 195 + ".\u0301\u0301\u0301.jpeg", media_type=None)
@example(name="." * 250 + "a", media_type="image/png")
def test_every_name_is_safe_and_stays_as_it_is(rule: str, name: str, media_type: str | None) -> None:
    made = RULES[rule](name, media_type)
    assert made.strip(". \u200c\u200d"), "never empty, nor invisible"
    assert not made.startswith((".", " ")) and not made.endswith((".", " "))
    assert "/" not in made and "\\" not in made
    assert len(made.encode()) <= NAME_BYTES
    for character in made:
        assert unicodedata.category(character) not in {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
        assert unicodedata.category(character) != "Cf" or character in "\u200c\u200d"
        assert unicodedata.bidirectional(character) not in BIDI_CONTROLS
    assert unicodedata.is_normalized("NFC", made)
    assert RULES[rule](made, media_type) == made
    assert native(made, media_type) == made


@given(GIVEN)
def test_each_vendor_has_its_signs_only(name: str) -> None:
    latin = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    assert set(uploadcare(name)) <= latin | set("._")
    assert set(uploadkit(name)) <= latin | set("._-")
    for character in imagekit(name):
        assert character.isalnum() or character in "._-" or unicodedata.category(character).startswith("M")


@given(GIVEN)
def test_a_unique_name_keeps_its_extension_and_its_rule(name: str) -> None:
    plain = imagekit(name)
    first, second = unique(plain), unique(plain)
    assert first != second
    assert imagekit(first) == first and len(first.encode()) <= NAME_BYTES
    assert len(first) == len(plain) + 10 or len(plain.encode()) > NAME_BYTES - 10


@pytest.mark.parametrize(
    ("given_name", "clean"),
    [
        ("instellar_logo_main (1).png", "instellar_logo_main1.png"),
        ("Prüf q 猫.txt", "Prfq.txt"),
        ("猫.png", "file.png"),
        ("/home/me/photo-1.jpg", "photo1.jpg"),
    ],
)
def test_uploadcare_removes(given_name: str, clean: str) -> None:
    assert uploadcare(given_name) == clean


@pytest.mark.parametrize(
    ("given_name", "clean"),
    [
        ("summer dress (1).jpg", "summer_dress__1_.jpg"),
        ("Prüf-猫_हिन्दी.txt", "Prüf-猫_हिन्दी.txt"),
        ("a+b&c.tar.gz", "a_b_c.tar.gz"),
        ("..", "file"),
    ],
)
def test_imagekit_puts_a_line_in_the_place_of_others(given_name: str, clean: str) -> None:
    assert imagekit(given_name) == clean


@pytest.mark.parametrize(
    ("given_name", "clean"),
    [
        ("../../etc/passwd", "etc_passwd"),
        ("my photo.jpg", "my_photo.jpg"),
        ("dir/photo.jpg", "dir_photo.jpg"),
        ("....//x", "_x"),
    ],
)
def test_uploadkit_drops_the_way_up_and_joins_the_rest(given_name: str, clean: str) -> None:
    assert uploadkit(given_name) == clean


def test_ittybit_takes_a_path() -> None:
    assert ittybit("usr_abcd/profile/video") == "video"


def test_a_unique_name_is_like_imagekits() -> None:
    made = unique("test.jpg")
    assert made.startswith("test_") and made.endswith(".jpg") and len(made) == len("test_doAbVVtZJ.jpg")


@pytest.mark.parametrize(
    ("given_name", "clean"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\cat.png", "cat.png"),
        ("naïve café 猫.png", "naïve café 猫.png"),
        ("a\u202egpj.exe", "agpj.exe"),
        ("line\r\nbreak\x00.txt", "linebreak.txt"),
        ("  spaced   out .txt ", "spaced out .txt"),
        (".htaccess", "htaccess"),
        ("..", "file.png"),
        ("", "file.png"),
        ("/", "file.png"),
        ("\u2066\u2069", "file.png"),
        ("trailing...", "trailing"),
    ],
)
def test_a_native_name_is_the_last_part_without_what_is_not_printed(given_name: str, clean: str) -> None:
    assert native(given_name, "image/png") == clean


def test_a_long_name_keeps_its_extension_and_whole_characters() -> None:
    clean = native("ü" * 300 + ".jpeg")
    assert clean.endswith(".jpeg") and set(clean[:-5]) == {"ü"}
    assert 198 <= len(clean.encode()) <= 200
    assert len(native("x" * 50 + "." + "y" * 300).encode()) == 200


def test_a_nameless_file_of_no_known_type_is_a_file() -> None:
    assert native("") == "file"
