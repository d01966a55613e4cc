from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import IO

import pytest

from omni_timeline.errors import FetchError, UnreachableError
from omni_timeline.label_studio.files import VideoFiles
from omni_timeline.label_studio.video_cache import VideoCache, _PartialFile, disk_bytes
from sites import KIB, UPLOAD, VIDEO, Site, answer, cached, fetch, video

Download = Callable[[IO[bytes]], None]


def writes(content: bytes) -> Download:
    def download(file: IO[bytes]) -> None:
        file.write(content)

    return download


def refused(_: IO[bytes]) -> None:
    raise AssertionError("it is there already")


def age(path: Path, seconds: float) -> None:
    """Let a file have been downloaded, and used for the last time, so long ago."""
    os.utime(path, (time.time() - seconds, time.time() - seconds))


def use(cache: VideoCache, key: str, download: Download) -> bytes:
    with cache.file(key, download) as path:
        return path.read_bytes()


def test_a_file_is_downloaded_once(tmp_path: Path):
    cache = VideoCache(tmp_path / "made", 1000)
    assert use(cache, "a", writes(b"video")) == b"video"
    assert use(cache, "a", refused) == b"video"
    assert use(cache, "b", writes(b"other")) == b"other"
    assert [path.name for path in cached(tmp_path / "made")] == ["a", "b"]


def test_a_failed_download_leaves_nothing_behind_and_can_be_repeated(tmp_path: Path):
    cache = VideoCache(tmp_path, 1000)

    def breaks(file: IO[bytes]) -> None:
        file.write(b"half")
        raise FetchError("it broke")

    with pytest.raises(FetchError, match="it broke"):
        use(cache, "a", breaks)
    assert cached(tmp_path) == []
    assert use(cache, "a", writes(b"whole")) == b"whole"


def test_a_day_old_file_is_downloaded_again(tmp_path: Path):
    cache = VideoCache(tmp_path, 1000)
    use(cache, "a", writes(b"yesterday's"))
    age(tmp_path / "a", 25 * 3600)
    assert use(cache, "a", writes(b"today's")) == b"today's"


def test_a_file_in_use_is_not_replaced_however_old_it_is(tmp_path: Path):
    """A prediction of one content would be kept as that of the other."""
    cache, other_server = VideoCache(tmp_path, 1000), VideoCache(tmp_path, 1000)
    with cache.file("a", writes(b"yesterday's")) as path:
        age(path, 25 * 3600)
        for another in (cache, other_server):
            assert use(another, "a", refused) == b"yesterday's"
    assert use(cache, "a", writes(b"today's")) == b"today's"


def test_a_file_that_another_server_began_to_use_during_the_download_is_not_replaced(tmp_path: Path):
    cache, other_server = VideoCache(tmp_path, 1000), VideoCache(tmp_path, 1000)
    use(other_server, "a", writes(b"theirs"))
    age(tmp_path / "a", 25 * 3600)
    theirs = other_server.file("a", writes(b"theirs"))

    def meanwhile(file: IO[bytes]) -> None:
        file.write(b"ours")
        theirs.__enter__()

    assert use(cache, "a", meanwhile) == b"theirs"
    theirs.__exit__(None, None, None)
    assert [path.name for path in cached(tmp_path)] == ["a"]


def test_the_files_used_longest_ago_make_room(tmp_path: Path):
    cache = VideoCache(tmp_path, 20)
    for number, key in enumerate("ab"):
        use(cache, key, writes(b"0123456789"))
        age(tmp_path / key, 100 - number)
    use(cache, "a", refused)  # used again
    use(cache, "c", writes(b"0123456789"))
    assert [path.name for path in cached(tmp_path)] == ["a", "c"]


def test_without_a_limit_a_fifth_of_the_disk_is_for_videos(tmp_path: Path):
    sizes = {tmp_path / "videos": 100}
    cache = VideoCache(tmp_path / "videos", None, sizes.__getitem__)
    for number, key in enumerate("abc"):
        use(cache, key, writes(b"0123456789"))
        age(tmp_path / "videos" / key, 100 - number)
    assert [path.name for path in cached(tmp_path / "videos")] == ["b", "c"]
    sizes[tmp_path / "videos"] = 200  # the volume has grown
    use(cache, "d", writes(b"0123456789" * 2))
    assert [path.name for path in cached(tmp_path / "videos")] == ["b", "c", "d"]


