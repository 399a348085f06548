"""Pictures as memory sees them, and an account of how many bytes are alive at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.imaging.picture import Outline, Wish

MIB = 2**20
FLOOR = 8 * MIB
"""Code that is touched for the first time, small tables; 1 to 6 MiB were measured."""
LOOSE = 0.5
"""Share of the rows whose memory is free once they have flowed, but in pieces that an encoder cannot use."""

# Rows of pixels that lie in libvips' buffers while they flow. From decoder to encoder 800 to 1200 were measured; 1000
# to 2000 of the larger width where a stream is scaled down, 700 to 800 where that is in memory; for one more act 20
# (sharpen) to 550 (a wide blur).
SOURCE, SINK = 400, 800
SHRINKING, SHRINKING_HELD = 1300, 800
ACT = 300
WEIGHED = 4
"""Bytes of a band while alpha weighs colours: they are floats then."""


@dataclass(frozen=True)
class Stream:
    """A picture that is computed when it is read: pixels at hand of one frame, and bytes that reading it takes."""

    width: int
    height: int
    frames: int
    bands: int
    wish: Wish
    depth: int = 1
    """Bytes of a band."""
    streaming: bool = True
    turned: bool = False
    """It has to be held before it can be upright."""
    rows: int = 0
    burst: int = 0
    """What its decoder needs beside the rows."""
    left: int = 0
    """What of that stays once it has been read."""
    counted: int = 0
    """What has been kept for it since it was opened."""

    @property
    def row(self) -> int:
        return self.width * self.bands * self.depth

    @property
    def size(self) -> int:
        return self.row * self.height * self.frames

    @property
    def alpha(self) -> bool:
        return self.bands in (2, 4)

    def sized(self, width: int, height: int) -> Stream:
        """The same at another size."""
        if max(abs(width - self.width), abs(height - self.height)) <= 1:
            # A drawing's size may be rounded the other way.
            return replace(self, width=max(1, width), height=max(1, height))
        depth = WEIGHED if self.alpha else self.depth
        shrinks = width < self.width or height < self.height
        rows = (SHRINKING if self.streaming else SHRINKING_HELD) if shrinks else ACT
        taken = rows * self.width * self.bands * depth
        return replace(self, width=max(1, width), height=max(1, height), rows=self.rows + taken)

    def acted(self) -> Stream:
        """The same after one more act on every pixel."""
        return replace(self, depth=1, rows=self.rows + ACT * self.row)

    def framed(self, before: Outline, after: Outline) -> Stream:
        """The same on another canvas, at the scale it has."""
        width = max(1, round(after.width * self.width / before.width))
        height = max(1, round(after.height * self.height / before.height))
        bands = 4 if after.alpha else self.bands
        return replace(self, width=width, height=height, frames=min(self.frames, after.frames), bands=bands)


class Account:
    """What is kept, and the most that was alive at once."""

    def __init__(self) -> None:
        self.kept = self.peak = FLOOR
        self._loose = 0

    def need(self, amount: int) -> None:
        """Count what is needed for a moment, beside what is kept."""
        self.peak = max(self.peak, self.kept + amount)

    def encode(self, amount: int, rows: int = 0) -> None:
        """The same for an encoder, which wants large pieces, while so many bytes of rows flow."""
        self.need(amount + max(rows, self._loose))

    def keep(self, amount: int) -> None:
        """Count what stays, or with a negative amount what goes."""
        self.kept += amount
        self.need(0)

    def read(self, stream: Stream, taken: int = 0) -> None:
        """The pixels are computed for something that takes so many bytes, most of them once all pixels have come."""
        rows = stream.rows + SINK * stream.row
        self.need(stream.burst + rows + min(taken, stream.size))
        self.encode(stream.left + taken, rows)
        self.keep(stream.left)
        self._flowed(stream)

    def copied(self, stream: Stream) -> int:
        """The same for a copy in memory, which stays; returns its bytes."""
        self.read(stream, stream.size)
        self.keep(stream.size)
        return stream.size

    def held(self, stream: Stream) -> Stream:
        """The same picture in memory; its decoder is let go."""
        if not stream.streaming:
            return stream
        self.need(stream.burst + stream.rows + ACT * stream.row + stream.size)
        self.keep(stream.size - stream.counted)
        self._flowed(stream)
        return replace(stream, streaming=False, rows=0, burst=0, left=0, counted=0)

    def _flowed(self, stream: Stream) -> None:
        self._loose = max(self._loose, round(LOOSE * stream.rows))

    def upright(self, stream: Stream) -> Stream:
        return replace(self.held(stream), turned=False) if stream.turned else stream

    def settled(self, stream: Stream, outline: Outline, hold: bool = False) -> Stream:
        """The picture at the size of its outline, in 8 bits; in memory when its frames are gone through one by one."""
        whole = self.upright(stream.sized(outline.width, outline.height))
        plain = replace(whole, depth=1, bands=4 if whole.alpha else 3)
        return self.held(plain) if hold or plain.frames > 1 else plain
