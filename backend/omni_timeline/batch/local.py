"""An engine on this machine: the scheduler that the server and the command line use, with a thread for each task.

    task -> fetched -> Scheduler: decoded ahead of the models, in batches across videos -> Outcome

A thread does nothing but wait: for its video, for its turn in the model.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from omni_timeline.batch.outcomes import Outcome, Plan, Predicted, Task, attempt
from omni_timeline.label_studio.tasks import TaskPredictor, Videos
from omni_timeline.pipeline.backlog import MAX_OPEN
from omni_timeline.pipeline.cache import PredictionCache
from omni_timeline.pipeline.prediction import Priority, Progress
from omni_timeline.pipeline.scheduler import Scheduler


class LocalEngine:
    """Predicts tasks on this machine. The scheduler is started with the first task.

    Args:
        scheduler: predicts videos; its maker closes it.
        files: fetches them.
        cache: predictions that were made before.
        plan: how the tasks are predicted.

    Attributes:
        capacity: how many tasks it has a use for at a time.
    """

    capacity = MAX_OPEN

    def __init__(self, scheduler: Scheduler, files: Videos, cache: PredictionCache, plan: Plan) -> None:
        self._scheduler = scheduler
        self._plan = plan
        self._predict = TaskPredictor(scheduler, files, cache)

    def outcomes(self, tasks: Iterator[Task]) -> Iterator[Outcome]:
        """What comes of the tasks, in the order in which they are done.

        Raises:
            OmniTimelineError: there is no model, or the tasks cannot be listed.
        """
        self._scheduler.start()
        self._scheduler.wait()
        found: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        turn = threading.Lock()

        def work() -> None:
            try:
                while True:
                    with turn:
                        task = next(tasks, None)
                    if task is None:
                        break
                    found.put(self._outcome(task))
            except BaseException as error:  # of the list: it is raised where the outcomes are taken
                found.put(error)
            found.put(None)

        for _ in range(self.capacity):
            threading.Thread(target=work, name="task", daemon=True).start()
        at_work, failure = self.capacity, None
        while at_work:
            outcome = found.get()
            if outcome is None:
                at_work -= 1
            elif isinstance(outcome, BaseException):
                failure = failure or outcome
            else:
                yield outcome
        if failure is not None:
            raise failure

    def _outcome(self, task: Task) -> Outcome:
        outcome = attempt(task, lambda: self._predicted(task))
        if (error := self._scheduler.error) is not None:
            raise error  # it is no task's fault
        return outcome

    def _predicted(self, task: Task) -> Predicted:
        found = self._predict(self._plan.request(task), _ignore, Priority.BACKGROUND)
        return Predicted(task, found.entry, found.kept, found.seconds)


def _ignore(_: Progress) -> None:
    """Nobody watches a single task."""
