"""The instants at which a window is sampled, and the picture at each: arithmetic on when pictures appear.

Knows nothing of files. Times are seconds of the player.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from omni_timeline.media.clip import HELD_SECONDS

_TIE = 1e-9  # s; instants this close to the middle between two pictures take the earlier one on every machine
_HELD_STEPS = 2.0  # steps between instants that a picture may stay, beside HELD_SECONDS
_OF_ONE_PICTURE = 4  # instants: both ends and two between them, so that two steps of a model's time span the window


def count_instants(appear: NDArray[np.float64], start: float, end: float, most: int) -> int:
    """The number of instants at which a window is sampled: `most`, or four where one picture stands all the time.

    It is `most` also where there are fewer pictures: from those that repeat, the model learns when the picture changes.
    With the demo checkpoint and films of half a picture to two pictures a second, measured against what is on the
    screen, no smaller number did better; and for one picture with sound, 2 to 50 instants did equally well.

    Args:
        appear: when each picture appears, ascending.
        start: when the window begins.
        end: when it ends.
        most: the number of instants of other windows.
    """
    first, last = np.searchsorted(appear[1:], (start, end), side="right")
    return most if first < last else min(most, _OF_ONE_PICTURE)


def pictures_at(appear: NDArray[np.float64], instants: NDArray[np.float64]) -> NDArray[np.int64]:
    """The number of the picture at each instant, ascending.

    It is the nearest one, the earlier of two as near: at most half a gap between pictures away. Where a picture stays
    for more than half a second and more than two steps between instants, it is the one on the screen: the next one
    would be seen too far ahead of its time. Before the first picture it is the first one, after the last the last one.

    Args:
        appear: when each picture appears, ascending.
        instants: ascending, evenly spaced.
    """
    step = (instants[-1] - instants[0]) / max(1, len(instants) - 1)
    on_screen = np.clip(np.searchsorted(appear, instants + _TIE, side="right") - 1, 0, None)
    following = np.minimum(on_screen + 1, len(appear) - 1)
    is_held = appear[following] - appear[on_screen] > max(_HELD_STEPS * step, HELD_SECONDS) + _TIE
    is_nearer = appear[following] - instants + _TIE < instants - appear[on_screen]
    return np.where(is_nearer & ~is_held, following, on_screen)
