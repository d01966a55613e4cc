"""How stored frames are shown: turned, mirrored, with square pixels, and in one size though the film changes its own.

Knows nothing of files and of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from omni_timeline.media.colour import rgb

_SAME_SHAPE = 0.02  # of a side; 854 x 480 is 1280 x 720 made smaller


@dataclass(frozen=True)
class Display:
    """How a frame is shown: `width` x `height` pixels after the mirroring and turning below.

    Attributes:
        width: pixels across, pixels that are not square made square.
        height: pixels down.
        transpose: rows become columns, before the flips.
        flip_x: left and right are exchanged.
        flip_y: top and bottom are exchanged.
    """

    width: int
    height: int
    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, frame: Any, pixel_aspect: Fraction | None) -> Display:
        """How a decoded frame is shown.

        Args:
            frame: as it was decoded.
            pixel_aspect: how much wider than high its pixels are.
        """
        aspect = Fraction(pixel_aspect or 1)
        if not Fraction(1, 4) <= aspect <= 4:  # no camera has such pixels: a damaged header
            aspect = Fraction(1)
        width, height = max(1, round(frame.width * aspect)), frame.height
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return cls(width, height)
        # x' = a·x + c·y and y' = b·x + d·y; rows of three, the third column is of no use here.
        a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
        if abs(b) > abs(a):
            return cls(height, width, transpose=True, flip_x=c < 0, flip_y=b < 0)
        return cls(width, height, flip_x=a < 0, flip_y=d < 0)

    def turn(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The stored `picture` (H, W, 3) as it is shown; a view."""
        if self.transpose:
            picture = picture.swapaxes(0, 1)
        return picture[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]

    def fitted(self, width: int, height: int, film: Display) -> tuple[int, int]:
        """The largest size in which it keeps its shape where `film` is shown as `width` x `height`."""
        if abs(self.width * film.height - self.height * film.width) <= _SAME_SHAPE * self.width * film.height:
            return width, height
        # In the film's own pixels, since `width` x `height` may be a little off its shape.
        scale = min(film.width / self.width, film.height / self.height)
        across = round(self.width * scale * width / film.width)
        down = round(self.height * scale * height / film.height)
        return min(max(across, 1), width), min(max(down, 1), height)


class Screen:
    """Shows the frames of a film in one size.

    Args:
        film: how its first frame is shown.
        codec: the decoder's name.
        width: pixels across of the result.
        height: pixels down of the result.
    """

    def __init__(self, film: Display, codec: str, width: int, height: int) -> None:
        self._film = film
        self._codec = codec
        self._size = (width, height)
        self._reformatter = VideoReformatter()

    def show(self, frame: Any, display: Display) -> NDArray[np.uint8]:
        """The frame, uint8 (3, height, width); with black beside it where its shape is not the film's."""
        width, height = display.fitted(*self._size, self._film)
        stored = (height, width) if display.transpose else (width, height)
        picture = display.turn(rgb(self._reformatter, frame, self._codec, *stored)).transpose(2, 0, 1)
        if (width, height) == self._size:
            return picture
        whole = np.zeros((3, self._size[1], self._size[0]), dtype=np.uint8)
        left, top = (self._size[0] - width) // 2, (self._size[1] - height) // 2
        whole[:, top : top + height, left : left + width] = picture
        return whole
