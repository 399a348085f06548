"""Find faces in a small look at a picture, with OpenCV (the extra `faces`) and the model file that the settings name.

An `.onnx` file is a YuNet network (Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023), an `.xml` file
a cascade (Viola, Jones: "Rapid Object Detection using a Boosted Cascade of Simple Features", 2001). OpenCV is given the
pixels of the look and nothing else; it is loaded by the child that is first asked for faces.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.errors import NodeInvalid
from pipeline.imaging.glimpse import demand_for, flattened, glimpse, within
from pipeline.imaging.picture import Outline, Picture, Window

LOOK = 640
"""Pixels of the longer side that are looked at; a face is found from about 24 of them across."""
NEAR = 960
"""Pixels of the longer side of a picture that faces are seen in and smaller ones can be derived from."""
SMALLEST = 24
"""Pixels across the smallest face that a cascade is asked for: the size they were trained on."""
STEP, NEIGHBOURS = 1.15, 4
"""How much larger each size is that a cascade tries, and how often it must see a face to be believed."""
CONFIDENT, OVERLAP, MOST = 0.7, 0.3, 1000
"""How sure YuNet must be, how much two boxes of one face may overlap, and how many boxes it may weigh."""
ROOM = 0.3
"""What is left free above a face, in its heights: a detector's box ends at the forehead."""
GREY = (128, 128, 128)
NOT_SET = "looking for faces needs the setting `face_model`, the path of a YuNet .onnx or a cascade .xml file"
MISSING = "looking for faces needs the extra `faces`: install `safelight[faces]`"
NO_CASCADES = (
    "this OpenCV no longer knows cascades: install opencv-python-headless below 5, or set an .onnx `face_model`"
)


@dataclass(frozen=True)
class Face:
    """Where a face is, as fractions of the picture, and how sure the detector is, 0 to 1, where it tells."""

    left: float
    top: float
    width: float
    height: float
    confidence: float | None = None

    def window(self, outline: Outline, margin: float) -> Window:
        """Where it is in a picture with this outline, with so much of its width and height added on every side."""
        across, down = margin * self.width, margin * self.height
        left, top = floor((self.left - across) * outline.width), floor((self.top - down) * outline.height)
        right = min(outline.width, ceil((self.left + self.width + across) * outline.width))
        bottom = min(outline.height, ceil((self.top + self.height + down) * outline.height))
        left, top = max(0, left), max(0, top)
        return Window(left, top, right - left, bottom - top)


class Finder(ABC):
    """A loaded model."""

    def faces(self, image: Picture, longest: int = LOOK) -> tuple[Face, ...]:
        """The faces in the first frame as shown, the largest first; reads the pixels once.

        The longer side of what is looked at has at most `longest` pixels.
        """
        width, height = within(image.outline, longest)
        look = flattened(glimpse(image, width, height), GREY)
        found = [_face(box, width, height) for box in self._boxes(look)]
        return tuple(sorted(found, key=lambda face: face.width * face.height, reverse=True))

    @abstractmethod
    def _boxes(self, look: Image.Image) -> Iterable[tuple[float, float, float, float, float | None]]:
        """Left, top, width and height in pixels, and confidence."""


class _Cascade(Finder):
    def __init__(self, model: Path) -> None:
        cv2 = _opencv()
        if not hasattr(cv2, "CascadeClassifier"):
            raise NodeInvalid(reason=NO_CASCADES)
        self._classifier = cv2.CascadeClassifier(str(model))
        if self._classifier.empty():
            raise _unusable(model)

    def _boxes(self, look: Image.Image) -> Iterator[tuple[float, float, float, float, float | None]]:
        least = (SMALLEST, SMALLEST)
        found = self._classifier.detectMultiScale(_array(look.convert("L")), STEP, NEIGHBOURS, minSize=least)
        for left, top, width, height in found:
            yield float(left), float(top), float(width), float(height), None


class _YuNet(Finder):
    def __init__(self, model: Path) -> None:
        self._detector = _opencv().FaceDetectorYN.create(str(model), "", (LOOK, LOOK), CONFIDENT, OVERLAP, MOST)
        # Only an answer shows that the network is one for faces.
        list(self._boxes(Image.new("RGB", (32, 32))))

    def _boxes(self, look: Image.Image) -> Iterator[tuple[float, float, float, float, float | None]]:
        self._detector.setInputSize(look.size)
        # OpenCV counts bands from blue to red.
        _, found = self._detector.detect(_array(look)[:, :, ::-1].copy())
        for row in () if found is None else found:
            left, top, width, height = (float(number) for number in row[:4])
            yield left, top, width, height, float(row[-1])


KINDS: dict[str, Callable[[Path], Finder]] = {".onnx": _YuNet, ".xml": _Cascade}


