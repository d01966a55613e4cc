"""A worker that is lent to one video after the other: to whom, how often, and what it must never cost them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from media_files import Ruler, every
from omni_timeline.errors import DecoderLostError, MediaError
from omni_timeline.media import isolated
from omni_timeline.media.isolated import Decoder, Video
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.media.video import load_clip
from omni_timeline.media.wire import ClipRead, receive
from omni_timeline.media.worker import IDLE_SECONDS
from omni_timeline.media.workers import Worker

SIZE = (56, 84)  # height, width


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with Decoder() as decoder:
        yield decoder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of different lengths, sizes and containers, with sound and without."""
    folder = tmp_path_factory.mktemp("films")
    return [
        Ruler(every(25, 100), size=(128, 96), sound_until=4.0, chirps=(1.0,)).write(folder / "a.mp4"),
        Ruler(every(12, 60), size=(320, 200)).write(folder / "b.mkv"),
        Ruler(every(30, 60), size=(64, 64), sound_until=2.0, chirps=(1.0,)).write(folder / "c.mov"),
        Ruler(every(10, 30), size=(96, 128)).write(folder / "d.mp4"),
    ]


@pytest.fixture(scope="module")
def cut(films: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film whose end is missing."""
    path = tmp_path_factory.mktemp("cut") / "cut.mkv"
    path.write_bytes(films[1].read_bytes()[: films[1].stat().st_size // 2])
    return path


def worker_of(video: Video) -> int:
    return video._worker.process


def look(decoder: Decoder, path: Path, group: str | None = "one") -> int:
    """Decode a clip; the worker's process number."""
    with decoder.open(path, group) as video:
        video.clip(frames=4, size=SIZE)
        return worker_of(video)


def workers(decoder: Decoder) -> list[int]:
    """Those that there are, from the kernel."""
    process = decoder._workers._process.pid
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def until(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


# --- to whom, and how often ------------------------------------------------------------------------------------------
def test_videos_of_a_group_have_one_worker_in_turn(decoder: Decoder, films: list[Path]):
    assert len({look(decoder, film) for film in films * 2}) == 1


def test_videos_of_different_groups_and_of_none_never_share_one(decoder: Decoder, films: list[Path]):
    found = [look(decoder, films[0], group) for group in ("one", "two", "one", "two", None, None)]
    assert found[:2] == found[2:4]
    assert len(set(found)) == 4
    assert sorted(workers(decoder)) == sorted(found[:2])


def test_a_worker_ends_after_so_many_videos(films: list[Path]):
    with Decoder(DecodeLimits(videos=3)) as decoder:
        found = [look(decoder, films[0]) for _ in range(7)]
        assert found == [found[0]] * 3 + [found[3]] * 3 + [found[6]]
        assert len(set(found)) == 3
        assert workers(decoder) == [found[6]]


def test_each_video_has_its_own_where_that_is_wanted(films: list[Path]):
    with Decoder(DecodeLimits(videos=1)) as decoder:
        assert len({look(decoder, film) for film in films}) == len(films)
        assert workers(decoder) == []


def test_videos_that_are_open_at_a_time_have_a_worker_each(decoder: Decoder, films: list[Path]):
    with decoder.open(films[0], "one") as first, decoder.open(films[1], "one") as second:
        assert worker_of(first) != worker_of(second)
        assert len(first.clip(frames=4, size=SIZE).frames) == len(second.clip(frames=4, size=SIZE).frames) == 4


def test_few_workers_wait_for_a_next_video_and_not_for_long(
    decoder: Decoder, films: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("omni_timeline.media.workers.MAX_IDLE", 2)  # eight otherwise
    with ExitStack() as opened:
        videos = [opened.enter_context(decoder.open(films[0], "one")) for _ in range(4)]
        assert len(workers(decoder)) == 4
    assert sorted(workers(decoder)) == sorted(worker_of(video) for video in videos[:2])  # closed last
    monkeypatch.setattr("omni_timeline.media.workers.IDLE_SECONDS", 0.0)  # seconds otherwise
    assert look(decoder, films[0]) not in {worker_of(video) for video in videos}
    assert len(workers(decoder)) <= 1


def test_a_worker_that_gets_no_other_video_ends(decoder: Decoder, films: list[Path]):
    stat = Path(f"/proc/{look(decoder, films[0])}/stat")
    assert until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z", IDLE_SECONDS + 10)
    look(decoder, films[1])


def test_a_worker_lets_go_of_a_video(decoder: Decoder, films: list[Path]):
    files = Path(f"/proc/{look(decoder, films[0])}/fd")
    assert until(lambda: len(list(files.iterdir())) == 4)  # the usual three, and the socket
    assert films[0] not in [link.readlink() for link in files.iterdir()]


def test_a_fork_leaves_the_workers_to_the_parent(decoder: Decoder, films: list[Path]):
    before = look(decoder, films[0])
    child = os.fork()
    if child == 0:
        os._exit(0 if look(decoder, films[0]) != before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert look(decoder, films[0]) == before


# --- what it must not cost -------------------------------------------------------------------------------------------
def test_clips_are_those_of_a_process_of_their_own(decoder: Decoder, films: list[Path]):
    for film in [*films, *reversed(films)]:
        expected = load_clip(film, frames=10, resize=lambda *_: SIZE)
        with decoder.open(film, "one") as video:
            clip = video.clip(frames=10, size=SIZE)
        np.testing.assert_array_equal(clip.frames, expected.frames)
        assert (clip.info, clip.times, clip.shown, clip.warnings) == (
            expected.info, expected.times, expected.shown, expected.warnings,
        )  # fmt: skip
        if clip.audio is None:
            assert expected.audio is None
        else:
            np.testing.assert_array_equal(clip.audio, expected.audio)
    assert len(workers(decoder)) == 1


def test_a_worker_that_warned_takes_no_other_video(decoder: Decoder, films: list[Path], cut: Path):
    first = look(decoder, films[0])
    with decoder.open(cut, "one") as video:
        assert video.clip(frames=4).warnings
        assert worker_of(video) == first
    assert workers(decoder) == []


def test_a_worker_that_refused_takes_no_other_video(decoder: Decoder, films: list[Path], tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing of a video" * 100)
    look(decoder, films[0])
    with pytest.raises(MediaError, match="broken"), decoder.open(broken, "one"):
        pass
    assert workers(decoder) == []
    with decoder.open(films[0], "one") as video:
        with pytest.raises(MediaError, match="cannot start"):
            video.clip(start=99.0)
        assert len(video.clip(frames=4, size=SIZE).frames) == 4
    assert workers(decoder) == []


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
@pytest.mark.parametrize("is_open", [False, True])
def test_what_one_video_does_to_a_worker_is_not_the_next_ones_error(
    is_open: bool, number: signal.Signals, decoder: Decoder, films: list[Path]
):
    first = look(decoder, films[0])
    if not is_open:
        os.kill(first, number)
    with decoder.open(films[2], "one") as video:
        if is_open:
            assert worker_of(video) == first
            os.kill(first, number)
        clip = video.clip(frames=4, size=SIZE)
        assert worker_of(video) != first
    np.testing.assert_array_equal(clip.frames, load_clip(films[2], frames=4, resize=lambda *_: SIZE).frames)
    assert clip.info.path == films[2]
    assert first not in workers(decoder)


@pytest.mark.parametrize("kills", [1, 2])
def test_a_video_whose_worker_is_killed_is_decoded_once_more(
    kills: int, decoder: Decoder, films: list[Path], caplog: pytest.LogCaptureFixture
):
    """By hand, or by a kernel short of memory."""
    with decoder.open(films[0]) as video:
        first, take_new = video._worker, decoder._workers.take_new
        os.kill(first.process, signal.SIGKILL)

        def take_and_kill(group: str | None) -> Worker:
            worker = take_new(group)
            os.kill(worker.process, signal.SIGKILL)
            return worker

        if kills == 1:
            assert len(video.clip(frames=4).frames) == 4
            assert video._worker.process != first.process
        else:
            decoder._workers.take_new = take_and_kill  # the real one, with the kill at the worst moment
            with pytest.raises(DecoderLostError, match=r"a\.mp4 cannot be decoded.*out of memory"):
                video.clip()
            del decoder._workers.take_new
    assert "Decoding once more: a.mp4" in caplog.text
    assert workers(decoder) == []
    assert look(decoder, films[0])


def test_a_video_that_brings_down_a_used_worker_and_a_new_one_is_its_own_error(decoder: Decoder, films: list[Path]):
    look(decoder, films[0])
    with decoder.open(films[1], "one") as video:
        for _ in range(2):
            os.kill(worker_of(video), signal.SIGSEGV)
            if video._worker.videos == 1:
                break
            video.clip(frames=4, size=SIZE)
        with pytest.raises(MediaError, match=r"b\.mkv cannot be decoded: the decoder crashed on it"):
            video.clip(frames=4, size=SIZE)
    assert look(decoder, films[2])


def test_who_stops_in_the_middle_of_a_clip_leaves_nothing_for_the_next_video(
    decoder: Decoder, films: list[Path], monkeypatch: pytest.MonkeyPatch
):
    """Ctrl-C, say: the rest of the answer is still to come over that socket."""
    with monkeypatch.context() as patch:
        patch.setattr(isolated, "receive_into", interrupted)
        with pytest.raises(KeyboardInterrupt):
            look(decoder, films[0])
    assert workers(decoder) == []
    with decoder.open(films[1], "one") as video:
        assert len(video.clip(frames=4, size=SIZE).frames) == 4


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_closed_video_does_not_ask_the_worker_of_another(decoder: Decoder, films: list[Path]):
    with decoder.open(films[0], "one") as first:
        pass
    with decoder.open(films[1], "one") as second:
        assert worker_of(second) == worker_of(first)
        with pytest.raises(MediaError, match=r"a\.mp4.*closed"):
            first.clip(frames=4, size=SIZE)
        assert second.clip(frames=4, size=SIZE).info.path == films[1]


def test_a_video_that_is_closed_while_it_is_read_is_not_lent_on(
    decoder: Decoder, films: list[Path], monkeypatch: pytest.MonkeyPatch
):
    """From another thread, as when its job has failed; its worker had other videos, but it is not read in a new one."""
    look(decoder, films[0])
    opened = ExitStack()
    video = opened.enter_context(decoder.open(films[1], "one"))
    used, closing = worker_of(video), threading.Thread(target=opened.close)

    def read_late(connection: Any) -> Any:
        found = receive(connection)
        if isinstance(found, ClipRead):
            closing.start()
            assert until(lambda: used not in workers(decoder))
        return found

    monkeypatch.setattr(isolated, "receive", read_late)
    monkeypatch.setattr(isolated, "receive_into", broken_off)
    with pytest.raises(MediaError):
        video.clip(frames=4, size=SIZE)
    closing.join(10)
    monkeypatch.undo()
    assert (video._worker.peer.fileno(), workers(decoder)) == (-1, [])
    assert look(decoder, films[2])


def broken_off(*_: Any) -> None:
    raise ConnectionResetError
