"""Windows of a length that suits what happens in them: shorter ones where the model is unsure of a long one.

docs/windows.md says the rule in words. Knows no model and no files; times are seconds of the whole video.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate, pairwise

from omni_timeline.pipeline.agreement import has_repeats
from omni_timeline.pipeline.reading import Reading
from omni_timeline.pipeline.windows import SAME_EVENT, Window, same_label, shared, split_windows
from omni_timeline.segments import Segment, overlap

SCOUTS = 5  # one window of so many is looked at before the others
BUSY = 3.5  # events that the scouts lead one to expect in a window, from which on shorter ones are looked at at once
CROWDED = 6  # events in an answer, from which on it is in doubt
DENSE = 7  # events from which on, where there is another reason for doubt, only the shortest windows will do
UNSURE = 0.6  # a segment with a lower score puts its answer in doubt
SEEN = 2.0  # s of an event within what two windows saw, from which on both should report it
LENGTHS = (30.0, 15.0)  # s of shorter windows: two of the first cover one of 48 s
SHORT = 20.0  # s; a window that is no longer is not looked at again
MOST = 2 / 3  # of the first pass: where so much gave way to shorter windows, small doubts about these do not count


class Doubt(StrEnum):
    """Why a window is looked at again, the strongest reason first."""

    CUT_OFF = "cut off"
    REPEATED = "repeated itself"
    DENSE = "crowded and unsure"
    CROWDED = "crowded"
    UNSURE = "unsure"
    DISPUTED = "disputed by a neighbor"
    BUSY = "in a busy part"


SMALL = {Doubt.UNSURE, Doubt.DISPUTED}


@dataclass(frozen=True)
class Round:
    """Windows to look at before anything else can be decided.

    Attributes:
        stage: what they are for, in a word.
        windows: in order of time; none where there is nothing to look at.
        max_frames: the model sees no more frames of each; None for as many as the options say.
    """

    stage: str
    windows: tuple[Window, ...]
    max_frames: int | None = None


Rounds = Generator[Round, Sequence[Reading], None]


@dataclass
class Looks:
    """Every look at a video so far.

    Attributes:
        readings: what was read in each window.
        leaves: the windows that cover the video now; those that were looked at again gave way to shorter ones.
        doubts: why windows of the first pass gave way to shorter ones.
    """

    readings: dict[Window, Reading] = field(default_factory=dict)
    leaves: set[Window] = field(default_factory=set)
    doubts: dict[Window, tuple[Doubt, ...]] = field(default_factory=dict)

    @property
    def reasons(self) -> Counter[str]:
        """How many windows of the first pass gave way to shorter ones, by the strongest reason."""
        return Counter(str(doubts[0]) for doubts in self.doubts.values())

    def ask(self, windows: Iterable[Window]) -> Rounds:
        """One round, whose windows become leaves."""
        ordered = tuple(sorted(windows))
        answers = yield Round("windows", ordered)
        self.readings |= dict(zip(ordered, answers, strict=True))
        self.leaves |= set(ordered)


def look_adaptively(looks: Looks, windows: Sequence[Window], max_looks: float, *, free_words: bool = False) -> Rounds:
    """The rounds of looks at a video that `windows` cover; `looks` keeps what comes of them.

    Args:
        looks: without any yet.
        windows: of the first pass, in order of time.
        max_looks: at most this many windows for each of `windows`; at least 1.
        free_words: labels are the model's own words, as in `merge_windows`.
    """
    scouts = windows[min(SCOUTS // 2, len(windows) - 1) :: SCOUTS]
    yield from looks.ask(scouts)
    others = [window for window in windows if window not in scouts]
    doubted = doubts_of(looks.readings, free_words)
    most_in_doubt = 2 * len(doubted) > len(scouts)
    beside = {window: _doubts_beside(window, looks.readings, most_in_doubt) for window in others}
    doubted |= {window: doubts for window, doubts in beside.items() if doubts}
    while True:
        worst = sorted(doubted, key=lambda window: (-window.duration, -len(doubted[window]), window))
        spare = int(max_looks * len(windows)) - len(looks.readings) - len(others)
        pieces = accumulate(len(shorter_windows({window: doubted[window]})) for window in worst)
        again = {window: doubted[window] for window, count in zip(worst, pieces, strict=True) if count <= spare}
        looks.doubts |= {window: doubts for window, doubts in again.items() if window in windows}
        looks.leaves -= set(again)
        wanted = [window for window in others if window not in again] + shorter_windows(again)
        if not wanted:
            return
        yield from looks.ask(wanted)
        others = []
        doubted = doubts_of({window: looks.readings[window] for window in looks.leaves}, free_words)
        gave_way = looks.doubts.keys() | (doubted.keys() & set(windows))  # or is about to
        if len(gave_way) >= MOST * len(windows):
            doubted = {window: why for window, why in doubted.items() if window in windows or set(why) - SMALL}


def shorter_windows(doubted: Mapping[Window, Sequence[Doubt]]) -> list[Window]:
    """Windows over the same time: of about half the length, where a window is dense of the shortest length at once.

    Windows that overlap are covered together, which takes fewer.
    """
    stretches: list[tuple[Window, float]] = []
    for window in sorted(doubted):
        shorter = [length for length in LENGTHS if length < window.duration]
        length = shorter[-1 if Doubt.DENSE in doubted[window] else 0]
        if stretches and stretches[-1][1] == length and window.start < stretches[-1][0].end:
            stretches[-1] = Window(stretches[-1][0].start, window.end), length
        else:
            stretches.append((window, length))
    return [window for stretch, length in stretches for window in _windows_of(stretch, length)]


def _windows_of(stretch: Window, length: float) -> list[Window]:
    *pieces, last = split_windows(stretch.duration, length)
    windows = [Window(stretch.start + piece.start, stretch.start + piece.end) for piece in pieces]
    return [*windows, Window(stretch.start + last.start, stretch.end)]  # the very end, not what a sum rounds it to


def doubts_of(readings: Mapping[Window, Reading], free_words: bool = False) -> dict[Window, tuple[Doubt, ...]]:
    """Why windows should be looked at again; without those that give no reason to, and those that are short."""
    doubts = {window: _own_doubts(reading, free_words) for window, reading in readings.items()}
    for one, other in pairwise(sorted(readings)):
        if _disagree(one, readings[one].segments, other, readings[other].segments, free_words):
            doubts[one] = (*doubts[one], Doubt.DISPUTED)
            doubts[other] = (*doubts[other], Doubt.DISPUTED)
    for window, reading in readings.items():
        if len(reading.segments) >= DENSE and set(doubts[window]) - {Doubt.CROWDED}:
            doubts[window] = tuple(sorted((*doubts[window], Doubt.DENSE), key=list(Doubt).index))
    return {window: why for window, why in doubts.items() if why and window.duration > SHORT}


def _own_doubts(reading: Reading, free_words: bool) -> tuple[Doubt, ...]:
    """What an answer alone gives reason to doubt."""
    reasons = {
        Doubt.CUT_OFF: not reading.is_complete,
        Doubt.REPEATED: reading.lines["repeated"] > 0 or has_repeats(reading.segments, free_words),
        Doubt.CROWDED: len(reading.segments) >= CROWDED,
        Doubt.UNSURE: any(segment.score is not None and segment.score < UNSURE for segment in reading.segments),
    }
    return tuple(doubt for doubt, holds in reasons.items() if holds)


def _disagree(one: Window, ones: Sequence[Segment], other: Window, others: Sequence[Segment], free_words: bool) -> bool:
    """Whether one of two neighbors reports an event of what both saw that the other does not."""
    if one.end <= other.start:
        return False
    both = Window(other.start, one.end)
    return any(
        overlap(segment, both) >= SEEN
        and not any(
            shared(segment, theirs, both)[0] >= SAME_EVENT and same_label(segment.label, theirs.label, free_words)
            for theirs in answer
        )
        for report, answer in ((ones, others), (others, ones))
        for segment in report
    )


def _doubts_beside(window: Window, scouts: Mapping[Window, Reading], most_in_doubt: bool) -> tuple[Doubt, ...]:
    """Why a window is better not looked at in one go: its nearest scout, and all of them, saw much.

    Args:
        window: of the first pass.
        scouts: what was read in the windows that were looked at before.
        most_in_doubt: whether most of these are in doubt.
    """
    nearest = min(scouts, key=lambda scout: (abs(scout.start - window.start), scout))
    on_average = sum(len(reading.segments) for reading in scouts.values()) / len(scouts)
    expected = (len(scouts[nearest].segments) + on_average) / 2  # one scout alone is a small sample
    if window.duration <= SHORT or expected < BUSY:
        return ()
    return (Doubt.DENSE, Doubt.BUSY) if most_in_doubt and expected >= DENSE else (Doubt.BUSY,)
