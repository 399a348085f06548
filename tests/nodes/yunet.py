"""A network with YuNet's outputs whose every weight is known: it sees a face 64 pixels wide around what is pure green.

Written field by field in the ONNX format (onnx.proto3; Protocol Buffers wire format), so that no trained file and no
library for such files is needed. Of YuNet's three grids only the finest, one cell for 8 x 8 pixels, ever answers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

FLOAT, INT64 = 1, 7
INTS, INT_KIND, INTS_KIND, FLOAT_KIND = 8, 2, 7, 1
STRIDES = (8, 16, 32)
FACE = 64
"""Pixels across every face it sees."""


def sees_green() -> bytes:
    """The file: `sqrt(cls * obj)` is 1 where a cell is green alone and 0 where it has no green."""
    nodes, constants, outputs = [], [], []
    for stride in STRIDES:
        # Bands come from blue to red; a cell's greenness is its mean of green less blue and red.
        green = [sign / (255 * stride * stride) for sign in (-1, 1, -1) for _ in range(stride * stride)]
        box = [0.5, 0.5, math.log(FACE / stride), math.log(FACE / stride)]
        heads = {"cls": (green, [0.0]), "obj": (green, [0.0]), "bbox": (None, box), "kps": (None, [0.0] * 10)}
        for head, (weights, bias) in heads.items():
            name, bands = f"{head}_{stride}", len(bias)
            flat = weights or [0.0] * (bands * 3 * stride * stride)
            scale = 1.0 if stride == 8 or weights is None else 0.0
            constants += [
                tensor(f"{name}.w", [bands, 3, stride, stride], [scale * weight for weight in flat]),
                tensor(f"{name}.b", [bands], bias),
                shape(f"{name}.s", [1, -1, bands]),
            ]
            nodes += grid(name, stride)
            outputs.append(value(name, [1, (640 // stride) ** 2, bands]))
    parts = [*(one(1, node) for node in nodes), one(2, b"green"), *(one(5, constant) for constant in constants)]
    parts += [one(11, value("input", [1, 3, 640, 640])), *(one(12, output) for output in outputs)]
    return number(1, 7) + one(7, b"".join(parts)) + one(8, one(1, b"") + number(2, 11))


def grid(name: str, stride: int) -> list[bytes]:
    """One answer a cell: a convolution, from 0 to 1 where it is a score, its cells in rows."""
    attributes = [ints("kernel_shape", [stride, stride]), ints("strides", [stride, stride])]
    made = [node("Conv", ["input", f"{name}.w", f"{name}.b"], f"{name}.c", attributes)]
    if name.startswith(("cls", "obj")):
        made.append(node("Relu", [f"{name}.c"], f"{name}.r"))
    last = f"{name}.r" if len(made) == 2 else f"{name}.c"
    made.append(node("Transpose", [last], f"{name}.t", [ints("perm", [0, 2, 3, 1])]))
    return [*made, node("Reshape", [f"{name}.t", f"{name}.s"], name)]


# Messages of onnx.proto3, by the numbers of their fields


def node(kind: str, inputs: Sequence[str], output: str, attributes: Sequence[bytes] = ()) -> bytes:
    given = b"".join(one(1, name.encode()) for name in inputs)
    return given + one(2, output.encode()) + one(3, output.encode()) + one(4, kind.encode()) + b"".join(
        one(5, attribute) for attribute in attributes
    )  # fmt: skip


def ints(name: str, values: Sequence[int]) -> bytes:
    return one(1, name.encode()) + b"".join(number(INTS, value) for value in values) + number(20, INTS_KIND)


def tensor(name: str, sizes: Sequence[int], values: Sequence[float]) -> bytes:
    head = b"".join(number(1, size) for size in sizes) + number(2, FLOAT)
    return head + one(8, name.encode()) + one(9, struct.pack(f"<{len(values)}f", *values))


def shape(name: str, sizes: Sequence[int]) -> bytes:
    return number(1, len(sizes)) + number(2, INT64) + one(8, name.encode()) + one(
        9, struct.pack(f"<{len(sizes)}q", *sizes)
    )  # fmt: skip


def value(name: str, sizes: Sequence[int]) -> bytes:
    sides = b"".join(one(1, number(1, size)) for size in sizes)
    return one(1, name.encode()) + one(2, one(1, number(1, FLOAT) + one(2, sides)))


def one(field: int, content: bytes) -> bytes:
    """A field of so many bytes."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