def test_the_size_of_a_disk_is_that_of_its_file_system(tmp_path: Path):
    status = os.statvfs(tmp_path)
    assert disk_bytes(tmp_path) == status.f_blocks * status.f_frsize


def test_files_in_use_never_make_room(tmp_path: Path):
    cache = VideoCache(tmp_path, 0)
    keys = [f"{number}" for number in range(10)]
    together = threading.Barrier(len(keys))

    def used(key: str) -> bytes:
        with cache.file(key, writes(key.encode())) as path:
            together.wait(60)  # all have theirs
            return path.read_bytes()

    with ThreadPoolExecutor(len(keys)) as threads:
        assert list(threads.map(used, keys)) == [key.encode() for key in keys]
    use(cache, "last", writes(b"x"))
    assert [path.name for path in cached(tmp_path)] == ["last"]


USE = """
import sys
from pathlib import Path
from omni_timeline.label_studio.video_cache import VideoCache
with VideoCache(Path(sys.argv[1]), 0).file("theirs", lambda file: file.write(b"theirs")):
    print("in use", flush=True)
    sys.stdin.read()
"""


def test_a_file_that_another_process_uses_stays_until_that_ends(tmp_path: Path):
    cache = VideoCache(tmp_path, 0)
    with subprocess.Popen(
        [sys.executable, "-c", USE, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in use\n"
        use(cache, "a", writes(b"a"))
        assert (tmp_path / "theirs").read_bytes() == b"theirs"
        process.kill()  # nothing is left to clean up
    use(cache, "b", writes(b"b"))
    assert [path.name for path in cached(tmp_path)] == ["b"]


def test_one_download_serves_all_who_want_the_file(tmp_path: Path):
    cache = VideoCache(tmp_path, 1000)
    begun, go_on, asked = threading.Event(), threading.Event(), []

    def download(file: IO[bytes]) -> None:
        asked.append(file)
        begun.set()
        assert go_on.wait(60)
        file.write(b"video")

    with ThreadPoolExecutor(6) as threads:
        first = threads.submit(use, cache, "a", download)
        assert begun.wait(60)
        others = [threads.submit(use, cache, "a", download) for _ in range(5)]
        go_on.set()
        assert {found.result() for found in (first, *others)} == {b"video"}
    assert len(asked) == 1


def test_who_waits_for_a_download_fails_as_it_fails(tmp_path: Path):
    """Else five tasks of one dead server would wait for it five times, one after the other."""
    cache = VideoCache(tmp_path, 1000)
    begun, go_on = threading.Event(), threading.Event()

    def download(_: IO[bytes]) -> None:
        begun.set()
        assert go_on.wait(60)
        raise UnreachableError("nobody is there")

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(use, cache, "a", download)
        assert begun.wait(60)
        entered = threading.Event()

        def waits() -> bytes:
            entered.set()
            return use(cache, "a", refused)

        second = threads.submit(waits)
        assert entered.wait(60)
        time.sleep(0.05)  # it waits for the first now; were it later, `refused` would tell
        go_on.set()
        for found in (first, second):
            assert isinstance(found.exception(), UnreachableError)
    assert use(cache, "a", writes(b"video")) == b"video"


def test_a_download_of_one_file_holds_up_no_other(tmp_path: Path):
    cache = VideoCache(tmp_path, 1000)

    def downloads_another(file: IO[bytes]) -> None:
        file.write(use(cache, "b", writes(b"other")))

    assert use(cache, "a", downloads_another) == b"other"


# --- a full disk -----------------------------------------------------------------------------------------------------


def full() -> int:
    """A descriptor of a device that is full."""
    return os.open("/dev/full", os.O_WRONLY)


def test_on_a_full_disk_the_writing_goes_on_as_soon_as_there_is_room(tmp_path: Path):
    asked = []

    def make_room() -> bool:
        asked.append(True)
        if len(asked) == 2:  # now there is enough
            with (tmp_path / "file").open("wb") as room:
                os.dup2(room.fileno(), file.fileno())
        return True

    with _PartialFile(full(), make_room) as file:
        assert file.write(b"video") == 5
    assert (tmp_path / "file").read_bytes() == b"video"
    assert len(asked) == 2


def test_on_a_full_disk_files_that_nobody_uses_make_room_and_then_it_is_said_so(tmp_path: Path):
    cache = VideoCache(tmp_path, 1000)
    for key in "ab":
        use(cache, key, writes(b"video"))

    def onto_a_full_disk(file: IO[bytes]) -> None:
        os.dup2(full(), file.fileno())
        file.write(b"video")

    with cache.file("used", writes(b"video")), pytest.raises(UnreachableError, match="CACHE_DIR is full"):
        use(cache, "c", onto_a_full_disk)
    assert [path.name for path in cached(tmp_path)] == ["used"]


# --- what goes wrong in the folder -----------------------------------------------------------------------------------


def test_a_file_in_a_folder_that_cannot_be_written_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cache = VideoCache(tmp_path, 1000)
    use(cache, "a", writes(b"video"))

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", read_only)
    assert use(cache, "a", refused) == b"video"
    monkeypatch.setattr("tempfile.mkstemp", lambda **_: read_only())
    with pytest.raises(UnreachableError, match="CACHE_DIR cannot be used: Read-only file system"):
        use(cache, "b", writes(b"video"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnreachableError, match="CACHE_DIR"):
        use(VideoCache(tmp_path / "file" / "cache", 1000), "a", writes(b"video"))


def test_what_a_killed_process_left_is_removed_in_time(tmp_path: Path):
    left, running = tmp_path / "part-left", tmp_path / "part-running"
    for path, seconds in ((left, 7200), (running, 60)):
        path.write_bytes(b"half")
        age(path, seconds)
    use(VideoCache(tmp_path, 1000), "a", writes(b"video"))
    assert (left.exists(), running.exists()) == (False, True)


def test_a_file_that_is_removed_while_it_is_opened_is_downloaded_again(tmp_path: Path):
    """The lock comes too late: it is on a file that has no name any more."""
    cache = VideoCache(tmp_path, 1000)
    use(cache, "a", writes(b"old"))
    with (tmp_path / "a").open("rb") as old:
        fcntl.flock(old, fcntl.LOCK_EX)  # as a server that makes room
        with ThreadPoolExecutor(1) as threads:
            found = threads.submit(use, cache, "a", writes(b"new"))
            time.sleep(0.05)  # it waits for the lock now, or finds no file: right in both cases
            (tmp_path / "a").unlink()
            fcntl.flock(old, fcntl.LOCK_UN)
            assert found.result(60) == b"new"


FETCH = """
import resource, sys
from pathlib import Path
from omni_timeline.label_studio.files import VideoFiles
if sys.argv[3] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
with VideoFiles(sys.argv[1], None, Path(sys.argv[2])).local(sys.argv[4]) as path:
    print(path)
"""


def test_a_file_that_cannot_be_written_to_its_end_leaves_nothing_behind(label_studio: Site, tmp_path: Path):
    """No room for more than 100 KiB in a file: the write fails in the middle."""
    full = subprocess.run(
        [sys.executable, "-c", FETCH, label_studio.url, tmp_path, str(100 * KIB), UPLOAD],
        capture_output=True,
        text=True,
    )
    assert "UnreachableError: CACHE_DIR cannot be used: File too large" in full.stderr
    assert cached(tmp_path) == []


def test_a_process_killed_while_it_fetches_leaves_no_file_that_looks_whole(label_studio: Site, tmp_path: Path):
    half = threading.Event()

    def stalls(page: BaseHTTPRequestHandler) -> None:
        answer(page, VIDEO[: 320 * KIB], Content_Length=len(VIDEO))
        page.wfile.flush()
        half.set()
        time.sleep(3)

    label_studio.pages[UPLOAD] = stalls
    process = subprocess.Popen([sys.executable, "-c", FETCH, label_studio.url, tmp_path, "0", UPLOAD])
    assert half.wait(60)
    while not any(path.stat().st_size for path in tmp_path.iterdir()):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert [path.name.startswith("part-") for path in tmp_path.iterdir()] == [True]
    label_studio.pages[UPLOAD] = video
    assert fetch(VideoFiles(label_studio.url, None, tmp_path), UPLOAD).read_bytes() == VIDEO
