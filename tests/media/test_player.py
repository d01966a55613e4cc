"""The player's clock is Chromium's own: its frames, its lengths and its sounds at the seconds at which we have them.

Every film is a ruler of 10 s at 25 frames a second with a keyframe each second; its pixels tell the frame's number.
Chromium seeks by decoding times, so that just before a keyframe it may show that one; instants keep away from there.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from media_files import Ruler, every, number_in
from omni_timeline.media.video import load_clip, probe
from player import Player
from surgery import moved, with_edits

if TYPE_CHECKING:
    from playwright.sync_api import Browser

X264 = {"preset": "veryfast", "g": "25", "bf": "2"}
VP8 = {"deadline": "realtime", "cpu-used": "8", "g": "25"}
FILM = Ruler(every(25, 250), options=X264, sound_until=10.0, chirps=range(1, 10))
WEB = Ruler(every(25, 250), codec="libvpx", options=VP8, sound_codec="libopus", sound_until=10.0, chirps=range(1, 10))
INSTANTS = (0.01, 1.57, 3.53, 4.57, 5.53, 6.57, 8.53)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("player")


@pytest.fixture(scope="module")
def film(folder: Path) -> bytes:
    return FILM.write(folder / "film.mp4").read_bytes()


def remuxed(source: Path, target: Path, *options: str, before: tuple[str, ...] = ()) -> Path:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *before, "-i", source, "-c", "copy", *options, target], check=True)
    return target


def assert_same_pictures(browser: Browser, path: Path, instants=INSTANTS) -> Player:
    player = Player.open(browser, path)
    theirs = {second: number_in(player.show(second)) for second in instants}
    ours = {second: number_in(load_clip(path, frames=1, start=second).frames[0]) for second in instants}
    assert ours == theirs
    return player


# --- edit lists ------------------------------------------------------------------------------------------------------
EDITS = {
    "plain": {},
    "empty-first": {0: [(3.0, None), (10.0, 0.0)], 1: [(3.0, None), (10.0, 0.0)]},
    "late-picture": {0: [(3.0, None), (10.0, 0.0)]},
    "late-sound": {1: [(3.0, None), (10.0, 0.0)]},
    "empty-then-trimmed": {0: [(2.0, None), (6.0, 2.48)], 1: [(2.0, None), (6.0, 2.48)]},
    "trimmed": {0: [(6.0, 2.52)], 1: [(6.0, 2.52)]},
    "trimmed-at-the-end": {0: [(6.0, 0.0)], 1: [(6.0, 0.0)]},
    "cut": {0: [(3.0, 0.0), (4.0, 6.0)], 1: [(3.0, 0.0), (4.0, 6.0)]},
    "repeated": {0: [(4.0, 0.0), (2.0, 2.0), (4.0, 4.0)], 1: [(4.0, 0.0), (2.0, 2.0), (4.0, 4.0)]},
    "exchanged": {0: [(3.0, 5.0), (3.0, 0.0)], 1: [(3.0, 5.0), (3.0, 0.0)]},
    "empty-in-the-middle": {0: [(3.0, 0.0), (2.0, None), (5.0, 3.0)], 1: [(3.0, 0.0), (2.0, None), (5.0, 3.0)]},
    "no-list": {0: None, 1: None},
}


@pytest.mark.parametrize("name", EDITS)
def test_edit_lists_are_applied_as_the_player_applies_them(browser: Browser, folder: Path, film: bytes, name: str):
    path = folder / f"{name}.mp4"
    path.write_bytes(with_edits(film, EDITS[name]))
    info = probe(path)
    instants = [second for second in INSTANTS if second < info.duration - 0.3]
    with closing(assert_same_pictures(browser, path, instants)) as player:
        # What begins late is reported too short when it is opened, and grows while it is played.
        late = player.duration < info.duration - 0.1
        said = player.duration_at_end(info.duration - 0.5) if late else player.duration
        assert info.duration == pytest.approx(said, abs=0.06)
    assert load_clip(path, frames=2).warnings == ()


@pytest.mark.parametrize("rate", [0.5, 2.0])
def test_the_rate_of_an_edit_is_left_out_of_account(browser: Browser, folder: Path, film: bytes, rate: float):
    path = folder / f"rate-{rate}.mp4"
    path.write_bytes(with_edits(film, {0: [(10.0, 0.0)], 1: [(10.0, 0.0)]}, rate=rate))
    with closing(assert_same_pictures(browser, path)) as player:
        assert probe(path).duration == pytest.approx(player.duration, abs=0.03)


# --- fragments -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("flags", ["", "+default_base_moof+negative_cts_offsets", "+delay_moov"])
def test_fragments_with_reordered_frames_begin_when_the_player_shows_them(
    browser: Browser, folder: Path, film: bytes, flags: str
):
    path = remuxed(folder / "film.mp4", folder / "fragments.mp4", "-movflags", "frag_keyframe+empty_moov" + flags)
    with closing(assert_same_pictures(browser, path)) as player:
        assert probe(path).duration == pytest.approx(player.duration, abs=0.05)


# --- recorders -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Recording:
    ruler: Ruler
    duration: float


RECORDINGS = {
    "as-usual": Recording(WEB, 10.0),
    "late-camera": Recording(
        Ruler(every(25, 200), codec="libvpx", options=VP8, offset=Fraction(3), sound_codec="libopus", sound_from=-3.0,
              sound_until=8.0, chirps=(-2.0, 6.0)), 11.0,
    ),
    "late-sound": Recording(
        Ruler(every(25, 250), codec="libvpx", options=VP8, sound_codec="libopus", sound_from=4.0, sound_until=10.0,
              chirps=(6.0,)), 10.0,
    ),
    "picture-stops": Recording(
        Ruler(every(25, 100), codec="libvpx", options=VP8, sound_codec="libopus", sound_until=12.0, chirps=(9.0,)), 12.0
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "live"), [*((name, False) for name in RECORDINGS), ("as-usual", True), ("late-camera", True)]
)
def test_recorders_files_are_as_long_as_they_play(browser: Browser, folder: Path, name: str, live: bool):
    """Those of MediaRecorder have neither a duration nor an index."""
    whole = RECORDINGS[name].ruler.write(folder / f"{name}.webm")
    path = remuxed(whole, folder / f"{name}-live.webm", "-live", "1") if live else whole
    info = probe(path)
    assert info.duration == pytest.approx(RECORDINGS[name].duration, abs=0.04)
    instants = [second for second in (0.06, 1.57, 2.53, 3.57, 6.53, 9.9) if second < info.duration]
    with closing(assert_same_pictures(browser, path, instants)) as player:
        assert live or info.duration == pytest.approx(player.duration, abs=0.03)
        if live and name == "late-camera":
            assert info.duration == pytest.approx(player.duration_at_end(info.duration - 0.5), abs=0.06)


def test_frames_that_come_unevenly_are_shown_at_their_own_times(browser: Browser, folder: Path):
    times = [Fraction(n, 100) for n in (0, 20, 40, 90, 120, 210, 230, 250, 300)]
    path = Ruler(times, codec="libvpx", options=VP8, time_base=Fraction(1, 1000)).write(folder / "uneven.webm")
    clip = load_clip(path, frames=101)
    ours = {round(second, 2): number_in(picture) for second, picture in zip(clip.shown, clip.frames, strict=True)}
    with closing(Player.open(browser, path)) as player:
        theirs = {round(second, 2): number_in(picture) for second, picture in player.play()}
    assert len(theirs) >= 7
    assert theirs.items() <= ours.items() == {round(float(t), 2): n for n, t in enumerate(times)}.items()


def test_one_picture_lasts_as_long_as_its_sound(browser: Browser, folder: Path):
    path = Ruler(every(1, 1), options=X264, sound_until=60.0, chirps=(45.0,)).write(folder / "podcast.mp4")
    with closing(assert_same_pictures(browser, path, (0.5, 30.0, 59.0))) as player:
        assert probe(path).duration == pytest.approx(player.duration, abs=0.03)


def test_a_silent_film_whose_clock_begins_late_waits_as_the_player_does(browser: Browser, folder: Path):
    silent = Ruler(every(25, 250), options=X264, offset=Fraction(5)).write(folder / "silent-late.mp4")
    assert probe(silent).start_time == pytest.approx(5.0)
    with closing(assert_same_pictures(browser, silent, (1.0, 4.0, 5.53, 8.57, 9.53))) as player:
        assert player.duration_at_end(14.5) == pytest.approx(probe(silent).duration, abs=0.06)


# --- wrong stamps ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("suffix", "seconds"), [(".mp4", 0.04), (".mkv", -0.04), (".webm", -1.2)])
def test_one_bad_stamp_moves_nothing_else(browser: Browser, folder: Path, suffix: str, seconds: float):
    ruler = WEB if suffix == ".webm" else Ruler(every(25, 250), options={**X264, "bf": "0"}, sound_until=10.0)
    whole = ruler.write(folder / f"whole{suffix}")
    path = folder / f"one{suffix}"
    path.write_bytes(moved(whole.read_bytes(), suffix, {110: seconds}))
    with closing(assert_same_pictures(browser, path, (0.53, 2.53, 3.57, 6.53, 8.53))) as player:
        assert probe(path).duration == pytest.approx(player.duration, abs=0.03)


# --- what no browser plays -------------------------------------------------------------------------------------------
def test_a_transport_stream_begins_with_its_first_track(browser: Browser, folder: Path):
    """The clock is that of the MP4 that ffmpeg makes of it for Label Studio."""
    ruler = Ruler(every(25, 250), options=X264, offset=Fraction(2), sound_from=-1.0, sound_until=10.0)
    path = ruler.write(folder / "film.ts")
    playable = remuxed(path, folder / "from-ts.mp4")
    with closing(Player.open(browser, playable)) as player:
        for second in (0.5, 1.57, 3.53, 5.57, 8.53):
            shown = number_in(player.show(second))
            assert abs(number_in(load_clip(path, frames=1, start=second).frames[0]) - shown) <= 1
        assert probe(path).duration == pytest.approx(player.duration, abs=0.06)


# --- sound -----------------------------------------------------------------------------------------------------------
SOUNDS: dict[str, Callable[[Path, bytes], Path]] = {
    "late-camera.webm": lambda folder, _: RECORDINGS["late-camera"].ruler.write(folder / "heard.webm"),
    "trimmed.mp4": lambda folder, film: write(folder / "heard-trimmed.mp4", with_edits(film, EDITS["trimmed"])),
    "late-sound.mp4": lambda folder, film: write(folder / "heard-late.mp4", with_edits(film, EDITS["late-sound"])),
}


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", SOUNDS)
def test_a_chirp_is_heard_at_the_second_at_which_the_player_sounds_it(
    browser: Browser, folder: Path, film: bytes, name: str
):
    path = SOUNDS[name](folder, film)
    sound = load_clip(path, frames=2).audio
    assert sound is not None
    begin = 4.2
    loud = abs(sound[round(begin * 16_000) :]) > 0.25
    ours = begin + int(loud.argmax()) / 16_000
    with closing(Player.open(browser, path)) as player:
        theirs = player.loudest((ours - 0.4, ours + 0.5))
    assert theirs == pytest.approx(ours + 0.02, abs=0.08)
