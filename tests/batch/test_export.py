"""Without access to Label Studio: tasks from its export or a folder, predictions into a file that it imports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labeling_configs import CONFIG
from omni_timeline.batch.export import ExportFile, exported_tasks, finished, write_list
from omni_timeline.batch.outcomes import Outcome, Predicted, Task
from omni_timeline.errors import RequestError

from .plans import VERSION, predicted


def written(file: Path, *tasks: Task, version: str = VERSION) -> list[Outcome]:
    outcomes: list[Outcome] = []
    with ExportFile(file, outcomes.append) as output:
        for task in tasks:
            output.put(Predicted(task, {"model_version": version, "result": [], "score": 0.5}, False, {}))
        output.flush()
    return outcomes


def videos(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_line_for_each_task_and_a_list_of_them(tmp_path: Path):
    file, listed = tmp_path / "out.jsonl", tmp_path / "out.json"
    tasks = [predicted(1).task, Task("b.mp4", None, {"video": "b.mp4", "note": "Ä\n"})]
    assert [outcome.task for outcome in written(file, *tasks)] == tasks
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    entry = {"model_version": VERSION, "result": [], "score": 0.5}
    assert lines == [
        {"id": 1, "data": {"video": "/data/upload/1.mp4"}, "predictions": [entry]},
        {"data": {"video": "b.mp4", "note": "Ä\n"}, "predictions": [entry]},
    ]
    write_list(file, listed)
    assert json.loads(listed.read_text()) == lines


def test_the_list_of_nothing_is_a_list(tmp_path: Path):
    written(tmp_path / "out.jsonl")
    write_list(tmp_path / "out.jsonl", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == []


def test_a_killed_job_goes_on_behind_the_last_whole_line(tmp_path: Path):
    file = tmp_path / "out.jsonl"
    assert finished(file, VERSION, CONFIG) == frozenset()
    written(file, predicted(1).task, predicted(2).task)
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:30])  # killed in the middle of a line
    assert finished(file, VERSION, CONFIG) == {"1", "2"}
    assert file.read_bytes() == whole
    written(file, predicted(3).task)
    assert finished(file, VERSION, CONFIG) == {"1", "2", "3"}


def test_predictions_of_another_version_are_not_mixed_in(tmp_path: Path):
    written(tmp_path / "out.jsonl", predicted(1).task, version="another")
    with pytest.raises(RequestError, match="line 1: it holds predictions of another"):
        finished(tmp_path / "out.jsonl", VERSION, CONFIG)


@pytest.mark.parametrize("line", ["[]", "{}", "7", '{"id": 1, "data": {}, "predictions": []}', "no JSON"])
def test_a_file_of_something_else_is_not_written_into(line: str, tmp_path: Path):
    (tmp_path / "out.jsonl").write_text(line + "\n")
    with pytest.raises(RequestError, match="line 1: this is not a file that prelabel has written"):
        finished(tmp_path / "out.jsonl", VERSION, CONFIG)


def test_the_tasks_of_an_export(tmp_path: Path):
    rows = [
        {"id": 7, "data": {"video": "a.mp4"}, "annotations": [{"id": 1}], "predictions": []},
        {"data": {"video": "b.mp4"}},
        {"data": {"no video": 1}},
    ]
    (tmp_path / "export.json").write_text(json.dumps(rows))
    first, second, third = exported_tasks(tmp_path / "export.json", CONFIG)
    assert first == Task("7", 7, {"video": "a.mp4"})
    assert second == Task("b.mp4", None, {"video": "b.mp4"})
    assert third.data == {"no video": 1}


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"id": 1}]', "no JSON"])
def test_another_file_in_place_of_an_export(text: str, tmp_path: Path):
    (tmp_path / "export.json").write_text(text)
    with pytest.raises(RequestError, match="export the project as JSON"):
        exported_tasks(tmp_path / "export.json", CONFIG)
    with pytest.raises(RequestError, match="cannot read"):
        exported_tasks(tmp_path / "missing.json", CONFIG)
