"""Real files in, frames and sound out: the pixels tell which frames were read, a chirp tells when the sound is heard.

Every file is compared with the reference that defines what is right: decode all frames, and take at each of the even
instants the nearest one, or the one on the screen while a picture is held. `test_player` asks Chromium whether the
clock is its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from bisect import bisect_right
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from fractions import Fraction
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path

import av
import numpy as np
import pytest

from media_files import Ruler, chirps_in, every, number_in, picture_of
from omni_timeline.errors import MediaError
from omni_timeline.media import video as media
from omni_timeline.media.container import decoded
from omni_timeline.media.video import load_clip, probe
from omni_timeline.timebase import SAMPLE_RATE, samples_in, sampling_instants

NTSC = Fraction(30_000, 1001)
FILM = Fraction(24_000, 1001)
UNEVEN = [Fraction(n, 1000) for n in (0, 20, 40, 90, 500, 520, 540, 1900, 1920, 2500, 2533, 2567, 4000, 4040, 4100)]


def all_frames(path):
    """(player's seconds, uint8 (3, H, W)) of every frame, by decoding everything; damaged packets are passed over."""
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # what damaged slices look like depends on it
        for packet in container.demux(stream):
            try:
                decoded = packet.decode()
            except av.error.FFmpegError:
                continue
            found += [(f.pts, f.to_ndarray(format="rgb24").transpose(2, 0, 1)) for f in decoded]
        has_player_clock = container.format.name.startswith(("mov,", "matroska,"))
        base, zero = stream.time_base, 0 if has_player_clock else found[0][0]
        return [(float((pts - zero) * base), picture) for pts, picture in found]


def at(frames, instant, step):
    """The frame that an instant takes: the nearest, or the one on the screen where it stays long."""
    place = max(bisect_right(frames, instant + 1e-9, key=itemgetter(0)) - 1, 0)
    before, after = frames[place], frames[min(place + 1, len(frames) - 1)]
    if after[0] - before[0] > max(2 * step, 0.5) + 1e-9:
        return before
    return min(before, after, key=lambda frame: (round(abs(frame[0] - instant), 9), frame[0]))


def assert_as_decoded(path, count=50, start=0.0, end=None, *, last_is_cut=False):
    clip = load_clip(path, frames=count, start=start, end=end)
    instants = sampling_instants(start, clip.end, count)
    assert list(clip.times.seconds) == instants
    frames = all_frames(path)
    chosen = [at(frames, instant, clip.times.second_per_frame) for instant in instants]
    assert list(clip.shown) == pytest.approx([second for second, _ in chosen], abs=1e-9)
    # What libav puts in place of the missing half of a picture depends on which others it decoded before.
    compared = slice(-1) if last_is_cut else slice(None)
    np.testing.assert_array_equal(clip.frames[compared], np.stack([picture for _, picture in chosen])[compared])
    return clip


def write_noisy(path, frames, options=None, codec="libx264"):
    """A ruler at 25 fps in moving noise, so that a frame decoded from wrong references shows."""
    noise = np.random.default_rng(5).integers(0, 60, (7, 64, 64, 3), dtype=np.uint8)
    movflags = {"movflags": "+faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=movflags) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width = stream.height = 64
        stream.codec_context.thread_count = 1
        for number in range(frames):
            picture = picture_of(number, (64, 64)) // 4 * 3 + np.roll(noise[number % 7], number, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def no_full_decoding(monkeypatch):
    """The test fails when the cheap way is left for the one that decodes everything."""

    def refuse(path, *_):
        pytest.fail(f"{path} was decoded as a whole")

    monkeypatch.setattr(media, "index_by_decoding", refuse)
    monkeypatch.setattr("omni_timeline.media.index._index_by_decoding", refuse)


@pytest.fixture
def decoded_frames(monkeypatch):
    """All frames that come out of the decoder; the real one, only counted."""
    came = []

    def counting(stream, packet):
        frames = decoded(stream, packet)
        came.extend(frames)
        return frames

    monkeypatch.setattr("omni_timeline.media.frames.decoded", counting)
    return came


# ---------------------------------------------------------------- frames at their true times

X264 = {"preset": "veryfast", "g": "40"}
X265 = "log-level=none:pools=none:frame-threads=1:keyint=25"
MATERIALS = {
    "h264.mp4": Ruler(every(30, 150), options=X264),
    "h264.mov": Ruler(every(25, 150), options=X264),
    "h264.mkv": Ruler(every(30, 150), options=X264),
    "h264.ts": Ruler(every(25, 150), options=X264),
    "h264.flv": Ruler(every(30, 150), options=X264, codec="libx264"),
    "hevc.mp4": Ruler(every(30, 100), codec="libx265", options={"x265-params": X265, "preset": "ultrafast"}),
    "hevc.mkv": Ruler(every(24, 100), codec="libx265", options={"x265-params": X265 + ":open-gop=1"}),
    "hevc-layers.mp4": Ruler(every(24, 100), codec="libx265", options={"x265-params": X265 + ":temporal-layers=3"}),
    "av1.mp4": Ruler(every(30, 90), codec="libsvtav1", options={"preset": "10", "g": "30", "svtav1-params": "lp=1"}),
    "vp9.webm": Ruler(every(30, 120), codec="libvpx-vp9", options={"g": "40", "deadline": "realtime", "cpu-used": "8"}),
    "vp8.webm": Ruler(every(30, 120), codec="libvpx", options={"g": "40", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    "mpeg4.avi": Ruler(every(25, 120), codec="mpeg4"),
    "mpeg4.mp4": Ruler(every(25, 120), codec="mpeg4", options={"bf": "2", "g": "30"}),
    "mpeg2.ts": Ruler(every(25, 120), codec="mpeg2video", options={"bf": "2", "g": "15"}),
    "mjpeg.mov": Ruler(every(15, 75), codec="mjpeg", pixel_format="yuvj420p"),
    "prores.mov": Ruler(every(25, 60), codec="prores_ks", pixel_format="yuv422p10le"),
    "ffv1.mkv": Ruler(every(25, 60), codec="ffv1"),
    "gif.gif": Ruler(every(10, 60), codec="gif", pixel_format="rgb8"),
}  # fmt: skip


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    # In a process of their own: SVT-AV1 makes the one it runs in a real-time one where it may (as root). Of the threads
    # of such a process one that waits in a loop never lets the one go on that it waits for.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        written = {name: pool.submit(ruler.write, folder / name).result() for name, ruler in MATERIALS.items()}
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    return written


@pytest.mark.parametrize("name", MATERIALS)
@pytest.mark.parametrize(
    ("count", "start", "end"),
    [(50, 0.0, None), (8, 0.0, None), (300, 0.0, None), (6, 1.01, 2.2), (300, 1.5, 2.0), (4, 1.7, None)],
)
def test_frames_are_those_of_decoding_everything_without_doing_so(files, no_full_decoding, name, count, start, end):
    clip = assert_as_decoded(files[name], count, start, end)
    times = MATERIALS[name].times
    for second, picture in zip(clip.shown, clip.frames, strict=True):
        assert float(times[number_in(picture)]) == pytest.approx(second, abs=1e-3)  # Matroska and FLV round to 1 ms


@pytest.mark.parametrize("name", MATERIALS)
def test_the_probe_tells_rate_count_and_duration(files, name):
    times = MATERIALS[name].times
    info = probe(files[name])
    assert info.frame_count == len(times)
    assert info.duration == pytest.approx(float(len(times) / MATERIALS[name].rate), abs=2e-3)
    assert info.fps == pytest.approx(float(MATERIALS[name].rate), rel=1e-3)
    assert (info.width, info.height, info.has_audio) == (64, 64, False)


@pytest.mark.parametrize("fps", [5, 12, FILM, 24, 25, NTSC, 30, 48, 50, 60])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_every_frame_rate_is_read_at_its_own_times(tmp_path, no_full_decoding, fps, suffix):
    path = Ruler(every(fps, 4 * round(fps))).write(tmp_path / f"ruler.{suffix}")
    clip = assert_as_decoded(path)
    for second, picture in zip(clip.shown, clip.frames, strict=True):
        assert number_in(picture) / float(fps) == pytest.approx(second, abs=1e-3)
    assert probe(path).fps == pytest.approx(float(fps), rel=1e-3)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("count", [4, 10, 50])
def test_a_variable_frame_rate_is_sampled_in_time_not_by_number(tmp_path, no_full_decoding, suffix, count):
    path = Ruler(UNEVEN, time_base=Fraction(1, 1000)).write(tmp_path / f"uneven.{suffix}")
    clip = assert_as_decoded(path, count)
    numbers = [number_in(picture) for picture in clip.frames]
    assert [float(UNEVEN[number]) for number in numbers] == pytest.approx(clip.shown, abs=1e-3)
    if count == 4:  # instants 0, 1.39, 2.78 and 4.16; by number it would be frames 0, 5, 9, 14
        assert numbers == [0, 7, 11, 14]


def test_a_picture_that_is_held_stays_until_the_next_one_appears(tmp_path):
    """By the nearest frame the last one would be seen five seconds ahead of its time."""
    times = [Fraction(0), Fraction(1, 10), Fraction(2, 10), Fraction(3, 10), Fraction(10)]
    path = Ruler(times, time_base=Fraction(1, 1000)).write(tmp_path / "held.mp4")
    clip = load_clip(path, frames=11, end=10.0)
    assert [number_in(picture) for picture in clip.frames] == [0] + 9 * [3] + [4]
    assert clip.shown == pytest.approx((0.0, *9 * (0.3,), 10.0))
    [hold] = clip.held
    assert (hold.start, hold.end, hold.picture) == pytest.approx((1.0, 9.0, 0.3))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_camera_that_is_late_shows_its_first_picture_until_then(tmp_path, no_full_decoding, suffix):
    ruler = Ruler(every(25, 100), offset=Fraction(2), options=X264, sound_from=-2.0, sound_until=4.0)
    clip = load_clip(ruler.write(tmp_path / f"late.{suffix}"), frames=13)
    assert clip.duration == pytest.approx(6.0, abs=0.05)
    assert clip.info.start_time == pytest.approx(2.0, abs=0.05)
    assert [number_in(picture) for picture in clip.frames[:5]] == 5 * [0]
    later = [number_in(picture) for picture in clip.frames[5:12]]
    assert later == pytest.approx([12.5 * k for k in range(1, 8)], abs=1)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_picture_that_stops_stays_to_the_end_of_the_sound(tmp_path, no_full_decoding, suffix):
    ruler = Ruler(every(25, 50), options=X264, sound_until=6.0, chirps=(5.0,))
    clip = load_clip(ruler.write(tmp_path / f"stops.{suffix}"), frames=13)
    assert clip.duration == pytest.approx(6.0, abs=0.05)
    assert [number_in(picture) for picture in clip.frames[4:]] == 9 * [49]
    assert clip.warnings == ()
    assert_chirps(clip, (5.0,), within=0.025)


def test_one_picture_with_sound_lasts_as_long_as_the_sound(tmp_path):
    path = Ruler(every(25, 1), sound_until=20.0, chirps=(12.0,)).write(tmp_path / "podcast.mp4")
    clip = load_clip(path)
    assert clip.duration == pytest.approx(20.0, abs=0.03)
    assert len(clip.frames) == 4
    assert (clip.times.seconds[0], clip.times.seconds[-1]) == (0.0, clip.end)
    assert_chirps(clip, (12.0,))


@pytest.mark.parametrize("count", [2, 3, 49, 50, 51])
def test_a_short_video_is_looked_at_as_often_as_a_long_one(tmp_path, count):
    path = Ruler(every(25, count)).write(tmp_path / "few.mp4")
    clip = assert_as_decoded(path)
    assert len(clip.frames) == 50
    assert {number_in(picture) for picture in clip.frames} == set(range(count)) or count > 49
    assert clip.times.seconds[-1] == clip.duration == pytest.approx(count / 25)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_clip_has_as_many_frames_as_were_asked_for(files, count):
    assert len(load_clip(files["h264.mp4"], frames=count).frames) == count


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize(("start", "end", "numbers"), [
    (0.0, 0.2, range(0, 7)),  # both ends included
    (1.0, 1.2, range(30, 37)),
    (4.9, 99.0, [147, 148, 149, 149]),  # after the last frame there is the last one
    (4.9, None, [147, 148, 149, 149]),
])  # fmt: skip
def test_a_window_is_looked_at_from_its_start_to_its_end(files, start, end, numbers):
    clip = load_clip(files["h264.mp4"], start=start, end=end, frames=len(numbers))
    assert [number_in(picture) for picture in clip.frames] == list(numbers)
    assert clip.start == clip.times.seconds[0] == start
    assert clip.end == clip.times.seconds[-1] == pytest.approx(5.0 if end is None or end > 5 else end)


def test_a_window_between_two_frames_shows_the_picture_still_on_the_screen(tmp_path):
    path = Ruler(UNEVEN, time_base=Fraction(1, 1000), sound_until=4.1).write(tmp_path / "held.mp4")
    clip = load_clip(path, start=1.0, end=1.5)
    assert set(clip.shown) == {0.54}
    assert {number_in(picture) for picture in clip.frames} == {6}
    assert (clip.start, clip.end, clip.audio.shape) == (1.0, 1.5, (8000,))


@pytest.mark.parametrize(
    ("start", "end"), [(5.0, None), (7.0, 9.0), (2.0, 2.0), (3.0, 1.0), (-1.0, 2.0), (float("nan"), None)]
)
def test_a_window_that_is_none_is_refused(files, start, end):
    with pytest.raises(MediaError, match=r"h264\.mp4"):
        load_clip(files["h264.mp4"], start=start, end=end)


# ---------------------------------------------------------------- hard streams

HARD = {
    "open-gop.mp4": {"x264-params": "open-gop=1:keyint=20:min-keyint=20:bframes=5:b-pyramid=normal:ref=5:scenecut=0"},
    "open-gop.ts": {"x264-params": "open-gop=1:keyint=20:min-keyint=20:bframes=5:b-pyramid=normal:ref=5:scenecut=0"},
    "open-gop.mkv": {"x264-params": "open-gop=1:keyint=20:min-keyint=20:bframes=5:b-pyramid=normal:ref=5:scenecut=0"},
    "many-references.mp4": {"x264-params": "bframes=16:b-pyramid=normal:ref=16:keyint=60:scenecut=0"},
    "no-b-frames.mp4": {"bf": "0", "g": "30"},
    "intra-only.mp4": {"g": "1"},
    "tiny-groups.mp4": {"x264-params": "keyint=2:bframes=1"},
    "one-group.mp4": {"x264-params": "keyint=infinite:scenecut=0"},
    "interlaced.ts": {"flags": "+ildct+ilme", "x264-params": "tff=1:keyint=30"},
    "intra-refresh.ts": {"x264-params": "intra-refresh=1:keyint=40:bframes=2"},
}


SELECTIONS = [(50, 0, None), (6, 0, None), (300, 0, None), (4, 1.1, 2.9), (300, 2.4, 2.8), (2, 4.5, None)]


@pytest.mark.parametrize("name", HARD)
def test_no_way_of_coding_h264_changes_a_pixel(tmp_path, name):
    path = write_noisy(tmp_path / name, 150, {"preset": "medium", "crf": "18", **HARD[name]})
    for count, start, end in SELECTIONS:
        assert_as_decoded(path, count, start, end)


def test_skipping_frames_no_other_refers_to_is_really_done(files, decoded_frames):
    """Guards the speed at one frame per second: skipped frames must not come out of the decoder."""
    load_clip(files["h264.mp4"], frames=6)
    assert len(decoded_frames) < 110  # of 150


def test_where_seeking_fails_everything_is_decoded_instead(tmp_path):
    """In a program stream several small frames share a timestamp, so that a seek leaves some without."""
    path = Ruler(every(25, 120), codec="mpeg2video", options={"bf": "2", "g": "15"}).write(tmp_path / "mpeg2.mpg")
    for count, start, end in [(50, 0.0, None), (8, 0.0, None), (300, 1.5, 2.0), (4, 1.7, None)]:
        assert_as_decoded(path, count, start, end)


def test_frames_that_are_only_referred_to_are_not_shown(tmp_path, no_full_decoding):
    """VP8 keeps such a frame in a packet of its own, with a timestamp, and the decoder gives nothing for it."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the ffmpeg command: PyAV does not encode in two passes")
    source = Ruler(every(30, 240), codec="ffv1").write(tmp_path / "source.mkv")
    coding = ["-c:v", "libvpx", "-b:v", "60k", "-auto-alt-ref", "1", "-lag-in-frames", "25", "-cpu-used", "4"]
    for number, target in ((1, ["-f", "null", "-"]), (2, [tmp_path / "hidden.webm"])):
        passes = ["-pass", str(number), "-passlogfile", tmp_path / "log"]
        subprocess.run(["ffmpeg", "-v", "error", "-i", source, *coding, *passes, *target], check=True)
    with av.open(str(tmp_path / "hidden.webm")) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) > 240  # the trap is set
    clip = assert_as_decoded(tmp_path / "hidden.webm")
    assert clip.info.frame_count == 240


@pytest.mark.parametrize("name", ["h264.avi", "h264.264"])
def test_frames_without_timestamps_are_evenly_spaced_in_the_order_of_showing(tmp_path, name):
    """AVI has no presentation times; those made up from B-frames' decoding times show 0, 3, 2, 4, 1."""
    path = Ruler(every(25, 100), options={"bf": "3"}).write(tmp_path / name)
    clip = load_clip(path, frames=20)
    assert clip.info.frame_count == 100
    assert [number_in(picture) for picture in clip.frames] == [round(second * 25) for second in clip.shown]
    assert clip.duration == pytest.approx(4.0)


def test_a_film_without_cues_and_duration_is_read_as_a_browser_records_it(tmp_path):
    """MediaRecorder streams WebM: no index to seek by, no duration in the header."""
    path = tmp_path / "recorded.webm"
    source = MATERIALS["vp9.webm"].write(tmp_path / "whole.webm")
    with av.open(str(source)) as old, av.open(str(path), "w", options={"live": "1"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    clip = assert_as_decoded(path, 10)
    assert clip.warnings == ()
    assert_as_decoded(path, 4, 2.1, 3.3)


def test_frames_cut_away_by_an_edit_list_are_not_shown(tmp_path, no_full_decoding):
    """`ffmpeg -ss 2.5 -c copy` keeps the keyframe before and tells the player to drop what precedes 2.5 s."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the ffmpeg command")
    source = MATERIALS["h264.mp4"].write(tmp_path / "whole.mp4")
    path = tmp_path / "edited.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-ss", "2.5", "-i", source, "-c", "copy", path], check=True)
    clip = assert_as_decoded(path, 10)
    assert [number_in(picture) for picture in clip.frames[[0, -1]]] == [75, 149]
    assert_as_decoded(path, 1000, 0.4, 1.1)


def test_a_long_video_costs_a_few_seeks(tmp_path, no_full_decoding, decoded_frames):
    """20 minutes at 5 fps, a keyframe every 10 s: 10 frames lie 133 s apart, so almost nothing is decoded."""
    path = Ruler(every(5, 6000), options={"preset": "ultrafast", "g": "50"}).write(tmp_path / "long.mkv")
    clip = load_clip(path, frames=10)
    assert len(decoded_frames) < 500
    assert [number_in(picture) for picture in clip.frames] == [round(second * 5) for second in clip.shown]
    assert clip.shown[-1] == pytest.approx(1199.8)
    clip = load_clip(path, frames=50, start=1000.0, end=1012.0)
    assert [number_in(picture) for picture in clip.frames] == [round(second * 5) for second in clip.shown]


# ---------------------------------------------------------------- pictures as displayed


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_pictures_are_turned_as_a_player_turns_them(tmp_path, rotation):
    path = Ruler(every(25, 10), size=(96, 64), rotation=rotation).write(tmp_path / "turned.mp4")
    clip = load_clip(path, frames=4)
    (_, stored), *_ = all_frames(path)
    np.testing.assert_array_equal(clip.frames[0], np.rot90(stored, rotation // 90, axes=(1, 2)))
    assert (clip.info.width, clip.info.height) == ((64, 96) if rotation in (90, 270) else (96, 64))
    small = load_clip(path, frames=4, resize=lambda height, width: (height // 2, width // 2))
    assert small.frames.shape == (4, 3, clip.info.height // 2, clip.info.width // 2)
    difference = clip.frames[3, :, ::2, ::2].astype(int) - small.frames[3]
    assert np.abs(difference).mean() < 12


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_turned_pictures_are_those_the_ffmpeg_command_shows(tmp_path, rotation):
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the ffmpeg command")
    path = Ruler(every(25, 10), size=(96, 64), rotation=rotation).write(tmp_path / "turned.mp4")
    clip = load_clip(path, frames=2)
    command = ["ffmpeg", "-v", "error", "-i", path, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    shown = np.frombuffer(raw, np.uint8).reshape(clip.info.height, clip.info.width, 3).transpose(2, 0, 1)
    assert np.abs(clip.frames[0].astype(int) - shown).max() <= 2


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    path = Ruler(every(25, 10), size=(72, 64), pixel_aspect=Fraction(16, 11)).write(tmp_path / "pal.mp4")
    clip = load_clip(path, frames=4)
    assert (clip.info.width, clip.info.height) == (105, 64)
    assert clip.frames.shape == (4, 3, 64, 105)
    assert number_in(clip.frames[-1]) == 9


@pytest.mark.parametrize(("codec", "pixel_format", "size"), [
    ("libx264", "yuv420p10le", (64, 64)),
    ("libx264", "yuv444p", (64, 64)),
    ("libx264", "yuv422p", (64, 64)),
    ("libx264", "yuv444p", (65, 67)),
    ("libx264", "yuvj420p", (64, 64)),
    ("libx265", "yuv420p10le", (64, 64)),
    ("libx264", "yuv420p", (66, 98)),
    ("ffv1", "yuv420p", (75, 53)),
    ("ffv1", "gray", (64, 64)),
    ("ffv1", "bgra", (64, 64)),
    ("ffv1", "yuva420p", (64, 64)),
])  # fmt: skip
def test_every_kind_of_pixel_becomes_rgb(tmp_path, codec, pixel_format, size):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    ruler = Ruler(every(25, 30), codec=codec, pixel_format=pixel_format, size=size, options=options)
    clip = assert_as_decoded(ruler.write(tmp_path / "pixels.mkv"), 10)
    assert clip.frames.shape == (10, 3, size[1], size[0])
    assert [number_in(picture) for picture in clip.frames] == [round(second * 25) for second in clip.shown]
    assert clip.frames.min() < 20
    assert clip.frames.max() > 235  # limited range is stretched


def test_frames_are_scaled_to_what_is_asked_for(files):
    asked = []

    def resize(height, width):
        asked.append((height, width))
        return 28, 56

    clip = load_clip(files["h264.mp4"], frames=4, resize=resize)
    assert asked == [(64, 64)]
    assert clip.frames.shape == (4, 3, 28, 56)
    assert [number_in(picture) for picture in clip.frames] == [0, 50, 100, 149]


def test_cover_art_is_not_a_video_and_the_real_stream_is_found(tmp_path):
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the ffmpeg command")
    film = Ruler(every(25, 50), sound_until=2.0).write(tmp_path / "film.mp4")
    cover = Ruler(every(25, 1), codec="mjpeg", pixel_format="yuvj420p", size=(256, 256)).write(tmp_path / "cover.mov")
    path, song = tmp_path / "covered.mp4", tmp_path / "song.m4a"
    join = ["ffmpeg", "-v", "error", "-i", cover, "-i", film, "-c", "copy", "-disposition:v:0", "attached_pic"]
    subprocess.run([*join, "-map", "0:v", "-map", "1", path], check=True)
    subprocess.run([*join, "-map", "0:v", "-map", "1:a", song], check=True)
    assert (probe(path).width, probe(path).frame_count) == (64, 50)
    alone = load_clip(song)  # for want of a film, the cover is what a person looks at
    assert (alone.info.width, alone.info.frame_count, len(alone.frames)) == (256, 1, 4)
    assert alone.duration == pytest.approx(2.0, abs=0.03)
    assert alone.audio is not None


# ---------------------------------------------------------------- sound on the same clock

SOUNDS = {
    "aac.mp4": Ruler(every(25, 150), sound_codec="aac"),
    "aac-44100.mov": Ruler(every(25, 150), sound_codec="aac", sound_rate=44_100),
    "aac.mkv": Ruler(every(25, 150), sound_codec="aac", sound_rate=44_100),
    "aac.ts": Ruler(every(25, 150), sound_codec="aac"),
    "mp2.ts": Ruler(every(25, 150), sound_codec="mp2"),
    "mp3.mp4": Ruler(every(25, 150), sound_codec="libmp3lame"),
    "mp3.avi": Ruler(every(25, 150), codec="mpeg4", sound_codec="libmp3lame"),
    "pcm.avi": Ruler(every(25, 150), codec="mpeg4", sound_codec="pcm_s16le"),
    "pcm.mov": Ruler(every(25, 150), sound_codec="pcm_s16le", sound_rate=32_000),
    "opus.webm": Ruler(every(25, 150), codec="libvpx", options={"deadline": "realtime"}, sound_codec="libopus"),
    "flac.mkv": Ruler(every(25, 150), sound_codec="flac"),
}
CHIRPS = (0.5, 2.0, 3.7, 5.2)


@pytest.fixture(scope="session")
def sounding(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    return {name: replace(r, sound_until=6.0, chirps=CHIRPS).write(folder / name) for name, r in SOUNDS.items()}


def assert_chirps(clip, seconds, within=0.001):
    """The chirps are heard so many seconds after the first picture appears."""
    seconds = [clip.info.start_time + second for second in seconds]
    found = chirps_in(clip.audio, SAMPLE_RATE, [second - clip.start for second in seconds])
    assert [clip.start + second for second in found] == pytest.approx(seconds, abs=within)


@pytest.mark.parametrize("name", SOUNDS)
def test_sound_is_heard_when_it_was_made(sounding, name):
    clip = load_clip(sounding[name], frames=4)
    assert clip.audio.dtype == np.float32
    assert clip.audio.shape == (samples_in(clip.duration),)
    # The MP3 decoder's own delay (529 samples) is nowhere written in AVI, and players hear it late as well.
    assert_chirps(clip, CHIRPS, within=0.030 if name in {"mp3.avi", "mp3.mp4"} else 0.001)
    assert np.abs(clip.audio).max() == pytest.approx(0.5, abs=0.1)  # mixed to the mean of both channels


@pytest.mark.parametrize("name", SOUNDS)
@pytest.mark.parametrize(("start", "end"), [(0.2, 2.5), (1.63, 4.1), (3.11, None)])
def test_a_windows_sound_is_that_between_its_ends(sounding, name, start, end):
    clip = load_clip(sounding[name], frames=4, start=start, end=end)
    assert clip.audio.shape == (samples_in(clip.end - clip.start),)
    inside = [second for second in CHIRPS if clip.start < second < clip.end - 0.15]
    assert_chirps(clip, inside, within=0.030 if name in {"mp3.avi", "mp3.mp4"} else 0.001)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(("first", "last"), [(-0.8, 4.0), (1.3, 4.0), (0.0, 2.5), (-0.8, 9.0), (0.0, 9.0)])
def test_sound_that_is_late_early_short_or_long_fills_the_window_exactly(tmp_path, suffix, first, last):
    ruler = Ruler(every(25, 100), offset=Fraction(1), sound_from=first, sound_until=last, chirps=(1.5, 2.2))
    clip = load_clip(ruler.write(tmp_path / f"shifted.{suffix}"), frames=4)
    video = clip.info.start_time
    assert clip.audio.shape == (samples_in(clip.duration),)
    assert clip.duration == pytest.approx(video + max(4.0, last), abs=0.03)
    assert_chirps(clip, (1.5, 2.2))
    silent = np.concatenate(
        [clip.audio[: max(0, samples_in(video + first - 0.03))], clip.audio[samples_in(video + last + 0.1) :]]
    )
    assert np.abs(silent).max(initial=0.0) < 1e-3
    assert clip.warnings == ()


def test_a_gap_in_the_sound_is_silence_and_nothing_slides(tmp_path):
    ruler = Ruler(every(25, 150), sound_codec="flac", sound_until=6.0, sound_gap=(2.0, 4.0), chirps=(1.0, 5.0))
    assert_chirps(load_clip(ruler.write(tmp_path / "gap.mkv"), frames=4), (1.0, 5.0))


def test_sound_far_into_a_long_file_is_reached_by_a_seek(tmp_path):
    ruler = Ruler(every(2, 240), options={"preset": "ultrafast"}, sound_until=120.0, chirps=(101.5,))
    for suffix in ("mp4", "mkv", "ts"):
        clip = load_clip(ruler.write(tmp_path / f"long.{suffix}"), frames=4, start=100.0, end=104.0)
        assert clip.audio.shape == (64_000,)
        assert_chirps(clip, (101.5,))


def test_a_video_without_sound_has_none(files):
    assert load_clip(files["h264.mp4"], frames=4).audio is None


def test_sound_is_left_out_when_it_is_not_asked_for(sounding):
    clip = load_clip(sounding["aac.mp4"], frames=4, audio=False)
    assert clip.audio is None
    assert clip.info.has_audio


def test_sound_that_cannot_be_decoded_is_left_out_with_a_warning(sounding, tmp_path):
    path = tmp_path / "damaged.mov"
    data = sounding["pcm.mov"].read_bytes()
    path.write_bytes(data.replace(b"sowt", b"zzzz"))
    clip = load_clip(path, frames=4)
    assert clip.audio is None
    assert len(clip.frames) == 4
    assert len(clip.warnings) == 1
    assert "sound of damaged.mov" in clip.warnings[0]


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(("name", "content", "message"), [
    ("empty.mp4", b"", "is empty"),
    ("page.mp4", b"\n<!DOCTYPE html><html><body>Log in</body></html>", "HTML page"),
    ("text.mp4", b"this is not a video at all", "not a video"),
    ("noise.mp4", bytes(np.random.default_rng(1).integers(0, 256, 20_000, dtype=np.uint8)), "not a video"),
    ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "playlist"),
    ("list.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://10.0.0.1/a.ts\n#EXT-X-ENDLIST\n", "playlist"),
    ("list.ffconcat", b"ffconcat version 1.0\nfile h264.mp4\n", "playlist"),
])  # fmt: skip
def test_what_is_not_a_video_says_what_it_is(tmp_path, capfd, name, content, message):
    (tmp_path / name).write_bytes(content)
    for read in (probe, load_clip):
        with pytest.raises(MediaError, match=message) as caught:
            read(tmp_path / name)
        assert name in str(caught.value)
        assert str(caught.value).endswith(".")
    assert capfd.readouterr().err == ""


def test_a_path_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(MediaError, match=r"missing\.mp4 does not exist"):
        probe(tmp_path / "missing.mp4")
    with pytest.raises(MediaError, match="directory"):
        probe(tmp_path)
    with pytest.raises(MediaError, match="not a regular file"):
        probe("/dev/null")


def test_a_name_that_looks_like_a_protocol_is_only_a_name(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a.mp4|b.mp4", "http:", "x:%03d.mp4"):
        shutil.copy(files["h264.mp4"], tmp_path / name)
        assert load_clip(Path(name), frames=2).info.frame_count == 150


def test_sound_alone_has_no_video_stream(tmp_path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=44_100)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 44_100), np.float32), "fltp", "stereo")
        frame.sample_rate = 44_100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match=r"song\.mp3 has no video stream"):
        load_clip(path)


def test_an_mp4_cut_before_its_index_says_so(files, tmp_path):
    (tmp_path / "cut.mp4").write_bytes(files["h264.mp4"].read_bytes()[:2000])
    with pytest.raises(MediaError, match="moov"):
        load_clip(tmp_path / "cut.mp4")


def test_a_video_of_which_nothing_decodes_is_refused(tmp_path):
    source = Ruler(every(25, 20), codec="libvpx-vp9").write(tmp_path / "whole.mkv")
    path = tmp_path / "dead.mkv"
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                junk = av.Packet(b"\xff" * packet.size)
                junk.pts, junk.dts, junk.time_base, junk.stream = packet.pts, packet.dts, packet.time_base, stream
                junk.is_keyframe = packet.is_keyframe
                new.mux(junk)
    with pytest.raises(MediaError, match=r"No frame of dead\.mkv can be decoded \(vp9\)"):
        load_clip(path)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts"])
def test_a_cut_off_file_is_used_as_far_as_it_goes_and_a_warning_says_how_far(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    whole = write_noisy(tmp_path / f"whole.{suffix}", 250, codec="mpeg4" if suffix == "avi" else "libx264")
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    clip = assert_as_decoded(path, 20, last_is_cut=suffix == "ts")
    assert 0.3 < clip.duration < 7.0
    if suffix == "ts":  # a transport stream says nowhere how long it should be
        assert clip.warnings == ()
    else:
        (warning,) = clip.warnings
        assert "promises 10.0 s" in warning
        assert f"only {clip.duration:.1f} s decode" in warning
    assert load_clip(whole, frames=4).warnings == ()


def test_a_damaged_middle_does_not_move_the_rest(tmp_path):
    data = bytearray(write_noisy(tmp_path / "whole.mkv", 250, X264).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(np.random.default_rng(2).integers(0, 256, 400, dtype=np.uint8))
    path = tmp_path / "damaged.mkv"
    path.write_bytes(data)
    clip = load_clip(path, frames=250)
    off = [number_in(p) / 25 - second for p, second in zip(clip.frames, clip.shown, strict=True)]
    assert off[:50] == pytest.approx([0.0] * 50, abs=1e-3)
    assert off[-50:] == pytest.approx([0.0] * 50, abs=1e-3)


def test_sound_longer_than_the_video_is_not_taken_for_a_cut(tmp_path):
    path = Ruler(every(25, 50), sound_codec="flac", sound_until=8.0).write(tmp_path / "longer.mkv")
    assert load_clip(path, frames=4).warnings == ()


def test_files_are_closed_again(files):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        load_clip(files["h264.mkv"], frames=4)
        with pytest.raises(MediaError):
            load_clip(files["h264.mkv"], frames=4, start=99)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
