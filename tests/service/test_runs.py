"""Where learning stands, as it is on disk."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from omni_timeline.learning.versions import LearnedVersions
from omni_timeline.service.runs import FILE, Runs

PROJECT, OTHER = 7, 8


@pytest.fixture
def versions(tmp_path: Path) -> LearnedVersions:
    return LearnedVersions.in_cache(tmp_path)


def test_of_two_threads_that_save_none_writes_what_is_older(versions: LearnedVersions):
    """A press of Start Training while the former learning ended could be missing on disk: a restart lost it."""
    runs = Runs(versions)

    def note(number: int) -> None:
        runs.change(PROJECT, words=str(number))
        runs.save()

    for _ in range(20):
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(note, range(8)))
        assert Runs(versions).get(PROJECT) == runs.get(PROJECT)


def test_one_that_is_written_does_not_hide_that_another_cannot_be(versions: LearnedVersions):
    runs = Runs(versions)
    versions.project(PROJECT).mkdir(parents=True)
    in_the_way = versions.project(PROJECT) / FILE
    in_the_way.mkdir()
    (in_the_way / "file").touch()
    runs.change(PROJECT, words="one")
    runs.change(OTHER, words="other")
    runs.save()
    assert "cannot be noted in CACHE_DIR" in (runs.trouble or "")
    assert Runs(versions).get(OTHER).words == "other"
    (in_the_way / "file").unlink()
    in_the_way.rmdir()
    runs.save()
    assert runs.trouble is None
    assert Runs(versions).get(PROJECT).words == "one"
