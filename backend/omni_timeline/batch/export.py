"""Predictions in a file, for teams that give a program no access to Label Studio.

    {"id": 7, "data": {"video": "..."}, "predictions": [{"model_version": "...", "result": [...], "score": 0.8}]}

A line for each task whose prediction is finished; `write_list` makes them a JSON list, which Label Studio imports. A
job that was stopped goes on behind the last whole line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from omni_timeline.batch.outcomes import Outcome, Predicted, Task
from omni_timeline.errors import OmniTimelineError, RequestError
from omni_timeline.label_studio.exports import read_export
from omni_timeline.label_studio.labeling_config import LabelConfig


def exported_tasks(file: Path, config: LabelConfig) -> list[Task]:
    """The tasks of a project that was exported as JSON.

    Raises:
        RequestError: the file is something else.
    """
    return [_task(row, config) for row in read_export(file)]


def finished(file: Path, version: str, config: LabelConfig) -> frozenset[str]:
    """The keys of the tasks that are in a file; what a killed job has left of its last line is removed.

    Raises:
        RequestError: it holds something else, or predictions of another version.
    """
    if not file.exists():
        return frozenset()
    keys, end = set(), 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                break
            end += len(line)
            keys.add(_key_of(line, f"{file}, line {number}", version, config))
    os.truncate(file, end)
    return frozenset(keys)


def write_list(lines: Path, file: Path) -> None:
    """Write the lines of a file as one JSON list, which Label Studio imports."""
    is_first = True
    with lines.open("rb") as source, file.open("wb") as output:
        for line in source:
            output.write((b"[\n" if is_first else b",\n") + line.rstrip(b"\n"))
            is_first = False
        output.write(b"[]\n" if is_first else b"\n]\n")


class ExportFile:
    """The file of finished predictions, open within a `with` block.

    Args:
        file: where it is, or will be.
        settle: called for each prediction that is in the file.
    """

    def __init__(self, file: Path, settle: Callable[[Outcome], None]) -> None:
        self._file = file
        self._settle = settle
        self._opened = ExitStack()

    def __enter__(self) -> ExportFile:
        self._output = self._opened.enter_context(self._file.open("ab"))
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def put(self, predicted: Predicted) -> None:
        """Write a prediction.

        Raises:
            OSError: it cannot be written.
        """
        task = predicted.task
        row = {**({} if task.id is None else {"id": task.id}), "data": task.data, "predictions": [predicted.entry]}
        self._output.write(json.dumps(row).encode() + b"\n")
        self._output.flush()
        self._settle(predicted)

    def flush(self) -> None:
        """Nothing waits."""


def _key_of(line: bytes, where: str, version: str, config: LabelConfig) -> str:
    try:
        row: dict[str, Any] = json.loads(line)
        [entry] = row["predictions"]
        found, task = entry["model_version"], _task(row, config)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RequestError(f"{where}: this is not a file that prelabel has written; name another one") from error
    if found != version:
        raise RequestError(f"{where}: it holds predictions of {found}, and these are of {version}; name another file")
    return task.key


def _task(row: dict[str, Any], config: LabelConfig) -> Task:
    number = row.get("id")
    if type(number) is int:
        return Task(str(number), number, row["data"])
    try:
        return Task(config.video_url(row["data"]), None, row["data"])
    except OmniTimelineError:  # it becomes a failure when it is predicted
        return Task(json.dumps(row["data"], sort_keys=True), None, row["data"])
