"""A project's JSON export, and videos found by the names that tasks have for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omni_timeline.errors import FetchError, RequestError
from omni_timeline.label_studio.exports import FolderVideos, read_export

NAMES = (
    "a.mp4", "day 1/cam.mp4", "day 2/cam.mp4", "8abf8b6a-real-name.mp4", "clip.mp4", "a b/c.MOV", "notes.txt",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).write_bytes(b"")
    return tmp_path / "videos"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("/data/local-files/?d=videos/a.mp4", "a.mp4"),
        ("/data/local-files/?d=deep/day%202/cam.mp4", "day 2/cam.mp4"),
        ("/data/upload/7/1a2b3c4d-clip.mp4", "clip.mp4"),  # the name before it was uploaded
        ("/data/upload/7/8abf8b6a-real-name.mp4", "8abf8b6a-real-name.mp4"),  # or after
        ("s3://bucket/day%201/cam.mp4", "day 1/cam.mp4"),
        ("https://example.org/videos/a.mp4?X-Amz-Signature=abc", "a.mp4"),
        ("../../clip.mp4", "clip.mp4"),
        ("a.mp4", "a.mp4"),
    ],
)
def test_a_video_is_found_by_the_end_of_its_address(folder: Path, url: str, found: str):
    with FolderVideos(folder).local(url, task_id=1) as path:
        assert path == folder / found


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("/data/upload/missing.mp4", "There is no video missing.mp4"),
        ("cam.mp4", "cam.mp4 could be day 1/cam.mp4 or day 2/cam.mp4"),
        ("notes.txt", "There is no video notes.txt"),
        ("http://[", "not valid"),
        ("https://example.org/", "names no file"),
        ("", "names no file"),
        ("../../etc/passwd", "There is no video passwd"),
    ],
)
def test_a_video_that_is_not_found_says_why(folder: Path, url: str, sentence: str):
    with pytest.raises(FetchError, match=sentence), FolderVideos(folder).local(url):
        pass


def test_each_video_has_an_address_that_leads_to_it(folder: Path):
    videos = FolderVideos(folder)
    urls = videos.urls("/data/local-files/?d=")
    assert urls[1] == "/data/local-files/?d=a%20b/c.MOV"
    found = []
    for url in urls:
        with videos.local(url) as path:
            found.append(path.relative_to(folder).as_posix())
    assert sorted(found) == sorted(name for name in NAMES if name != "notes.txt")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(RequestError, match="there is no folder"):
        FolderVideos(tmp_path / "missing")


def test_an_export_is_a_list_of_tasks(tmp_path: Path):
    rows = [{"id": 4, "data": {"video": "a.mp4"}, "annotations": []}]
    (tmp_path / "export.json").write_text(json.dumps(rows))
    assert read_export(tmp_path / "export.json") == rows


@pytest.mark.parametrize("text", ["[", '{"tasks": []}', "[7]", '[{"id": 1}]', "[" * 100_000])
def test_anything_else_is_refused(tmp_path: Path, text: str):
    (tmp_path / "export.json").write_text(text)
    with pytest.raises(RequestError, match="export the project as JSON"):
        read_export(tmp_path / "export.json")
    with pytest.raises(RequestError, match="cannot read"):
        read_export(tmp_path / "missing.json")
