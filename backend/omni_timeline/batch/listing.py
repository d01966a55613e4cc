"""Which tasks of a project are to be predicted: Label Studio is the queue.

A task without a prediction of this model version is work to do; one that has it is done. So there is nothing to keep,
to lose or to reconcile, and a job that was stopped goes on where it ended.

    whole project   the tasks without this version, by number, each page after the last number of the one before
    a view          its numbers first, since tasks leave some views as soon as they are predicted; then these tasks
    given numbers   these tasks

Facts of Label Studio 1.23.2: it compares versions by "contains", so a version that is a part of another one is looked
up task by task; a page takes 2 ms a task, and the tasks that have the version are left out by the database at once.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any, Protocol, TypeVar

from omni_timeline.batch.outcomes import AlreadyThere, Failed, Task
from omni_timeline.errors import DeliveryError, RequestError
from omni_timeline.label_studio.client import TaskPage

PAGE = 100  # tasks; a page of them takes Label Studio a quarter of a second
VIEW_PAGE = 500  # tasks of which only the numbers are wanted

T = TypeVar("T")


class Api(Protocol):
    """The part of Label Studio's interface that is needed here."""

    def task_page(
        self, project: int, query: Mapping[str, Any], *, page: int = 1, page_size: int, view: int | None = None
    ) -> TaskPage:
        """A page of a project's tasks."""

    def prediction_versions(self, task: int) -> list[str]:
        """The model versions of a task's predictions."""

    def model_versions(self, project: int) -> list[str]:
        """The model versions of all predictions in a project."""


