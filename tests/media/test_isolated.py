"""The decoder's processes against files and faults that bring them down: each costs its video and nothing else."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from media_files import Ruler, every
from omni_timeline import processes
from omni_timeline.errors import DecoderLostError, MediaError, RetryableError
from omni_timeline.media.files import MediaFile
from omni_timeline.media.isolated import Decoder
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.media.video import load_clip, probe
from omni_timeline.media.wire import receive
from omni_timeline.media.worker import NICENESS

SIZE = (56, 84)  # height, width


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as decoder:
        yield decoder


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds with sound."""
    ruler = Ruler(every(25, 250), size=(128, 96), sound_until=10.0, chirps=(2.0, 7.0))
    return ruler.write(tmp_path_factory.mktemp("decoder") / "film.mp4")


def children_of(process: int) -> list[int]:
    """Process numbers, from the kernel."""
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def processes_of(decoder: Decoder) -> tuple[int, list[int]]:
    """The decoder process, and its workers."""
    process = decoder._workers._process.pid
    return process, children_of(process)


def is_running(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def assert_it_goes_on(decoder: Decoder, film: Path) -> None:
    with decoder.open(film) as video:
        assert len(video.clip(frames=4, size=SIZE).frames) == 4


def test_a_video_is_not_closed_under_who_is_about_to_read(
    decoder: Decoder, film: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its descriptor would be the next video's, and who reads would wait for what that one says."""
    opened = ExitStack()
    video = opened.enter_context(decoder.open(film))
    closing = threading.Thread(target=opened.close)
    is_open: list[bool] = []

    def read_late(connection: socket.socket) -> Any:
        if connection is video._worker.peer:
            closing.start()
            time.sleep(0.5)
            is_open.append(connection.fileno() >= 0)
        return receive(connection)

    monkeypatch.setattr("omni_timeline.media.isolated.receive", read_late)
    with pytest.raises(MediaError):
        video.clip(frames=4, size=SIZE)
    closing.join(10)
    assert (is_open, video._worker.peer.fileno()) == ([True], -1)
    assert_it_goes_on(decoder, film)


# --- the same as in this process -------------------------------------------------------------------------------------
@pytest.mark.parametrize(("start", "end"), [(0.0, None), (3.2, 6.0), (9.5, 60.0)])
def test_a_clip_is_the_one_that_media_decodes(start: float, end: float | None, decoder: Decoder, film: Path):
    expected = load_clip(film, frames=10, start=start, end=end, resize=lambda *_: SIZE)
    with decoder.open(film) as video:
        assert video.info == probe(film)
        clip = video.clip(frames=10, start=start, end=end, size=SIZE)
        silent = video.clip(frames=10, start=start, end=end, audio=False)
    np.testing.assert_array_equal(clip.frames, expected.frames)
    np.testing.assert_array_equal(clip.audio, expected.audio)
    assert (clip.start, clip.end, clip.times, clip.info) == (expected.start, expected.end, expected.times, probe(film))
    assert silent.audio is None
    assert silent.frames.shape[2:] == (96, 128)


def test_a_warning_comes_across(decoder: Decoder, film: Path, tmp_path: Path):
    cut = tmp_path / "cut.mkv"
    subprocess.run(["ffmpeg", "-v", "error", "-i", film, "-c", "copy", cut], check=True)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    with decoder.open(cut) as video:
        assert video.clip(frames=4).warnings == load_clip(cut, frames=4).warnings != ()


def test_an_impossible_window_is_an_error_and_the_video_stays_open(decoder: Decoder, film: Path):
    with decoder.open(film) as video:
        with pytest.raises(MediaError, match="cannot start at 11 s"):
            video.clip(start=11.0)
        assert len(video.clip(frames=2).frames) == 2


def test_videos_are_open_side_by_side(decoder: Decoder, film: Path):
    found = []

    def watch() -> None:
        with decoder.open(film) as video:
            found.extend(video.clip(frames=4, start=second, size=SIZE).start for second in range(5))

    threads = [threading.Thread(target=watch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted([0.0, 1.0, 2.0, 3.0, 4.0] * 6)
    assert processes_of(decoder)[1] == []


# --- what brings it down ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_worker_that_dies_is_its_videos_error(number: signal.Signals, decoder: Decoder, film: Path):
    with decoder.open(film) as video:
        before, workers = processes_of(decoder)
        os.kill(workers[-1], number)
        with pytest.raises(MediaError, match=f"film.mp4 cannot be decoded.*{number.name}") as refused:
            video.clip()
        assert not isinstance(refused.value, DecoderLostError)
        with pytest.raises(MediaError, match="cannot be decoded"):  # and stays so
            video.clip()
    assert_it_goes_on(decoder, film)
    assert processes_of(decoder)[0] == before


def test_decoders_leave_the_cores_to_those_who_serve_people(decoder: Decoder, film: Path):
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    with decoder.open(film):
        for process in (decoder._workers._process.pid, *children_of(decoder._workers._process.pid)):
            assert os.getpriority(os.PRIO_PROCESS, process) == min(19, usual + NICENESS)


def test_a_decoder_process_that_was_killed_is_started_again(decoder: Decoder, film: Path):
    with decoder.open(film) as video:
        before = processes_of(decoder)[0]
        os.kill(before, signal.SIGKILL)
        assert len(video.clip(frames=4).frames) == 4
        assert processes_of(decoder)[0] != before
    assert_it_goes_on(decoder, film)


def test_a_decoder_process_that_is_killed_before_it_answers_leaves_no_second_worker_on_a_socket(film: Path):
    """The first attempt's worker is made by hand: whether a killed process has forked already is up to chance."""
    with Decoder() as decoder:
        with decoder.open(film):
            pass  # it runs now
        workers = decoder._workers
        stopped, ask, sockets = workers._process.pid, workers._ask, []

        def killed_at_first(message: Any, answer: Any, theirs: socket.socket | None = None) -> Any:
            if theirs is not None:
                sockets.append(theirs.dup())  # as the worker would have its end
                if len(sockets) == 1:
                    os.kill(stopped, signal.SIGKILL)
            return ask(message, answer, theirs)

        workers._ask = killed_at_first  # the real one, with the kill at the worst moment
        with decoder.open(film) as video:
            assert video.clip().audio is not None
        assert len({os.fstat(each.fileno()).st_ino for each in sockets}) == len(sockets) == 2
        for each in sockets:
            each.close()


@contextmanager
def few_files(more: int) -> Iterator[None]:
    """This process may open so many more files."""
    opened = [os.dup(0) for _ in range(more + 1)]
    for number in opened:
        os.close(number)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened[-1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("more", [0, 2, 4])  # at the socket to the worker, that to the process, or that one's pipes
def test_a_video_is_decoded_later_where_too_many_files_are_open(more: int, film: Path):
    with Decoder() as decoder:
        with few_files(more), pytest.raises(RetryableError, match="Too many open files"), decoder.open(film):
            pytest.fail("it was opened")
        assert_it_goes_on(decoder, film)


def test_a_file_is_opened_later_where_too_many_are_open(film: Path):
    with few_files(0), pytest.raises(RetryableError, match=r"film\.mp4 cannot be opened now: Too many open files"):
        MediaFile.open(film, DecodeLimits())


def test_a_decode_that_takes_too_long_is_stopped_by_the_kernel(film: Path):
    with Decoder(DecodeLimits(seconds=0.001)) as decoder:
        with pytest.raises(MediaError, match=r"DECODE_SECONDS \(0\.001\)"), decoder.open(film) as video:
            video.clip()
        assert processes_of(decoder)[1] == []


def test_a_worker_that_does_not_even_die_is_left(decoder: Decoder, film: Path, monkeypatch: pytest.MonkeyPatch):
    """As one that waits for a dead network drive: no signal reaches it but the last."""
    monkeypatch.setattr("omni_timeline.media.isolated._GRACE", 0.0)
    with Decoder(DecodeLimits(seconds=2.0)) as patient, patient.open(film) as video:
        os.kill(processes_of(patient)[1][-1], signal.SIGSTOP)
        with pytest.raises(MediaError, match="DECODE_SECONDS"):
            video.clip()
        assert processes_of(patient)[1] == []
        assert_it_goes_on(patient, film)


@pytest.mark.parametrize(
    ("limits", "setting"),
    [
        (DecodeLimits(file_bytes=1000), "MAX_VIDEO_BYTES"),
        (DecodeLimits(pixels=128 * 96 - 1), "MAX_VIDEO_PIXELS"),
        (DecodeLimits(frames=249), "MAX_VIDEO_FRAMES"),
        (DecodeLimits(duration=9.9), "MAX_VIDEO_SECONDS"),
        (DecodeLimits(streams=1), "MAX_VIDEO_STREAMS"),
        (DecodeLimits(memory_bytes=256 * 1024**2), "DECODE_MEMORY_BYTES"),
    ],
)
def test_a_video_above_a_limit_is_refused_with_the_name_of_the_setting(limits: DecodeLimits, setting: str, film: Path):
    with (
        Decoder(limits) as decoder,
        pytest.raises(MediaError, match=f"film.mp4 .*{setting}"),
        decoder.open(film) as video,
    ):
        video.clip(size=(3000, 4000))  # 1.8 GB, which only the last of the limits is about


def test_a_video_at_its_limits_is_decoded(film: Path):
    limits = DecodeLimits(film.stat().st_size, pixels=128 * 96, frames=250, duration=10.05, streams=2)
    with Decoder(limits) as decoder:
        assert_it_goes_on(decoder, film)


def test_a_frame_that_grows_in_the_middle_is_held_to_the_limit(tmp_path: Path):
    """The header of such a stream is small; the decoder meets the large frames later."""
    small = Ruler(every(25, 10), size=(64, 64)).write(tmp_path / "small.h264")
    large = Ruler(every(25, 10), size=(1024, 1024)).write(tmp_path / "large.h264")
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with Decoder(DecodeLimits(pixels=512 * 512)) as decoder, decoder.open(both) as video:
        assert video.info.frame_count == 10
    with Decoder() as decoder, decoder.open(both) as video:
        assert video.info.frame_count == 20


def launch_hostile(decoder: Decoder, folder: Path) -> None:
    """Start `hostile_worker` in place of the decoder process."""
    environment = {**processes.minimal_environment(), "HOSTILE_FOLDER": str(folder)}
    environment["PYTHONPATH"] += f"{os.pathsep}{Path(__file__).parent}"
    process, ours = processes.start("hostile_worker", environment=environment)
    ours.settimeout(60)
    decoder._workers._process, decoder._workers._control, decoder._workers._owner = process, ours, os.getpid()


# --- what it may not do ----------------------------------------------------------------------------------------------
def test_the_decoder_knows_no_token_and_no_torch(film: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "the-token")
    with Decoder() as decoder, decoder.open(film):
        process, [worker] = processes_of(decoder)
        for number in (process, worker):
            assert b"the-token" not in Path(f"/proc/{number}/environ").read_bytes()
            assert "torch" not in Path(f"/proc/{number}/maps").read_text()
            assert len(list(Path(f"/proc/{number}/task").iterdir())) == 1  # or forking would not be safe


def test_a_worker_is_in_the_sandbox(decoder: Decoder, film: Path):
    """What it cannot do there is in test_sandbox.py."""
    with decoder.open(film) as video:
        assert video.unconfined == ()
        [worker] = processes_of(decoder)[1]
        status = Path(f"/proc/{worker}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status
        assert video.clip(frames=4).frames.shape[0] == 4


def test_a_file_that_is_replaced_while_it_is_open_stays_what_it_was(decoder: Decoder, film: Path, tmp_path: Path):
    path = tmp_path / "film.mp4"
    path.write_bytes(film.read_bytes())
    with decoder.open(path) as video:
        before = video.clip(frames=4)
        path.unlink()
        path.write_text("something else")
        assert (video.clip(frames=4).frames == before.frames).all()


def test_hostile_code_in_a_worker_reaches_nothing(
    decoder: Decoder, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The worker runs other code in place of `Video`, as if libav had been taken over."""
    (tmp_path / "secret").write_text("theirs")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    with Decoder() as taken:
        taken._workers._launch = lambda: launch_hostile(taken, tmp_path)  # type: ignore[method-assign]
        with pytest.raises(MediaError) as told, taken.open(film):
            pass
    assert (
        str(told.value) == "read: EACCES, write: EACCES, connect: EACCES, run: EACCES, parent: EACCES, own video: read"
    )
    assert (tmp_path / "secret").read_text() == "theirs"


def test_a_worker_has_its_own_video_and_cannot_write(decoder: Decoder, film: Path):
    with decoder.open(film), decoder.open(film):
        for worker in processes_of(decoder)[1]:
            sockets = [link for link in Path(f"/proc/{worker}/fd").iterdir() if "socket" in str(link.readlink())]
            assert len(sockets) == 1
            limits = Path(f"/proc/{worker}/limits").read_text()
            assert "Max file size             0                    0" in limits


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.m3u8", "#EXTM3U\n#EXTINF:10,\n{film}\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "#EXTM3U\n#EXTINF:10,\nfile:{film}\n#EXT-X-ENDLIST\n"),
        ("list.txt", "ffconcat version 1.0\nfile '{film}'\n"),
        ("list.mpd", '<?xml version="1.0"?>\n<MPD><Period><BaseURL>{film}</BaseURL></Period></MPD>'),
        ("list.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"),
        ("list.asx", '<asx version="3.0"><entry><ref href="{film}"/></entry></asx>'),
        ("list.avs", 'DirectShowSource("{film}")'),
        ("list.rtsp", "[Reference]\nRef1={film}\n"),
        ("image%03d.png", "\x89PNG"),
        ("list.imf", '<?xml version="1.0"?><CompositionPlaylist/>'),
        ("list.ssa", "[Script Info]\n"),
        ("list.vtt", "WEBVTT\n\n00:00.000 --> 00:10.000\nhello\n"),
        ("meta.txt", ";FFMETADATA1\ntitle=x\n"),
    ],
)
def test_a_file_that_names_others_or_holds_no_video_is_refused(
    name: str, content: str, decoder: Decoder, film: Path, tmp_path: Path
):
    path = tmp_path / name
    path.write_text(content.format(film=film))
    with pytest.raises(MediaError, match=name), decoder.open(path):
        pass


@pytest.mark.parametrize("protocol", ["concat:", "subfile,,start,0,end,0,,:", "file:", "data:", "http://127.0.0.1/"])
def test_a_path_that_looks_like_an_address_is_a_path(protocol: str, decoder: Decoder, film: Path):
    with pytest.raises(MediaError, match="does not exist"), decoder.open(f"{protocol}{film}"):
        pass


def test_a_device_or_a_pipe_is_not_waited_for(decoder: Decoder, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", Path("/dev/zero"), tmp_path):
        with pytest.raises(MediaError, match=r"regular file|directory"), decoder.open(path):
            pass


# --- where it is started from ----------------------------------------------------------------------------------------
SCRIPT = """
import sys
from omni_timeline.media.isolated import Decoder
decoder = Decoder()
with decoder.open(sys.argv[1]) as video:
    print(len(video.clip(frames=4).frames), decoder._workers._process.pid, flush=True)
    sys.stdin.readline()
"""


def test_a_script_needs_no_main_guard(film: Path, tmp_path: Path):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "json.py").write_text("raise SystemExit('the folder one is in is not for importing from')")
    for command in ([sys.executable, tmp_path / "script.py", film], [sys.executable, "-c", SCRIPT, film]):
        folder = film.parent if command[1] != "-c" else tmp_path
        environ = {**os.environ, "PYTHONSAFEPATH": "1"}
        ran = subprocess.run(command, input="", capture_output=True, text=True, cwd=folder, env=environ)
        assert ran.stdout.startswith("4 "), ran.stderr


def test_it_ends_with_the_process_that_started_it_even_when_that_is_killed(film: Path):
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, film], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process = int(parent.stdout.readline().split()[1])
    workers = children_of(process)
    assert len(workers) == 1
    parent.kill()
    parent.wait()
    until = time.monotonic() + 10
    while any(is_running(number) for number in (process, *workers)) and time.monotonic() < until:
        time.sleep(0.01)
    assert [is_running(number) for number in (process, *workers)] == [False, False]


def test_a_decoder_that_nobody_closes_ends_with_its_last_use(film: Path):
    decoder = Decoder()
    assert_it_goes_on(decoder, film)
    process = processes_of(decoder)[0]
    del decoder
    assert not is_running(process)


def test_after_a_fork_each_process_has_its_own(decoder: Decoder, film: Path):
    """As under gunicorn with preload_app."""
    assert_it_goes_on(decoder, film)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert_it_goes_on(decoder, film)
            decoder.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert is_running(processes_of(decoder)[0])
    assert_it_goes_on(decoder, film)
