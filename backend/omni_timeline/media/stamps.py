"""A container's timestamps, mended: those that are doubled, fall behind or run ahead, and clocks that restart.

Only bad stamps are changed. Knows arrays of numbers only: no libav, no files.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

NO_TIME = -(2**63)  # libavformat's AV_NOPTS_VALUE
_AHEAD = 8  # stamps looked at to tell a bad one from a new clock
_BESIDE = 5.0  # s that two tracks of one recording may lie apart in the file


@dataclass(frozen=True)
class Stamps:
    """The stamps of one track's packets, in the order of the file; ticks, NO_TIME where there is none.

    Attributes:
        base: seconds of a tick.
        place: where among the packets of all tracks each one stands, ascending.
        pts: when it is presented.
        dts: when it is decoded.
        lasting: for how long it is presented; 0 where that is not said.
        shown: whether it is presented at all.
        has_own_dts: whether the container has decoding times; Matroska's are made up by libavformat.
        is_changed: whether some are no longer those that libavformat gives.
    """

    base: Fraction
    place: NDArray[np.int64]
    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    lasting: NDArray[np.int64]
    shown: NDArray[np.bool_]
    has_own_dts: bool = True
    is_changed: bool = False

    @property
    def clock(self) -> NDArray[np.int64]:
        """The stamps that should never decrease: decoding times, or presentation times where there are none."""
        return np.where(self.dts == NO_TIME, self.pts, self.dts)

    def unwrapped(self, period: int) -> Stamps:
        """The stamps of a clock that begins again after `period` ticks, as the file has them.

        libavformat takes a clock that falls back for one that has wrapped, and adds a period to what follows. Where no
        stamp is that far ahead, nothing changes.
        """
        clock = self.clock[self.clock != NO_TIME]
        if not np.any((np.diff(clock) > period / 1000) & (clock[1:] >= period)):
            return self
        dts = np.where(self.dts == NO_TIME, NO_TIME, self.dts % period)
        delayed = np.where(self.dts == NO_TIME, self.pts % period, dts + self.pts - self.dts)
        return replace(self, dts=dts, pts=np.where(self.pts == NO_TIME, NO_TIME, delayed), is_changed=True)

    def seconds(self, ticks: float) -> float:
        """Seconds of the container's clock."""
        return float(ticks * self.base)


@dataclass(frozen=True)
class Mended:
    """The stamps of several tracks on one clock that never goes back.

    Attributes:
        pts: the presentation times of each track, by its number.
        changed: the numbers of the tracks of which some times are not those of the file.
        bad: how many stamps were mended.
        restarts: when a clock began again, in seconds of the joined one.
    """

    pts: dict[int, NDArray[np.int64]]
    changed: frozenset[int]
    bad: int
    restarts: tuple[float, ...]


@dataclass
class _Recording:
    """The part between two restarts: where it is in each track, and its span in seconds of its own clock."""

    parts: dict[int, slice]
    start: float = np.inf
    end: float = -np.inf


def mend(tracks: Mapping[int, Stamps], gap: float = np.inf) -> Mended:
    """All tracks on one clock: bad stamps laid between their neighbours, recordings laid one behind the other.

    Where the clock of one track begins again, those of the others do so nearby: all of them move by one step, so that
    what belongs together stays together. A recording begins where the last track of the one before ends.

    Args:
        tracks: by number.
        gap: seconds that all tracks together may be silent; a longer step forward is another clock.
    """
    pts, changed, bad_ones = {}, set[int](), 0
    breaks: list[tuple[int, int, int]] = []
    for number, track in tracks.items():
        bad, begins = _sorted_out(track, gap)
        pts[number] = _laid_between(track, bad, begins) if bad.any() else track.pts.copy()
        if track.is_changed:
            changed.add(number)
        if moved := int(np.sum(pts[number] != track.pts)):
            changed.add(number)
            bad_ones += moved
        if np.isfinite(gap) and len(track.place) and track.place[0]:
            begins = [0, *begins]  # it appears on the way, perhaps with another clock
        breaks += [(int(track.place[begin]), number, begin) for begin in begins]
    if not breaks:
        return Mended(pts, frozenset(changed), bad_ones, ())
    recordings = _recordings(tracks, pts, sorted(breaks))
    shift, restarts = 0.0, []
    for earlier, later in pairwise(recordings):
        shift += earlier.end - later.start
        restarts.append(later.start + shift)
        for number, part in later.parts.items():
            known = pts[number][part] != NO_TIME
            pts[number][part][known] += round(shift / tracks[number].base)
            changed.add(number)
    return Mended(pts, frozenset(changed), bad_ones, tuple(restarts))


