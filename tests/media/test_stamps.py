"""Stamps that are wrong, alone and in files: one bad one mends one, and a clock that restarts moves all tracks."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from media_files import Ruler, chirps_in, every, number_in
from omni_timeline.media.clip import Clip
from omni_timeline.media.stamps import NO_TIME, Stamps, increasing, mend, sort_out
from omni_timeline.media.video import Video, load_clip
from omni_timeline.timebase import SAMPLE_RATE
from surgery import moved

NAN = float("nan")


# --- numbers ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("stamps", "mended", "bad"), [
    ((0, 1, 2, 3), (0, 1, 2, 3), 0),
    ((0, 1, 2, 2, 4, 5), (0, 1, 2, 3, 4, 5), 1),  # the gap is behind: the second one moves
    ((0, 1, 3, 3, 4, 5), (0, 1, 2, 3, 4, 5), 1),  # the gap is before: the first one moves
    ((0, 1, 2, 0.5, 4, 5), (0, 1, 2, 3, 4, 5), 1),
    ((0, 1, 2, 99, 4, 5), (0, 1, 2, 3, 4, 5), 1),
    ((9, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4, 5), 1),
    ((0, 1, NAN, NAN, 4, 5), (0, 1, 2, 3, 4, 5), 0),  # missing is not bad
    ((NAN, 1, 2, 3, 4, NAN), (0, 1, 2, 3, 4, 5), 0),
    ((0, 1, 2, 3, 3), (0, 1, 2, 3, 4), 1),
    ((0, 0, 0, 3, 3, 3), (0, 1, 2, 3, 4, 5), 4),  # stamps of a clock that is too coarse
    ((0, 10, 10.5, 10.5, 30), (0, 10, 10.5, 20.25, 30), 1),  # the others stay, however uneven
])  # fmt: skip
def test_pictures_follow_each_other(stamps: tuple[float, ...], mended: tuple[float, ...], bad: int):
    found, count = increasing(np.array(stamps, dtype=float))
    assert found == pytest.approx(np.array(mended))
    assert count == bad


@pytest.mark.parametrize("stamps", [(NAN, NAN), (5, 5, 5), (9, 8, 7, 6, 5, 4)])
def test_too_few_stamps_are_none(stamps: tuple[float, ...]):
    with pytest.raises(ValueError, match="no usable"):
        increasing(np.array(stamps, dtype=float))


LINE = list(range(0, 60, 2))


@pytest.mark.parametrize(("clock", "bad", "begins"), [
    (LINE, [], []),
    ([*LINE[:10], 3, *LINE[11:]], [10], []),
    ([*LINE[:10], 999, *LINE[11:]], [10], []),
    ([999, *LINE], [0], []),
    ([*LINE, 1], [30], []),
    ([*LINE[:10], 3, 4, 5, *LINE[13:]], [10, 11, 12], []),
    (LINE + LINE, [], [30]),
    (LINE + LINE + LINE, [], [30, 60]),
    ([*LINE, *LINE[:5], 1, *LINE[6:]], [35], [30]),
    ([*LINE, *(n + 5000 for n in LINE)], [], [30]),  # farther ahead than a gap
    ([*LINE, *(n + 500 for n in LINE)], [], []),
])  # fmt: skip
def test_a_bad_stamp_is_told_from_a_new_clock(clock: list[int], bad: list[int], begins: list[int]):
    mask, found = sort_out(np.array(clock), gap=1000)
    assert np.flatnonzero(mask).tolist() == bad
    assert found == begins


def track(seconds: Iterable[float], order: Iterable[int], lasting: float = 0.04) -> Stamps:
    ticks = np.array([NO_TIME if s is None else round(s * 1000) for s in seconds])
    return Stamps(
        Fraction(1, 1000), np.array(list(order)), ticks, ticks, np.full(len(ticks), round(lasting * 1000)),
        np.ones(len(ticks), dtype=bool),
    )  # fmt: skip


def test_picture_and_sound_move_by_the_same_step_also_where_one_of_them_goes_on_a_little_longer():
    first, second = np.arange(0, 6, 0.04) + 1.48, np.arange(0, 6, 0.02) + 1.45
    picture = track([*first, *first], [*range(0, 150), *range(470, 620)])
    # Its last packets of the first recording come behind the picture's first of the second.
    sound = track([*second, *second], [*range(150, 440), *range(475, 785)], lasting=0.02)
    found = mend({0: picture, 1: sound})
    [restart] = found.restarts
    assert restart == pytest.approx(7.48)
    for number, before in ((0, picture), (1, sound)):
        half = len(before.pts) // 2
        assert (found.pts[number][:half] == before.pts[:half]).all()
        assert set(found.pts[number][half:] - before.pts[half:]) == {6030}
    assert found.changed == {0, 1}
    assert found.bad == 0


def test_a_recording_without_sound_between_two_with_it():
    frames, sounds = np.arange(0, 6, 0.04), np.arange(0, 6, 0.02)
    picture = track([*frames, *frames, *frames], [*range(150), *range(450, 600), *range(610, 760)])
    sound = track([*sounds, *sounds], [*range(150, 450), *range(600, 610), *range(760, 1050)], lasting=0.02)
    found = mend({0: picture, 1: sound})
    assert found.restarts == pytest.approx((6.0, 12.0))
    assert found.pts[1][300] == 12_000, "the sound goes with the third recording"


def test_a_track_that_pauses_while_another_goes_on_is_no_new_clock():
    picture = track(np.arange(0, 40, 0.04), range(0, 2000, 2))
    sound = track([*np.arange(0, 5, 0.04), *np.arange(30, 40, 0.04)], [*range(1, 251, 2), *range(1501, 2001, 2)])
    assert mend({0: picture, 1: sound}, gap=10.0).restarts == ()
    alone = track([*np.arange(0, 5, 0.04), *np.arange(30, 40, 0.04)], range(375))
    assert mend({0: alone}, gap=10.0).restarts == pytest.approx((5.0,))


# --- files -----------------------------------------------------------------------------------------------------------
PLAIN = {"preset": "veryfast", "g": "25", "bf": "0"}
REORDERED = {"preset": "veryfast", "g": "25", "bf": "2"}
FILMS = {
    "film.mp4": Ruler(every(25, 250), options=PLAIN),
    "film.mkv": Ruler(every(25, 250), options=PLAIN),
    "film.webm": Ruler(every(25, 250), codec="libvpx", options={"deadline": "realtime", "cpu-used": "8", "g": "25"}),
    "film.flv": Ruler(every(25, 250), options=PLAIN),
    "film.ts": Ruler(every(25, 250), options=PLAIN),
    "reordered.mp4": Ruler(every(25, 250), options=REORDERED),
    "reordered.mkv": Ruler(every(25, 250), options=REORDERED),
    "reordered.flv": Ruler(every(25, 250), options=REORDERED),
    "reordered.ts": Ruler(every(25, 250), options=REORDERED),
}
MOVES = {
    "doubled": {100: -0.04},
    "doubled-with-the-next": {100: 0.04},
    "backward": {100: -2.0},
    "ahead": {100: 2.0},
    "several": {30: -0.04, 77: -1.5, 140: 0.04, 200: 1.0},
    "in-a-row": {100: -1.0, 101: -1.0, 102: -1.0},
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("stamps")
    return {name: ruler.write(folder / name).read_bytes() for name, ruler in FILMS.items()}


def offs(clip: Clip) -> np.ndarray:
    """How far each picture is from where it belongs, in seconds."""
    return np.array([number_in(picture) / 25 - second for picture, second in zip(clip.frames, clip.shown, strict=True)])


@pytest.mark.parametrize("moves", MOVES)
@pytest.mark.parametrize("name", FILMS)
def test_bad_stamps_are_mended_and_no_others(films: dict[str, bytes], tmp_path: Path, name: str, moves: str):
    path = tmp_path / name
    path.write_bytes(moved(films[name], path.suffix, MOVES[moves]))
    video = Video(path)
    clip = video.clip(frames=126)
    assert video.info.frame_count == 250
    assert clip.duration == pytest.approx(10.0, abs=0.01)
    off = np.abs(offs(clip))
    if (name, moves) in {("reordered.mkv", "several"), ("reordered.mkv", "in-a-row")}:
        # Nobody can know in which order such frames are shown but the decoder, and it goes by what Matroska says.
        assert np.sum(off > 0.002) <= 6
    else:
        assert off.max() < 0.002
    [warning] = clip.warnings
    assert warning == (
        f"Timestamps of {name} that are doubled or out of order were mended: {len(MOVES[moves])}. "
        "No others were changed."
    )


@pytest.mark.parametrize("name", ["film.mkv", "film.ts", "film.webm", "reordered.mp4", "reordered.ts"])
def test_a_doubled_stamp_does_not_cost_the_decoding_of_the_whole_film(
    films: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    path = tmp_path / name
    path.write_bytes(moved(films[name], path.suffix, MOVES["doubled"]))
    monkeypatch.setattr("omni_timeline.media.index._index_by_decoding", lambda *_: pytest.fail("decoded as a whole"))
    monkeypatch.setattr("omni_timeline.media.video.index_by_decoding", lambda *_: pytest.fail("decoded as a whole"))
    for start, end in ((0.0, None), (3.5, 4.5), (7.0, 8.0)):
        assert np.abs(offs(load_clip(path, frames=20, start=start, end=end))).max() < 0.002


def test_an_uneven_film_keeps_its_times_around_a_doubled_stamp(tmp_path: Path):
    times = [Fraction(0), *(Fraction(n, 4) for n in range(4, 40)), *(10 + Fraction(n, 30) for n in range(60))]
    whole = Ruler(times, options=PLAIN, time_base=Fraction(1, 1000)).write(tmp_path / "uneven.mkv")
    path = tmp_path / "one.mkv"
    path.write_bytes(moved(whole.read_bytes(), ".mkv", {20: -0.25}))
    clip = load_clip(path, frames=200)
    assert clip.duration == pytest.approx(12.0, abs=0.2)
    off = [abs(float(times[number_in(p)]) - second) for p, second in zip(clip.frames, clip.shown, strict=True)]
    assert max(off) < 0.002


@pytest.mark.parametrize("suffix", ["ts", "flv", "webm"])
def test_a_clock_that_begins_again_moves_picture_and_sound_by_one_step(tmp_path: Path, suffix: str):
    """Two recordings one behind the other in one file."""
    codec = {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8"}, "sound_codec": "libopus"}
    ruler = Ruler(
        every(25, 150), sound_until=6.0, chirps=(1.0, 4.0),
        **(codec if suffix == "webm" else {"options": REORDERED, "offset": Fraction(1)}),
    )  # fmt: skip
    path = ruler.write(tmp_path / f"one.{suffix}")
    data = path.read_bytes()
    path.write_bytes(data + data[13 if suffix == "flv" else 0 :])  # without FLV's header
    clip = load_clip(path, frames=241)
    first = clip.info.start_time
    assert clip.info.frame_count == 300
    assert clip.duration - first == pytest.approx(12.0, abs=0.12)
    numbers = [number_in(picture) for picture in clip.frames]
    second = next(n for n in range(100, 200) if numbers[n] < numbers[n - 1])  # where the second one begins
    begins = clip.times.seconds[second]
    assert begins - first == pytest.approx(6.0, abs=0.12)
    assert numbers[second + 80] == pytest.approx((clip.times.seconds[second + 80] - begins) * 25, abs=2)
    heard = chirps_in(clip.audio, SAMPLE_RATE, [first + 1.0, first + 4.0, begins + 1.0, begins + 4.0])
    assert heard == pytest.approx([first + 1.0, first + 4.0, begins + 1.0, begins + 4.0], abs=0.06)
    later = load_clip(path, frames=4, start=8.0, end=11.0)
    assert chirps_in(later.audio, SAMPLE_RATE, [begins + 4.0 - 8.0]) == pytest.approx([begins + 4.0 - 8.0], abs=0.06)
    assert "jumps at 6." in clip.warnings[0]


@pytest.mark.parametrize("offsets", [(2, 2), (5000, 7), (7, 5000), (100, 7, 100)])
def test_recordings_of_any_clock_follow_each_other(tmp_path: Path, offsets: tuple[int, ...]):
    """The first of two is silent, and so is the one in the middle of three."""
    data = b""
    for number, offset in enumerate(offsets):
        sound = {"sound_until": 3.0, "chirps": (1.0,)} if number % 2 or len(offsets) != 2 else {}
        if len(offsets) == 3 and number == 1:
            sound = {}
        ruler = Ruler(every(25, 75), options=REORDERED, offset=Fraction(offset), **sound)
        data += ruler.write(tmp_path / f"{number}.ts").read_bytes()
    path = tmp_path / "all.ts"
    path.write_bytes(data)
    clip = load_clip(path, frames=75 * len(offsets))
    numbers = [number_in(picture) for picture in clip.frames]
    assert clip.info.frame_count == 75 * len(offsets)
    assert clip.duration == pytest.approx(3.0 * len(offsets), abs=0.2)
    assert sum(later < earlier - 50 for earlier, later in pairwise(numbers)) == len(offsets) - 1
    expected = [3.0 * number + 1.0 for number in range(len(offsets)) if number != 1 or len(offsets) == 2]
    heard = expected[-1:] if len(offsets) == 2 else expected
    assert chirps_in(clip.audio, SAMPLE_RATE, heard) == pytest.approx(heard, abs=0.15)


def test_a_clock_that_comes_to_its_end_goes_on(tmp_path: Path):
    """That of MPEG has 33 bits: after 26.5 hours it is at 0 again."""
    end = Fraction(2**33, 90_000)
    ruler = Ruler(every(25, 150), options=REORDERED, offset=end - 3, sound_until=6.0, chirps=(1.0, 5.0))
    clip = load_clip(ruler.write(tmp_path / "long.ts"), frames=151)
    off = np.array([number_in(p) / 25 - second for p, second in zip(clip.frames, clip.shown, strict=True)])
    assert np.ptp(off) < 0.002
    first = clip.info.start_time
    assert chirps_in(clip.audio, SAMPLE_RATE, (first + 1.0, first + 5.0)) == pytest.approx(
        [first + 1.0, first + 5.0], abs=0.01
    )
    assert clip.warnings == ()


def test_a_program_stream_may_begin_again_too(tmp_path: Path):
    coding = {"codec": "mpeg2video", "options": {"bf": "2", "g": "15"}, "sound_codec": "mp2"}
    data = Ruler(every(25, 100), sound_until=4.0, chirps=(2.0,), **coding).write(tmp_path / "one.mpg").read_bytes()
    (tmp_path / "two.mpg").write_bytes(data + data)
    clip = load_clip(tmp_path / "two.mpg", frames=161)
    assert clip.duration == pytest.approx(8.0, abs=0.15)
    numbers = [number_in(picture) for picture in clip.frames]
    assert [numbers[20], numbers[60], numbers[100], numbers[140]] == pytest.approx([25, 75, 25, 75], abs=2)
    assert chirps_in(clip.audio, SAMPLE_RATE, (2.0, 6.0)) == pytest.approx([2.0, 6.0], abs=0.1)


def test_one_bad_stamp_of_the_sound_moves_nothing_else(tmp_path: Path):
    """FLV: the stamp of one packet of sound in the middle of a chirp's neighbourhood."""
    path = Ruler(every(25, 150), options=PLAIN, sound_until=6.0, chirps=(2.0, 3.0)).write(tmp_path / "sound.flv")
    data, at, number = bytearray(path.read_bytes()), 13, 0
    while at + 11 < len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        if data[at] == 8 and data[at + 12] == 1:
            if number == 94:  # of 47 a second: the one at 2 s
                data[at + 4 : at + 7] = (int.from_bytes(data[at + 4 : at + 7], "big") + 900).to_bytes(3, "big")
            number += 1
        at += 11 + size + 4
    whole = load_clip(path, frames=2).audio
    path.write_bytes(data)
    np.testing.assert_allclose(load_clip(path, frames=2).audio, whole, atol=0.02)
