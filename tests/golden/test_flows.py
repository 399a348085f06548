"""Every input through one flow of many nodes, in the real sandbox: the plan decodes once and still gives the same."""

from __future__ import annotations

import json

from PIL import Image

from pipeline.imaging.sandbox import Sandbox
from pipeline.model import File, new_id
from tests.golden.matrix import Sample
from tests.golden.reference import difference
from tests.golden.rows import ROWS, Row
from tests.graph.desk import Desk

TYPES = ("resize", "crop", "trim", "pad", "rotate", "round", "border", "grayscale", "blur", "redact")
DRAWN_TWICE_AS_LARGE = 1.5
"""How far a drawing may be off beside: it is drawn once for the largest size, and reduced for the others."""


def rows() -> dict[str, Row]:
    """One row of each of these kinds, by the name of its node in the flow."""
    return {row.type: row for row in reversed(ROWS) if row.type in TYPES}


def flow() -> str:
    lines = ["nodes:", "  photos: {type: input, many: true}"]
    for name, row in rows().items():
        lines.append(f"  {name}: {json.dumps({'type': row.type, 'from': 'photos', **row.said})}")
    lines.append(f"  out: {{type: save, from: [{', '.join(rows())}], path: '{{file.stem}}/{{node}}.png'}}")
    return "\n".join(lines)


def sent(sample: Sample) -> File:
    found = sample.artifact
    return File(
        id=new_id(), project="demo", storage="default", key=str(sample.path), name=sample.path.name, mime=found.mime,
        size=found.size, sha256=found.sha256, image=found.image,
    )  # fmt: skip


async def test_one_decode_gives_every_branch_what_it_would_have_alone(
    matrix: list[Sample], sandbox: Sandbox, desk: Desk
) -> None:
    await desk.run(sandbox, flow(), {"photos": [sent(sample) for sample in matrix]})
    wrong = []
    for sample in matrix:
        for name, row in rows().items():
            found = desk.image(f"{sample.path.stem}/{name}.png")
            wrong += complaints(row, sample, found)
    assert not wrong, "\n".join(wrong)


def complaints(row: Row, sample: Sample, found: Image.Image) -> list[str]:
    wanted = row.expected(sample, sample.shown[0])
    if found.size != wanted.size:
        return [f"{row.name} on {sample.name} is {found.size}, expected {wanted.size}"]
    apart = difference(found.convert("RGBA"), wanted)
    loose = row.rough * sample.flat + sample.blur + DRAWN_TWICE_AS_LARGE * sample.drawing
    if apart.mean <= row.mean * sample.mixed + loose and apart.p99 <= row.p99 * sample.mixed + 8 * loose:
        return []
    return [f"{row.name} on {sample.name} is {apart.mean:.2f} off on average and within {apart.p99} in 99 %"]