def _sorted_out(track: Stamps, gap: float) -> tuple[NDArray[np.bool_], list[int]]:
    """`sort_out` of a track, some of whose packets may have no time at all.

    Packets that are not shown are left out: an MP4's edits repeat packets that are decoded only for those behind them.
    """
    clock = track.clock
    known = np.flatnonzero(track.shown & (clock != NO_TIME))
    bad = np.zeros(len(clock), dtype=bool)
    bad[known], begins = sort_out(clock[known], gap / float(track.base))
    return bad, [int(known[begin]) for begin in begins]


def _laid_between(track: Stamps, bad: NDArray[np.bool_], begins: list[int]) -> NDArray[np.int64]:
    """The presentation times, those of bad packets moved with their decoding times between their neighbours'.

    A packet of which only the decoding time is bad stays where it is. Where these are made up and frames reordered,
    they say nothing: what is bad then shows only when the frames are decoded.
    """
    clock, pts = track.clock, track.pts.copy()
    good = ~bad & track.shown & (clock != NO_TIME)
    if not track.has_own_dts and np.any(pts[good] != clock[good]):
        return pts
    delays = track.pts[good & (track.pts != NO_TIME)] - clock[good & (track.pts != NO_TIME)]
    bounds = [0, *begins, len(clock)]
    for first, end in pairwise(bounds):
        places = first + np.flatnonzero(good[first:end])
        wrong = first + np.flatnonzero(bad[first:end] & (pts[first:end] != NO_TIME))
        if not len(places) or not len(wrong) or not len(delays):
            continue
        delay = pts[wrong] - clock[wrong]
        wrong = wrong[(delays.min() <= delay) & (delay <= delays.max())]
        pts[wrong] += np.rint(_between(wrong, places, clock[places])).astype(np.int64) - clock[wrong]
    return pts


