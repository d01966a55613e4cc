"""Where tasks come from and predictions go: a project of Label Studio, or files. The job is the same for both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from omni_timeline.batch.export import ExportFile, exported_tasks, finished, write_list
from omni_timeline.batch.job import Sink
from omni_timeline.batch.listing import ProjectTasks
from omni_timeline.batch.outcomes import AlreadyThere, Failed, Outcome, Plan, Task
from omni_timeline.batch.patience import Patience
from omni_timeline.batch.report import Report
from omni_timeline.batch.storing import Store, remove_versions
from omni_timeline.errors import DeliveryError, RequestError
from omni_timeline.label_studio.client import LabelStudioApi
from omni_timeline.label_studio.exports import FolderVideos
from omni_timeline.label_studio.labeling_config import LabelConfig

Settle = Callable[[Outcome], None]


class Source(Protocol):
    """Tasks to predict, and where their predictions go.

    Attributes:
        xml: the labeling config.
    """

    xml: str

    def open(self, plan: Plan) -> Opened:
        """The tasks that have no prediction by this plan."""


class Opened(Protocol):
    """Tasks to predict by one plan.

    Attributes:
        count: about how many they are.
        done: how many are left out, since they are done.
    """

    count: int
    done: int

    def tasks(self) -> Iterable[Task | AlreadyThere | Failed]:
        """The tasks that have no prediction now, each time it is iterated over."""

    def sink(self, settle: Settle) -> AbstractContextManager[Sink]:
        """Where predictions go."""

    def tidy(self, report: Report) -> None:
        """What is to be done between two passes."""

    def finish(self) -> None:
        """What is to be done at the end."""


class Project:
    """A project of Label Studio.

    Args:
        api: Label Studio.
        number: the project's.
        view: a tab of the data manager; only its tasks.
        tasks: only these tasks.
        replace_versions: versions whose predictions are removed from tasks that have a new one.

    Attributes:
        xml: its labeling config.

    Raises:
        RequestError: there is no such project.
        DeliveryError: Label Studio does not answer as it should.
    """

    def __init__(
        self,
        api: LabelStudioApi,
        number: int,
        *,
        view: int | None = None,
        tasks: Sequence[int] | None = None,
        replace_versions: Sequence[str] = (),
    ) -> None:
        self._api = api
        self._number = number
        self._view = view
        self._tasks = tasks
        self._old = tuple(replace_versions)
        try:
            self.xml = api.label_config(number)
        except DeliveryError as error:
            if error.kind != "gone":
                raise
            raise RequestError(f"there is no project {number} that this token's user can see") from error

    def open(self, plan: Plan) -> OpenProject:
        """The tasks that have no prediction by this plan.

        Raises:
            RequestError: there is no such view, or the plan's version would be removed.
        """
        if plan.version in self._old:
            raise RequestError(f"{plan.version} is the version of the new predictions: it cannot be replaced")
        patience = Patience()
        listed = ProjectTasks(
            self._api, self._number, plan.version, view=self._view, numbers=self._tasks,
            needed=plan.config.needed_data, patiently=patience,
        )  # fmt: skip
        return OpenProject(self._api, self._number, plan.version, listed, self._old, patience)


class OpenProject:
    """The tasks of a project that are to be predicted by one plan; see `Opened`."""

    def __init__(
        self,
        api: LabelStudioApi,
        number: int,
        version: str,
        listed: ProjectTasks,
        old: Sequence[str],
        patience: Patience,
    ) -> None:
        self._api = api
        self._number = number
        self._version = version
        self._listed = listed
        self._old = old
        self._patience = patience
        self.count, self.done = listed.count()

    def tasks(self) -> Iterable[Task | AlreadyThere | Failed]:
        """The tasks that have no prediction now, each time it is iterated over."""
        return self._listed

    def sink(self, settle: Settle) -> Store:
        """Label Studio."""
        tasks = self.count + self.done
        return Store(self._api, self._number, self._listed.done, settle, tasks=tasks, patience=self._patience)

    def tidy(self, report: Report) -> None:
        """Remove the predictions of old versions from tasks that have a new one."""
        if self._old:
            tasks = self._listed.with_versions(self._old)
            report.removed += remove_versions(self._api, tasks, self._version, self._old, self._patience)

    def finish(self) -> None:
        """Nothing is left to do."""


class Files:
    """A JSON export, or a folder with videos; the predictions go into a file.

    Args:
        output: the file of predictions.
        label_config: the labeling config as text.
        tasks: a project that was exported as JSON.
        videos: the folder; makes up the tasks where there is no export.
        video_url: what stands before the file name in tasks that are made up.
    """

    def __init__(
        self, output: Path, label_config: str, *, tasks: Path | None, videos: Path | None, video_url: str
    ) -> None:
        self.xml = label_config
        self._output = output
        self._tasks = tasks
        self._videos = videos
        self._video_url = video_url

    def open(self, plan: Plan) -> OpenFiles:
        """The tasks that are not in the file of predictions.

        Raises:
            RequestError: the export is none, or the file of predictions holds something else.
        """
        return OpenFiles(self._output, self._listed(plan.config), finished(self._output, plan.version, plan.config))

    def _listed(self, config: LabelConfig) -> Sequence[Task]:
        if self._tasks is not None:
            return exported_tasks(self._tasks, config)
        if self._videos is None:
            raise RequestError("--export needs --tasks, a project's JSON export, or --videos, a folder")
        urls = FolderVideos(self._videos).urls(self._video_url)
        return [Task(url, None, config.data_with(url)) for url in urls]


class OpenFiles:
    """The tasks of an export or a folder that are to be predicted; see `Opened`."""

    def __init__(self, output: Path, tasks: Sequence[Task], done: frozenset[str]) -> None:
        self._output = output
        self._done = set(done)
        self._every = tasks
        self.done = sum(task.key in done for task in tasks)
        self.count = len(tasks) - self.done

    def tasks(self) -> Iterable[Task | AlreadyThere | Failed]:
        """The tasks that are not in the file now, each time it is iterated over."""
        return _Left(self._every, self._done)

    def sink(self, settle: Settle) -> ExportFile:
        """The file."""

        def note(outcome: Outcome) -> None:
            self._done.add(outcome.task.key)
            settle(outcome)

        return ExportFile(self._output, note)

    def tidy(self, report: Report) -> None:
        """Nothing is to be done."""

    def finish(self) -> None:
        """Write the list that Label Studio imports."""
        write_list(self._output, self._output.with_suffix(".json"))


class _Left:
    """Those tasks whose key is not among the done ones."""

    def __init__(self, tasks: Sequence[Task], done: set[str]) -> None:
        self._tasks = tasks
        self._done = done

    def __iter__(self) -> Iterator[Task]:
        return (task for task in self._tasks if task.key not in self._done)
