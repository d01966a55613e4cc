"""A Label Studio in memory: the part of its interface that batch needs, with the faults of the real one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from omni_timeline.errors import DeliveryError
from omni_timeline.label_studio.client import StoredPrediction, TaskPage

PROJECT = 3
UNREACHABLE = DeliveryError("unreachable", "no connection")
UNCLEAR = DeliveryError("unclear", "no answer")
BUSY = DeliveryError("busy", "500")
REFUSED = DeliveryError("refused", "not a prediction")
GONE = DeliveryError("gone", "The task is no longer in Label Studio.")
TOKEN = DeliveryError("token", "a bad token")


@dataclass
class Shelf:
    """Tasks and their predictions.

    Attributes:
        tasks: the data of each task, by its number.
        stored: the predictions of each task: their numbers and versions.
        views: which tasks a tab of the data manager shows now.
        faults: what comes in place of the next answers to calls that store: an error, or a function that does it.
        asked: what was called.
        skipped: tasks whose predictions are taken for invalid when many are stored.
    """

    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    stored: dict[int, list[StoredPrediction]] = field(default_factory=dict)
    views: dict[int, Callable[[int], bool]] = field(default_factory=dict)
    faults: list[Exception | Callable[[], None]] = field(default_factory=list)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    skipped: set[int] = field(default_factory=set)
    _ids: count[int] = field(default_factory=lambda: count(1))
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    def of(cls, tasks: int) -> Shelf:
        """One with so many tasks; their numbers have gaps."""
        return cls({number: {"video": f"/data/upload/{number}.mp4"} for number in range(10, 10 * tasks + 1, 10)})

    def store(self, task: int, version: str) -> None:
        with self._lock:
            self.stored.setdefault(task, []).append(StoredPrediction(next(self._ids), version))

    def versions(self) -> dict[int, list[str]]:
        """The versions that each task has."""
        return {task: [each.version for each in self.stored.get(task, [])] for task in self.tasks}

    # --- as LabelStudioApi ---

    def task_page(
        self, project: int, query: Mapping[str, Any], *, page: int = 1, page_size: int, view: int | None = None
    ) -> TaskPage:
        self.asked.append(("page", view or query))
        if project != PROJECT or (view is not None and view not in self.views):
            raise GONE
        chosen = [number for number in sorted(self.tasks) if self._passes(number, query, view)]
        rows = chosen[(page - 1) * page_size : page * page_size]
        if page > 1 and not rows:
            raise GONE
        return TaskPage(tuple({"id": number, "data": self.tasks[number]} for number in rows), len(chosen))

    def prediction_versions(self, task: int) -> list[str]:
        self.asked.append(("versions", task))
        return [each.version for each in self.stored.get(task, [])]

    def stored_predictions(self, task: int) -> list[StoredPrediction]:
        return list(self.stored.get(task, []))

    def model_versions(self, project: int) -> list[str]:
        return sorted({each.version for rows in self.stored.values() for each in rows})

    def create_prediction(self, task: int, prediction: Mapping[str, Any]) -> None:
        self.asked.append(("one", task))
        self._fail(lambda: self._create(task, prediction))

    def import_predictions(self, project: int, predictions: Sequence[Mapping[str, Any]]) -> int:
        self.asked.append(("many", [row["task"] for row in predictions]))
        taken = [row for row in predictions if row["task"] not in self.skipped]

        def store() -> None:
            if any(row["task"] not in self.tasks for row in predictions):
                raise REFUSED
            for row in taken:
                self.store(row["task"], row["model_version"])

        self._fail(store)
        return len(taken)

    def delete_prediction(self, prediction: int) -> None:
        for task, rows in self.stored.items():
            self.stored[task] = [row for row in rows if row.id != prediction]

    def _create(self, task: int, prediction: Mapping[str, Any]) -> None:
        if task not in self.tasks:
            raise GONE
        self.store(task, prediction["model_version"])

    def _fail(self, store: Callable[[], None]) -> None:
        with self._lock:
            fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, Exception):
            raise fault
        store()
        if fault is not None:
            fault()

    def _passes(self, number: int, query: Mapping[str, Any], view: int | None) -> bool:
        if view is not None:
            return self.views[view](number)
        selected = query.get("selectedItems")
        if selected is not None and selected["included"] and number not in selected["included"]:
            return False
        return all(self._matches(number, item) for item in query.get("filters", {}).get("items", []))

    def _matches(self, number: int, item: Mapping[str, Any]) -> bool:
        column, operator, value = item["filter"], item["operator"], item["value"]
        if column == "filter:tasks:id":
            assert operator == "greater"
            return number > int(value)
        assert column == "filter:tasks:predictions_model_versions"
        # As SQLite compares: a part is enough, in any case.
        has = any(part.casefold() in each.version.casefold() for each in self.stored.get(number, []) for part in value)
        return has if operator == "contains" else not has
