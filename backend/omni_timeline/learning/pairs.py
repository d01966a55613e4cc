"""Which segment of one list is which segment of another, by time alone.

What a model says and what people make of it may have other names, so that names cannot tell. Knows spans and nothing
of where they come from.
"""

from __future__ import annotations

from collections.abc import Sequence

from omni_timeline.segments import Segment, iou

SAME_TIME = 0.3  # IoU from which two spans may be one event

Pair = tuple[Segment | None, Segment | None]


def pair_by_time(said: Sequence[Segment], corrected: Sequence[Segment], min_iou: float = SAME_TIME) -> list[Pair]:
    """Every segment of both lists once, beside its partner in the other list or None.

    Those that overlap most become partners first; none has two.
    """
    overlaps = sorted(
        (-share, first, second)
        for first, one in enumerate(said)
        for second, other in enumerate(corrected)
        if (share := iou(one, other)) >= min_iou
    )
    partners: dict[int, int] = {}
    taken: set[int] = set()
    for _, first, second in overlaps:
        if first not in partners and second not in taken:
            partners[first] = second
            taken.add(second)
    pairs: list[Pair] = [
        (one, corrected[partners[first]] if first in partners else None) for first, one in enumerate(said)
    ]
    return pairs + [(None, other) for second, other in enumerate(corrected) if second not in taken]