def _between(
    wanted: NDArray[np.int64], places: NDArray[np.int64], values: NDArray[np.int64] | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Values at the places `wanted`, on straight lines between known ones; at the ends in steps of the usual size."""
    found = np.interp(wanted, places, values)
    step = float(np.median(np.diff(values))) if len(values) > 1 else 0.0
    before, after = wanted < places[0], wanted > places[-1]
    found[before] = values[0] + (wanted[before] - places[0]) * step
    found[after] = values[-1] + (wanted[after] - places[-1]) * step
    return found


def _recordings(
    tracks: Mapping[int, Stamps], pts: Mapping[int, NDArray[np.int64]], breaks: list[tuple[int, int, int]]
) -> list[_Recording]:
    """The recordings that the file is made of, in order; `breaks` are (place, track, packet), ascending."""
    found = [_Recording({number: slice(0, len(track.pts)) for number, track in tracks.items()})]
    current = dict.fromkeys(tracks, 0)
    for place, number, packet in breaks:
        now = current[number]
        later = _joined(tracks, found, current, (place, number, packet))
        if later == now:
            continue  # a track that paused while another went on
        if later == len(found):
            found.append(_Recording({}))
        before = found[now].parts[number]
        found[now].parts[number] = slice(before.start, packet)
        found[later].parts[number] = slice(packet, before.stop)
        current[number] = later
    for recording in found:
        for number, part in recording.parts.items():
            track = tracks[number]
            here = part.start + np.flatnonzero(track.shown[part] & (pts[number][part] != NO_TIME))
            if len(here):
                recording.start = min(recording.start, track.seconds(pts[number][here].min()))
                recording.end = max(recording.end, track.seconds((pts[number][here] + track.lasting[here]).max()))
    return [recording for recording in found if recording.start < recording.end]


def _joined(
    tracks: Mapping[int, Stamps], found: list[_Recording], current: Mapping[int, int], at: tuple[int, int, int]
) -> int:
    """The recording with which a track goes on where its clock changes: the newest if that is about there, or another.

    It stays in its own only where it paused while another track went on. A recording need not have all tracks.
    """
    place, number, packet = at
    clock, newest = tracks[number].clock, len(found) - 1
    if current[number] == newest and packet and clock[packet] < clock[packet - 1]:
        return newest + 1
    for name, other in tracks.items():
        last = int(np.searchsorted(other.place, place)) - 1
        is_in_it = name != number and current[name] == newest and last >= found[newest].parts[name].start
        apart = tracks[number].seconds(clock[packet]) - other.seconds(other.clock[last])
        if is_in_it and abs(apart) <= _BESIDE:
            return newest
    return newest + 1


def sort_out(clock: NDArray[np.int64], gap: float = np.inf) -> tuple[NDArray[np.bool_], list[int]]:
    """Which stamps of a clock that should never go back are bad, and where another clock begins.

    A stamp that falls behind is bad where most of the next few go on as before it; where they go on from it, a new
    clock begins. One that runs ahead is bad where most of the next few are between it and the one before.

    Args:
        clock: decoding times in the order of the file.
        gap: a new clock begins after a step forward of more than this too.

    Returns:
        a mask of the bad ones, and the places of the stamps with which a new clock begins, ascending.
    """
    bad = np.zeros(len(clock), dtype=bool)
    begins: list[int] = []
    steps = np.diff(clock)
    if not np.any(steps < 0) and not np.any(steps > gap):
        return bad, begins
    values = clock.tolist()
    high: int | None = None
    for place, value in enumerate(values):
        ahead = values[place + 1 : place + 1 + _AHEAD]
        between = sum((high is None or high <= later) and later < value for later in ahead)
        if 2 * between > len(ahead):
            bad[place] = True
        elif high is None or high <= value <= high + gap:
            high = value
        elif value < high and 2 * sum(later >= high for later in ahead) >= len(ahead):
            bad[place] = True
        else:
            begins.append(place)
            high = value
    return bad, begins


def increasing(stamps: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Stamps of pictures in the order of showing made strictly increasing, and how many had to be changed.

    The most that can stay do; NaN stands for a stamp that is missing. A bad one is laid between its neighbours. Of
    pictures with one stamp the first keeps it where there is more room behind them than before, else the last does.

    Raises:
        ValueError: there are too few: only one for several pictures, or fewer than half are in order.
    """
    missing = int(np.isnan(stamps).sum())
    if np.all(np.diff(stamps) > 0) and not missing:
        return stamps, 0
    keep = _longest_rise(stamps)
    steps = np.diff(np.unique(stamps[keep]))
    if not len(steps) or 2 * len(keep) < len(stamps) - missing:
        raise ValueError("no usable stamps")
    spread = _spread(_between(np.arange(len(stamps)), keep, stamps[keep]), float(np.median(steps)))
    return spread, int(np.sum(spread != stamps)) - missing


def _longest_rise(stamps: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places of a longest run of stamps that never decreases, by patience sorting; NaN is not among them."""
    tails: list[float] = []
    ends: list[int] = []
    previous = np.full(len(stamps), -1, dtype=np.int64)
    for place, stamp in enumerate(stamps.tolist()):
        if stamp != stamp:
            continue
        pile = bisect_right(tails, stamp)
        previous[place] = ends[pile - 1] if pile else -1
        if pile == len(tails):
            tails.append(stamp)
            ends.append(place)
        else:
            tails[pile], ends[pile] = stamp, place
    rise = []
    place = ends[-1] if ends else -1
    while place >= 0:
        rise.append(place)
        place = int(previous[place])
    return np.array(rise[::-1], dtype=np.int64)


def _spread(stamps: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Stamps that never decrease, with those that are alike spread over the larger gap beside them."""
    spread = stamps.copy()
    firsts = np.flatnonzero(np.diff(stamps, prepend=-np.inf) > 0)
    ends = np.append(firsts[1:], len(stamps))
    for first, end in zip(firsts.tolist(), ends.tolist(), strict=True):
        count = end - first
        if count == 1:
            continue
        stamp = stamps[first]
        before = stamp - spread[first - 1] if first else 0.0
        usual = (stamp - stamps[0]) / first if first else step
        after = stamps[end] - stamp if end < len(stamps) else max(usual * count, before)
        if before > after:
            spread[first:end] = stamp - before * np.arange(count)[::-1] / count
        else:
            spread[first:end] = stamp + after * np.arange(count) / count
    return spread
