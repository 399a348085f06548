"""What flows name as `asset:` is looked for before anything runs, and told where it is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import FlowInvalid, NodeInvalid
from pipeline.graph.belongings import Belongings
from pipeline.graph.flow import lacking, load_flow
from tests.nodes.studio import corners

MARKED = """\
nodes:
  photo: {type: input}
  marked: {type: watermark, image: "asset:NAME"}
  out: {type: save}
"""
LAYERED = """\
params: {logo: {type: string, default: x}}
nodes:
  photo: {type: input}
  laid:
    type: overlay
    layers:
      - {image: "asset:logo.png"}
      - {image: "asset:logos/nothing.png", x: 5}
      - {image: "asset:{params.logo}.png"}
  out: {type: save}
"""


@pytest.fixture
def belongings(tmp_path: Path) -> Belongings:
    folder = tmp_path / "flows" / "assets"
    (folder / "logos").mkdir(parents=True)
    for name in ("logo.png", "logos/round.webp"):
        corners(8, 8).save(folder / name)
    (folder / "notes.png").write_text("Logos by Ann.\n")
    (tmp_path / "flows" / "secret.png").write_bytes((folder / "logo.png").read_bytes())
    (folder / "link.png").symlink_to(tmp_path / "flows" / "secret.png")
    return Belongings.of(tmp_path / "flows")


def complaints(text: str, belongings: Belongings) -> list[str]:
    with pytest.raises(FlowInvalid) as caught:
        load_flow("f", text, belongings=belongings)
    return [str(one) for one in caught.value.facts["complaints"]]


@pytest.mark.parametrize("name", ["logo.png", "logos/round.webp"])
def test_what_is_in_the_folder_is_found(name: str, belongings: Belongings) -> None:
    flow = load_flow("f", MARKED.replace("NAME", name), belongings=belongings)
    assert lacking(flow, belongings) == ()
    with Image.open(belongings.get(name)) as image:
        assert image.size == (8, 8)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("lgo.png", "ASSET_UNKNOWN There is no asset `lgo.png`. Did you mean `logo.png`?"),
        ("logos/rond.webp", "ASSET_UNKNOWN There is no asset `logos/rond.webp`. Did you mean `logos/round.webp`?"),
        ("../secret.png", "ASSET_UNKNOWN There is no asset `../secret.png`."),
        ("link.png", "ASSET_UNKNOWN There is no asset `link.png`."),
        ("logos", "ASSET_UNKNOWN There is no asset `logos`."),
        ("notes.png", "ASSET_INVALID The asset `notes.png` is text/plain, not an image."),
    ],
)
def test_what_is_not_there_is_told_where_it_is_named(name: str, complaint: str, belongings: Belongings) -> None:
    (found,) = complaints(MARKED.replace("NAME", name), belongings)
    assert found.startswith(f"f.yaml:3:36 {complaint}")


def test_layers_are_looked_at_and_placeholders_left_to_the_run(belongings: Belongings) -> None:
    (found,) = complaints(LAYERED, belongings)
    assert found.startswith("f.yaml:8:17 ASSET_UNKNOWN There is no asset `logos/nothing.png`.")


def test_what_is_lacking_is_told_with_every_other_fault(belongings: Belongings) -> None:
    text = MARKED.replace("NAME", "lgo.png").replace("type: save", "type: sve")
    assert [one.split()[1] for one in complaints(text, belongings)] == ["ASSET_UNKNOWN", "NODE_TYPE_UNKNOWN"]


def test_a_flow_without_its_belongings_is_sound_and_tells_what_it_lacks(belongings: Belongings) -> None:
    flow = load_flow("f", MARKED.replace("NAME", "lgo.png"))
    assert [(one.code, one.line, one.column) for one in lacking(flow, belongings)] == [("ASSET_UNKNOWN", 3, 36)]


@pytest.mark.parametrize("name", ["nothing.png", "../secret.png", "link.png", "/etc/hostname", ""])
def test_a_run_is_told_the_parameter(name: str, belongings: Belongings) -> None:
    with pytest.raises(NodeInvalid, match=r"^image: there is no asset"):
        belongings.get(name)


def test_a_mark_from_two_sides_is_one_too_many() -> None:
    text = MARKED.replace('"asset:NAME"}', '"asset:logo.png", from: {image: photo, mark: logo}}')
    text = text.replace("marked:", "logo: {type: input}\n  marked:")
    with pytest.raises(FlowInvalid) as caught:
        load_flow("f", text)
    assert [str(one) for one in caught.value.facts["complaints"]] == [
        "f.yaml:4:60 VALUE_INVALID `marked` is given `mark` twice, by its `asset:` and by `logo`. Keep one of them."
    ]