def finder(model: Path | None) -> Finder:
    """The model in this file, loaded once; raises `NodeInvalid` when there is none or it cannot be used."""
    if model is None:
        raise NodeInvalid(reason=NOT_SET)
    return _loaded(model)


def look_scale(outline: Outline) -> float:
    """Which scale of a picture with this outline is enough to find the faces in it."""
    return demand_for(outline, *within(outline, LOOK))


def near(image: Picture, width: int, height: int) -> Picture:
    """The picture in memory, to find faces in and then to be scaled to this size: as small as that allows.

    Of an animation every frame is held, so it is looked at in the size it gets.
    """
    if max(width, height) < LOOK and image.outline.frames == 1:
        width, height = within(image.outline, NEAR)
    shrinks = width < image.scale * image.outline.width
    return (image.scaled(width, height) if shrinks else image).held()


def cut_to(image: Picture, width: int, height: int, faces: Sequence[Face]) -> Picture:
    """The part of this size that keeps the faces; where there are none, what catches the eye."""
    if not faces:
        return image.windowed(width, height, "attention", None)
    return image.cropped(window_keeping(image.outline, width, height, faces))


def window_keeping(outline: Outline, width: int, height: int, faces: Sequence[Face]) -> Window:
    """The window of this size around the faces with room above: the first, and each of the others that still fits."""
    left, top, right, bottom = _edges(faces[0], outline, height)
    for face in faces[1:]:
        one = _edges(face, outline, height)
        wider = min(left, one[0]), min(top, one[1]), max(right, one[2]), max(bottom, one[3])
        if wider[2] - wider[0] <= width and wider[3] - wider[1] <= height:
            left, top, right, bottom = wider
    return Window(_start(left, right, width, outline.width), _start(top, bottom, height, outline.height), width, height)


def close_to(outline: Outline, width: int, height: int, faces: Sequence[Face], zoom: float, enlarge: bool) -> Window:
    """The window of the shape of this size in which the faces take up half of one side, times `zoom`.

    It is no larger than the picture and, where it is not to be enlarged, no smaller than the size. Of faces that it
    cannot all hold it keeps the largest.
    """
    most = min(outline.width / width, outline.height / height)
    boxes = [_edges(face, outline, outline.height) for face in faces]
    left, top, right, bottom = _around(boxes)
    if (right - left) / width > most or (bottom - top) / height > most:
        left, top, right, bottom = boxes[0]
    span = max((right - left) / width, (bottom - top) / height) * 2 / zoom
    span = min(most, span if enlarge else max(1.0, span))
    across, down = max(1, round(width * span)), max(1, round(height * span))
    return Window(_start(left, right, across, outline.width), _start(top, bottom, down, outline.height), across, down)


def _around(boxes: Sequence[tuple[float, float, float, float]]) -> tuple[float, float, float, float]:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _edges(face: Face, outline: Outline, height: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom in pixels, the room above in it as far as a window of this height has any."""
    top, tall = face.top * outline.height, face.height * outline.height
    room = min(ROOM * tall, max(0.0, height - tall), top)
    return face.left * outline.width, top - room, (face.left + face.width) * outline.width, top + tall


def _start(low: float, high: float, length: int, side: int) -> int:
    return min(max(0, round((low + high - length) / 2)), side - length)


def _face(box: tuple[float, float, float, float, float | None], width: int, height: int) -> Face:
    """A detector may see more of a face than the picture shows."""
    left, top = max(0.0, box[0] / width), max(0.0, box[1] / height)
    right, bottom = min(1.0, (box[0] + box[2]) / width), min(1.0, (box[1] + box[3]) / height)
    return Face(left, top, right - left, bottom - top, box[4])


@lru_cache(maxsize=1)
def _loaded(model: Path) -> Finder:
    cv2 = _opencv()
    if not model.is_file() or model.suffix.lower() not in KINDS:
        raise _unusable(model)
    try:
        return KINDS[model.suffix.lower()](model)
    except (cv2.error, SystemError) as cause:
        # An error of OpenCV's while it makes an object arrives as the latter.
        raise _unusable(model) from cause


def _unusable(model: Path) -> NodeInvalid:
    return NodeInvalid(
        reason=f"the setting `face_model` names `{model.name}`, which does not open as a face model here"
    )


@lru_cache(maxsize=1)
def _opencv() -> Any:
    # Its algebra library would start a thread for every CPU; here it is children that share them out.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        import cv2
    except ImportError as cause:
        raise NodeInvalid(reason=MISSING) from cause
    cv2.setNumThreads(1)
    return cv2


def _array(look: Image.Image) -> Any:
    import numpy

    return numpy.asarray(look)
