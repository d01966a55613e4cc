"""Projects from an export and from a live Label Studio; videos found by the names that tasks have for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from corrected_tasks import XML, annotation, task
from omni_timeline.errors import LabelConfigError, RequestError
from omni_timeline.learning.sources import Source
from omni_timeline.segments import Segment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "day 1/cam.mp4", "day 2/cam.mp4", "8abf8b6a-real-name.mp4", "clip.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).write_bytes(b"")
    return tmp_path / "videos"


def test_an_export_is_a_project(folder: Path, tmp_path: Path):
    (tmp_path / "export.json").write_text(json.dumps([task(4, annotation(1, [Segment(0, 1, "door")]))]))
    (tmp_path / "config.xml").write_text(XML)
    source = Source.from_export(tmp_path / "export.json", folder, tmp_path / "config.xml")
    assert (source.name, source.config.labels) == ("export.json", ("speech", "music", "door"))
    [found] = source.corrections.tasks
    assert found.corrections[0].segments == (Segment(0, 1, "door"),)
    assert source.link(found) is None  # an export does not say where Label Studio is


@pytest.mark.parametrize(
    ("export", "config", "error"),
    [
        ("[", XML, "is not JSON"),
        ('{"tasks": []}', XML, "not a list of tasks"),
        (None, XML, "cannot read"),
        ("[]", None, "cannot read"),
        ("[]", "<View/>", "needs"),
    ],
)
def test_what_cannot_be_read_is_refused(folder: Path, tmp_path: Path, export, config, error):
    for name, text in (("export.json", export), ("config.xml", config)):
        if text is not None:
            (tmp_path / name).write_text(text)
    with pytest.raises((RequestError, LabelConfigError), match=error):
        Source.from_export(tmp_path / "export.json", folder, tmp_path / "config.xml")


class Api:
    """Label Studio, as far as a source asks it."""

    def label_config(self, project: int) -> str:
        return XML

    def corrected_tasks(self, project: int) -> Iterator[dict]:
        yield task(4, annotation(1, []), project=project)


class Videos:
    @contextmanager
    def local(self, url: str, *, task_id: int | None = None) -> Iterator[Path]:
        yield Path(url)


def test_a_live_project_has_links_to_its_tasks():
    source = Source.from_project(Api(), 7, Videos(), "http://studio:8080")
    [found] = source.corrections.tasks
    assert source.name == "project 7"
    assert source.link(found) == "http://studio:8080/projects/7/data?task=4"