class ProjectTasks:
    """The tasks of one project, by whether they have a prediction of one version.

    Args:
        api: Label Studio.
        project: the project's number.
        version: the model version.
        view: a tab of the data manager; only its tasks are meant.
        numbers: only these tasks are meant.
        needed: the part of a task's data that is kept.
        patiently: calls something until it succeeds.
    """

    def __init__(
        self,
        api: Api,
        project: int,
        version: str,
        *,
        view: int | None = None,
        numbers: Sequence[int] | None = None,
        needed: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda data: data,
        patiently: Callable[[Callable[[], Any]], Any] = lambda call: call(),
    ) -> None:
        self._api = api
        self._project = project
        self._version = version
        self._view = view
        self._numbers = numbers
        self._needed = needed
        self._patiently = patiently
        self._is_ambiguous: bool | None = None

    def count(self) -> tuple[int, int]:
        """How many tasks an iteration comes by, about, and how many it leaves out since they are done.

        Raises:
            DeliveryError: Label Studio does not say.
            RequestError: there is no such project or view.
        """
        if self._numbers is not None:
            return len(set(self._numbers)), 0
        every = self._page({}, 1, view=self._view).total
        done = 0 if self._view is not None else self._page(_filters(_has(self._version)), 1).total
        return every - done, done

    def __iter__(self) -> Iterator[Task | AlreadyThere | Failed]:
        """The tasks that have no prediction of the version.

        Of the tasks of a view and of given numbers, also what is known of the others: that they have one, or that the
        project has no such task.

        Raises:
            DeliveryError: Label Studio does not give them.
            RequestError: there is no such project or view.
        """
        self._is_ambiguous = None
        if self._numbers is not None:
            yield from self._chosen(self._numbers, is_each_expected=True)
        elif self._view is not None:
            yield from self._chosen(self._numbers_of_view(self._view), is_each_expected=False)
        else:
            yield from self._undone()

    def done(self, numbers: Iterable[int]) -> set[int]:
        """Those of these tasks that have a prediction of the version.

        Raises:
            DeliveryError: Label Studio does not say.
        """
        likely = {
            task["id"]
            for some in _chunks(numbers, PAGE)
            for task in self._page(_filters(_has(self._version), chosen=some), PAGE).tasks
        }
        return {number for number in likely if self._has_exactly(number)} if self._may_be_another() else likely

    def with_versions(self, versions: Sequence[str]) -> Iterator[int]:
        """The numbers of tasks that have a prediction of the version and likely one of `versions`.

        Raises:
            DeliveryError: Label Studio does not say.
        """
        after = 0
        while tasks := self._page(_filters(_has(self._version), _has(*versions), _after(after)), PAGE).tasks:
            yield from (task["id"] for task in tasks)
            after = tasks[-1]["id"]

    def _undone(self) -> Iterator[Task]:
        is_ambiguous = self._may_be_another()
        without = [] if is_ambiguous else [_has_not(self._version)]
        after = 0
        while tasks := self._page(_filters(*without, _after(after)), PAGE).tasks:
            done = self.done([task["id"] for task in tasks]) if is_ambiguous else set()
            yield from (self._task(task) for task in tasks if task["id"] not in done)
            after = tasks[-1]["id"]

    def _chosen(self, numbers: Iterable[int], *, is_each_expected: bool) -> Iterator[Task | AlreadyThere | Failed]:
        for some in _chunks(dict.fromkeys(numbers), PAGE):
            found = {task["id"]: task for task in self._page(_filters(chosen=some), PAGE).tasks}
            done = self.done(found)
            for number, task in found.items():
                yield AlreadyThere(self._task(task)) if number in done else self._task(task)
            if is_each_expected:
                for number in (number for number in some if number not in found):
                    reason = f"Project {self._project} has no task {number}."
                    yield Failed(Task(str(number), number, {}), reason)

    def _numbers_of_view(self, view: int) -> Iterator[int]:
        numbers = array("q")
        for page in count(1):
            try:
                found = self._page({}, VIEW_PAGE, page=page, view=view)
            except RequestError:
                if page == 1:
                    raise
                break  # the view became shorter meanwhile
            numbers.extend(task["id"] for task in found.tasks)
            if len(found.tasks) < VIEW_PAGE:
                break
        return iter(numbers)

    def _may_be_another(self) -> bool:
        """Whether a version that contains this one may be another; evaluated by each iteration."""
        if self._is_ambiguous is None:
            ours = self._version.casefold()
            versions: list[str] = self._patiently(lambda: self._api.model_versions(self._project))
            self._is_ambiguous = any(ours in other.casefold() and other != self._version for other in versions)
        return self._is_ambiguous

    def _has_exactly(self, number: int) -> bool:
        versions: list[str] = self._patiently(lambda: self._api.prediction_versions(number))
        return self._version in versions

    def _task(self, task: Mapping[str, Any]) -> Task:
        return Task(str(task["id"]), task["id"], dict(self._needed(task["data"])))

    def _page(self, query: Mapping[str, Any], size: int, *, page: int = 1, view: int | None = None) -> TaskPage:
        def ask() -> TaskPage:
            return self._api.task_page(self._project, query, page=page, page_size=size, view=view)

        try:
            found: TaskPage = self._patiently(ask)
        except DeliveryError as error:
            if error.kind != "gone":
                raise
            what = f"project {self._project}" + (f" with a view {view}" if view is not None else "")
            raise RequestError(f"There is no {what} in Label Studio that this token's user can see.") from error
        return found


def _chunks(values: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(values)
    while some := list(islice(rest, size)):
        yield some


def _filters(*items: Mapping[str, Any], chosen: Iterable[int] | None = None) -> dict[str, Any]:
    """The data manager's query for tasks that pass all of these filters; only `chosen` ones, where there are any."""
    query: dict[str, Any] = {"filters": {"conjunction": "and", "items": list(items)}}
    if chosen is not None:
        query["selectedItems"] = {"all": False, "included": list(chosen)}
    return query


def _has(*versions: str) -> dict[str, Any]:
    return _filter("predictions_model_versions", "contains", "List", list(versions))


def _has_not(version: str) -> dict[str, Any]:
    return _filter("predictions_model_versions", "not_contains", "List", [version])


def _after(number: int) -> dict[str, Any]:
    return _filter("id", "greater", "Number", number)


def _filter(column: str, operator: str, kind: str, value: Any) -> dict[str, Any]:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}
