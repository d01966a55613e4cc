"""Kept predictions: whole or not at all, and never the reason for a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from omni_timeline.pipeline.cache import PARTIAL_PREFIX, PredictionCache
from omni_timeline.pipeline.prediction import Prediction
from omni_timeline.segments import Segment

VIDEO = Path("clip.mp4")
FOUND = Prediction(
    VIDEO, 12.5, (Segment(1.0, 2.5, "Speech", "words é", 0.9),), "v1", "text", ("a warning",), {"cut": 1}
)


@pytest.fixture
def cache(tmp_path: Path) -> PredictionCache:
    return PredictionCache(tmp_path / "predictions", 1_000_000)


def test_what_was_put_in_comes_out(cache: PredictionCache):
    cache.put("d1", FOUND)
    assert cache.get("d1", "v1", VIDEO) == FOUND
    assert cache.get("d1", "v2", VIDEO) is None
    assert cache.get("d2", "v1", VIDEO) is None


@pytest.mark.parametrize("version", ["../../etc/x", "a/b", "\0", "é" * 500, ""])
def test_a_version_of_any_name_stays_in_the_folder(version: str, cache: PredictionCache, tmp_path: Path):
    found = replace(FOUND, model_version=version)
    cache.put("d1", found)
    assert cache.get("d1", version, VIDEO) == found
    assert [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path / "predictions"]


def test_versions_that_would_have_the_same_name_are_told_apart(cache: PredictionCache):
    cache.put("d1", replace(FOUND, model_version="a/b"))
    assert cache.get("d1", "a_b", VIDEO) is None


def test_a_damaged_entry_is_ignored_whatever_is_wrong_with_it(cache: PredictionCache, tmp_path: Path):
    cache.put("d1", FOUND)
    [path] = (tmp_path / "predictions").iterdir()
    whole = path.read_bytes()
    damaged = [whole[:cut] for cut in range(0, len(whole), 7)]
    damaged += [whole[:at] + bytes([whole[at] ^ 0x21]) + whole[at + 1 :] for at in range(0, len(whole), 5)]
    for content in [*damaged, b"\xff\xfe", b"{}", b"\n{}"]:
        path.write_bytes(content)
        assert cache.get("d1", "v1", VIDEO) is None
    cache.put("d1", FOUND)
    assert cache.get("d1", "v1", VIDEO) == FOUND


def test_its_size_is_bounded_and_what_was_used_last_stays(tmp_path: Path):
    cache = PredictionCache(tmp_path / "predictions", 20_000)
    cache.put("first", FOUND)
    for number in range(200):
        cache.put(f"d{number}", FOUND)
        os.utime(tmp_path / "predictions" / "first-v1.json")
    assert sum(path.stat().st_size for path in (tmp_path / "predictions").iterdir()) <= 20_000
    assert cache.get("first", "v1", VIDEO) == FOUND
    assert cache.get("d199", "v1", VIDEO) == FOUND
    assert cache.get("d0", "v1", VIDEO) is None


def test_a_full_disk_is_a_warning(tmp_path: Path):
    """In a process of its own, which may write no file larger than 100 bytes."""
    program = (
        "import resource, sys; from pathlib import Path; from omni_timeline.pipeline.cache import PredictionCache\n"
        "from omni_timeline.pipeline.prediction import Prediction\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "folder = Path(sys.argv[1]); cache = PredictionCache(folder, 10**6)\n"
        "cache.put('d1', Prediction(Path('a'), 1.0, (), 'v1', 'text'))\n"
        "assert 'make room' in cache.trouble, cache.trouble\n"
        "assert cache.get('d1', 'v1', Path('a')) is None\n"
        "assert list(folder.iterdir()) == [], list(folder.iterdir())\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "full"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_process_killed_while_it_writes_leaves_no_entry(tmp_path: Path, cache: PredictionCache):
    folder = tmp_path / "predictions"
    folder.mkdir()
    (folder / f"{PARTIAL_PREFIX}xyz").write_text("half of it")
    assert cache.get("d1", "v1", VIDEO) is None
    cache.put("d1", FOUND)
    assert cache.get("d1", "v1", VIDEO) == FOUND


def test_a_video_is_read_again_when_it_has_changed(cache: PredictionCache, tmp_path: Path):
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"one")
    first = cache.digest(video)
    video.write_bytes(b"two")
    os.utime(video, ns=(1, 1))
    assert cache.digest(video) != first
    (tmp_path / "copy.mp4").write_bytes(b"one")
    assert cache.digest(tmp_path / "copy.mp4") == first


def test_without_room_nothing_is_kept(tmp_path: Path):
    cache = PredictionCache(tmp_path / "predictions", 0)
    cache.put("d1", FOUND)
    assert cache.get("d1", "v1", VIDEO) is None
